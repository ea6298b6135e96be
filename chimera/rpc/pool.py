"""Several endpoints as one: the preferred while it works, the next when it does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec
import structlog

from chimera.errors import ChimeraError, RangeTooWide, Retry
from chimera.rpc.client import HttpClient, Request
from chimera.rpc.faults import StateGone, TooHeavy, UnknownBlock
from chimera.rpc.wire import TEXT

T = TypeVar("T")

COOL_DOWN = 15.0  # seconds until an endpoint that failed is tried again, in the background


class Pool:
    """
    Endpoints in order of preference.

    One that fails is left alone for `cool_down` seconds, and used again once it has answered a
    probe in the background, so that no block waits for a dead one.
    """

    def __init__(
        self,
        clients: Sequence[HttpClient],
        *,
        cool_down: float = COOL_DOWN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = tuple(clients)
        self._cool_down = cool_down
        self._clock = clock
        self._resting: dict[HttpClient, float] = {}  # until when
        self._probes: dict[HttpClient, asyncio.Task[None]] = {}

    async def call(
        self, method: str, params: Sequence[Any], decoder: msgspec.json.Decoder[T], *, purpose: str
    ) -> T:
        """Make one request at the first endpoint that can answer. Raises as the last one did."""
        return await self._first(
            lambda client: client.call(method, params, decoder, purpose=purpose)
        )

    async def batch(
        self, requests: Sequence[Request], decoder: msgspec.json.Decoder[T], *, purpose: str
    ) -> list[T | ChimeraError]:
        """Make many requests at the first endpoint that answers them all."""

        async def answered(client: HttpClient) -> list[T | ChimeraError]:
            outcomes = await client.batch(requests, decoder, purpose=purpose)
            for outcome in outcomes:
                if isinstance(outcome, Retry) and not isinstance(outcome, RangeTooWide):
                    raise outcome
            return outcomes

        return await self._first(answered)

    async def aclose(self) -> None:
        """Close every endpoint."""
        for probe in self._probes.values():
            probe.cancel()
        await asyncio.gather(*self._probes.values(), return_exceptions=True)
        await asyncio.gather(*(client.aclose() for client in self._clients))

    async def _first(self, ask: Callable[[HttpClient], Awaitable[T]]) -> T:
        fault: ChimeraError = Retry("no endpoint is configured")
        for client in self._in_order():
            try:
                return await ask(client)
            except (RangeTooWide, TooHeavy):
                raise
            except (UnknownBlock, StateGone) as error:  # another may be ahead, or keep more
                fault = error
            except Retry as error:
                fault = error
                self._rest(client, error)
        raise fault

    def _in_order(self) -> list[HttpClient]:
        for client, until in list(self._resting.items()):
            if self._clock() >= until and client not in self._probes:
                self._probes[client] = asyncio.create_task(self._probe(client))
        return sorted(self._clients, key=lambda client: client in self._resting)

    def _rest(self, client: HttpClient, fault: Retry) -> None:
        if client not in self._resting and len(self._clients) > 1:
            structlog.get_logger().warning(
                "endpoint_rests", endpoint=client.endpoint.label, fault=str(fault)
            )
        self._resting[client] = self._clock() + max(self._cool_down, fault.pause)

    async def _probe(self, client: HttpClient) -> None:
        try:
            await client.call("eth_chainId", [], TEXT, purpose="probe")
        except ChimeraError:
            self._resting[client] = self._clock() + self._cool_down
        else:
            self._resting.pop(client, None)
            structlog.get_logger().info("endpoint_is_back", endpoint=client.endpoint.label)
        finally:
            self._probes.pop(client, None)
