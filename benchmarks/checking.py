"""`make bench-check`: measure, and compare with what was stored."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table

from benchmarks.apart import measured_apart
from benchmarks.regressions import Comparison, Figure, Figures, compare, figures, middle
from benchmarks.stored import Facts, stored
from benchmarks.table import rounded

RUNS = 3  # of a measurement that seems to have got worse; the median of them is judged


def check(names: list[str], facts: Facts, console: Console) -> int:
    """Compare these measurements with what was stored; return the exit code."""
    fine = [_check(name, facts, console) for name in names]
    console.print(f"{sum(fine)} of {len(fine)} measurements are as good as they were stored")
    return 0 if all(fine) else 1


def _check(name: str, facts: Facts, console: Console) -> bool:
    then = stored(name)
    if then is None:
        console.print(f"\n{name}: nothing is stored; python -m benchmarks --store {name}")
        return False
    where = "" if then.machine.get("cpu") == facts.get("cpu") else ", stored on another machine"
    known = figures(then.rows)
    found = _judged(name, known)
    if found is None:
        console.print(f"\n{name}: FAILED, see above")
        return False
    console.print(f"\n{name}{where}")
    console.print(_table(found))
    return not any(one.regressed or one.gone for one in found)


def _judged(name: str, known: Figures) -> list[Comparison] | None:
    """Measure once, and where that looks bad twice more; None when a measurement fails."""
    runs: list[Figures] = []
    while len(runs) < RUNS:
        rows = measured_apart(name).rows
        if rows is None:
            return None
        runs.append(figures(rows))
        found = compare(known, middle(runs))
        if not any(one.regressed for one in found):
            break
    return found


def _table(found: list[Comparison]) -> Table:
    table = Table()
    table.add_column("what")
    for head in ("stored", "now", "times worse", ""):
        table.add_column(head, justify="right", no_wrap=True)
    for one in found:
        worse = "" if math.isnan(one.worse) else f"{one.worse:.2f}"
        table.add_row(one.name, _shown(one.stored), _shown(one.now), worse, _verdict(one))
    return table


def _shown(figure: Figure | None) -> str:
    return "" if figure is None else f"{rounded(figure.value)} {figure.unit}"


def _verdict(one: Comparison) -> str:
    if one.gone:
        return "GONE"
    if one.stored is None:
        return "new"
    return "WORSE" if one.regressed else "ok"
