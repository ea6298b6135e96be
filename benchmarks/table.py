"""
Rows for people: tables on a terminal, and the newest run for docs/performance.md.

`python -m benchmarks.table [NAME ...]` prints benchmarks/results/latest.json as Markdown.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from rich.table import Table

from benchmarks.measuring import SECONDS, Goal, Row
from benchmarks.stored import latest

SCALES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))


def shown(value: float | None, unit: str) -> str:
    """Write a figure with three digits that count; "" for none."""
    if value is None:
        return ""
    if unit != SECONDS:
        return f"{rounded(value)} {unit}"
    scale, name = next((pair for pair in SCALES if abs(value) >= pair[0]), SCALES[-1])
    return f"{rounded(value / scale)} {name}"


def rounded(value: float) -> str:
    """Write a number with three digits that count, thousands apart."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def aim(goal: Goal, unit: str) -> str:
    """Write what a row has to keep to."""
    sign = ">=" if goal.at_least else "<="
    limit = f"{rounded(goal.limit)}x" if goal.figure == "ratio" else shown(goal.limit, unit)
    name = "" if goal.figure in {"median", "ratio"} else f"{goal.figure} "
    return f"{name}{sign} {limit}"


def table_of(rows: Sequence[Row]) -> Table:
    """Lay out the rows of one measurement."""
    table = Table()
    table.add_column("what")
    for head in ("median", "p99", "worst", "n", "ratio", "goal", ""):
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*cells(row))
    return table


def cells(row: Row) -> tuple[str, ...]:
    """Return what stands in each column."""
    against = "" if row.against is None else f"\n  against: {row.against}"
    return (
        row.what + against,
        shown(row.median, row.unit),
        shown(row.p99, row.unit),
        shown(row.worst, row.unit),
        str(row.count) if row.count > 1 else "",
        "" if row.ratio is None else f"{rounded(row.ratio)}x",
        "\n".join(aim(goal, row.unit) for goal in row.goals),
        "\n".join("ok" if reached else "MISSED" for reached in row.verdicts),
    )


def markdown(name: str, rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of one measurement's table, under the command that makes it."""
    yield from (f"    .venv/bin/python -m benchmarks {name}", "")
    yield "| what | median | p99 | worst | ratio | goal | |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        ratio = "" if row.ratio is None else f"{rounded(row.ratio)}x {_shortened(row)}"
        goals = ", ".join(aim(goal, row.unit) for goal in row.goals)
        reached = ", ".join("reached" if fine else "**missed**" for fine in row.verdicts)
        figures = [shown(figure, row.unit) for figure in (row.median, row.p99, row.worst)]
        yield f"| {' | '.join((row.what, *figures, ratio, goals, reached))} |"
    yield ""


def _shortened(row: Row) -> str:
    """Name the other side; what both sides begin with (a size) need not be said twice."""
    theirs = row.against or ""
    start = theirs.partition(": ")[0] + ": "
    return theirs.removeprefix(start) if row.what.startswith(start) else theirs


if __name__ == "__main__":
    _, measurements = latest()
    for each in sys.argv[1:] or measurements:
        print("\n".join(markdown(each, measurements[each])))
