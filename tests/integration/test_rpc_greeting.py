"""Greeting a node's socket, with real sockets and nodes that misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from chimera.errors import ChimeraError, Retry
from chimera.rpc.faults import Garbled, TimedOut, Unsupported
from chimera.rpc.greeting import greet
from devnet.ports import free_port

SECONDS = 20.0  # of patience with a slow machine
Behaviour = Callable[[ServerConnection], Awaitable[None]]

HEAD = {"jsonrpc": "2.0", "method": "eth_subscription", "params": {"subscription": "0x1"}}
CHAIN, SUBSCRIBED = {"id": 0, "result": "0x2105"}, {"id": 1, "result": "0xabc"}
UNKNOWN = {"id": 1, "error": {"code": -32601, "message": "the method eth_subscribe does not exist"}}


@asynccontextmanager
async def node(behaviour: Behaviour) -> AsyncIterator[str]:
    async with serve(behaviour, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/v2/abcdefgh12345678"


def says(*messages: Any, binary: bool = False) -> Behaviour:  # noqa: ANN401  (any JSON)
    async def behave(socket: ServerConnection) -> None:
        asked = [json.loads(await socket.recv())["method"] for _ in range(2)]
        assert asked == ["eth_chainId", "eth_subscribe"]
        for message in messages:
            text = message if isinstance(message, str) else json.dumps(message)
            await socket.send(text.encode() if binary else text)
        await socket.wait_closed()

    return behave


async def greeted(behaviour: Behaviour, *, seconds: float = SECONDS) -> int:
    async with node(behaviour) as url:
        return await greet(url, seconds=seconds)


@pytest.mark.parametrize("binary", [False, True])
async def test_a_node_tells_its_chain(binary: bool) -> None:  # noqa: FBT001  (parametrized)
    assert await greeted(says(CHAIN, SUBSCRIBED, binary=binary)) == 8453


async def test_answers_may_come_late_and_in_any_order() -> None:
    assert await greeted(says(SUBSCRIBED, HEAD, {"id": 77, "result": "0x1"}, CHAIN)) == 8453


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ((CHAIN,), TimedOut),
        ((), TimedOut),
        ((CHAIN, UNKNOWN), Unsupported),
        ((CHAIN, {"id": 1, "result": {"an": "object"}}), Garbled),
        (({"id": 0, "result": "mainnet"}, SUBSCRIBED), Garbled),
        (("<html>",), Garbled),
    ],
)
async def test_a_node_that_does_not_answer_what_was_asked_is_a_fault(
    messages: tuple[Any, ...], fault: type[ChimeraError]
) -> None:
    with pytest.raises(fault):
        await greeted(says(*messages), seconds=1.0 if fault is TimedOut else SECONDS)


async def test_a_node_that_hangs_up_is_a_fault_without_its_key() -> None:
    async def hang_up(socket: ServerConnection) -> None:
        await socket.close()

    with pytest.raises(Retry) as caught:
        await greeted(hang_up)
    assert "abcdefgh" not in str(caught.value)


async def test_nobody_there_is_a_fault() -> None:
    with pytest.raises(Retry, match="Error"):
        await asyncio.wait_for(greet(f"ws://127.0.0.1:{free_port()}", seconds=SECONDS), SECONDS)
