"""
A hundred thousand accounts at the edge of 1 per rounding: nobody missed, nobody found in error.

Screen, then `factor` for its suspects, against `health` of everybody; see `edges`. These are no
times: what is counted must be 0, whatever the machine.
"""

from __future__ import annotations

from random import Random

from benchmarks import edges_compound_v2, edges_compound_v3, edges_morpho_blue
from benchmarks.edges import Family, Tally, judged
from benchmarks.edges_aave_v3 import VERSIONS
from benchmarks.measuring import Goal, Row

ACCOUNTS = 100_000
FAMILIES: dict[str, Family] = {
    **VERSIONS,
    "compound_v2": edges_compound_v2,
    "compound_v3": edges_compound_v3,
    "morpho_blue": edges_morpho_blue,
}
"""Every rounding of every family, by its name."""


def measure() -> list[Row]:
    """Judge every family."""
    return [row for family in FAMILIES for row in _rows(family, _judged(family))]


def _judged(family: str) -> Tally:
    random = Random(f"adversarial {family}")
    return judged(FAMILIES[family], random, ACCOUNTS)


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
