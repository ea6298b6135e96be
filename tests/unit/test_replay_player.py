"""The pauses between what came in, and the speed that divides them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from chimera.replay.frames import End, Frame, Heard
from chimera.replay.player import paced

SECOND = 1_000_000_000
FRAMES: list[Frame] = [Heard(50 * SECOND, {}), Heard(54 * SECOND, {}), Heard(55 * SECOND, {})]


@dataclass
class Clock:
    now: int = 7 * SECOND
    pauses: list[float] = field(default_factory=list)

    def __call__(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += int(seconds * SECOND)


def play(speed: Decimal | None, clock: Clock, *, work: int = 0) -> list[Frame]:
    async def collect() -> list[Frame]:
        found = []
        async for frame in paced([*FRAMES, End("stopped")], speed, clock=clock, sleep=clock.sleep):
            clock.now += work
            found.append(frame)
        return found

    return asyncio.run(collect())


@pytest.mark.parametrize(
    ("speed", "pauses"),
    [(None, []), (Decimal(1), [4.0, 1.0]), (Decimal(4), [1.0, 0.25]), (Decimal("0.5"), [8.0, 2.0])],
)
def test_pauses_are_as_they_were_divided_by_the_speed(
    speed: Decimal | None, pauses: list[float]
) -> None:
    clock = Clock()

    assert play(speed, clock) == [*FRAMES, End("stopped")]
    assert clock.pauses == pauses


def test_the_time_that_work_takes_is_no_pause_besides() -> None:
    clock = Clock()

    play(Decimal(1), clock, work=SECOND)

    assert clock.pauses == [3.0]  # the third was due when the second was done
