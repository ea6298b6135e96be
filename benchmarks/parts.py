"""
Where the time of a block goes: its parts, and how much of it is waiting for memory.

Blocks of 200 logs at 100,000 accounts, as in `block`. Made by everybody, they meet some 110 of them
that nobody has touched for long; made by the same 110 people again and again, they find the same
work at hand: the difference is memory. A block without any log shows what everybody else costs.
Blocks of these kinds take turns.

Below stand the parts of a block made by everybody, from blocks of their own, as looking at the
clock costs something as well; a part with a dash is in the one above it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial

from benchmarks.block import decide, prepare
from benchmarks.measuring import Row, Samples, row_of, timed
from benchmarks.synthetic import Mirror, make_mirror
from benchmarks.traffic import Traffic
from benchmarks.turns import Place, watched
from chimera.app.garbage import Garbage
from chimera.detection.detector import OpportunityDetector
from chimera.domain.block import BlockBatch
from chimera.protocols.aave_v3 import fold
from chimera.protocols.aave_v3.balances import Balances
from chimera.protocols.aave_v3.draft import Draft
from chimera.state.book import Book
from chimera.state.engine import StateEngine
from chimera.state.screen import Screen
from chimera.state.screen_dense import Dense
from chimera.state.screen_patience import Patience
from chimera.state.screen_plans import Plans

ACCOUNTS, LOGS, MOVING = 100_000, 200, 3
WARM, BLOCKS, WATCHED = 300, 300, 200  # blocks: before all, of each kind, taken apart
ACTORS = 110
PARTS: tuple[tuple[str, Place, str], ...] = (
    ("logs: added up", fold, "_take"),
    ("- accounts looked up and taken apart", Balances, "__missing__"),
    ("logs: accounts put together", Balances, "changed"),
    ("logs: rates and prices", Draft, "finished"),
    ("book: takes accounts and market", Book, "apply"),
    ("book: commits", Book, "commit"),
    ("screen: takes accounts", Screen, "take"),
    ("- their legs", Plans, "legs"),
    ("screen: weighs", Screen, "weigh"),
    ("screen: names candidates", Screen, "candidates"),
    ("- compares everybody", Patience, "doubtful"),
    ("- sums of the doubtful", Dense, "sums_of"),
    ("engine: exact integers for candidates", StateEngine, "_judge"),
    ("detector: decides", OpportunityDetector, "decide"),
)


def measure() -> list[Row]:
    """Measure whole blocks of three kinds, then the parts of the first."""
    mirror = make_mirror(ACCOUNTS)
    traffic = Traffic(mirror.adapter, mirror.market, mirror.accounts, logs=LOGS)
    mirror.detector.observe(mirror.engine.adopt())
    for _ in range(WARM):
        decide(mirror, traffic.block())
    garbage = Garbage()
    garbage.adopt()
    whole = _whole(mirror, traffic, garbage)
    everybody = row_of(f"{LOGS} logs of everybody", whole["everybody"])
    again = f"{LOGS} logs of the same {ACTORS} again"
    return [
        everybody,
        row_of(again, whole["the same"], against=everybody),
        row_of("no log", whole["nobody"], against=everybody),
        *_parts(mirror, traffic, garbage),
    ]


def _whole(mirror: Mirror, traffic: Traffic, garbage: Garbage) -> dict[str, Samples]:
    few = list(mirror.accounts)[:: ACCOUNTS // ACTORS][:ACTORS]
    kinds: dict[str, Callable[[], BlockBatch]] = {
        "everybody": partial(traffic.block, moving=MOVING),
        "the same": partial(traffic.block, moving=MOVING, among=few),
        "nobody": partial(traffic.block, moving=MOVING, count=0),
    }
    samples: dict[str, Samples] = defaultdict(list)
    for _ in range(BLOCKS):
        for kind, block in kinds.items():
            batch = block()
            samples[kind].append(timed(partial(decide, mirror, batch)))
            prepare(mirror, garbage)
    return samples


def _parts(mirror: Mirror, traffic: Traffic, garbage: Garbage) -> list[Row]:
    """Take blocks apart."""
    samples: dict[str, Samples] = defaultdict(list)
    with watched(PARTS) as turns:
        for _ in range(WATCHED):
            batch = traffic.block(moving=MOVING)
            turns.anew()
            decide(mirror, batch)
            for what, seconds in turns.anew().items():
                samples[what].append(seconds)
            prepare(mirror, garbage)
    return [row_of(what, samples[f"({what})"]) for what, _, _ in PARTS]
