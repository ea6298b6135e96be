"""Frames of a socket, taken as many at a time as have come."""

from __future__ import annotations

import asyncio
from typing import Protocol

MOST_WAITING = 256  # frames; a node that sends more has to wait until they are taken


class Socket(Protocol):
    """The half of a WebSocket that receives."""

    async def recv(self, *, decode: bool) -> str | bytes:
        """Return the next frame, with `decode` False as bytes. Raises when there will be none."""


class Inbox:
    """
    Receives from a socket on its own, so that many frames at once cost one wait and one alarm.

    Close it to end its task; the socket stays open.
    """

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._frames: list[str | bytes] = []
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._reading = asyncio.create_task(self._read(), name="inbox")
        self._reading.add_done_callback(lambda _: self._news.set())

    async def take(self, seconds: float | None) -> list[str | bytes]:
        """
        Return the frames that have come, in order; wait for the first.

        Raises:
            TimeoutError: None came within `seconds`.
            Exception: Whatever ended the socket, once all frames before that are taken.
        """
        if not self._frames and not self._reading.done():
            self._news.clear()
            async with asyncio.timeout(seconds):
                await self._news.wait()
        if not self._frames:
            self._reading.result()
        frames, self._frames = self._frames, []
        self._room.set()
        return frames

    async def aclose(self) -> None:
        """Receive nothing more."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            frame = await self._socket.recv(decode=False)
            self._frames.append(frame)  # looked up now: `take` leaves another list
            self._news.set()
            if len(self._frames) >= MOST_WAITING:
                self._room.clear()
                await self._room.wait()
