"""How the feed waits out a node that fails: growing pauses, one line in the log per fault."""

from __future__ import annotations

import asyncio
import random

import structlog

from chimera.errors import Retry

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds
MOST_DOUBLINGS = 16


class Patience:
    """Counts the tries of one piece of work. `what` names it in the log."""

    def __init__(
        self, what: str, *, first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE
    ) -> None:
        self._what = what
        self._first, self._longest = first, longest
        self.failures = 0
        self.fault = ""  # the newest one, as a sentence

    async def pause(self, fault: Exception) -> None:
        """Wait longer than the last time, or as long as asked to; the first time, say why."""
        self.fault = str(fault) or type(fault).__name__
        if not self.failures:
            structlog.get_logger().warning(
                "chain_fault", work=self._what, kind=type(fault).__name__, fault=str(fault)
            )
        pause = min(self._longest, self._first * 2 ** min(self.failures, MOST_DOUBLINGS))
        self.failures += 1
        pause *= random.uniform(0.5, 1.0)  # noqa: S311  (only jitter)
        asked = fault.pause if isinstance(fault, Retry) else 0.0
        await asyncio.sleep(max(pause, asked))

    def over(self) -> None:
        """The work succeeded."""
        if self.failures:
            structlog.get_logger().info("chain_fault_over", work=self._what, tries=self.failures)
        self.failures = 0
