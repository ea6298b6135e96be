"""
`make bench`: measure, print a table each, and write benchmarks/results/latest.json.

`python -m benchmarks [NAME ...]` makes the named measurements only. With `--store` each result
becomes what later ones are held to (benchmarks/results/NAME.json). With `--check`, which is
`make bench-check`, each is compared with that: exit code 1 when a ratio or a count got more than
1.5 times worse. Other exit codes: 1 when a measurement failed; a goal that was missed is printed
and is no failure.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.apart import Measured, measured_apart, write_rows
from benchmarks.checking import check
from benchmarks.machine import machine
from benchmarks.measuring import Row
from benchmarks.registry import CHECKED, NAMES, about, measure
from benchmarks.stored import Facts, store, write_latest
from benchmarks.table import table_of

INTERRUPTED = 130  # the exit code that shells give it
WIDTH = 150  # of the tables where nobody watches


def main() -> int:
    """Run from the command line; return the exit code."""
    options = _options()
    if options.into is not None:
        write_rows(measure(options.names[0]), options.into)
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up, as after Ctrl-C
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    facts = machine()
    console.print(", ".join(f"{name} {value}" for name, value in facts.items()), highlight=False)
    if options.check:
        return check(options.names or list(CHECKED), facts, console)
    return run(options.names or list(NAMES), facts, console, keep=options.store)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    doing = parser.add_mutually_exclusive_group()
    doing.add_argument("--store", action="store_true", help="compare later runs with this one")
    doing.add_argument("--check", action="store_true", help="compare with what is stored")
    doing.add_argument("--into", type=Path, help=argparse.SUPPRESS)  # what a child is told
    options = parser.parse_args()
    if strange := [name for name in options.names if name not in NAMES]:
        parser.error(f"no measurement {strange[0]!r}; there are {', '.join(NAMES)}")
    return options


def run(names: list[str], facts: Facts, console: Console, *, keep: bool) -> int:
    """Make these measurements one after the other; return the exit code."""
    done: dict[str, Measured] = {}
    for name in names:
        done[name] = measured = measured_apart(name)
        if measured.rows is None:
            console.print(f"{name}: FAILED after {measured.seconds} s, see above")
            continue
        console.print(f"\n{name} ({measured.seconds} s): {about(name)}", highlight=False)
        console.print(table_of(measured.rows))
        if keep:
            store(name, facts, measured.rows)
    found = {name: its.rows for name, its in done.items() if its.rows is not None}
    seconds = {name: its.seconds for name, its in done.items()}
    path = write_latest(facts, found, seconds)
    console.print(_summary(found, seconds) + f"; written to {path.name}", highlight=False)
    return 0 if len(found) == len(names) else 1


def _summary(found: dict[str, list[Row]], seconds: dict[str, float]) -> str:
    verdicts = [reached for rows in found.values() for row in rows for reached in row.verdicts]
    return (
        f"measured {len(found)} of {len(seconds)} in {sum(seconds.values()):.0f} s, "
        f"goals reached {sum(verdicts)} of {len(verdicts)}"
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
