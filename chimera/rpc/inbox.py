"""A node's socket, whose messages are taken as many at a time as have come."""

from __future__ import annotations

import asyncio
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import Event, State

MOST_WAITING = 256  # messages; a node that sends more has to wait until they are taken
MOST_BYTES = 1024 * 1024  # the same, should they be long
LONGEST_PLAIN = 0xFFFF  # bytes
TEXT = 0x81  # first byte of a frame that is a whole text
MEDIUM = 126  # second byte of one whose length is in 2 bytes more; where it is in 8, there is 127
SHORTEST_HEADER, MEDIUM_HEADER, LONGEST_HEADER = 2, 4, 10  # bytes
END_OF_HEADERS = b"\r\n\r\n"


class Inbox(ClientConnection):
    """
    A connection of `websockets` that cuts plain texts out of the stream by itself.

    Plain is a frame that is a whole text of at most `LONGEST_PLAIN` bytes, as nearly all of a
    node's are: that takes a tenth of the library's time. Every other frame is passed on to the
    library, byte for byte: it answers pings and farewells, joins fragments, knows the largest
    message, and ends the connection over whatever breaks the protocol. Give this class to `connect`
    as `create_connection`, with a `max_size` that lets everything plain through. Messages come by
    `take` alone, never by `recv`.
    """

    def __init__(self, protocol: ClientProtocol, **options: Any) -> None:  # noqa: ANN401  (its own)
        super().__init__(protocol, **options)
        self._messages: list[bytes] = []
        self._waiting = 0  # bytes that came since all messages were taken
        self._news = asyncio.Event()
        self._headers = b""  # the end of what has come of the answer to our opening
        self._cuts = False  # the library stands between two frames, but for what it is owed
        self._rest = b""  # the beginning of a plain text
        self._owed = 0  # bytes still to come of a frame that the library has begun to read
        self._fragments = bytearray()
        self._joining = False  # a message that comes in fragments

    async def take(self, seconds: float | None) -> list[bytes]:
        """
        Return messages that have come, in order; wait for the first.

        Raises:
            TimeoutError: None came within `seconds`.
            ConnectionClosed: There will be none, and all before that are taken.
        """
        if self._messages:
            await asyncio.sleep(0)  # a node that never pauses leaves everybody else his turn
        elif self.state is not State.CLOSED:
            self._news.clear()
            async with asyncio.timeout(seconds):
                await self._news.wait()
        if not self._messages:
            await self.recv()  # raises what ended it
        taken = self._messages[:MOST_WAITING]
        del self._messages[:MOST_WAITING]
        if not self._messages:
            self._waiting = 0
            self.transport.resume_reading()
        return taken

    def data_received(self, data: bytes) -> None:
        """Take what came from the network."""
        self._waiting += len(data)
        if self._cuts:
            self._divide(self._rest + data)
        elif self.state is State.CONNECTING:
            self._open(data)
        else:
            super().data_received(data)
        if self._messages:
            self._news.set()
            if len(self._messages) >= MOST_WAITING or self._waiting >= MOST_BYTES:
                self.transport.pause_reading()

    def process_event(self, event: Event) -> None:
        """Take what the library has read."""
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
            return
        self._fragments += event.data
        self._joining = not event.fin
        if event.fin:
            self._messages.append(bytes(self._fragments))
            self._fragments.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits that nothing more will come."""
        super().connection_lost(exc)
        self._news.set()

    def _open(self, data: bytes) -> None:
        super().data_received(data)
        self._headers = self._headers[1 - len(END_OF_HEADERS) :] + data
        if self.state is State.OPEN:  # a node that speaks before it is asked is the library's
            end = self._headers.find(END_OF_HEADERS) + len(END_OF_HEADERS)
            self._cuts = end == len(self._headers)

    def _divide(self, data: bytes) -> None:
        at, self._rest = 0, b""
        while at < len(data):
            if not self._owed and not self._joining:
                at = self._cut(data, at)
            at = self._pass_on(data, at)

    def _cut(self, data: bytes, at: int) -> int:
        """Take the plain texts that begin at `at`. Returns where something else begins."""
        messages, size = self._messages, len(data)
        try:
            while data[at] == TEXT:
                start, length = at + 2, data[at + 1]
                if length >= MEDIUM:
                    if length > MEDIUM:
                        break
                    start, length = at + 4, data[at + 2] << 8 | data[at + 3]
                if start + length > size:
                    break
                at = start + length
                messages.append(data[start:at])
        except IndexError:  # its length has not come yet
            pass
        return at

    def _pass_on(self, data: bytes, at: int) -> int:
        """Give the library the frame that begins at `at`. Returns where the next one does."""
        if not self._owed:
            self._owed = _size(data[at : at + LONGEST_HEADER])
            if not self._owed or (not self._joining and _is_plain(data, at)):
                self._rest, self._owed = data[at:], 0  # it has not come whole
                return len(data)
        end = min(at + self._owed, len(data))
        self._owed -= end - at
        super().data_received(data[at:end])
        if self.state is State.OPEN:
            return end
        self._cuts = False
        super().data_received(data[end:])
        return len(data)


def _is_plain(data: bytes, at: int) -> bool:
    return data[at] == TEXT and data[at + 1] <= MEDIUM


def _size(header: bytes) -> int:
    """Return how many bytes a server's frame has, 0 while its header has not come whole."""
    if len(header) < SHORTEST_HEADER:
        return 0
    length = header[1] & 0x7F
    if length < MEDIUM:
        return SHORTEST_HEADER + length
    start = MEDIUM_HEADER if length == MEDIUM else LONGEST_HEADER
    return start + int.from_bytes(header[2:start]) if len(header) >= start else 0
