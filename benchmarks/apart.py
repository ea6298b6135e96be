"""A measurement in a process of its own, which ends in any case."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import Row
from benchmarks.registry import MEASUREMENTS

ROOT = Path(__file__).resolve().parent.parent
# A second BLAS thread makes the screen's worst case several times slower, and nothing faster.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
PATIENCE = 20.0  # seconds to clean up after an interruption


@dataclass(frozen=True, slots=True)
class Measured:
    """What came out (None: it failed or took too long), and after how many seconds."""

    rows: list[Row] | None
    seconds: float


def measured_apart(name: str) -> Measured:
    """Make one measurement in a process of its own, so that it inherits nobody's memory."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chimera-bench-") as folder:
        result = Path(folder) / "rows.json"
        code = _run(name, result, MEASUREMENTS[name].seconds)
        rows = _rows_in(result) if code == 0 else None
    return Measured(rows, round(time.monotonic() - began, 1))


def write_rows(rows: list[Row], result: Path) -> None:
    """Write what a child has measured, for its parent."""
    result.write_text(json.dumps([row.document() for row in rows]))


def _rows_in(result: Path) -> list[Row]:
    return [Row.from_document(document) for document in json.loads(result.read_text())]


def _run(name: str, result: Path, seconds: float) -> int | None:
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", name, "--into", str(result)],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT},
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),  # its log lines; only tables go to our stdout
        process_group=0,  # Ctrl-C comes to us, and from us to the child, once
    )
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        print(f"{name}: not done after {seconds:.0f} s, ended", file=sys.stderr)
        return None
    finally:
        end(child)


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
