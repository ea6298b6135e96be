"""
From a sealed block to the decision: 200 logs and moved prices through book, screen and detector.

This is `block_to_decision` of the daemon without its waiting: `engine.apply`, then
`detector.decide`. By exact integers it is known then who is under 1, since when, and who is
flagged; the figures of flags are reckoned afterwards, a tenth of a millisecond each. Between two
blocks is done what the daemon does there. Three of the twelve prices move, as in a lively block, or
all of them; such blocks take turns. Compared with polling in the kindest case: the answers of all
accounts' views are there already, and only have to be decoded. Where the time goes: see `parts`.
"""

from __future__ import annotations

from functools import partial

from eth_abi.abi import decode

from benchmarks.measuring import Goal, Row, Samples, Turn, in_turns, row_of, timed
from benchmarks.synthetic import Mirror, make_mirror
from benchmarks.traffic import Traffic, words
from chimera.app.garbage import Garbage
from chimera.domain.block import BlockBatch

BLOCKS = {10_000: 500, 100_000: 500, 1_000_000: 150}
"""How many blocks are decided, by the number of accounts."""
GOALS = {(100_000, 3): (Goal(0.001), Goal(0.003, "p99"))}
"""By the number of accounts, and of prices that move."""
MOVING = (3, 12)  # prices
WARM = 300  # blocks that come before: by then most kinds of accounts have been seen once
POLLED = 10_000  # views that are decoded; all of a million would take minutes
LOGS = 200
ACCOUNT_DATA = ["uint256"] * 6


def measure() -> list[Row]:
    """Measure every size."""
    answer = words(*range(1_000, 1_006))
    views = in_turns([Turn(lambda: [decode(ACCOUNT_DATA, answer) for _ in range(POLLED)])], 3)[0]
    return [row for size in BLOCKS for row in _measure(size, views)]


def _measure(size: int, views: Samples) -> list[Row]:
    poll = row_of(
        f"{size:,}: decode every account's view, eth_abi, as measured on {POLLED:,}",
        [seconds * size / POLLED for seconds in views],
    )
    rows = [poll]
    for moving, samples in _decided(size).items():
        name = f"{size:,}: {LOGS} logs and {moving} prices to the decision"
        rows.append(row_of(name, samples, against=poll, goals=GOALS.get((size, moving), ())))
    return rows


def _decided(size: int) -> dict[int, Samples]:
    """Return the seconds of each block; between two of them is done what the daemon does there."""
    mirror = make_mirror(size)
    traffic = Traffic(mirror.adapter, mirror.market, mirror.accounts, logs=LOGS)
    mirror.detector.observe(mirror.engine.adopt())
    for _ in range(WARM):
        decide(mirror, traffic.block())
    samples: dict[int, Samples] = {moving: [] for moving in MOVING}
    garbage = Garbage()
    garbage.adopt()
    for _ in range(BLOCKS[size]):
        for moving in MOVING:
            batch = traffic.block(moving=moving)
            samples[moving].append(timed(partial(decide, mirror, batch)))
            prepare(mirror, garbage)
    return samples


def decide(mirror: Mirror, batch: BlockBatch) -> None:
    """Take a block to the decision."""
    mirror.detector.decide(mirror.engine.apply(batch))


def prepare(mirror: Mirror, garbage: Garbage) -> None:
    """Do what the daemon does before the next block, when nobody waits for it."""
    for _ in mirror.engine.find_near():
        pass
    garbage.sweep()
