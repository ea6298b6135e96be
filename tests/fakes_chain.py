"""Small stand-ins for a chain, its announcements, its follower, and an HTTP endpoint."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import msgspec

from chimera.domain.block import Address, Block, BlockHash, Log, LogQuery, Needs
from chimera.domain.call import Call, Readings
from chimera.rpc.announcements import Connected, Event, NewHead, NewLogs
from chimera.rpc.client import HttpClient

POOL = Address(b"\x01" * 20)
TOKEN = Address(b"\x02" * 20)
TOPIC = b"\x0a" * 32
PRICE = Call(POOL, b"price")


def log_at(number: int, index: int, *, address: Address = POOL, data: bytes = b"") -> Log:
    return Log(address, (TOPIC,), data, index, number)


class FakeChain:
    """A chain with branches. Every request is recorded; `faults[method]` are raised first."""

    def __init__(self, *, length: int = 1, timestamp: int = 1_000) -> None:
        genesis = Block(0, BlockHash(bytes(32)), BlockHash(b"\xff" * 32), timestamp)
        self.blocks = {genesis.hash: genesis}
        self.canonical = [genesis]
        self.logs: dict[BlockHash, tuple[Log, ...]] = defaultdict(tuple)
        self.requests: list[tuple[str, Any]] = []
        self.faults: dict[str, list[Exception]] = defaultdict(list)
        self.on_request: Callable[[str], object] = lambda _method: None
        self._mined = 0
        for _ in range(length - 1):
            self.mine()

    @property
    def tip(self) -> Block:
        return self.canonical[-1]

    def mine(self, *logs: tuple[Address, bytes]) -> Block:
        self._mined += 1
        parent, number = self.tip, len(self.canonical)
        identity = BlockHash(self._mined.to_bytes(4, "big") + number.to_bytes(28, "big"))
        block = Block(number, identity, parent.hash, parent.timestamp + 2)
        self.blocks[block.hash] = block
        self.canonical.append(block)
        self.logs[block.hash] = tuple(
            log_at(number, index, address=address, data=data)
            for index, (address, data) in enumerate(logs)
        )
        return block

    def cut(self, depth: int) -> list[Block]:
        """Forget the newest `depth` blocks, as a node does after a reorg, and return them."""
        gone, self.canonical = self.canonical[-depth:], self.canonical[:-depth]
        for block in gone:
            del self.blocks[block.hash]
        return gone

    async def chain_id(self) -> int:
        return 31337

    async def head(self) -> Block:
        await self._asked("head", None)
        return self.tip

    async def block_at(self, number: int) -> Block | None:
        await self._asked("block_at", number)
        return self.canonical[number] if number < len(self.canonical) else None

    async def block_of(self, block_hash: BlockHash) -> Block | None:
        await self._asked("block_of", block_hash)
        return self.blocks.get(block_hash)

    async def logs_of(self, block: Block, query: LogQuery) -> tuple[Log, ...]:
        await self._asked("logs_of", block.number)
        return tuple(filter(query.wants, self.logs[block.hash]))

    async def logs_between(self, first: int, last: int, query: LogQuery) -> tuple[Log, ...]:
        await self._asked("logs_between", (first, last))
        blocks = self.canonical[first : last + 1]
        return tuple(log for block in blocks for log in self.logs[block.hash] if query.wants(log))

    async def read(self, calls: Sequence[Call], block: Block) -> Readings:
        await self._asked("read", tuple(calls))
        return {call: call.data + b"@" + block.hash[:4] for call in calls}

    async def code_at(self, address: Address) -> bytes:
        return bytes(address)

    async def _asked(self, method: str, what: object) -> None:
        self.requests.append((method, what))
        self.on_request(method)
        for _ in range(3):  # an answer takes a while: others get their turn
            await asyncio.sleep(0)
        if self.faults[method]:
            raise self.faults[method].pop(0)


class FakeHeads:
    """Announcements that a test makes by hand."""

    def __init__(self) -> None:
        self.watched = LogQuery(frozenset(), frozenset())
        self.is_closed = False
        self._events: asyncio.Queue[Event | Exception | None] = asyncio.Queue()

    def watch(self, query: LogQuery) -> None:
        self.watched = query

    def connect(self) -> None:
        self._events.put_nowait(Connected())

    def say(self, event: Event) -> None:
        self._events.put_nowait(event)

    def announce(self, *blocks: Block, watched: LogQuery | None = None) -> None:
        for block in blocks:
            self.say(NewHead(block, arrived_ns=7_000 + block.number, watched=watched))

    def log(self, block: Block, log: Log, *, removed: bool = False) -> None:
        self.say(NewLogs(block.hash, [log], removed))

    def end(self) -> None:
        """Say nothing more: the feed ends once it has caught up."""
        self._events.put_nowait(None)

    def fail(self, error: Exception) -> None:
        self._events.put_nowait(error)

    async def listen(self) -> AsyncGenerator[Event, None]:
        try:
            while (event := await self._events.get()) is not None:
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.is_closed = True


class FakeFollower:
    """Follows the logs of POOL and polls PRICE; a log of POOL with data names a new emitter."""

    def __init__(self) -> None:
        self.addresses = frozenset({POOL})
        self.calls: tuple[Call, ...] = (PRICE,)

    def interest(self) -> LogQuery:
        return LogQuery(self.addresses, frozenset({TOPIC}))

    def polls(self, block: Block) -> tuple[Call, ...]:  # noqa: ARG002
        return self.calls

    def needs(self, block: Block, logs: Sequence[Log], readings: Readings) -> Needs:  # noqa: ARG002
        named = frozenset(Address(log.data) for log in logs if log.data)
        wanted = tuple(Call(emitter, b"balance") for emitter in sorted(named))
        calls = tuple(call for call in wanted if call not in readings)
        return Needs(calls, named - self.addresses) if calls else Needs()


Reply = Callable[[list[dict[str, Any]]], tuple[int, bytes] | Exception]


class ScriptedClient(HttpClient):
    """An endpoint that answers each body by the next reply of a script; the last one repeats."""

    def __init__(self, *replies: Reply, url: str = "http://node.example", **settings: Any) -> None:  # noqa: ANN401
        super().__init__(url, first_pause=0.001, **settings)
        self.bodies: list[list[dict[str, Any]]] = []
        self._replies = list(replies)

    async def _post(self, asked: list[Any], purpose: str) -> tuple[int, bytes]:
        for one in asked:
            self._on_request(self.endpoint.label, one.method, purpose)
        requests = [msgspec.json.decode(one.body) for one in asked]
        self.bodies.append(requests)
        await asyncio.sleep(0)
        reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        outcome = reply(requests)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def answering(respond: Callable[[str, Any], object]) -> Reply:
    """Reply to every request with the result that `respond(method, params)` returns."""

    def reply(requests: list[dict[str, Any]]) -> tuple[int, bytes]:
        answers = [
            {"jsonrpc": "2.0", "id": one["id"], "result": respond(one["method"], one["params"])}
            for one in requests
        ]
        return 200, msgspec.json.encode(answers if len(answers) > 1 else answers[0])

    return reply


def refusing(code: int, message: str, *, status: int = 200) -> Reply:
    """Reply to every request with a JSON-RPC error."""

    def reply(requests: list[dict[str, Any]]) -> tuple[int, bytes]:
        error = {"code": code, "message": message}
        answers = [{"jsonrpc": "2.0", "id": one["id"], "error": error} for one in requests]
        return status, msgspec.json.encode(answers if len(answers) > 1 else answers[0])

    return reply


def saying(body: bytes, *, status: int = 200) -> Reply:
    """Reply with these very bytes."""
    return lambda _requests: (status, body)
