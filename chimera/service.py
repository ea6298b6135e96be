"""The lifecycle of everything that runs for long."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import Final
from weakref import WeakKeyDictionary

import structlog

BREATH: Final = 3  # passes of the loop in which what came during work is done, the work's included
LONGEST_BREATH: Final = 8  # passes, however many begin to work meanwhile
MOST_OVERTAKEN: Final = 12  # times in a row that others are overtaken: a block does it so often
APART: Final = BREATH  # passes between the beginnings of long work, for the same reason
LONGEST_TURN: Final = 0.0015  # seconds for which a long piece of work keeps the event loop


class Turn:
    """
    A turn at the event loop, for work on many things of which each takes little.

    How long one takes depends on machine and market, so a turn has an end and not a number of
    things: `await turn.give_way()` after each lets others go first once it is over. Turns of many
    are not added up: one of them goes on at a time, in the order in which they gave way, and what
    came meanwhile goes between two of them.

    Args:
        first: Go on before all others who wait, but now and then behind one of them: for what a
            block leads to.
    """

    __slots__ = ("_ends", "_first", "_line")

    def __init__(self, *, first: bool = False) -> None:
        self._first = first
        self._line = _line()
        self._line.is_over()  # from here on it counts
        self._ends = time.perf_counter() + LONGEST_TURN

    async def give_way(self) -> None:
        """Let others go first if the turn is over, and begin the next one."""
        if self._line.is_over() or time.perf_counter() >= self._ends:
            await self.end()

    async def end(self) -> None:
        """Let others go first in any case, and begin the next turn."""
        await self._line.wait(first=self._first)
        self._ends = time.perf_counter() + LONGEST_TURN

    @staticmethod
    async def undivided() -> None:
        """
        Begin work that cannot be split, as soon as a turn that others have just had is over.

        That takes some passes of the loop: nobody who still waits for a turn goes first.
        """
        await _line().begin_apart()


class _Line:
    """
    Those who wait for a turn at one event loop.

    A pass of the loop runs everything that is ready, and then what a socket or a clock has made
    ready since the last one. So what comes while somebody works long has to wait for all that is
    ready in the next pass as well: whoever else wants to work long waits until that is over.
    """

    __slots__ = (
        "_ends",
        "_is_due",
        "_overtaken",
        "_passes",
        "_rested",
        "_taken",
        "_waiting",
    )

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._ends: float | None = None  # None: nobody has worked long for a pass
        self._is_due = False
        self._taken = 0  # passes for which somebody works long, or has just done so
        self._rested = self._passes = 0  # since somebody has worked; since somebody could go on
        self._overtaken = 0  # how often somebody went first since it was another's turn

    def begin(self) -> bool:
        """Begin long work in this pass, unless somebody has just done so; tell which it is."""
        if self._taken:
            return False
        self._taken = APART
        asyncio.get_running_loop().call_soon(self._end)
        return True

    async def begin_apart(self) -> None:
        """Begin long work, not before others could go on since somebody else did."""
        for _ in range(APART):
            if self.begin():
                return
            await asyncio.sleep(0)
        self.begin()

    def _end(self) -> None:
        self._taken -= 1
        if self._taken:
            asyncio.get_running_loop().call_soon(self._end)

    def is_over(self) -> bool:
        """Tell whether long work has taken its time; its first caller starts the clock."""
        now = time.perf_counter()
        if self._ends is None:
            self._ends = now + LONGEST_TURN if self.begin() else now
            self._call_soon()
        return now >= self._ends

    async def wait(self, *, first: bool) -> None:
        """Wait for a turn of one's own."""
        mine = asyncio.get_running_loop().create_future()
        if not first:
            self._waiting.append(mine)
        elif self._overtaken < MOST_OVERTAKEN:
            self._overtaken += bool(self._waiting)
            self._waiting.appendleft(mine)
        else:
            self._overtaken = 0
            self._waiting.insert(1, mine)  # block after block, without a pause between them
        self._rested = 0  # whoever waits has just worked
        self._call_soon()
        await mine
        await self.begin_apart()  # a block may have come between
        self._ends = time.perf_counter() + LONGEST_TURN

    def _call_soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._pass)

    def _pass(self) -> None:
        """Leave some passes to what came meanwhile; then begin anew."""
        self._rested += 1
        self._passes += 1
        is_early = self._rested < BREATH or self._taken > 0
        if is_early and self._passes < LONGEST_BREATH:
            asyncio.get_running_loop().call_soon(self._pass)
        else:
            self._rested = self._passes = 0
            self._next()

    def _next(self) -> None:
        """Let one of the line go in the next pass, and nobody else before them."""
        self._is_due, self._ends = False, None
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft()  # cancelled meanwhile
        if self._waiting:
            self._ends = 0.0
            self._call_soon()
            self._waiting.popleft().set_result(None)


_lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()


def _line() -> _Line:
    return _lines.setdefault(asyncio.get_running_loop(), _Line())


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
