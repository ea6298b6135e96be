"""Past logs, in ranges that adapt to what the endpoint allows."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from chimera.chain.patience import Patience
from chimera.domain.block import Log, LogQuery
from chimera.errors import RangeTooWide, Retry
from chimera.ports import ChainReader

IN_FLIGHT = 3  # ranges asked for at the same time, to begin with
MOST_IN_FLIGHT = 6
CALM = 16  # answers in a row after which one more range is asked for at the same time
FORGET = 32  # answers after which a refused width is tried again: other blocks have fewer logs
MOST_FORGET = 1_024  # the same, of a node that refuses it again and again


class Allowance:
    """
    What the endpoint seems to allow: how many blocks at once, how many requests at a time.

    A refused width lies above what is allowed, an answered one below it: the next width is in the
    middle, until the two are within an eighth of each other. Without a recent refusal ranges grow
    by a quarter, up to `most_blocks`. Requests at a time are halved when one fails, and become one
    more after `CALM` answers.
    """

    def __init__(self, most_blocks: int, *, in_flight: int = IN_FLIGHT) -> None:
        self.blocks, self.in_flight = most_blocks, in_flight
        self._most_blocks = most_blocks
        self._good = 0  # the widest range that was answered
        self._refused: int | None = None  # the width that was refused last
        self._answers = self._calm = 0
        self._forget = FORGET

    def answered(self, width: int) -> None:
        """Note that `width` blocks at once were answered."""
        self._good = max(self._good, width)
        self._answers += 1
        self._calm += 1
        if self._answers >= self._forget:
            self._refused = None
        if self._calm >= CALM:
            self._calm = 0
            self.in_flight = min(MOST_IN_FLIGHT, self.in_flight + 1)
        if self._refused is None:
            self.blocks = min(self._most_blocks, self.blocks + self.blocks // 4 + 1)
            return
        room = self._refused - self._good
        self.blocks = self._good + (room // 2 if room > self._good // 8 + 1 else 0)

    def refused(self, width: int) -> None:
        """Note that `width` blocks at once are too many."""
        self._answers = 0
        if width <= self._good:  # more logs here than where it was answered
            self._good, self._forget = 0, FORGET
        elif self._good and self._refused is None:  # tried again, and refused again
            self._forget = min(2 * self._forget, MOST_FORGET)
        self._refused = min(width, self._refused or width)  # wider ones were still under way
        self.blocks = self._good or min(self.blocks, max(1, width // 2))

    def failed(self) -> None:
        """Note that a request failed for another reason, such as too many of them."""
        self._calm = 0
        self.in_flight = max(1, self.in_flight // 2)


@dataclass(slots=True)
class _Window:
    first: int
    last: int
    asked: asyncio.Task[tuple[Log, ...]] | None = None

    @property
    def width(self) -> int:
        return self.last - self.first + 1

    def forget_failure(self) -> None:
        """Let what failed be asked again; one that is too wide is split in its turn."""
        if self.asked is not None and self.asked.done() and not self.asked.cancelled():
            fault = self.asked.exception()
            if isinstance(fault, Retry) and not isinstance(fault, RangeTooWide):
                self.asked = None


async def scan(
    reader: ChainReader,
    query: LogQuery,
    first: int,
    last: int,
    *,
    initial_range: int,
    in_flight: int = IN_FLIGHT,
) -> AsyncGenerator[tuple[int, tuple[Log, ...]], None]:
    """
    Yield `(last_block_done, logs)` for consecutive ranges from `first` to `last`, both included.

    Several ranges are asked for at the same time. One that the node refuses is split; how wide the
    next ones are and how many are under way follows what the node allows, never more than
    `initial_range` blocks. Any other failure is waited out, for ever and for as long as the
    endpoint asks.

    Raises:
        RangeTooWide: The node refuses even a single block.
    """
    ahead: deque[_Window] = deque()
    allowance = Allowance(initial_range, in_flight=in_flight)
    patience = Patience("backfill")
    following = first
    try:
        while ahead or following <= last:
            while len(ahead) < allowance.in_flight and following <= last:
                ahead.append(_Window(following, min(last, following + allowance.blocks - 1)))
                following = ahead[-1].last + 1
            _ask(ahead, allowance, reader, query)
            window = ahead[0]
            try:
                logs = await _logs(window)
            except RangeTooWide:
                if window.width == 1:
                    raise
                allowance.refused(window.width)
                window.asked = None
            except Retry as fault:
                allowance.failed()
                await patience.pause(fault)
                for failed in ahead:
                    failed.forget_failure()
            else:
                patience.over()
                allowance.answered(window.width)
                ahead.popleft()
                yield window.last, logs
    finally:
        await _end(ahead)


def _ask(ahead: deque[_Window], allowed: Allowance, reader: ChainReader, query: LogQuery) -> None:
    """Ask for the first ranges that are not under way, none of them wider than allowed."""
    for place in range(min(allowed.in_flight, len(ahead))):
        window = ahead[place]
        if window.asked is not None:
            continue
        if window.width > allowed.blocks:
            rest = _Window(window.first + allowed.blocks, window.last)
            ahead.insert(place + 1, rest)
            window.last = rest.first - 1
        coroutine = reader.logs_between(window.first, window.last, query)
        window.asked = asyncio.create_task(coroutine)


async def _logs(window: _Window) -> tuple[Log, ...]:
    if window.asked is None:
        raise AssertionError("the first range is always asked for")
    return await window.asked


async def _end(ahead: deque[_Window]) -> None:
    tasks = [window.asked for window in ahead if window.asked is not None]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
