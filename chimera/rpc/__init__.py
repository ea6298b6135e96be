"""JSON-RPC plumbing: one endpoint, several of them, many calls in one, and the socket."""
