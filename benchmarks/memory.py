"""
How much memory an account takes: the book with its indexes, the screen, the memory fallback.

With the fallback come the checksums of addresses, of which at most 262,144 are remembered. Counted
by tracemalloc, which sees every allocation of Python and numpy, also what is not in use yet. The
account's JSON is in none of it: it is written when somebody asks.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import tracemalloc

from benchmarks.measuring import Goal, Row
from benchmarks.synthetic import GENESIS, PROTOCOL, Borrowers, make_market
from chimera.detection.detector import OpportunityDetector
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.state.book import Book
from chimera.state.cache import PositionCache
from chimera.state.engine import StateEngine
from chimera.state.publisher import write_mirror

COUNT = 100_000
UNIT = "bytes"


def measure() -> list[Row]:
    """Load a book step by step, and look after each step."""
    market = make_market()
    tracemalloc.start()
    marks = [_held()]
    accounts = Borrowers(market).make(COUNT)
    marks.append(_held())
    book = Book()
    book.load(PROTOCOL, market, accounts, complete=True, block=GENESIS)
    marks.append(_held())
    adapter = AaveV3(name=PROTOCOL, address=market.provider, from_block=1)
    detector, cache = OpportunityDetector(chain_id=31337), PositionCache("")
    engine = StateEngine({PROTOCOL: adapter}, book, cache, streaks=detector.streaks)
    detector.observe(engine.adopt())
    marks.append(_held())
    asyncio.run(write_mirror(cache, engine.mirror))
    marks.append(_held())
    return _rows(marks)


def _held() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def _rows(marks: list[int]) -> list[Row]:
    steps = [later - earlier for earlier, later in itertools.pairwise(marks)]
    names = ("accounts", "indexes of the book", "screen and engine", "fallback and checksums")
    rows = [
        Row(f"{name}, per account", step / COUNT, unit=UNIT)
        for name, step in zip(names, steps, strict=True)
    ]
    total = (marks[-1] - marks[0]) / COUNT
    return [
        *rows,
        Row(f"all of it at {COUNT:,}, per account", total, unit=UNIT, goals=(Goal(1_000),)),
    ]
