"""The feed against a bare Anvil: mining, reorgs, a cut socket, a chain that is set back."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from chimera.chain.feed import ChainFeed
from chimera.chain.reader import RpcReader
from chimera.domain.block import Block, BlockBatch, BlockHash, Log, LogQuery, Needs, Rollback
from chimera.domain.call import Call, Readings
from chimera.rpc.client import HttpClient
from chimera.rpc.websocket import Subscription
from chimera.rpc.wire import hexed
from devnet.anvil import Anvil
from devnet.chaos_proxy import ChaosProxy
from tests.fakes_node import EMITTER, OTHER, TOPIC, Chain

SECONDS = 60.0
LONGEST_STOP = 4.0  # seconds; who waits for a node's farewell or its next head takes 10
NUMBER = Call(EMITTER, b"")


class Follower:
    """Follows what EMITTER says and polls it."""

    def interest(self) -> LogQuery:
        return LogQuery(frozenset({EMITTER}), frozenset({TOPIC}))

    def polls(self, block: Block) -> tuple[Call, ...]:  # noqa: ARG002
        return (NUMBER, Call(OTHER, b""))

    def needs(self, block: Block, logs: object, readings: Readings) -> Needs:  # noqa: ARG002
        return Needs()


class Seen:
    """What a consumer of the feed has in hand: the chain as it was told."""

    def __init__(self, feed: ChainFeed, start: Block) -> None:
        self.feed = feed
        self.blocks = [start]
        self.logs: dict[BlockHash, tuple[Log, ...]] = {}
        self.rollbacks: list[int] = []
        self.messages: AsyncGenerator[BlockBatch | Rollback, None] = feed.follow(start)

    async def until(self, number: int) -> None:
        """Take messages until block `number` is the newest one and the node knows no other."""
        async with asyncio.timeout(SECONDS):
            while self.blocks[-1].number != number or self.feed.head != number:
                self._apply(await anext(self.messages))

    async def one(self) -> None:
        async with asyncio.timeout(SECONDS):
            self._apply(await anext(self.messages))

    def _apply(self, message: BlockBatch | Rollback) -> None:
        if isinstance(message, Rollback):
            while self.blocks[-1] != message.ancestor:
                self.blocks.pop()
            self.rollbacks.append(message.ancestor.number)
            return
        assert message.block.parent_hash == self.blocks[-1].hash
        assert message.readings.keys() == {NUMBER, Call(OTHER, b"")}
        self.blocks.append(message.block)
        self.logs[message.block.hash] = message.logs

    def hashes(self) -> list[str]:
        return [hexed(block.hash) for block in self.blocks]

    def data(self, number: int) -> list[bytes]:
        [block] = [block for block in self.blocks if block.number == number]
        return [log.data for log in self.logs[block.hash]]


@pytest.fixture
def node() -> Iterator[Anvil]:
    with Anvil() as anvil:
        yield anvil


@pytest.fixture
def proxy(node: Anvil) -> Iterator[ChaosProxy]:
    with ChaosProxy(node.port) as proxy:
        yield proxy


@pytest.fixture
async def chain(node: Anvil) -> AsyncIterator[Chain]:
    async with Chain(node.http) as driven:
        yield driven


class Counts:
    """What the feed told its metrics."""

    def __init__(self) -> None:
        self.reorgs: list[int] = []
        self.reconnects = 0
        self.reconnected_once = asyncio.Event()
        self.differences = 0
        self.requests: list[tuple[str, str]] = []

    def reconnected(self) -> None:
        self.reconnects += 1
        self.reconnected_once.set()

    def differed(self, _endpoint: str) -> None:
        self.differences += 1

    def requested(self, _endpoint: str, method: str, purpose: str) -> None:
        self.requests.append((method, purpose))


@asynccontextmanager
async def following(
    http: str, ws: str, counts: Counts, *, silence: float | None = 10.0
) -> AsyncIterator[Seen]:
    client = HttpClient(http, on_request=counts.requested)
    reader = RpcReader(client)
    heads = Subscription([ws], silence=silence, on_reconnect=counts.reconnected, longest_pause=0.5)
    feed = ChainFeed(
        reader,
        heads,
        Follower(),
        on_reorg=counts.reorgs.append,
        on_log_difference=counts.differed,
    )
    seen = Seen(feed, await reader.head())
    try:
        yield seen
    finally:
        stopping = time.monotonic()
        await seen.messages.aclose()
        await client.aclose()
        assert time.monotonic() - stopping < LONGEST_STOP


async def test_thirty_blocks_are_followed_with_none_missing(node: Anvil, chain: Chain) -> None:
    counts = Counts()
    async with following(node.http, node.ws, counts) as seen:
        for number in range(1, 31):
            await chain.mine(*[bytes([number, index]) for index in range(number % 3)])
            await chain.emit(b"not followed", by=OTHER)
            await seen.until(number)

        assert seen.hashes() == await chain.hashes(0, 30)
        for number in range(1, 31):
            assert seen.data(number) == [bytes([number, index]) for index in range(number % 3)]
        assert counts.differences == 0
        assert counts.reorgs == []


async def test_a_live_block_costs_two_requests(node: Anvil, chain: Chain) -> None:
    await chain.install_multicall3()
    counts = Counts()
    async with following(node.http, node.ws, counts) as seen:
        number = settled = 0
        while settled < 2:  # without a socket, and once it stands, it asks for the head
            number += 1
            await chain.mine()
            await seen.until(number)
            settled = 0 if seen.feed.trouble else settled + 1
        counts.requests.clear()

        await chain.mine(b"a")
        await seen.until(number + 1)

        assert sorted(counts.requests) == [("eth_call", "readings"), ("eth_getLogs", "logs")]


async def test_a_burst_of_blocks_is_followed_in_order(node: Anvil, chain: Chain) -> None:
    async with following(node.http, node.ws, Counts()) as seen:
        for number in range(1, 41):
            await chain.mine(bytes([number]))

        await seen.until(40)

        assert seen.hashes() == await chain.hashes(0, 40)
        assert [seen.data(number) for number in range(1, 41)] == [
            [bytes([n])] for n in range(1, 41)
        ]


@pytest.mark.parametrize("depth", [1, 3])
async def test_a_reorg_is_rolled_back_and_the_new_branch_followed(
    node: Anvil, chain: Chain, depth: int
) -> None:
    counts = Counts()
    async with following(node.http, node.ws, counts) as seen:
        for number in range(1, 9):
            await chain.mine(bytes([number]))
        await seen.until(8)

        await chain.rpc("anvil_reorg", depth, [])
        await seen.one()
        await seen.until(8)
        await chain.mine(b"after")
        await seen.until(9)

        assert seen.rollbacks == [8 - depth]
        assert counts.reorgs == [depth]
        assert seen.hashes() == await chain.hashes(0, 9)
        assert seen.data(8) == []
        assert seen.data(9) == [b"after"]


async def test_blocks_missed_while_the_socket_was_cut_are_filled_in(
    node: Anvil, chain: Chain, proxy: ChaosProxy
) -> None:
    counts = Counts()
    async with following(node.http, proxy.ws, counts) as seen:
        for number in range(1, 4):
            await chain.mine(bytes([number]))
            await seen.until(number)
        proxy.cut()
        for number in range(4, 12):
            await chain.mine(bytes([number]))
        proxy.restore()

        await seen.until(11)
        await asyncio.wait_for(counts.reconnected_once.wait(), SECONDS)
        for number in range(12, 16):
            await chain.mine(bytes([number]))
            await seen.until(number)

        assert seen.hashes() == await chain.hashes(0, 15)
        assert [seen.data(number) for number in range(1, 16)] == [
            [bytes([n])] for n in range(1, 16)
        ]
        assert counts.reconnects == 1
        assert counts.differences == 0


async def test_a_socket_that_never_comes_back_does_not_stop_the_feed(
    node: Anvil, chain: Chain, proxy: ChaosProxy
) -> None:
    async with following(node.http, proxy.ws, Counts()) as seen:
        await chain.mine(b"a")
        await seen.until(1)
        proxy.cut()
        await chain.mine(b"b")

        await seen.until(2)

        assert seen.data(2) == [b"b"]


async def test_a_chain_set_back_is_followed_as_soon_as_it_grows(node: Anvil, chain: Chain) -> None:
    async with following(node.http, node.ws, Counts()) as seen:
        await chain.mine(b"a")
        snapshot = await chain.rpc("evm_snapshot")
        for number in range(2, 8):
            await chain.mine(bytes([number]))
        await seen.until(7)

        await chain.rpc("evm_revert", snapshot)
        await chain.mine(b"other")
        await seen.one()
        await seen.until(2)

        assert seen.rollbacks == [1]
        assert seen.hashes() == await chain.hashes(0, 2)
        assert seen.data(2) == [b"other"]


async def test_a_chain_set_back_that_stays_quiet_is_noticed_by_asking(
    node: Anvil, chain: Chain
) -> None:
    async with following(node.http, node.ws, Counts(), silence=0.3) as seen:
        await chain.mine(b"a")
        snapshot = await chain.rpc("evm_snapshot")
        for number in range(2, 5):
            await chain.mine(bytes([number]))
        await seen.until(4)

        await chain.rpc("evm_revert", snapshot)
        await seen.until(1)

        assert seen.rollbacks == [1]


async def test_a_quiet_chain_is_no_reason_to_reconnect(node: Anvil, chain: Chain) -> None:
    counts = Counts()
    async with following(node.http, node.ws, counts, silence=0.1) as seen:
        await chain.mine()
        await seen.until(1)
        waiting = asyncio.ensure_future(seen.one())
        await asyncio.sleep(1.0)
        await chain.mine()
        await waiting

        assert counts.reconnects == 0
        assert seen.blocks[-1].number == 2
