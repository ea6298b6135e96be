"""Pauses between tries: they grow, differ from daemon to daemon, and heed the endpoint."""

from __future__ import annotations

import random
from collections.abc import Callable

from tenacity import RetryCallState
from tenacity.wait import wait_base

from chimera.errors import Retry

JITTER = 0.2  # of a pause, up and down: daemons that lost one node do not come back as one
MOST_DOUBLINGS = 16


class Pauses(wait_base):
    """
    `first` seconds, twice as long each time up to `longest`, each 20 % up or down by chance.

    None is shorter than what the endpoint asks for. `draw` returns a number from 0 to 1.
    """

    def __init__(
        self, first: float, longest: float, *, draw: Callable[[], float] = random.random
    ) -> None:
        self._first, self._longest, self._draw = first, longest, draw

    def __call__(self, retry_state: RetryCallState) -> float:
        """Return the seconds until the next try."""
        fault = retry_state.outcome.exception() if retry_state.outcome else None
        asked = fault.pause if isinstance(fault, Retry) else 0.0
        doublings = min(retry_state.attempt_number - 1, MOST_DOUBLINGS)
        usual = min(self._longest, self._first * 2.0**doublings)
        return max(asked, usual * (1 + JITTER * (2 * self._draw() - 1)))
