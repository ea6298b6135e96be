"""The lifecycle of everything that runs for long."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from typing import Final

import structlog

LONGEST_TURN: Final = 0.003  # seconds for which a long piece of work keeps the event loop


class Turn:
    """
    A turn at the event loop, for work on many things of which each takes little.

    How long one takes depends on machine and market, so a turn has an end and not a number of
    things: `await turn.give_way()` after each lets others go first once it is over.

    Args:
        rest: Seconds that are left to the others then; 0 for as long as they need at once.
    """

    __slots__ = ("_ends", "_rest")

    def __init__(self, *, rest: float = 0.0) -> None:
        self._rest = rest
        self._ends = time.perf_counter() + LONGEST_TURN

    async def give_way(self) -> None:
        """Let others go first if the turn is over, and begin the next one."""
        if time.perf_counter() >= self._ends:
            await asyncio.sleep(self._rest)
            self._ends = time.perf_counter() + LONGEST_TURN


def heed_cancellation() -> None:
    """
    Raise CancelledError in a task that is being cancelled.

    Up to Python 3.11 `asyncio.wait_for` loses a cancellation that comes just as it is done. A loop
    around a library that uses it asks here, so that its service always stops.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class Service(ABC):
    """
    One long-lived task. `start` returns once the service is ready to work.

    A service that dies of an error takes its task group, and with it the daemon, down: a part that
    is missing silently is worse than a restart.
    """

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def run(self) -> None:
        """Work until cancelled; set `ready` as soon as others may rely on this service."""

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Create the task and wait for `ready`. A crash before that cancels the group, hence us."""
        self._task = group.create_task(self._guarded(), name=type(self).__name__)
        await self.ready.wait()

    async def stop(self) -> None:
        """Cancel the task and wait until it has cleaned up."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _guarded(self) -> None:
        try:
            await self.run()
        except Exception:
            structlog.get_logger().exception("service_died", service=type(self).__name__)
            raise
