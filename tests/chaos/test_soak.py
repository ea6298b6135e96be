"""A short soak with random faults; `python -m devnet.soak` is the long one."""

from __future__ import annotations

import os

from devnet.soak import soak

SEED = int(os.environ.get("CHAOS_SEED", "1"))
BLOCKS = 150


def test_nothing_is_lost_and_nothing_invented() -> None:
    report = soak(blocks=BLOCKS, seed=SEED, aloud=True)
    assert report.clean, report.lines()
    assert report.blocks >= BLOCKS
    assert report.faults.total() >= BLOCKS // 12
    assert len(report.faults) >= 10
