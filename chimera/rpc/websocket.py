"""The socket by which a node announces heads and logs; it comes back by itself."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import structlog
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from chimera.domain.block import LogQuery
from chimera.errors import ChimeraError
from chimera.rpc.announcements import NOTHING, Connected, Conversation, Disconnected, Event
from chimera.rpc.client import OnRequest
from chimera.rpc.endpoint import Endpoint

MAX_MESSAGE = 16 * 1024 * 1024  # bytes
PING_INTERVAL = 15.0  # seconds
CLOSE_TIMEOUT = 0.5  # seconds; a stop does not wait for the node's farewell
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 15.0  # seconds between rounds of attempts
MOST_DOUBLINGS = 16


class Subscription:
    """
    New heads and logs from the first of `urls` that answers, for ever.

    `silence` is the time in seconds without a head after which the node is asked over the same
    socket how far it is; only a node that does not answer, or has a head that it never announced,
    is left. None never asks. `timeout` (seconds) holds for connecting and for every answer.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        silence: float | None = 10.0,
        timeout: float = 10.0,
        first_pause: float = FIRST_PAUSE,
        longest_pause: float = LONGEST_PAUSE,
        on_request: OnRequest = lambda _endpoint, _method, _purpose: None,
        on_reconnect: Callable[[], None] = lambda: None,
    ) -> None:
        self._endpoints = [Endpoint(url) for url in urls]
        self._silence, self._timeout = silence, timeout
        self._first_pause, self._longest_pause = first_pause, longest_pause
        self._on_request, self._on_reconnect = on_request, on_reconnect
        self._wanted = NOTHING
        self._connections = 0

    def watch(self, query: LogQuery) -> None:
        """Subscribe to these logs, from the next announcement on."""
        self._wanted = query

    async def listen(self) -> AsyncGenerator[Event, None]:
        """Yield what the node announces. Reconnects for ever; close it to close the socket."""
        failures = 0
        while True:
            for endpoint in self._endpoints:
                try:
                    async with aclosing(self._connection(endpoint)) as events:
                        async for event in events:
                            if isinstance(event, Connected):
                                failures = 0
                            yield event
                except (OSError, WebSocketException, ChimeraError) as fault:
                    if not failures:
                        _warn(endpoint, fault)
                yield Disconnected()
            pause = min(self._longest_pause, self._first_pause * 2 ** min(failures, MOST_DOUBLINGS))
            failures += 1
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  (only jitter)

    async def _connection(self, endpoint: Endpoint) -> AsyncGenerator[Event, None]:
        async with connect(
            endpoint.url,
            open_timeout=self._timeout,
            close_timeout=CLOSE_TIMEOUT,
            ping_interval=PING_INTERVAL,
            ping_timeout=self._timeout,
            max_size=MAX_MESSAGE,
            compression=None,
            proxy=None,
        ) as socket:
            talk = Conversation(silence=self._silence, timeout=self._timeout, now=time.monotonic())
            while True:
                talk.watch(self._wanted, time.monotonic())
                for method, frame in talk.outgoing():
                    self._on_request(endpoint.label, method, "socket")
                    await socket.send(frame)
                try:
                    async with asyncio.timeout(talk.wait(time.monotonic())):
                        frame_or_bytes = await socket.recv()
                except TimeoutError:
                    talk.tick(time.monotonic())
                    continue
                event = talk.take(frame_or_bytes, time.monotonic())
                if isinstance(event, Connected):
                    self._count_connection()
                if event is not None:
                    yield event

    def _count_connection(self) -> None:
        self._connections += 1
        if self._connections > 1:
            self._on_reconnect()


def _warn(endpoint: Endpoint, fault: Exception) -> None:
    told = endpoint.redact(f"{type(fault).__name__}: {fault}")
    structlog.get_logger().warning("socket_lost", endpoint=endpoint.label, fault=told)
