"""The subscription to a node, with real sockets and nodes that misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Self

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from chimera.domain.block import Address, LogQuery
from chimera.rpc.announcements import Connected, Disconnected, Event, NewHead, Probed, Silent
from chimera.rpc.websocket import Subscription

SECONDS = 20.0  # of patience: nothing that works takes so long
CHAIN = 31337
QUERY = LogQuery(frozenset({Address(b"\x01" * 20)}), frozenset({b"\x0a" * 32}))


def word(number: int) -> str:
    return f"0x{number:064x}"


def header(number: int) -> dict[str, str]:
    names = {"number": hex(number), "hash": word(number), "parentHash": word(number - 1)}
    return {**names, "timestamp": hex(1_000 + number), "miner": "0x00"}


class Node:
    """A node's socket, led by a test. `mute`: it hears everything and says nothing."""

    def __init__(self, *, chain: int = CHAIN) -> None:
        self.chain, self.head, self.mute = chain, 1, False
        self.asked: list[str] = []
        self._sockets: set[ServerConnection] = set()
        self._server: Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._port}"

    @property
    def label(self) -> str:
        return f"127.0.0.1:{self._port}"

    async def start(self) -> None:
        self._server = await serve(self._talk, "127.0.0.1", self._port, close_timeout=0.1)
        self._port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def announce(self, number: int) -> None:
        self.head = number
        await self.say({"params": {"subscription": "0x1", "result": header(number)}})

    async def say(self, what: object) -> None:
        frame = what if isinstance(what, str | bytes) else json.dumps(what)
        for socket in list(self._sockets):
            await socket.send(frame)

    async def close(self, code: int) -> None:
        for socket in list(self._sockets):
            if code == 1006:  # no farewell at all
                socket.transport.abort()
            else:
                await socket.close(code)

    async def _talk(self, socket: ServerConnection) -> None:
        self._sockets.add(socket)
        with suppress(ConnectionClosed):
            async for frame in socket:
                request = json.loads(frame)
                self.asked.append(request["method"])
                if not self.mute:
                    answer = {"id": request["id"], "result": self._result(request)}
                    await socket.send(json.dumps(answer))
        self._sockets.discard(socket)

    def _result(self, request: dict[str, Any]) -> str:
        match request["method"]:
            case "eth_chainId":
                return hex(self.chain)
            case "eth_blockNumber":
                return hex(self.head)
            case _:
                return "0x1" if request["params"] == ["newHeads"] else "0x2"


class Ear:
    """Listens to a subscription; a test takes one event after the other."""

    def __init__(self, heads: Subscription, told: AsyncGenerator[Event, None]) -> None:
        self.heads, self._told = heads, told

    async def hear(self) -> Event:
        async with asyncio.timeout(SECONDS):
            return await anext(self._told)

    async def until(self, kind: type[Event]) -> Any:  # noqa: ANN401  (the kind that was asked for)
        """Skip what comes before: a slow machine has more silences than its tests."""
        while not isinstance(event := await self.hear(), kind):
            pass
        return event

    async def connected_to(self, node: Node) -> None:
        while (await self.until(Connected)).endpoint != node.label:
            pass


@asynccontextmanager
async def listening(
    *nodes: Node,
    silence: float | None = None,
    patience: float = SECONDS,
    first_rest: float = 60.0,
    on_reconnect: Callable[[], None] = lambda: None,
) -> AsyncIterator[Ear]:
    heads = Subscription(
        [node.url for node in nodes],
        chain_id=CHAIN,
        silence=silence,
        timeout=SECONDS,
        patience=patience,
        first_pause=0.02,
        longest_pause=0.1,
        first_rest=first_rest,
        on_reconnect=on_reconnect,
    )
    async with aclosing(heads.listen()) as told:
        yield Ear(heads, told)


def states(ear: Ear) -> list[str]:
    return [source.breaker.state for source in ear.heads.sources]


