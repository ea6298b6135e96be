"""The HTTP interface: what the daemon knows, as JSON, and the operator's few requests."""
