"""Pauses between tries."""

from __future__ import annotations

import pytest
from tenacity import AsyncRetrying, Future, RetryCallState

from chimera.app.daemon import FIRST_PAUSE, LONGEST_PAUSE
from chimera.errors import Rebuild, Retry
from chimera.rpc.faults import AskedToWait
from chimera.rpc.pauses import Pauses


def after(attempt: int, fault: Exception) -> RetryCallState:
    state = RetryCallState(AsyncRetrying(), None, (), {})
    state.attempt_number = attempt
    state.outcome = Future.construct(attempt, fault, has_exception=True)
    return state


def test_they_grow_to_the_longest_and_stay_there() -> None:
    pauses = Pauses(0.1, 5.0, draw=lambda: 0.5)
    told = [pauses(after(attempt, Retry("refused"))) for attempt in (1, 2, 3, 6, 7, 10_000)]
    assert told == [0.1, 0.2, 0.4, 3.2, 5.0, 5.0]


@pytest.mark.parametrize(("drawn", "seconds"), [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)])
def test_each_is_a_fifth_up_or_down_by_chance(drawn: float, seconds: float) -> None:
    assert Pauses(1.0, 5.0, draw=lambda: drawn)(after(1, Rebuild("gone"))) == seconds


def test_none_is_shorter_than_what_the_endpoint_asks_for() -> None:
    pauses = Pauses(0.1, 5.0, draw=lambda: 0.5)
    assert pauses(after(1, AskedToWait("HTTP 429", 30.0))) == 30.0
    assert pauses(after(7, AskedToWait("HTTP 429", 3.0))) == 5.0


def test_a_start_asks_a_node_that_is_back_within_two_seconds() -> None:
    pauses = Pauses(FIRST_PAUSE, LONGEST_PAUSE, draw=lambda: 1.0)
    assert max(pauses(after(attempt, Retry("refused"))) for attempt in range(1, 40)) <= 2.0
