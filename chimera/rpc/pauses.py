"""Pauses between tries: they grow, differ from daemon to daemon, and heed the endpoint."""

from __future__ import annotations

import random
from collections.abc import Callable

from tenacity import RetryCallState
from tenacity.wait import wait_base

from chimera.errors import Retry

JITTER = 0.2  # of a pause, up and down: daemons that lost one node do not come back as one
MOST_DOUBLINGS = 16


def growing(first: float, longest: float, doublings: int, draw: Callable[[], float]) -> float:
    """
    Return `first` seconds doubled so many times, at most `longest`, 20 % up or down by chance.

    `draw` returns a number from 0 to 1.
    """
    usual = min(longest, first * 2.0 ** min(doublings, MOST_DOUBLINGS))
    return usual * (1 + JITTER * (2 * draw() - 1))


class Pauses(wait_base):
    """
    The `growing` pauses between the tries of one piece of work.

    None is shorter than what the endpoint asks for. `draw` returns a number from 0 to 1.
    """

    def __init__(
        self, first: float, longest: float, *, draw: Callable[[], float] = random.random
    ) -> None:
        self._first, self._longest, self._draw = first, longest, draw

    def __call__(self, retry_state: RetryCallState) -> float:
        """Return the seconds until the next try."""
        fault = retry_state.outcome.exception() if retry_state.outcome else None
        return self.after(retry_state.attempt_number, fault)

    def after(self, tries: int, fault: BaseException | None) -> float:
        """Return the seconds until the next try after so many, the last of which met `fault`."""
        asked = fault.pause if isinstance(fault, Retry) else 0.0
        return max(asked, growing(self._first, self._longest, tries - 1, self._draw))
