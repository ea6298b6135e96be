"""The composition root: builds every room, joins their doors, runs them."""

from chimera.app.borrowers import export_borrowers, import_borrowers
from chimera.app.checking import check
from chimera.app.commands import cached_positions, rebuild, run
from chimera.app.explaining import explain
from chimera.app.facts import CheckRow
from chimera.app.recording import record
from chimera.app.replaying import replay

__all__ = [
    "CheckRow",
    "cached_positions",
    "check",
    "explain",
    "export_borrowers",
    "import_borrowers",
    "rebuild",
    "record",
    "replay",
    "run",
]
