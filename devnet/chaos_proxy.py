"""A cable that misbehaves: bytes between a client and a server, cut, held back or spoilt."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from devnet.endings import deafen, finish
from devnet.ports import port_for

T = TypeVar("T")
HOST = "127.0.0.1"
PATIENCE = 30.0  # seconds until a command to the proxy counts as failed
CHUNK = 64 * 1024
MOST_HUSH = 10.0  # seconds to wait for answers that are under way, on a busy machine
BROKEN = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset, no farewell
RUN = 12  # bytes in a row that are spoilt
NO_TEXT = (0x80, 0xFF)  # neither JSON nor hex nor ASCII: nobody takes this for an answer


class _Cable:
    """One connection: from the client to us, and from us to the server."""

    def __init__(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.client, self.server = client, server
        self.mute = False  # it has lost bytes on the way to the client: none may follow
        self.asked = False  # the server owes it an answer

    def reset(self) -> None:
        for _, writer in (self.client, self.server):
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        handle = writer.get_extra_info("socket")
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, BROKEN)
    writer.transport.abort()


async def _shut(*writers: asyncio.StreamWriter) -> None:
    """Reset these and wait until their sockets are closed."""
    for writer in writers:
        _reset(writer)
    for writer in writers:
        with contextlib.suppress(OSError):  # of a connection that was lost before
            await writer.wait_closed()


class ChaosProxy:
    """
    A TCP proxy that knows nothing of what passes: HTTP, WebSocket and Redis alike.

    It works in a thread of its own. What a fault takes from an answer is lost for good: a
    connection whose bytes were swallowed says nothing any more, as it could not in real life.

    Args:
        target: Port of the server on the loopback.
        seed: Decides which bytes are spoilt.

    Attributes:
        delay: Seconds that every piece of an answer is held back.
        silent: True swallows every answer, while requests go on.
        spoils: How many of the next pieces of answers are spoilt.
        repeats: How many of them are said twice.
        accepted: Connections so far.
    """

    def __init__(self, target: int, *, seed: int = 0) -> None:
        self._target = target
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos-proxy")
        self._cables: set[_Cable] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._severed = 0
        self._open = asyncio.Event()  # requests may pass
        self._open.set()
        self.port = port_for(self)  # which a cut must not lose to others
        self.delay = 0.0
        self.silent = False
        self.spoils = self.repeats = 0
        self.accepted = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._do(self._end())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    @property
    def http(self) -> str:
        """The proxy's address for requests."""
        return f"http://{HOST}:{self.port}"

    @property
    def ws(self) -> str:
        """The proxy's address for subscriptions."""
        return f"ws://{HOST}:{self.port}"

    @property
    def redis(self) -> str:
        """The proxy's address for database 0 of a Redis."""
        return f"redis://{HOST}:{self.port}/0"

    def retarget(self, port: int) -> None:
        """Lead new connections to another port."""
        self._target = port

    def cut(self) -> None:
        """Reset every connection and refuse new ones."""
        self.refuse()
        self.sever()

    def refuse(self) -> None:
        """Refuse new connections; those that stand go on."""
        self._do(self._deafen())

    def sever(self) -> None:
        """Reset every connection; new ones are welcome."""
        self._do(self._sever())

    def half_close(self) -> None:
        """Tell every client that no answer will come any more, and go on listening to it."""
        self._do(self._half_close())

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Hold new requests back, once those that the server has were answered."""
        self._do(self._hush())
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._open.set)

    def restore(self) -> None:
        """Be a good cable again, for connections that have lost nothing and for new ones."""
        self.delay, self.silent = 0.0, False
        self.spoils = self.repeats = 0
        self._do(self._listen())

    # -- in the thread ---------------------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, HOST, self.port)

    async def _deafen(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await deafen(server)

    async def _sever(self) -> None:
        self._severed += 1  # whoever is just connecting has to go as well
        for cable in list(self._cables):
            cable.reset()

    async def _hush(self) -> None:
        self._open.clear()
        deadline = self._loop.time() + MOST_HUSH
        while self._owed() and self._loop.time() < deadline:  # noqa: ASYNC110  (a matter of 1 ms)
            await asyncio.sleep(0.001)

    def _owed(self) -> bool:
        return any(cable.asked for cable in self._cables)

    async def _half_close(self) -> None:
        for cable in list(self._cables):
            cable.mute = True
            with contextlib.suppress(OSError):
                cable.client[1].write_eof()

    async def _end(self) -> None:
        await self._deafen()
        await self._sever()
        await finish()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = self._loop.create_task(self._connect(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        severed = self._severed
        writers = [writer]
        try:
            with contextlib.suppress(OSError):
                server = await asyncio.open_connection(HOST, self._target)
                writers.append(server[1])
                if severed == self._severed:
                    await self._join(_Cable((reader, writer), server))
        finally:
            await _shut(*writers)

    async def _join(self, cable: _Cable) -> None:
        self._cables.add(cable)
        (asking, client), (answering, server) = cable.client, cable.server
        ways = [
            asyncio.create_task(self._carry(asking, server, cable, self._ask)),
            asyncio.create_task(self._carry(answering, client, cable, self._suffer)),
        ]
        try:
            await asyncio.wait(ways)
        finally:
            for way in ways:
                way.cancel()
            cable.reset()
            await asyncio.gather(*ways, return_exceptions=True)
            self._cables.discard(cable)

    async def _carry(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        cable: _Cable,
        turn: Callable[[_Cable, bytes], Awaitable[bytes]],
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(CHUNK):
                passed = await turn(cable, piece)
                if passed:  # after a half-close not even nothing may be written
                    sink.write(passed)
                    await sink.drain()
            if not cable.mute or sink is cable.server[1]:
                sink.write_eof()

    async def _ask(self, cable: _Cable, piece: bytes) -> bytes:
        if not cable.asked:  # the rest of a request must not be held back
            await self._open.wait()
        cable.asked = True
        return piece

    async def _suffer(self, cable: _Cable, piece: bytes) -> bytes:
        cable.asked = False
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.silent or cable.mute:
            cable.mute = True
            return b""
        if self.spoils:
            self.spoils -= 1
            return self._spoilt(piece)
        if self.repeats:
            self.repeats -= 1
            return 2 * piece
        return piece

    def _spoilt(self, piece: bytes) -> bytes:
        start = self._random.randrange(max(1, len(piece) - RUN))
        junk = bytes(self._random.randint(*NO_TEXT) for _ in piece[start : start + RUN])
        return piece[:start] + junk + piece[start + len(junk) :]
