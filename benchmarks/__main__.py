"""
`make bench`: measure, print a table each, and write benchmarks/results/latest.json.

`python -m benchmarks [NAME ...]` makes the named measurements only. Each runs in a process of its
own, so that none inherits the other's memory, and is ended when it takes too long.
Exit code 1 when one failed; a goal that was missed is printed and is no failure.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from benchmarks.machine import machine
from benchmarks.measuring import Row
from benchmarks.registry import NAMES, about, measure
from benchmarks.table import table_of

HERE = Path(__file__).resolve().parent
LATEST = HERE / "results" / "latest.json"
LONGEST = 150.0  # seconds that one measurement may take
# A second BLAS thread makes the screen's worst case several times slower, and nothing faster.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
INTERRUPTED = 130  # the exit code that shells give it
PATIENCE = 20.0  # seconds to clean up after an interruption
WIDTH = 150  # of the tables where nobody watches


def main() -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)  # what a child is told
    options = parser.parse_args()
    if strange := [name for name in options.names if name not in NAMES]:
        parser.error(f"no measurement {strange[0]!r}; there are {', '.join(NAMES)}")
    if options.into is not None:
        rows = measure(options.names[0])
        options.into.write_text(json.dumps([row.document() for row in rows]))
        return 0
    return run(options.names or list(NAMES))


def run(names: list[str]) -> int:
    """Make these measurements one after the other; return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up, as after Ctrl-C
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    facts = machine()
    console.print(", ".join(f"{name} {value}" for name, value in facts.items()), highlight=False)
    found: dict[str, list[Row]] = {}
    seconds: dict[str, float] = {}
    for name in names:
        began = time.monotonic()
        rows = measured_apart(name)
        seconds[name] = round(time.monotonic() - began, 1)
        if rows is None:
            console.print(f"{name}: FAILED after {seconds[name]} s, see above")
            continue
        found[name] = rows
        console.print(f"\n{name} ({seconds[name]} s): {about(name)}", highlight=False)
        console.print(table_of(rows))
    write(facts, found, seconds)
    verdicts = [reached for rows in found.values() for row in rows for reached in row.verdicts]
    console.print(
        f"measured {len(found)} of {len(names)} in {sum(seconds.values()):.0f} s, "
        f"goals reached {sum(verdicts)} of {len(verdicts)}; "
        f"written to {LATEST.relative_to(HERE.parent)}",
        highlight=False,
    )
    return 0 if len(found) == len(names) else 1


def measured_apart(name: str) -> list[Row] | None:
    """Make one measurement in a process of its own; None when it failed or took too long."""
    with tempfile.TemporaryDirectory(prefix="chimera-bench-") as folder:
        result = Path(folder) / "rows.json"
        child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks", name, "--into", str(result)],
            cwd=HERE.parent,
            env={**os.environ, **ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),  # its log lines; only tables go to our stdout
            process_group=0,  # Ctrl-C comes to us, and from us to the child, once
        )
        try:
            code = child.wait(LONGEST)
        except subprocess.TimeoutExpired:
            print(f"{name}: not done after {LONGEST:.0f} s, ended", file=sys.stderr)
            return None
        finally:
            end(child)
        return rows_in(result) if code == 0 else None


def end(child: subprocess.Popen[bytes]) -> None:
    """Interrupt a child that still runs, so that it ends its own servers; kill it if it hangs."""
    if child.poll() is not None:
        return
    child.send_signal(signal.SIGINT)
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def rows_in(result: Path) -> list[Row]:
    """Read what a child has measured."""
    return [Row.from_document(document) for document in json.loads(result.read_text())]


def write(facts: dict[str, object], found: dict[str, list[Row]], seconds: dict[str, float]) -> None:
    """Write what was found, for other programs."""
    LATEST.parent.mkdir(exist_ok=True)
    document = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": facts,
        "seconds": seconds,
        "measurements": {name: [finite(row) for row in rows] for name, rows in found.items()},
    }
    LATEST.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n")


def finite(row: Row) -> dict[str, object]:
    """Return a row's document; a figure beyond all bounds is null, as JSON has no other way."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.document().items()
    }


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
