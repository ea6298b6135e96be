"""The search itself: the seed that it prints finds the same again, however fast the machine is."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from itertools import count

import pytest

from tests.fuzz.fuzzing import ROUND, Draw, Fuzz, spoiled

WHOLE = bytes(range(64))
LONG = 4_000.0  # seconds


class Bad(Exception):
    """The planted fault."""


def ticking(seconds: float) -> Callable[[], float]:
    """Return a clock that goes on so many seconds at every look."""
    ticks = count()
    return lambda: next(ticks) * seconds


def search(seed: int, pace: float, bad: bytes | None) -> list[bytes]:
    """Return what was tried, until `bad` was: the planted fault."""
    tried: list[bytes] = []

    def hold(draw: Draw) -> None:
        value = spoiled(draw, WHOLE)
        if bad not in tried:
            tried.append(value)
        if value == bad:
            raise Bad

    with nullcontext() if bad is None else pytest.raises(Bad):
        Fuzz(LONG, lambda _tried: None, seed=seed, clock=ticking(pace))(hold, shrink=False)
    return tried


def test_the_seed_of_a_find_finds_the_same_at_any_pace(capsys: pytest.CaptureFixture[str]) -> None:
    clean = search(0, LONG / (4 * ROUND), None)
    late = next(value for value in clean[3 * ROUND :] if clean.count(value) == 1)
    assert search(0, 0.001, late) == clean[: clean.index(late) + 1]

    [number] = re.findall(r"CHIMERA_FUZZ_SEED=(\d+) finds this first", capsys.readouterr().out)
    assert int(number) > 0
    for pace in (0.0001, 1.0, LONG / ROUND):
        again = search(int(number), pace, late)
        assert len(again) <= ROUND
        assert again == clean[: clean.index(late) + 1][-len(again) :]


def test_a_search_ends_in_time_within_a_round() -> None:
    told: list[int] = []

    def draws(draw: Draw) -> None:
        spoiled(draw, WHOLE)

    Fuzz(10.0, told.append, clock=ticking(1.0))(draws)
    assert told == [10]
