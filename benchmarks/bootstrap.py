"""
A first start with 10,000 borrowers on a local node, and starts after it: from command to ready.

The borrowers are real: each has come to the real Aave contracts through transactions of its own.
Every start is a process of its own, timed from its birth until `/readyz` says that it has caught
up, imports included. First nothing is known: logs are searched, all accounts read. Then a clean
stop and a start; a kill -9 and a start; and a kill in the middle of a first start, which the next
one continues. Node and daemon share the machine. Each figure is one start, so it has no p99. What
is imported may be kept compiled, as that of an installed program is.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import Goal, Row
from devnet.daemon import Daemon
from devnet.stage import Stage

BORROWERS = 10_000
LOG_RANGE = 50  # blocks per eth_getLogs: with so few blocks, a usual range would hold all of them
FIRST, AGAIN = Goal(60), Goal(5)
PATIENCE = 120  # seconds


def measure() -> list[Row]:
    """Build the stage, then start, stop, kill and start again."""
    with tempfile.TemporaryDirectory(prefix="chimera-bench-bootstrap-") as folder:
        began = time.monotonic()
        with Stage.build(borrowers=BORROWERS) as stage:
            built = time.monotonic() - began
            return [*_starts(stage, Path(folder)), Row("building the stage, not judged", built)]


def _starts(stage: Stage, folder: Path) -> list[Row]:
    first, interrupted = _daemon(stage, folder / "first"), _daemon(stage, folder / "interrupted")
    rows = _start(stage, first, "first start", FIRST)
    first.stop()
    rows += _start(stage, first, "start after a stop", AGAIN)
    first.kill()
    rows += _start(stage, first, "start after kill -9", AGAIN)
    first.stop()
    interrupted.start()
    time.sleep(rows[0].median / 2)
    interrupted.kill()
    rows += _start(stage, interrupted, "first start, killed half-way, once more", FIRST)
    interrupted.stop()
    return rows


def _daemon(stage: Stage, folder: Path) -> Daemon:
    folder.mkdir()
    extra: dict[str, dict[str, object]] = {
        "rpc": {"max_log_range": LOG_RANGE},
        "reconcile": {"enabled": False},
    }
    return Daemon(
        stage.write_config(folder / "chimera.toml", extra=extra),
        folder / "daemon.log",
        env={"PYTHONDONTWRITEBYTECODE": ""},
    )


def _start(stage: Stage, daemon: Daemon, what: str, goal: Goal) -> list[Row]:
    """Start it, and time it until it has caught up with everybody in its book."""
    began = time.monotonic()
    daemon.start()
    body = daemon.wait_until(stage.node.number, seconds=PATIENCE)
    seconds = time.monotonic() - began
    [protocol] = body["protocols"].values()
    if protocol["borrowers"] < BORROWERS:
        raise RuntimeError(f"only {protocol['borrowers']} borrowers are in the book")
    name = f"{what}, {BORROWERS:,} borrowers"
    return [Row(name, seconds, goals=(goal,)), Row(f"{name}: CPU", _cpu_seconds(daemon.pid))]


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])  # proc(5): utime, stime
    return (user + system) / os.sysconf("SC_CLK_TCK")
