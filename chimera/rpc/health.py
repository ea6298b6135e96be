"""How an endpoint does: how often it fails, how long it takes, how far its chain is."""

from __future__ import annotations

import time
from collections.abc import Callable

WEIGHT = 0.1  # of the newest answer in the moving averages


class Health:
    """
    One endpoint's figures. `clock` is in seconds since 1970, as the timestamps of blocks are.

    Attributes:
        latency: Moving average of the seconds until an answer; 0 before the first.
        error_rate: Moving average of failures, 0 to 1.
        head: Number of the newest block that it told of; None before the first.
        behind: Blocks behind another endpoint when it was last compared, None before that; a pool
            knows that of its own members (`Pool.lag`).
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.latency = 0.0
        self.error_rate = 0.0
        self.head: int | None = None
        self.behind: int | None = None
        self._clock = clock
        self._timestamp: int | None = None

    @property
    def head_age(self) -> float | None:
        """Return the seconds since its newest block was made, None while that is unknown."""
        return None if self._timestamp is None else self._clock() - self._timestamp

    def answered(self, seconds: float) -> None:
        """Note an answer and how long it took."""
        first = self.latency == 0
        self.latency = seconds if first else self.latency + WEIGHT * (seconds - self.latency)
        self.worked()

    def worked(self) -> None:
        """Note that it did its part unasked, as with an announcement."""
        self.error_rate -= WEIGHT * self.error_rate

    def failed(self) -> None:
        """Note a failure."""
        self.error_rate += WEIGHT * (1 - self.error_rate)

    def stands_at(self, number: int, timestamp: int | None = None) -> None:
        """Note its newest block, and when that was made (seconds, 1970) if it said so."""
        self.head, self._timestamp = number, timestamp
