"""The mirror of the chain: the book, its screen and values, and its published face in Redis."""
