"""The made-up blocks by which speed is measured are what they are said to be."""

from __future__ import annotations

import pytest

from benchmarks.synthetic import make_mirror
from benchmarks.traffic import Traffic


@pytest.mark.parametrize(("moving", "moved"), [(0, 0), (3, 3), (None, 12)])
def test_so_many_prices_move_and_all_are_answered(moving: int | None, moved: int) -> None:
    mirror = make_mirror(20)
    traffic = Traffic(mirror.adapter, mirror.market, mirror.accounts, logs=10)

    before, after = traffic.block(), traffic.block(moving=moving)

    assert len(after.logs) == 10
    assert after.readings.keys() == before.readings.keys()
    assert len(after.readings) == traffic.prices == 12
    assert sum(after.readings[call] != said for call, said in before.readings.items()) == moved
