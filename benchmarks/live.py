"""
The daemon's life beside pollers: 2,000 and then 5,000 real borrowers of real contracts, one node.

The real process, a real Redis, blocks in which people act and prices move. At every block, once the
daemon rests, pollers ask the same node for the views of all borrowers as bots do (see `polling`).
What the daemon takes is read from its own metrics, before and after: a histogram tells upper
bounds, so p50 and p99 are the edges of the buckets that hold them, and the mean is exact. From
outside a decision is seen later: that time begins before the block is mined, and ends when HTTP
says that the block was processed. Node, daemon and pollers share one machine, and there is no
network in between: with one, every request of a poller takes that much longer.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.exposition import Exposition, bound
from benchmarks.measuring import Goal, Row, Samples, elapsed, row_of
from benchmarks.polling import Poller
from chimera.domain.block import Address
from chimera.domain.call import Call
from devnet.daemon import Daemon
from devnet.population import populate
from devnet.redis_server import RedisServer
from devnet.stage import Stage

SIZES = (2_000, 5_000)
SEED = 7
WARM, BLOCKS = 3, 20
EVERY = 5  # blocks between two turns of the slower pollers
ACTIONS = 6  # a block
FAST = (Goal(0.1), Goal(0.1, "p99"))
TENFOLD = (Goal(10, "ratio", at_least=True),)
MULTICALL = "Multicall3"
BLOCKS_SAKE = {"logs", "readings"}  # not: sockets, and the head after a pollers' long turn
SPANS = (
    ("head to decision", "chimera_head_to_decision_seconds", TENFOLD, ()),
    ("sealed block to decision", "chimera_block_to_decision_seconds", TENFOLD, ()),
    ("head to positions in Redis", "chimera_event_to_cache_seconds", (), FAST),
)


def measure() -> list[Row]:
    """Build a stage, let the daemon live on it; bring in more people, and once more."""
    with (
        tempfile.TemporaryDirectory(prefix="chimera-bench-live-") as folder,
        RedisServer() as redis,
        Stage.build(seed=SEED, borrowers=SIZES[0]) as stage,
    ):
        rows, there = [], SIZES[0]
        for size in SIZES:
            if size > there:
                populate(stage.node, stage.market, seed=SEED + size, borrowers=size - there)
                there = size
            with _daemon(stage, Path(folder) / str(size), redis.url) as daemon:
                rows += _measure(stage, daemon, size)
    return rows


@contextmanager
def _daemon(stage: Stage, folder: Path, redis_url: str) -> Iterator[Daemon]:
    folder.mkdir()
    path = stage.write_config(
        folder / "live.toml", redis_url=redis_url, extra={"reconcile": {"enabled": False}}
    )
    with Daemon(path, folder / "live.log") as daemon:
        daemon.wait_until(stage.node.number)
        yield daemon


def _measure(stage: Stage, daemon: Daemon, size: int) -> list[Row]:
    poller = _poller(stage)
    polls: dict[str, Samples] = {way: [] for way in poller.ways}
    for _ in range(WARM):
        _block(stage, daemon)
    _compare(poller)
    before, seen = _metrics(daemon), []
    for number in range(BLOCKS):
        seen.append(_block(stage, daemon))
        for way, poll in poller.ways.items():
            if way == MULTICALL or number % EVERY == 0:
                polls[way].append(elapsed(poll))
    grown = _metrics(daemon).since(before)
    rows = [row_of(f"{size:,}: poll, {way}", found) for way, found in polls.items()]
    return [*rows, *_rows(f"{size:,}", grown, seen, rows[-1])]


def _poller(stage: Stage) -> Poller:
    pool = stage.market.pool
    to = Address(bytes.fromhex(pool.address[2:]))
    users = stage.truth.borrowers_ever()
    calls = [Call(to, pool.artifact.encode("getUserAccountData", user)) for user in users]
    return Poller(stage.anvil.http, calls)


def _compare(poller: Poller) -> None:
    first, *others = [poll() for poll in poller.ways.values()]
    if any(other != first for other in others):
        raise RuntimeError("the ways to poll do not answer the same")


def _block(stage: Stage, daemon: Daemon) -> float:
    """Live a block; return the seconds from before it is mined until it is seen as processed."""
    plans = stage.life.begin(ACTIONS)
    began = time.perf_counter()
    number = stage.mine()
    daemon.wait_until(number)
    seconds = time.perf_counter() - began
    stage.life.finish(plans, number, seconds=2)
    return seconds


def _metrics(daemon: Daemon) -> Exposition:
    return Exposition.parse(str(daemon.get("/metrics")[1]))


def _rows(size: str, grown: Exposition, seen: Samples, poll: Row) -> list[Row]:
    rows = [row_of(f"{size}: mined to seen as processed", seen, against=poll)]
    for what, name, goals, limits in SPANS:
        histogram = grown.histogram(name)
        if histogram.count == 0:
            raise RuntimeError(f"the daemon has not measured {name}")
        p50, p99 = bound(histogram, 0.5), bound(histogram, 0.99)
        count, mean = histogram.count, histogram.mean
        rows.append(Row(f"{size}: {what} (bounds)", p50, p99, count=count, goals=limits))
        ratio = poll.median / mean
        rows.append(Row(f"{size}: {what}, mean", mean, ratio=ratio, against=poll.what, goals=goals))
    return [*rows, *_requests(size, grown)]


def _requests(size: str, grown: Exposition) -> list[Row]:
    blocks = grown.value("chimera_blocks_total")
    found = grown.by_labels("chimera_rpc_requests_total", ("method", "purpose"))
    for_blocks = sum(number for (_, purpose), number in found.items() if purpose in BLOCKS_SAKE)
    unit = "a block"
    return [
        *(
            Row(f"{size}: requests: {' '.join(labels)}", number / blocks, unit=unit)
            for labels, number in sorted(found.items())
            if number
        ),
        Row(f"{size}: requests for blocks", for_blocks / blocks, unit=unit, goals=(Goal(3),)),
    ]
