"""
From a sealed block to the decision: 200 logs and 12 prices through book, screen and detector.

This is `block_to_decision` of the daemon without its waiting: `engine.apply`, then
`detector.observe`. Compared with polling in the kindest case: the answers of all accounts' views
are there already, and only have to be decoded.
"""

from __future__ import annotations

import gc

from eth_abi.abi import decode

from benchmarks.measuring import Goal, Row, Turn, in_turns, row_of, timed
from benchmarks.synthetic import Mirror, make_mirror
from benchmarks.traffic import Traffic, words
from chimera.domain.block import BlockBatch

SIZES = (10_000, 100_000)
BLOCKS = 500
WARM = 20
LOGS = 200
ACCOUNT_DATA = ["uint256"] * 6


def measure() -> list[Row]:
    """Measure every size."""
    return [row for size in SIZES for row in _measure(size)]


def _measure(size: int) -> list[Row]:
    mirror = make_mirror(size)
    traffic = Traffic(mirror.adapter, mirror.market, mirror.accounts, logs=LOGS)
    mirror.detector.observe(mirror.engine.adopt())
    for batch in traffic.blocks(WARM):
        _decide(mirror, batch)
    gc.collect()
    samples = []
    for _ in range(BLOCKS):
        batch = traffic.block()
        samples.append(timed(lambda batch=batch: _decide(mirror, batch)))  # type: ignore[misc]
    answer = words(*range(1_000, 1_006))
    polled = in_turns([Turn(lambda: [decode(ACCOUNT_DATA, answer) for _ in range(size)])], 3)[0]
    poll = row_of(f"{size:,}: decode every account's view, eth_abi", polled)
    goals = [Goal(0.001), Goal(0.010, "p99")] if size == SIZES[-1] else []
    name = f"{size:,}: {LOGS} logs and 12 prices to the decision"
    return [poll, row_of(name, samples, against=poll, goals=goals)]


def _decide(mirror: Mirror, batch: BlockBatch) -> None:
    mirror.detector.observe(mirror.engine.apply(batch))
