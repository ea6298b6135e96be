"""
How much memory an account takes: the book with its indexes, the screen, the memory fallback.

It is counted after a first block, which replaces what only a load leaves behind, by tracemalloc,
which sees every allocation of Python and numpy, also what is not in use yet. The account's JSON is
in none of it: it is written when somebody asks. While Redis is used, the names of its keys are
remembered besides (at most 262,144): a row of its own, which is not in the sum.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import tracemalloc

from benchmarks.measuring import Goal, Row
from benchmarks.synthetic import GENESIS, PROTOCOL, Borrowers, make_market
from benchmarks.traffic import Traffic
from chimera.detection.detector import OpportunityDetector
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.state.book import Book
from chimera.state.cache import PositionCache
from chimera.state.engine import StateEngine
from chimera.state.publisher import write_mirror

COUNT = 100_000
LOGS = 200
UNIT = "bytes"


def measure() -> list[Row]:
    """Load a book, take a block, publish, and look after each step."""
    market = make_market()
    adapter = AaveV3(name=PROTOCOL, address=market.provider, from_block=1)
    tracemalloc.start()
    marks = [_held()]
    accounts = Borrowers(market).make(COUNT)
    batch = Traffic(adapter, market, accounts, logs=LOGS).block()
    marks.append(_held())
    book = Book()
    book.load(PROTOCOL, market, accounts, complete=True, block=GENESIS)
    detector, cache = OpportunityDetector(chain_id=31337), PositionCache("")
    engine = StateEngine({PROTOCOL: adapter}, book, cache, streaks=detector.streaks)
    detector.observe(engine.adopt())
    detector.observe(engine.apply(batch))
    marks.append(_held())
    asyncio.run(write_mirror(cache, engine.mirror))
    marks.append(_held())
    names = [draft.name for draft in engine.mirror.drafts(engine.mirror.roll().between(0, COUNT))]
    del names
    marks.append(_held())
    return _rows(marks)


def _held() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def _rows(marks: list[int]) -> list[Row]:
    steps = [(later - earlier) / COUNT for earlier, later in itertools.pairwise(marks)]
    names = ("accounts", "indexes, screen and engine", "memory fallback", "names of keys in Redis")
    rows = [
        Row(f"{name}, per account", step, unit=UNIT)
        for name, step in zip(names, steps, strict=True)
    ]
    total = Row(
        f"all but the names at {COUNT:,}, per account",
        sum(steps[:-1]),
        unit=UNIT,
        goals=(Goal(1_000),),
    )
    return [*rows, total]
