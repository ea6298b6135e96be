"""A circuit breaker: an endpoint that fails is left alone, for longer each time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Literal

from chimera.rpc.pauses import growing

State = Literal["closed", "open", "half-open"]

FIRST_REST, LONGEST_REST = 5.0, 60.0  # seconds between probes of an endpoint that failed
PROOFS = 2  # good probes in a row before it is used again
STEADY = 60.0  # seconds of good work after which an endpoint's past is forgotten


class Breaker:
    """
    Whether one endpoint may be used: closed, open (left alone), half-open (a probe went well).

    `clock` is in seconds that never go back; `draw` returns a number from 0 to 1.
    """

    def __init__(
        self,
        *,
        first_rest: float = FIRST_REST,
        longest_rest: float = LONGEST_REST,
        proofs: int = PROOFS,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.state: State = "closed"
        self.why = ""  # it was opened, as a sentence
        self._first, self._longest, self._needed = first_rest, longest_rest, proofs
        self._clock, self._draw = clock, draw
        self._rests = 0  # in a row, each twice as long as the one before
        self._proofs = 0
        self._closed_at = clock()
        self._due = 0.0

    @property
    def is_due(self) -> bool:
        """Tell whether an endpoint that is not in use may be probed now."""
        return self.state != "closed" and self._clock() >= self._due

    @property
    def seconds_left(self) -> float:
        """Return the seconds until it may be probed; 0 while it is closed."""
        return 0.0 if self.state == "closed" else max(0.0, self._due - self._clock())

    def failed(self, why: str, *, pause: float = 0.0) -> None:
        """Open it. `pause` is what the endpoint asked for, in seconds: no rest is shorter."""
        if self.state == "closed" and self._clock() - self._closed_at >= STEADY:
            self._rests = 0
        self.state, self.why, self._proofs = "open", why, 0
        rest = growing(self._first, self._longest, self._rests, self._draw)
        self._rests += 1
        self._due = self._clock() + max(pause, rest)

    def proved(self) -> None:
        """Note a good probe: enough of them in a row close it."""
        if self.state == "closed":
            return
        self._proofs += 1
        if self._proofs >= self._needed:
            self.close()
        else:
            rest = growing(self._first, self._longest, 0, self._draw)
            self.state, self._due = "half-open", self._clock() + rest

    def close(self) -> None:
        """Use the endpoint again."""
        self.state, self.why, self._closed_at = "closed", "", self._clock()
