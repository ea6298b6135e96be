"""
What got worse since it was stored: figures that belong to no machine, and to no hour.

Those are ratios between two sides of one run, and counts (bytes, requests). Times are never
compared: they say more about the machine than about the program.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measuring import Row

LIMIT = 1.5  # times as bad as it was stored
RATIO = "x"
COUNTS = frozenset({"bytes", "a block"})  # units in which less is better, wherever it is measured


@dataclass(frozen=True, slots=True)
class Figure:
    """A ratio, of which more is better, or a count, of which less is."""

    value: float
    unit: str = RATIO

    def times_worse_than(self, other: Figure) -> float:
        """Return 2 for half as good, 0.5 for twice as good."""
        low, high = (self, other) if self.unit == RATIO else (other, self)
        if low.value == high.value:
            return 1.0
        return high.value / low.value if low.value else math.inf


Figures = Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure then and now; None where it was not stored, or is not measured any more."""

    name: str
    stored: Figure | None
    now: Figure | None

    @property
    def worse(self) -> float:
        """How many times as bad; not a number where there is nothing to compare."""
        if self.stored is None or self.now is None:
            return math.nan
        return self.now.times_worse_than(self.stored)

    @property
    def regressed(self) -> bool:
        """Tell whether it got too much worse."""
        return self.worse > LIMIT

    @property
    def gone(self) -> bool:
        """Tell whether a stored figure is missing: nobody would notice it getting worse."""
        return self.now is None


def figures(rows: Sequence[Row]) -> Figures:
    """Return what can be compared by name; infinite and missing figures cannot."""
    found = {}
    for row in rows:
        if row.ratio is not None and math.isfinite(row.ratio):
            found[f"{row.what} / {row.against}"] = Figure(row.ratio)
        elif row.unit in COUNTS and math.isfinite(row.median):
            found[row.what] = Figure(row.median, row.unit)
    return found


def middle(runs: Sequence[Figures]) -> Figures:
    """Return the median of several runs, figure by figure."""
    names = [name for name in runs[0] if all(name in run for run in runs)]
    return {
        name: Figure(
            statistics.median(run[name].value for run in runs),
            runs[0][name].unit,
        )
        for name in names
    }


def compare(stored: Figures, now: Figures) -> list[Comparison]:
    """Put then and now side by side, in the order of what was stored; what is new comes last."""
    names = dict.fromkeys([*stored, *now])
    return [Comparison(name, stored.get(name), now.get(name)) for name in names]