async def test_the_first_that_works_is_used_and_the_others_are_left_in_peace() -> None:
    async with Node() as first, Node() as second, listening(first, second) as ear:
        assert (await ear.until(Connected)).endpoint == first.label
        await first.announce(7)

        assert (await ear.until(NewHead)).block.number == 7
        assert second.asked == []


async def test_the_next_one_is_used_where_nobody_is_at_home() -> None:
    async with Node() as first, Node() as second:
        await first.stop()
        async with listening(first, second) as ear:
            assert await ear.hear() == Disconnected()
            assert (await ear.until(Connected)).endpoint == second.label
            assert states(ear) == ["open", "closed"]


async def test_a_socket_that_falls_silent_is_left_for_the_next() -> None:
    async with (
        Node() as first,
        Node() as second,
        listening(first, second, silence=0.2, patience=0.4) as ear,
    ):
        await ear.connected_to(first)
        await first.announce(2)
        first.mute = True

        told = [await ear.hear()]
        while told[-1] != Disconnected():
            told.append(await ear.hear())
        await ear.connected_to(second)

        assert Silent() in told
        assert first.asked[-1] == "eth_blockNumber"
        await second.announce(3)
        assert (await ear.until(NewHead)).block.number == 3
        assert "went silent" in ear.heads.sources[0].breaker.why


async def test_a_node_that_never_answers_the_greeting_is_left_for_the_next() -> None:
    async with Node() as first, Node() as second:
        first.mute = True
        heads = Subscription([first.url, second.url], chain_id=CHAIN, silence=None, timeout=0.5)
        async with aclosing(heads.listen()) as told:
            await Ear(heads, told).connected_to(second)

        assert "eth_subscribe" not in first.asked


async def test_a_node_that_is_quiet_but_answers_is_kept() -> None:
    async with Node() as node, listening(node, silence=0.1) as ear:
        await ear.connected_to(node)
        await node.announce(5)
        await ear.until(NewHead)

        told: list[Event] = []
        while told.count(Probed(5)) < 2:
            told.append(await ear.hear())
        assert set(told) == {Silent(), Probed(5)}


async def test_a_node_that_keeps_a_head_to_itself_is_left() -> None:
    async with Node() as node, listening(node, silence=0.1, patience=0.2) as ear:
        await ear.connected_to(node)
        await node.announce(5)
        node.head = 6

        await ear.until(Disconnected)
        await ear.connected_to(node)


async def test_a_stuck_node_is_left_once_a_request_was_answered_with_a_later_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chimera.rpc.websocket.LOOK_AROUND", 0.05)
    async with Node() as node, listening(node, silence=0.5) as ear:
        await ear.connected_to(node)
        await node.announce(5)
        await ear.until(NewHead)
        ear.heads.heard_elsewhere(6)  # it is a moment ahead: no reason to doubt the socket
        while (event := await ear.hear()) != Probed(5):
            assert event == Silent()

        ear.heads.heard_elsewhere(6)

        await ear.until(Disconnected)
        assert "another has block 6" in ear.heads.sources[0].breaker.why


@pytest.mark.parametrize(
    "frame",
    [
        "<html>",
        "[]",
        '{"id": "x"}',
        b"\xff\xfe\x00",
        "[" * 100_000,
        '{"params": {"subscription": "0x1", "result": "junk"}}',
        '{"params": {"subscription": "0x1", "result": {"number": "one"}}}',
    ],
    ids=["html", "array", "id", "bytes", "nested", "string", "number"],
)
async def test_nonsense_is_left_for_the_next(frame: str | bytes) -> None:
    async with Node() as first, Node() as second, listening(first, second) as ear:
        await ear.connected_to(first)

        await first.say(frame)

        assert await ear.hear() == Disconnected()
        await ear.connected_to(second)


async def test_a_message_that_is_too_large_is_left_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chimera.rpc.websocket.MAX_MESSAGE", 100_000)
    async with Node() as first, Node() as second, listening(first, second) as ear:
        await ear.connected_to(first)
        await first.say({"id": 99, "result": "x" * 90_000})
        await first.announce(2)
        assert (await ear.hear()) is not None  # what is large, but not too large, is lived with

        await first.say({"id": 99, "result": "x" * 110_000})

        assert await ear.hear() == Disconnected()
        await ear.connected_to(second)


