"""
A hundred thousand accounts at the edge of 1 per family: nobody is missed, nobody found in error.

Screen, then `factor` for its suspects, against `health` of everybody; see `edges`. These are no
times: what is counted must be 0, whatever the machine.
"""

from __future__ import annotations

from importlib import import_module
from random import Random

from benchmarks.edges import Tally, judged
from benchmarks.measuring import Goal, Row

ACCOUNTS = 100_000
FAMILIES = ("compound_v2", "compound_v3", "morpho_blue")
"""Each has a module `edges_<family>` with a function `scenes`."""


def measure() -> list[Row]:
    """Judge every family."""
    return [row for family in FAMILIES for row in _rows(family, _judged(family))]


def _judged(family: str) -> Tally:
    random = Random(f"adversarial {family}")
    return judged(import_module(f"benchmarks.edges_{family}"), random, ACCOUNTS)


def _rows(family: str, found: Tally) -> list[Row]:
    none = (Goal(0),)
    told = (
        f"{family}: {found.accounts:,} accounts, {found.near:,} within a millionth of 1, "
        f"{found.under:,} under it, {found.reverting:,} without a figure"
    )
    return [
        Row(f"{told}: missed", found.missed, unit="accounts", goals=none),
        Row(f"{family}: found in error", found.extra, unit="accounts", goals=none),
        Row(
            f"{family}: another figure than by `health`",
            found.differing,
            unit="accounts",
            goals=none,
        ),
    ]
