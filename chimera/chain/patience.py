"""How the feed waits out a node that fails: growing pauses, one line in the log per fault."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

import structlog

from chimera.errors import Retry
from chimera.rpc.pauses import growing

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds


class Patience:
    """
    Counts the tries of one piece of work. `what` names it in the log.

    `first` and `longest` are in seconds; `draw` returns a number from 0 to 1.
    """

    def __init__(
        self,
        what: str,
        *,
        first: float = FIRST_PAUSE,
        longest: float = LONGEST_PAUSE,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._what = what
        self._first, self._longest, self._draw = first, longest, draw
        self._encouraged = asyncio.Event()
        self.failures = 0
        self.fault = ""  # the newest one, as a sentence

    def encourage(self) -> None:
        """
        End a pause: there is reason to hope.

        One that an endpoint has asked for as well: the pool leaves that endpoint alone by itself.
        """
        self._encouraged.set()

    async def pause(self, fault: Exception) -> None:
        """Wait longer than the last time, or as long as asked to; the first time, say why."""
        self.fault = str(fault) or type(fault).__name__
        if not self.failures:
            structlog.get_logger().warning(
                "chain_fault", work=self._what, kind=type(fault).__name__, fault=str(fault)
            )
        pause = growing(self._first, self._longest, self.failures, self._draw)
        self.failures += 1
        asked = fault.pause if isinstance(fault, Retry) else 0.0
        self._encouraged.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(pause, asked)):
                await self._encouraged.wait()

    def over(self) -> None:
        """The work succeeded."""
        if self.failures:
            structlog.get_logger().info("chain_fault_over", work=self._what, tries=self.failures)
        self.failures = 0
