"""The composition root: builds every room, joins their doors, runs them."""

from chimera.app.commands import (
    CheckRow,
    cached_positions,
    check,
    explain,
    rebuild,
    run,
)

__all__ = [
    "CheckRow",
    "cached_positions",
    "check",
    "explain",
    "rebuild",
    "run",
]
