"""
How long the daemon's event loop is held up: 100,000 accounts, lively blocks, Redis, HTTP readers.

The rooms are those of the daemon, built from a configuration; only the node is missing: made-up
blocks of 200 logs are handed to the path of a block where the feed would. A ticker in the same loop
asks to be woken every millisecond. A *stall* is the processor time that the loop's thread spends
between two of its ticks, as a quiet machine would see it; *late* is the clock on the wall, which
grows with whatever else runs on the machine.

First blocks come alone; then all positions go to Redis again and again; then somebody reads lists
over HTTP as well, one page after the other, from a process of its own.

Below that, of the last phase, stands whose turns were longest, and which parts they have (see
`benchmarks.turns`); at the end, for the longest stalls of all phases, what happened meanwhile.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measuring import Goal, Row, Samples, row_of
from benchmarks.synthetic import GENESIS, PROTOCOL, Borrowers, make_market
from benchmarks.traffic import Traffic
from benchmarks.turns import Turns, watched
from chimera.api.server import ApiServer
from chimera.app.build import Rooms, build_rooms
from chimera.app.daemon import Daemon
from chimera.app.path import BlockPath
from chimera.detection.detector import OpportunityDetector
from chimera.detection.episodes import Outcome
from chimera.domain.block import BlockBatch
from chimera.service import Service
from chimera.settings import load
from chimera.state.cache_memory import MemoryPositions
from chimera.state.engine import StateEngine
from chimera.state.mirror import Mirror, Roll
from chimera.state.screen import Screen
from chimera.state.screen_ranking import Ranking
from chimera.state.snapshot import Snapshot
from chimera.store.snapshot_file import Draft
from devnet.configuration import write_config
from devnet.redis_server import RedisServer

ACCOUNTS, LOGS = 100_000, 200
BLOCKS, BLOCK_SECONDS = 30, 0.3  # of each phase: livelier than any chain
TICK, TICKER = 0.001, "ticker"  # seconds; the name of its task
NOWHERE = "127.0.0.1:1"  # where a node would be
LONGEST = Goal(0.005, "worst")
LIST = "/v1/positions?limit=100"
SHOWN, NAMED = 10, 4  # rows of each kind at most; what a stall was made of, longest first
SHORT = 0.001  # seconds: turns of a kind that never takes longer are not shown
PARTS = (
    ("engine: apply", StateEngine, "apply"),
    ("engine: near", StateEngine, "_note_near"),
    ("screen: candidates", Screen, "candidates"),
    ("screen: near", Screen, "near"),
    ("detector: decide", OpportunityDetector, "decide"),
    ("flags: reckon", Outcome, "reckon"),
    ("path: tell", BlockPath, "_tell"),
    ("mirror: drafts", Mirror, "drafts"),
    ("mirror: roll", Roll, "__init__"),
    ("memory: write", MemoryPositions, "write"),
    ("pages: snapshot", Snapshot, "__init__"),
    ("pages: order", Ranking, "_page"),
    ("file: draft", Draft, "__init__"),
)


@dataclass(slots=True)
class Ticker:
    """
    Notes how long each tick kept it waiting, by the thread's own clock and by the wall's.

    Of each stall that is longer than the goal, also what happened meanwhile.
    """

    turns: Turns
    stalls: Samples = field(default_factory=list)
    late: Samples = field(default_factory=list)
    long: list[tuple[float, str]] = field(default_factory=list)

    async def run(self) -> None:
        """Tick until cancelled."""
        self.turns.lately()
        while True:
            worked, began = time.thread_time(), time.perf_counter()
            await asyncio.sleep(TICK)
            self.stalls.append(time.thread_time() - worked)
            self.late.append(time.perf_counter() - began - TICK)
            found = self.turns.lately()
            if self.stalls[-1] > LONGEST.limit:
                self.long.append((self.stalls[-1], _listed(found)))


def _listed(found: Mapping[str, float]) -> str:
    named = [(what, its) for what, its in found.items() if what != TICKER][:NAMED]
    return ", ".join(f"{what} {its * 1_000:.1f} ms" for what, its in named)


def measure() -> list[Row]:
    """Build the rooms, and let them live through three phases."""
    with (
        tempfile.TemporaryDirectory(prefix="chimera-bench-stalls-") as folder,
        RedisServer() as redis,
    ):
        return asyncio.run(_measure(Path(folder), redis.url))


async def _measure(folder: Path, redis_url: str) -> list[Row]:
    market = make_market()
    entry = {"address": f"0x{market.provider.hex()}", "from_block": 1}
    path = write_config(
        folder / "stalls.toml",
        ws=f"ws://{NOWHERE}",
        http=f"http://{NOWHERE}",
        protocols=[{"name": PROTOCOL, "kind": "aave_v3", **entry}],
        redis_url=redis_url,
        extra={"reconcile": {"enabled": False}},
    )
    rooms = build_rooms(load(path))
    accounts = Borrowers(market).make(ACCOUNTS)
    rooms.book.load(PROTOCOL, market, accounts, complete=True, block=GENESIS)
    traffic = Traffic(rooms.chain.adapters[PROTOCOL], market, accounts, logs=LOGS)
    blocks = [traffic.blocks(BLOCKS) for _ in range(3)]
    async with _served(rooms) as (taking, port):
        with watched(PARTS) as turns:
            alone = await _live(rooms, taking, blocks[0], turns, publish=False)
        with watched(PARTS) as turns:
            published = await _live(rooms, taking, blocks[1], turns, publish=True)
        with _reader(port), watched(PARTS) as turns:
            read = await _live(rooms, taking, blocks[2], turns, publish=True)
    return [
        *_rows(f"{LOGS} logs a block", alone),
        *_rows("and everything published", published),
        *_rows("and lists read over HTTP", read, goals=(LONGEST,)),
        *_kinds(read.turns.kinds, "turn of {}"),
        *_kinds(read.turns.parts, "part: {}"),
        *_longest([*alone.long, *published.long, *read.long]),
    ]


@asynccontextmanager
async def _served(rooms: Rooms) -> AsyncIterator[tuple[BlockPath, int]]:
    """Start what the daemon starts, and load as it does; give the path of a block, and the port."""
    path, services = BlockPath(rooms), rooms.serve(Daemon(rooms))
    await rooms.history.open()
    async with asyncio.TaskGroup() as group:
        for service in services:
            await service.start(group)
        path.decide(rooms.engine.adopt())
        path.begin(rooms.book.block, followed=False)
        path.garbage.adopt()
        sweeping = group.create_task(path.garbage.keep_sweeping(), name="garbage")
        yield path, _port(services)
        sweeping.cancel()
        for service in services:
            await service.stop()
    await rooms.close()


def _port(services: Sequence[Service]) -> int:
    return next(service.port for service in services if isinstance(service, ApiServer))


async def _live(
    rooms: Rooms, path: BlockPath, blocks: Sequence[BlockBatch], turns: Turns, *, publish: bool
) -> Ticker:
    ticker = Ticker(turns)
    ticking = asyncio.create_task(ticker.run(), name=TICKER)
    for batch in blocks:
        if publish:
            rooms.publisher.publish_everything()
        await asyncio.create_task(path.take(batch), name="follow")
        await asyncio.sleep(BLOCK_SECONDS)
    ticking.cancel()
    return ticker


@contextmanager
def _reader(port: int) -> Iterator[None]:
    """Let another process read lists meanwhile."""
    reader = multiprocessing.get_context("spawn").Process(target=_read, args=(port,), daemon=True)
    reader.start()
    try:
        yield
    finally:
        reader.terminate()
        reader.join()
    if reader.exitcode is None or reader.exitcode > 0:
        raise RuntimeError("nobody has read the lists")


def _read(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    cursor = None
    while True:
        connection.request("GET", LIST if cursor is None else f"{LIST}&cursor={cursor}")
        response = connection.getresponse()
        cursor = json.loads(response.read()).get("next_cursor")


def _rows(what: str, ticker: Ticker, *, goals: Sequence[Goal] = ()) -> list[Row]:
    return [
        row_of(f"{what}: stall", ticker.stalls, goals=goals),
        row_of(f"{what}: late", ticker.late),
    ]


def _kinds(noted: Mapping[str, Samples], saying: str) -> list[Row]:
    """Show of which kind the longest were."""
    longest = sorted(noted, key=lambda what: max(noted[what]), reverse=True)
    shown = [what for what in longest if what != TICKER and max(noted[what]) > SHORT]
    return [row_of(saying.format(what), noted[what]) for what in shown[:SHOWN]]


def _longest(stalls: Iterable[tuple[float, str]]) -> list[Row]:
    return [
        row_of(f"stall of {what}", [seconds])
        for seconds, what in sorted(stalls, reverse=True)[:SHOWN]
    ]
