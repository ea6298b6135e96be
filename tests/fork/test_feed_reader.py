"""The reader and the client against a real node, and against one that misbehaves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from chimera.chain.reader import RpcReader
from chimera.domain.block import Address, Block, BlockHash, Log, LogQuery
from chimera.domain.call import Call
from chimera.errors import Retry
from chimera.rpc.announcements import Connected, Disconnected
from chimera.rpc.client import HttpClient
from chimera.rpc.faults import Garbled, StateGone, TimedOut, UnknownBlock, Unsupported
from chimera.rpc.websocket import Subscription
from chimera.rpc.wire import TEXT, hexed
from devnet.anvil import Anvil
from tests.fakes_node import EMITTER, OTHER, TOPIC, Chain

COUNTER = Address(b"\xc0" * 20)
REVERTS = Address(b"\xbd" * 20)
EMPTY = Address(b"\x0e" * 20)
NUMBER_CODE = "0x435f5260205ff3"  # returns block.number
REVERT_CODE = "0x5f5ffd"
HISTORY = 8
QUERY = LogQuery(frozenset({EMITTER, OTHER}), frozenset({TOPIC}))


@pytest.fixture
def node() -> Iterator[Anvil]:
    with Anvil(history=HISTORY) as anvil:
        yield anvil


@pytest.fixture
async def chain(node: Anvil) -> AsyncIterator[Chain]:
    async with Chain(node.http) as driven:
        await driven.rpc("anvil_setCode", hexed(COUNTER), NUMBER_CODE)
        await driven.rpc("anvil_setCode", hexed(REVERTS), REVERT_CODE)
        yield driven


@pytest.fixture
async def reader(node: Anvil) -> AsyncIterator[RpcReader]:
    client = HttpClient(node.http, first_pause=0.01)
    yield RpcReader(client)
    await client.aclose()


def uint(answer: bytes | None) -> int:
    assert answer is not None
    return int.from_bytes(answer, "big")


@pytest.mark.parametrize("multicall", [True, False])
async def test_calls_are_answered_by_the_state_of_their_own_block(
    chain: Chain, reader: RpcReader, *, multicall: bool
) -> None:
    if multicall:
        await chain.install_multicall3()
    for _ in range(5):
        await chain.mine()
    calls = [Call(COUNTER, n.to_bytes(2, "big")) for n in range(600)] + [
        Call(REVERTS, b""),
        Call(EMPTY, b""),
    ]
    for number in (3, 5):
        block = await reader.block_at(number)
        assert block is not None

        readings = await reader.read(calls, block)

        assert {uint(readings[call]) for call in calls[:600]} == {number}
        assert readings[Call(REVERTS, b"")] is None
        assert readings[Call(EMPTY, b"")] == b""


async def test_a_block_that_never_was_is_unknown(chain: Chain, reader: RpcReader) -> None:
    await chain.mine()
    never = Block(1, BlockHash(b"\x11" * 32), BlockHash(bytes(32)), 0)

    assert await reader.block_of(never.hash) is None
    assert await reader.block_at(99) is None
    with pytest.raises(UnknownBlock):
        await reader.logs_of(never, QUERY)
    with pytest.raises(UnknownBlock):
        await reader.read([Call(COUNTER, b"")], never)


async def test_a_state_that_was_pruned_is_gone_and_not_a_revert(
    chain: Chain, reader: RpcReader
) -> None:
    for _ in range(4 * HISTORY):
        await chain.mine()
    old = await reader.block_at(2)
    assert old is not None

    with pytest.raises(StateGone):
        await reader.read([Call(COUNTER, b"")], old)


async def test_logs_of_a_block_and_of_a_range_agree(chain: Chain, reader: RpcReader) -> None:
    for number in range(1, 6):
        await chain.emit(b"other", by=OTHER)
        await chain.mine(bytes([number]), bytes([number, 1]))

    ranged = await reader.logs_between(2, 4, QUERY)
    single: list[Log] = []
    for number in (2, 3, 4):
        block = await reader.block_at(number)
        assert block is not None
        single += await reader.logs_of(block, QUERY)

    assert list(ranged) == single
    assert [log.data for log in single[:3]] == [b"other", b"\x02", b"\x02\x01"]
    assert [log.log_index for log in single[:3]] == [0, 1, 2]


async def test_a_node_says_who_it_is(chain: Chain, reader: RpcReader) -> None:
    assert await reader.chain_id() == 31337
    assert await reader.code_at(REVERTS) == bytes.fromhex(REVERT_CODE[2:])
    assert await reader.code_at(EMPTY) == b""
    with pytest.raises(Unsupported):
        await chain.rpc("eth_thereIsNoSuchThing")


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    async with asyncio.TaskGroup() as group:
        tasks: list[asyncio.Task[None]] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await handler(reader, writer)
                await writer.drain()
            finally:
                writer.close()

        server = await asyncio.start_server(
            lambda reader, writer: tasks.append(group.create_task(serve(reader, writer))),
            "127.0.0.1",
            0,
        )
        async with server:
            yield server.sockets[0].getsockname()[1]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def silent(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def refused(port: int, kind: type[Retry], *, timeout: float = 5.0) -> str:  # noqa: ASYNC109
    url = f"http://127.0.0.1:{port}/v2/S3cretKey123"
    client = HttpClient(url, timeout=timeout, attempts=2, first_pause=0.01)
    try:
        with pytest.raises(kind) as caught:
            await client.call("eth_chainId", [], TEXT, purpose="check")
    finally:
        await client.aclose()
    assert "S3cretKey123" not in str(caught.value)
    return str(caught.value)


async def test_nobody_at_the_port_is_a_retry() -> None:
    async with serving(silent) as port:
        pass

    assert f"127.0.0.1:{port}" in await refused(port, Retry)


async def test_a_node_that_never_answers_is_given_up() -> None:
    async with serving(silent) as port:
        assert "no answer in 0.1 s" in await refused(port, TimedOut, timeout=0.1)


async def test_a_connection_that_breaks_in_the_middle_is_a_retry() -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"jsonrpc":"2.0",')

    async with serving(break_off) as port:
        await refused(port, Retry)


async def test_a_web_page_is_no_answer() -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>")

    async with serving(page) as port:
        await refused(port, Garbled)


async def test_a_socket_goes_to_the_next_address_when_the_first_is_dead(node: Anvil) -> None:
    reconnects: list[None] = []
    async with serving(silent) as port:
        pass
    heads = Subscription(
        [f"ws://127.0.0.1:{port}/S3cretKey123", node.ws],
        on_reconnect=lambda: reconnects.append(None),
    )
    events = heads.listen()

    seen = [await anext(events) for _ in range(2)]
    await events.aclose()

    assert seen == [Disconnected(), Connected()]
    assert reconnects == []
