"""Our mirror led block by block through a life, and what the contracts do when they are tried."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from chimera.app.build import Rooms, build_rooms
from chimera.chain.seal import Sealer
from chimera.domain.block import Block, BlockBatch
from chimera.domain.market import EMPTY, Account, Holder, Market
from chimera.settings import load
from devnet.node import Node, RpcError, Transaction, bytes_of, tag

GAS = 60_000_000


class Mirrored:
    """
    The book and the adapters of the daemon on a chain that stands still between two steps.

    Args:
        config: As the daemon reads it; nothing but the mirror is started.
    """

    def __init__(self, config: Path) -> None:
        self._runner = asyncio.Runner()
        self.rooms: Rooms = build_rooms(load(config))
        self._sealer = Sealer(self.rooms.chain.reader, self.rooms.engine)

    def __enter__(self) -> Self:
        self._runner.run(self._load())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._runner.run(self.rooms.close())
        self._runner.close()

    @property
    def block(self) -> Block:
        """The newest block that has been applied."""
        return self.rooms.book.block

    def adapter(self, name: str) -> Any:  # noqa: ANN401  (of whatever family)
        return self.rooms.chain.adapters[name]

    def market(self, name: str) -> Any:  # noqa: ANN401  (of whatever family)
        return self.rooms.book.market(name)

    def accounts(self, name: str) -> Mapping[Holder, Account]:
        return self.rooms.book.accounts(name).users

    def debtors(self, name: str) -> dict[Holder, Account]:
        accounts = self.accounts(name)
        return {holder: accounts[holder] for holder in sorted(self.rooms.book.open_keys(name))}

    def follow(self, number: int) -> None:
        """Apply every block up to this one."""
        while self.block.number < number:
            self._runner.run(self._step())

    def unlike_fresh(
        self,
        name: str,
        *,
        learnt: Iterable[str] = (),
        derived: Callable[[Any, int], object] | None = None,
    ) -> list[str]:
        """
        Read the protocol anew from the chain; return where the mirror differs.

        Args:
            name: Of the instance.
            learnt: Fields of the market that are not read but come about.
            derived: What follows from a market at a time, to be compared in their stead.
        """
        market, accounts = self._runner.run(self.rooms.bootstrap.read(name, self.block))
        mine, time = self.market(name), self.block.timestamp
        found = list(unlike(mine, market, frozenset(learnt)))
        if derived is not None and derived(mine, time) != derived(market, time):
            found.append(f"{derived(mine, time)}, but {derived(market, time)}")
        ours = self.accounts(name)
        for holder in ours.keys() | accounts.keys():
            mine, theirs = ours.get(holder, EMPTY), accounts.get(holder, EMPTY)
            if mine.but(updated_block=0) != theirs.but(updated_block=0):
                found.append(f"0x{holder.hex()}: {mine}, but {theirs}")
        return [f"block {self.block.number}: {each}" for each in found]

    async def _load(self) -> None:
        await self.rooms.history.open()
        await self.rooms.bootstrap.prove()
        await self.rooms.bootstrap.load(await self.rooms.chain.reader.head())
        self.rooms.engine.adopt()

    async def _step(self) -> None:
        block = await self.rooms.chain.reader.block_at(self.block.number + 1)
        assert block is not None
        draft = await self._sealer.finish(await self._sealer.draft(block))
        self.rooms.engine.apply(BlockBatch(block, draft.logs, draft.readings))


def unlike(ours: Market, fresh: Market, learnt: frozenset[str]) -> Iterator[str]:
    """Yield every compared field of two markets that differs, mappings entry by entry."""
    for name in (each.name for each in fields(ours) if each.compare):  # type: ignore[arg-type]
        mine, theirs = getattr(ours, name), getattr(fresh, name)
        if name in learnt or mine == theirs:
            continue
        if not isinstance(mine, Mapping):
            yield f"{name}: {mine}, but {theirs}"
            continue
        for key in mine.keys() | theirs.keys():
            if mine.get(key) != theirs.get(key):
                yield f"{name} {key!r}: {mine.get(key)}, but {theirs.get(key)}"


# --- what the contracts do ------------------------------------------------------------------------


class Event(NamedTuple):
    """A log that a trial left."""

    address: str
    topics: tuple[str, ...]
    words: tuple[int, ...]


class Trial(NamedTuple):
    """What came of a transaction that was only tried: None for a revert, and its logs."""

    output: bytes | None
    events: tuple[Event, ...]


def tried(node: Node, transaction: Transaction, block: int) -> Trial:
    """Try a transaction at the end of a block, at its own number and time."""
    request = {
        "from": transaction.sender,
        "to": transaction.to,
        "data": "0x" + transaction.data.hex(),
        "gas": hex(GAS),
    }
    try:
        output = bytes_of(node.rpc("eth_call", request, tag(block)))
    except RpcError:
        return Trial(None, ())
    tracer = {"tracer": "callTracer", "tracerConfig": {"withLog": True}}
    frame = node.rpc("debug_traceCall", request, tag(block), tracer)
    return Trial(output, tuple(events(frame)))


def events(frame: Mapping[str, Any]) -> Iterator[Event]:
    """Yield the logs of a call and of those that it made, but for the reverted ones."""
    if "error" in frame:
        return
    for log in frame.get("logs", ()):
        data = bytes_of(log["data"])
        words = tuple(int.from_bytes(data[at : at + 32]) for at in range(0, len(data), 32))
        yield Event(log["address"].lower(), tuple(log["topics"]), words)
    for inner in frame.get("calls", ()):
        yield from events(inner)