async def test_a_node_on_another_chain_is_never_used() -> None:
    async with Node(chain=1) as first, Node() as second, listening(first, second) as ear:
        assert await ear.hear() == Disconnected()
        await ear.connected_to(second)
        assert first.asked == ["eth_chainId"]
        assert [source.foreign for source in ear.heads.sources] == [True, False]


async def test_a_node_on_another_chain_is_not_even_a_last_resort() -> None:
    async with Node(chain=1) as node, listening(node) as ear:
        assert [await ear.hear() for _ in range(4)] == [Disconnected()] * 4
        assert set(node.asked) == {"eth_chainId"}

        node.chain = CHAIN

        await ear.connected_to(node)


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1008, 1011, 1012, 1013, 4000])
async def test_whatever_the_farewell_it_comes_back(code: int) -> None:
    returns: list[int] = []
    async with Node() as node, listening(node, on_reconnect=lambda: returns.append(1)) as ear:
        ear.heads.watch(QUERY)
        await ear.connected_to(node)
        await node.announce(2)
        await ear.until(NewHead)
        before = node.asked.count("eth_subscribe")

        await node.close(code)

        assert await ear.hear() == Disconnected()
        await ear.connected_to(node)
        await node.announce(3)
        assert (await ear.until(NewHead)).block.number == 3
        assert (before, node.asked.count("eth_subscribe")) == (2, 4)  # heads and logs, both anew
        assert returns == [1]


async def test_the_preferred_one_is_used_again_after_two_good_probes() -> None:
    async with (
        Node() as first,
        Node() as second,
        listening(first, second, first_rest=0.1) as ear,
    ):
        await ear.connected_to(first)
        await first.stop()
        await ear.connected_to(second)
        first.asked.clear()
        await first.start()

        await ear.connected_to(first)

        probes = first.asked[: first.asked.index("eth_subscribe")]
        assert probes.count("eth_blockNumber") == 2
        assert states(ear) == ["closed", "closed"]


async def test_a_preferred_one_that_lags_is_not_used_again() -> None:
    async with (
        Node() as first,
        Node() as second,
        listening(first, second, first_rest=0.05) as ear,
    ):
        await ear.connected_to(first)
        await first.stop()
        await ear.connected_to(second)
        await second.announce(9)
        await ear.until(NewHead)
        first.asked.clear()
        await first.start()
        async with asyncio.timeout(SECONDS):
            while "it is at block 1" not in ear.heads.sources[0].breaker.why:
                await asyncio.sleep(0.05)
                await second.announce(second.head + 1)
                await ear.until(NewHead)

        assert "eth_blockNumber" in first.asked
        assert "eth_subscribe" not in first.asked


async def listen_until(heads: Subscription, kind: type[Event]) -> None:
    async with aclosing(heads.listen()) as told:
        await Ear(heads, told).until(kind)


@pytest.mark.parametrize("kind", [Connected, Disconnected])
async def test_no_task_is_left_once_it_is_closed(kind: type[Event]) -> None:
    async with Node() as node:
        if kind is Disconnected:
            await node.stop()
        await listen_until(Subscription([node.url], chain_id=CHAIN), kind)

    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_probe_under_way_ends_with_it() -> None:
    async with Node() as first, Node() as second:
        first.mute = True
        async with listening(first, second, first_rest=0.01) as ear:
            ear.heads.sources[0].breaker.failed("for the test")
            await ear.connected_to(second)
            waiting = asyncio.create_task(ear.hear())
            async with asyncio.timeout(SECONDS):
                while not first.asked:  # noqa: ASYNC110  (a probe has no event)
                    await asyncio.sleep(0.02)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        left = [task for task in asyncio.all_tasks() if "_visit" in repr(task)]
        assert left == []
