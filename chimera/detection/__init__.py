"""Blocks in a row under 1, and the episodes that they make. Pure."""
