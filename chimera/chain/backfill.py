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

IN_FLIGHT = 3  # ranges asked for at the same time


@dataclass(frozen=True, slots=True)
class _Window:
    first: int
    last: int
    logs: asyncio.Task[tuple[Log, ...]]


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

    A range that the node refuses is halved; after each success the next ones are a quarter wider
    again, up to `initial_range` blocks. Any other failure is waited out, for ever.

    Raises:
        RangeTooWide: The node refuses even a single block.
    """
    ahead: deque[_Window] = deque()
    patience = Patience("backfill")
    width, following = initial_range, first

    def ask(low: int, high: int) -> _Window:
        return _Window(low, high, asyncio.create_task(reader.logs_between(low, high, query)))

    try:
        while ahead or following <= last:
            while len(ahead) < in_flight and following <= last:
                high = min(last, following + width - 1)
                ahead.append(ask(following, high))
                following = high + 1
            window = ahead.popleft()
            try:
                logs = await window.logs
            except RangeTooWide:
                if window.first == window.last:
                    raise
                middle = (window.first + window.last) // 2
                ahead.appendleft(ask(middle + 1, window.last))
                ahead.appendleft(ask(window.first, middle))
                width = min(width, middle - window.first + 1)
            except Retry as fault:
                await patience.pause(fault)
                ahead.appendleft(ask(window.first, window.last))
            else:
                patience.over()
                width = min(initial_range, width + width // 4 + 1)
                yield window.last, logs
    finally:
        for window in ahead:
            window.logs.cancel()
        await asyncio.gather(*(window.logs for window in ahead), return_exceptions=True)
