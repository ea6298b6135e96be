"""Several endpoints as one: the preferred while it works, the next when it does not."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec
import structlog

from chimera.errors import ChimeraError, RangeTooWide, Retry
from chimera.rpc.breaker import FIRST_REST, Breaker
from chimera.rpc.client import HttpClient, Request
from chimera.rpc.faults import (
    AskedToWait,
    Garbled,
    StateGone,
    TooHeavy,
    UnknownBlock,
    WrongChain,
)
from chimera.rpc.health import Health
from chimera.rpc.wire import HEADER, TEXT, quantity

T = TypeVar("T")

BLOCKS = frozenset({"eth_getBlockByHash", "eth_getBlockByNumber"})
LOOK_EVERY = 10.0  # seconds between two questions for the head of an endpoint that works
MOST_LAG = 3  # blocks that an endpoint may be behind the best of the others


class Member:
    """One endpoint of a pool, and what is known of it. `proven`: it is on the right chain."""

    def __init__(self, client: HttpClient, breaker: Breaker) -> None:
        self.client, self.breaker, self.health = client, breaker, Health()
        self.label = client.endpoint.label
        self.proven = False
        self.foreign = False
        self.look_at = 0.0  # when to ask for its head again; set by the pool
        self.paused_until = 0.0  # by its own wish, seconds of the pool's clock

    @property
    def works(self) -> bool:
        """Tell whether it may be used without doubt."""
        return self.breaker.state == "closed" and not self.foreign


def _pause_of(fault: ChimeraError) -> float:
    return fault.pause if isinstance(fault, Retry) else 0.0


class Alone:
    """One endpoint of a pool by itself, which has to prove its chain like the others."""

    def __init__(self, pool: Pool, member: Member) -> None:
        self._pool, self._member = pool, member

    async def call(
        self, method: str, params: Sequence[Any], decoder: msgspec.json.Decoder[T], *, purpose: str
    ) -> T:
        """Make one request. Raises as the endpoint does, or WrongChain."""
        await self._pool.prove(self._member)
        return await self._member.client.call(method, params, decoder, purpose=purpose)

    async def batch(
        self, requests: Sequence[Request], decoder: msgspec.json.Decoder[T], *, purpose: str
    ) -> list[T | ChimeraError]:
        """Make many requests. Raises WrongChain."""
        await self._pool.prove(self._member)
        return await self._member.client.batch(requests, decoder, purpose=purpose)

    async def aclose(self) -> None:
        """Do nothing: the pool closes its endpoints."""


class Pool:
    """
    Endpoints in order of preference.

    One that fails is left alone, and used again once it has answered probes in the background, so
    that no block waits for a dead one. One that is on another chain than `chain_id` is never used;
    each has to prove its chain when it comes into use, and after every failure. While there are
    several, all are asked for their heads now and then: one that lags counts as failing. One that
    asked for a pause is asked for nothing before that is over, even if nobody else works.
    """

    def __init__(
        self,
        clients: Sequence[HttpClient],
        *,
        chain_id: int | None = None,
        first_rest: float = FIRST_REST,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.members = tuple(
            Member(client, Breaker(first_rest=first_rest, clock=clock, draw=draw))
            for client in clients
        )
        self._chain_id = chain_id
        self._clock = clock
        self._probes: dict[Member, asyncio.Task[None]] = {}
        for member in self.members:
            member.look_at = clock() + LOOK_EVERY

    @property
    def in_use(self) -> Member | None:
        """The endpoint that is asked first at the moment; None while none works."""
        return next((member for member in self.members if member.works), None)

    def working(self) -> list[Member]:
        """Return the endpoints that work; the first is the one in use."""
        return [its for its in self.members if its.works]

    async def call(
        self, method: str, params: Sequence[Any], decoder: msgspec.json.Decoder[T], *, purpose: str
    ) -> T:
        """
        Make one request at the first endpoint that can answer.

        Raises as the one did that may be asked again soonest, the last of several.

        A block that it does not have is asked of the others that work, for it may lag behind them.
        """
        answer = await self._first(
            lambda client: client.call(method, params, decoder, purpose=purpose)
        )
        others = self.working()[1:] if answer is None and method in BLOCKS else []
        for other in others:
            try:
                answer = await Alone(self, other).call(method, params, decoder, purpose=purpose)
            except (UnknownBlock, StateGone):
                continue
            except Retry as fault:  # a block that nobody has may be asked for often
                self.doubt(other, fault)
            if answer is not None:
                break
        return answer

    async def batch(
        self, requests: Sequence[Request], decoder: msgspec.json.Decoder[T], *, purpose: str
    ) -> list[T | ChimeraError]:
        """Make many requests at the first endpoint that answers them all."""

        async def answered(client: HttpClient) -> list[T | ChimeraError]:
            outcomes = await client.batch(requests, decoder, purpose=purpose)
            faults = [its for its in outcomes if isinstance(its, Retry)]
            faults = [its for its in faults if not isinstance(its, RangeTooWide)]
            if faults:
                outcomes.clear()  # a fault holds this frame: nothing in it holds the fault
                raise faults.pop(0)
            return outcomes

        return await self._first(answered)

    async def aclose(self) -> None:
        """Close every endpoint."""
        probes = list(self._probes.values())
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
        await asyncio.gather(*(member.client.aclose() for member in self.members))

    async def prove(self, member: Member) -> None:
        """Make sure of an endpoint's chain before it is used. Raises WrongChain or Retry."""
        if self._chain_id is None or member.proven:
            return
        chain = quantity(await member.client.call("eth_chainId", [], TEXT, purpose="probe"))
        member.foreign = chain != self._chain_id
        if member.foreign:
            raise WrongChain(f"{member.label}: it is on chain {chain}, not on {self._chain_id}")
        member.proven = True

    def doubt(self, member: Member, fault: Retry) -> None:
        """Leave an endpoint alone for a while: it failed, or was proven wrong."""
        if member.breaker.state == "closed" and len(self.members) > 1:
            structlog.get_logger().warning(
                "endpoint_rests", endpoint=member.label, fault=str(fault)
            )
        member.health.failed()
        member.proven = False
        member.paused_until = max(member.paused_until, self._clock() + fault.pause)
        if member.breaker.state == "closed" or member.breaker.is_due:
            member.breaker.failed(str(fault), pause=fault.pause)

    async def _first(self, ask: Callable[[HttpClient], Awaitable[T]]) -> T:
        faults: list[ChimeraError] = []
        for member in self._in_order():
            if (left := member.paused_until - self._clock()) > 0:
                faults.append(AskedToWait(f"{member.label}: asked us to wait, {left:.0f} s", left))
                continue
            try:
                await self.prove(member)
                began = self._clock()
                answer = await ask(member.client)
            except (RangeTooWide, TooHeavy):
                raise
            except (UnknownBlock, StateGone) as error:  # another may be ahead, or keep more
                faults.append(error)
            except Retry as error:
                faults.append(error)
                self.doubt(member, error)
            else:
                member.health.answered(self._clock() - began)
                if self.in_use is None:  # it was the last resort, and it works
                    member.breaker.close()
                return answer
        try:
            raise min(reversed(faults), key=_pause_of)
        finally:
            faults.clear()  # the fault holds this frame: nothing in it holds the fault

    def _in_order(self) -> list[Member]:
        """Return whom to ask: those that work, then the others, for there may be no better one."""
        for member in self.members:
            if member not in self._probes and self._is_to_be_probed(member):
                self._probes[member] = asyncio.create_task(self._probe(member))
        usable = [member for member in self.members if not member.foreign]
        return sorted(usable or self.members, key=lambda member: not member.works)

    def _is_to_be_probed(self, member: Member) -> bool:
        if self._clock() < member.paused_until:
            return False
        if member.breaker.state != "closed":
            return member.breaker.is_due
        return len(self.members) > 1 and self._clock() >= member.look_at

    async def _probe(self, member: Member) -> None:
        member.look_at = self._clock() + LOOK_EVERY
        was = member.breaker.state
        try:
            if was != "closed":
                member.proven = False
            await self.prove(member)
            await self._look(member)
        except Retry as fault:
            self.doubt(member, fault)
        except ChimeraError as fault:
            self.doubt(member, Retry(str(fault)))
        else:
            member.breaker.proved()
            if was != "closed" and member.works:
                structlog.get_logger().info("endpoint_is_back", endpoint=member.label)
        finally:
            self._probes.pop(member, None)

    async def _look(self, member: Member) -> None:
        """Ask an endpoint for its head, and compare it with the best of the others."""
        if len(self.members) == 1:
            await member.client.call("eth_chainId", [], TEXT, purpose="probe")
            return
        asked = ["latest", False]
        header = await member.client.call("eth_getBlockByNumber", asked, HEADER, purpose="probe")
        if header is None:
            raise Garbled(f"{member.label}: it has no newest block")
        block = header.block()
        member.health.stands_at(block.number, block.timestamp)
        if (lag := self.lag(member) or 0) > MOST_LAG:
            raise Retry(f"{member.label}: it lags {lag} blocks behind another endpoint")

    def lag(self, member: Member) -> int | None:
        """
        Return how many blocks an endpoint was behind the best, when both were last asked.

        None before it was asked: nobody asks the only endpoint.
        """
        heads = [
            its.health.head for its in self.members if its.health.head is not None and its.works
        ]
        if member.health.head is None:
            return None
        return max([0, *(head - member.health.head for head in heads)])
