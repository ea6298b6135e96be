"""What every configured endpoint is and can do, each looked at by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from chimera.app.facts import CheckRow
from chimera.chain.reader import RpcReader
from chimera.domain.block import Block
from chimera.errors import ChimeraError, Unreachable
from chimera.rpc.client import HttpClient
from chimera.rpc.endpoint import Endpoint
from chimera.rpc.faults import Reverted, Unsupported
from chimera.rpc.greeting import greet
from chimera.rpc.multicall import MULTICALL3, encode_aggregate3
from chimera.rpc.wire import LOGS, TEXT, hexed, octets, quantity

SECONDS, ATTEMPTS = 5.0, 2  # of one request to one endpoint
PATIENCE, PAUSE = 15.0, 0.5  # seconds: for any endpoint to answer at all, and between two rounds

Fact = tuple[str, bool]


class Examined(NamedTuple):
    """What was found, and which HTTP endpoints are on the right chain."""

    rows: list[CheckRow]
    usable: list[str]


class Chains(NamedTuple):
    """The chain id of each endpoint, or why there is none, in the order of the configuration."""

    found: list[int | ChimeraError]

    @property
    def answered(self) -> bool:
        """Tell whether any endpoint answered."""
        return any(isinstance(one, int) for one in self.found)


async def examine_http(urls: Sequence[str], chain_id: int) -> Examined:
    """
    Prove each HTTP endpoint: its chain, and what the daemon asks of it.

    Args:
        urls: Endpoints as configured.
        chain_id: Where they have to be.

    Raises:
        Unreachable: None of them answers within `PATIENCE` seconds.
    """
    clients = [HttpClient(url, timeout=SECONDS, attempts=ATTEMPTS) for url in urls]
    try:
        chains = await _patiently(clients)
        rows: list[CheckRow] = []
        usable: list[str] = []
        for client, found in zip(clients, chains.found, strict=True):
            subject = f"rpc.http {client.endpoint.label}"
            fact, right = _on_chain(client.endpoint, found, chain_id)
            rows.append(CheckRow(subject, fact, right))
            if right:
                usable.append(client.endpoint.url)
                rows += [CheckRow(subject, *told) for told in await _abilities(client)]
    finally:
        await asyncio.gather(*(client.aclose() for client in clients))
    return Examined(rows, usable)


async def examine_ws(urls: Sequence[str], chain_id: int) -> list[CheckRow]:
    """Prove each WebSocket endpoint: its chain, and that it announces heads."""

    async def row(url: str) -> CheckRow:
        endpoint = Endpoint(url)
        found: int | ChimeraError
        try:
            found = await greet(url, seconds=SECONDS)
        except ChimeraError as fault:
            found = fault
        fact, right = _on_chain(endpoint, found, chain_id)
        said = f"{fact}, announces heads" if right else fact
        return CheckRow(f"rpc.ws {endpoint.label}", said, right)

    return list(await asyncio.gather(*map(row, urls)))


async def _patiently(clients: Sequence[HttpClient]) -> Chains:
    chains = Chains([])
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                chains = Chains(list(await asyncio.gather(*map(_chain_of, clients))))
                if chains.answered:
                    return chains
                await asyncio.sleep(PAUSE)
    except TimeoutError:
        fault = chains.found[0] if chains.found else "no answer"
        told = clients[0].endpoint.redact(str(fault))
        raise Unreachable(
            f"rpc.http: no endpoint answered within {PATIENCE:.0f} s: {told}"
        ) from None


async def _chain_of(client: HttpClient) -> int | ChimeraError:
    try:
        return quantity(await client.call("eth_chainId", [], TEXT, purpose="check"))
    except ChimeraError as fault:
        return fault


def _on_chain(endpoint: Endpoint, found: int | ChimeraError, chain_id: int) -> Fact:
    if isinstance(found, ChimeraError):
        return endpoint.redact(f"does not answer as a node does: {found}"), False
    if found != chain_id:
        return f"is on chain {found}, chain.id says {chain_id}; take it out, or correct it", False
    return f"is on chain {found}", True


async def _abilities(client: HttpClient) -> list[Fact]:
    try:
        head = await RpcReader(client).head()
    except ChimeraError as fault:
        return [(client.endpoint.redact(f"has no newest block: {fault}"), False)]

    async def told(ability: Callable[[HttpClient, Block], Awaitable[Fact]]) -> Fact:
        try:
            return await ability(client, head)
        except ChimeraError as fault:
            what = (ability.__doc__ or "").rstrip(".")
            return client.endpoint.redact(f"fails: {what}: {fault}"), False

    return list(await asyncio.gather(*map(told, (_logs, _pinned, _multicall))))


async def _logs(client: HttpClient, head: Block) -> Fact:
    """eth_getLogs by block hash."""
    wanted = {"blockHash": hexed(head.hash), "address": hexed(MULTICALL3)}
    await client.call("eth_getLogs", [wanted], LOGS, purpose="check")
    return "eth_getLogs by block hash works", True


async def _pinned(client: HttpClient, head: Block) -> Fact:
    """eth_call at a block hash (EIP-1898)."""
    request = {"to": hexed(MULTICALL3), "data": hexed(encode_aggregate3([]))}
    try:
        at = {"blockHash": hexed(head.hash)}
        await client.call("eth_call", [request, at], TEXT, purpose="check")
    except Unsupported:
        return "eth_call takes no block hash (EIP-1898): calls go by number, then are proved", True
    except Reverted:
        pass  # it ran at that block
    return "eth_call at a block hash (EIP-1898) works", True


async def _multicall(client: HttpClient, head: Block) -> Fact:
    """eth_getCode of Multicall3."""
    asked = [hexed(MULTICALL3), hex(head.number)]
    code = octets(await client.call("eth_getCode", asked, TEXT, purpose="check"))
    place = hexed(MULTICALL3)
    return (f"Multicall3 at {place}", True) if code else (f"no Multicall3 at {place}", False)
