"""
The daemon's life: 30 blocks of the real contracts, a real Redis, the real process.

What is read is the daemon's own metrics, before and after. A histogram tells upper bounds: p50 and
p99 are the edges of the buckets that hold them, the mean is exact. Next to it, at every block, what
a poller does: one Multicall3 over all borrowers' `getUserAccountData`, decoded; it runs while the
daemon rests. Node, daemon and poller share one machine, and there is no network in between.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from benchmarks.exposition import Exposition, bound
from benchmarks.measuring import Goal, Row, Samples, row_of, timed
from devnet.daemon import Daemon
from devnet.redis_server import RedisServer
from devnet.stage import Stage

BORROWERS = 100
WARM, BLOCKS = 3, 30
ACTIONS = 6  # a block
FAST = (Goal(0.1), Goal(0.1, "p99"))
SPANS = (
    ("head to positions in Redis", "chimera_event_to_cache_seconds", FAST),
    ("head to decision", "chimera_head_to_decision_seconds", ()),
    ("sealed block to decision", "chimera_block_to_decision_seconds", ()),
)


def measure() -> list[Row]:
    """Build a stage, let the daemon live on it, and read what it has measured."""
    with (
        tempfile.TemporaryDirectory(prefix="chimera-bench-live-") as folder,
        RedisServer() as redis,
        Stage.build(borrowers=BORROWERS) as stage,
    ):
        path = stage.write_config(
            Path(folder) / "live.toml",
            redis_url=redis.url,
            extra={"reconcile": {"enabled": False}},
        )
        with Daemon(path, Path(folder) / "live.log") as daemon:
            daemon.wait_until(stage.node.number)
            _live(stage, daemon, WARM)
            before = _metrics(daemon)
            polls = _live(stage, daemon, BLOCKS)
            after = _metrics(daemon)
    return _rows(after.since(before), polls)


def _live(stage: Stage, daemon: Daemon, blocks: int) -> Samples:
    users = stage.truth.borrowers_ever()
    polls = []
    for _ in range(blocks):
        moment = stage.life.step(seconds=2, actions=ACTIONS)
        daemon.wait_until(moment.number)
        polls.append(timed(lambda: stage.truth.health_factors(users)))
    return polls


def _metrics(daemon: Daemon) -> Exposition:
    return Exposition.parse(str(daemon.get("/metrics")[1]))


def _rows(grown: Exposition, polls: Samples) -> list[Row]:
    poll = row_of(f"one Multicall3 poll of all {BORROWERS} borrowers", polls)
    usual = Row(f"{poll.what}, mean", statistics.fmean(polls))
    rows = [poll, usual]
    for what, name, goals in SPANS:
        histogram = grown.histogram(name)
        if histogram.count == 0:
            raise RuntimeError(f"the daemon has not measured {name}")
        rows.append(
            Row(
                f"{what} (bounds)",
                bound(histogram, 0.5),
                bound(histogram, 0.99),
                count=histogram.count,
                goals=goals,
            )
        )
        mean = histogram.mean
        rows.append(Row(f"{what}, mean", mean, ratio=usual.median / mean, against=usual.what))
    return rows + _requests(grown)


def _requests(grown: Exposition) -> list[Row]:
    blocks = grown.value("chimera_blocks_total")
    found = grown.by_labels("chimera_rpc_requests_total", ("method", "purpose"))
    total = sum(found.values()) / blocks
    unit = "a block"
    return [
        Row("blocks", blocks, unit=""),
        *(
            Row(f"requests: {' '.join(labels)}", number / blocks, unit=unit)
            for labels, number in sorted(found.items())
            if number
        ),
        Row("requests, all", total, unit=unit, goals=(Goal(3),)),
    ]
