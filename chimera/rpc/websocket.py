"""The socket by which a node announces heads and logs; it comes back by itself."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from typing import cast

import structlog
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from chimera.domain.block import LogQuery
from chimera.errors import ChimeraError, Retry
from chimera.rpc.announcements import (
    NOTHING,
    Connected,
    Conversation,
    Disconnected,
    Event,
    NewHead,
    Probed,
    Silent,
)
from chimera.rpc.breaker import FIRST_REST, Breaker
from chimera.rpc.client import OnRequest
from chimera.rpc.endpoint import Endpoint
from chimera.rpc.faults import WrongChain
from chimera.rpc.greeting import standing
from chimera.rpc.health import Health
from chimera.rpc.inbox import Inbox
from chimera.rpc.pauses import growing

MAX_MESSAGE = 16 * 1024 * 1024  # bytes
PING_INTERVAL = 15.0  # seconds
CLOSE_TIMEOUT = 0.5  # seconds; a stop does not wait for the node's farewell
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 2.0  # seconds between rounds of attempts
LOOK_EVERY = 30.0  # seconds between two looks at an endpoint that is not in use
MOST_LAG = 3  # blocks that one may be behind which works and is not in use
LOOK_AROUND = 1.0  # seconds within which a better endpoint, or a worse one, is noticed

Standing = Callable[[str], Awaitable[tuple[int, int]]]
"""Asks the endpoint of a URL for (chain id, newest block's number). Raises ChimeraError."""


class Source:
    """One endpoint of a subscription."""

    def __init__(self, url: str, breaker: Breaker) -> None:
        self.endpoint, self.breaker = Endpoint(url), breaker
        self.label = self.endpoint.label
        self.foreign = False
        self.health = Health()
        self.look_at = time.monotonic() + LOOK_EVERY  # when to see whether it could be used

    @property
    def works(self) -> bool:
        """Tell whether it may be used without doubt."""
        return self.breaker.state == "closed" and not self.foreign


class Subscription:
    """
    New heads and logs from the first of `urls` that works, for ever.

    `silence` is the time in seconds without a head after which the node is asked over the same
    socket how far it is. A node that does not answer, has a head that it never announced, or is
    behind what another endpoint has by then, is left for the next. A chain on which nothing happens
    anywhere is no reason to leave. None never asks. `timeout` (seconds) holds for connecting and
    for every answer, `patience` (by default the same) for those after a silence. An endpoint that
    was left is probed in the background; the preferred one is used again once it has answered often
    enough. None on another chain than `chain_id` is used.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        chain_id: int | None = None,
        silence: float | None = 10.0,
        timeout: float = 10.0,
        patience: float | None = None,
        first_pause: float = FIRST_PAUSE,
        longest_pause: float = LONGEST_PAUSE,
        first_rest: float = FIRST_REST,
        draw: Callable[[], float] = random.random,
        ask_standing: Standing | None = None,
        on_request: OnRequest = lambda _endpoint, _method, _purpose: None,
        on_reconnect: Callable[[], None] = lambda: None,
    ) -> None:
        self.sources = [Source(url, Breaker(first_rest=first_rest, draw=draw)) for url in urls]
        self._chain_id = chain_id
        self._silence, self._timeout, self._patience = silence, timeout, patience
        self._first_pause, self._longest_pause = first_pause, longest_pause
        self._draw = draw
        self._ask_standing = ask_standing or (lambda url: standing(url, seconds=timeout))
        self._on_request, self._on_reconnect = on_request, on_reconnect
        self._wanted = NOTHING
        self._connections = 0
        self._probes: dict[Source, asyncio.Task[None]] = {}
        self._awake = asyncio.Event()  # somebody heard from the node
        self._quiet = False  # no head came since the last silence was noticed
        self._head = 0  # newest number announced over this socket
        self._outrun = 0  # newest number that another endpoint has
        self._outrun_at = 0.0  # when we heard of that

    def watch(self, query: LogQuery) -> None:
        """Subscribe to these logs, from the next announcement on."""
        self._wanted = query

    def heard_elsewhere(self, number: int) -> None:
        """Hear that a request was answered: there is a block `number`, and a node to connect to."""
        self._awake.set()
        if self._quiet and number > self._head:
            self._outrun_by(number)

    async def listen(self) -> AsyncGenerator[Event, None]:
        """Yield what the node announces. Reconnects for ever; close it to close the socket."""
        failures = 0
        try:
            while True:
                for source in self._in_order():
                    before = self._connections
                    try:
                        async with aclosing(self._connection(source)) as batches:
                            async for events in batches:
                                for event in events:
                                    yield event
                    except (OSError, WebSocketException, ChimeraError) as fault:
                        told = self._connections > before or not failures
                        self._left(source, fault, told=told)
                    yield Disconnected()
                    if self._connections > before:  # it worked until now: look anew who is the best
                        failures = 0
                        break
                if not any(source.works for source in self.sources):
                    await self._rest(self._pause(failures))
                    failures += 1
        finally:
            probes = list(self._probes.values())
            for probe in probes:
                probe.cancel()
            await asyncio.gather(*probes, return_exceptions=True)

    def _pause(self, failures: int) -> float:
        return growing(self._first_pause, self._longest_pause, failures, self._draw)

    async def _rest(self, seconds: float) -> None:
        """Wait, but no longer than the first time once a request was answered."""
        shortest = min(seconds, self._first_pause)
        self._awake.clear()
        await asyncio.sleep(shortest)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds - shortest):
                await self._awake.wait()

    def _in_order(self) -> list[Source]:
        return sorted(self.sources, key=lambda source: (not source.works, source.foreign))

    def _left(self, source: Source, fault: Exception, *, told: bool) -> None:
        source.foreign = isinstance(fault, WrongChain)
        why = source.endpoint.redact(f"{type(fault).__name__}: {fault}")
        if source.breaker.state == "closed" or source.breaker.is_due:
            source.breaker.failed(why)
        source.health.failed()
        if told:
            structlog.get_logger().warning("socket_lost", endpoint=source.label, fault=why)

    async def _connection(self, source: Source) -> AsyncGenerator[Iterator[Event], None]:
        """Yield what came at once, which is understood as one goes through it."""
        began = time.monotonic()
        async with connect(
            source.endpoint.url,
            open_timeout=self._timeout,
            close_timeout=CLOSE_TIMEOUT,
            ping_interval=PING_INTERVAL,
            ping_timeout=self._timeout,
            max_size=MAX_MESSAGE,
            compression=None,
            proxy=None,
            create_connection=Inbox,
        ) as socket:
            inbox = cast("Inbox", socket)
            talk = Conversation(
                silence=self._silence,
                timeout=self._timeout,
                patience=self._patience,
                now=time.monotonic(),
                chain_id=self._chain_id,
                endpoint=source.label,
            )
            source.health.answered(time.monotonic() - began)
            self._head = self._outrun = 0
            self._quiet = False
            while True:
                talk.watch(self._wanted, time.monotonic())
                for method, frame in talk.outgoing():
                    self._on_request(source.label, method, "socket")
                    await inbox.send(frame)
                if self._is_better_elsewhere(source):
                    return
                try:
                    messages = await inbox.take(self._wait(talk))
                except TimeoutError:
                    messages = []
                yield self._events(source, talk, messages)

    def _events(
        self, source: Source, talk: Conversation, messages: Sequence[bytes]
    ) -> Iterator[Event]:
        """Tell what follows from these messages, or with none from the time that went by."""
        now = time.monotonic()
        for event in talk.take(messages, now) if messages else (talk.tick(now),):
            if event is not None:
                self._note(source, event)
                yield event

    def _wait(self, talk: Conversation) -> float | None:
        due = talk.wait(time.monotonic())
        if len(self.sources) == 1 and not self._quiet:
            return due
        return LOOK_AROUND if due is None else min(due, LOOK_AROUND)

    def _note(self, source: Source, event: Event) -> None:
        if isinstance(event, Connected):
            source.foreign = False
            if not any(its.works for its in self.sources):
                source.breaker.close()  # it was the last resort, and it works
            self._connections += 1
            if self._connections > 1:
                self._on_reconnect()
        elif isinstance(event, NewHead):
            self._head, self._quiet = event.block.number, False
            source.health.worked()
            source.health.stands_at(event.block.number, event.block.timestamp)
            source.health.behind = max(0, self._outrun - self._head)
        elif isinstance(event, Silent):
            self._quiet = True
        elif isinstance(event, Probed):
            self._head = event.number
            for other in self.sources:  # it says that all is quiet: is it?
                if other is not source and (other.works or other.breaker.is_due):
                    self._probe(other, compare=True)

    def _is_better_elsewhere(self, source: Source) -> bool:
        """
        Probe whom it is time for, and tell whether a preferred endpoint works again.

        Raises:
            Retry: Another endpoint has heads that this one kept to itself.
        """
        for other in self.sources:
            seen_long_ago = other.works and time.monotonic() >= other.look_at
            if other is not source and (other.breaker.is_due or seen_long_ago):
                self._probe(other)
        late = time.monotonic() - self._outrun_at > LOOK_AROUND
        if late and 0 < self._head < self._outrun:
            raise Retry(f"silent at block {self._head} while another has block {self._outrun}")
        return next((its for its in self.sources if its.works), source) is not source

    def _outrun_by(self, number: int) -> None:
        if self._outrun <= self._head:
            self._outrun_at = time.monotonic()
        self._outrun = max(self._outrun, number)

    def _probe(self, source: Source, *, compare: bool = False) -> None:
        if source not in self._probes:
            self._probes[source] = asyncio.create_task(self._visit(source, compare=compare))

    async def _visit(self, source: Source, *, compare: bool) -> None:
        began = time.monotonic()
        source.look_at = began + LOOK_EVERY
        slack = MOST_LAG if source.works else 1
        try:
            self._on_request(source.label, "eth_chainId", "probe")
            chain, number = await self._ask_standing(source.endpoint.url)
            source.foreign = self._chain_id not in (None, chain)
            if source.foreign:
                raise WrongChain(f"it is on chain {chain}, not on {self._chain_id}")
            source.health.stands_at(number)
            source.health.behind = max(0, self._head - number)
            if source.health.behind > slack:
                raise Retry(f"it is at block {number}, another at {self._head}")
        except ChimeraError as fault:
            source.health.failed()
            source.breaker.failed(source.endpoint.redact(str(fault)))
        else:
            source.health.answered(time.monotonic() - began)
            source.breaker.proved()
            if compare and number > self._head:
                self._outrun_by(number)
        finally:
            self._probes.pop(source, None)
