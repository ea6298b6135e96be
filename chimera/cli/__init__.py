"""The `chimera` command: what an operator types, and what comes back."""

from chimera.cli.commands import app, main

__all__ = ["app", "main"]
