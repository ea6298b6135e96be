"""A recording as a source of messages, at any speed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from decimal import Decimal

from chimera.replay.frames import End, Frame


async def paced(
    frames: Iterable[Frame],
    speed: Decimal | None,
    *,
    clock: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[Frame]:
    """
    Yield frames with the pauses between them as they were, divided by `speed`.

    None is as fast as possible. The pauses are all that depends on it.
    """
    first: int | None = None
    began = clock()
    for frame in frames:
        if speed is not None and not isinstance(frame, End):
            first = frame.at_ns if first is None else first
            due = began + int((frame.at_ns - first) / speed)
            if due > clock():
                await sleep((due - clock()) / 1e9)
        yield frame
