"""A mirror and the chain it mirrors, which need not agree, on a clock of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from chimera.domain.block import Address, Block, BlockBatch, Log
from chimera.domain.call import Call, Readings
from chimera.domain.market import Account, Holder
from chimera.observability.metrics import Metrics
from chimera.state.book import Book
from chimera.state.cache import PositionCache
from chimera.state.documents import Documents
from chimera.state.engine import StateEngine
from chimera.state.publisher import CachePublisher
from chimera.state.reconcile import Reconciler
from chimera.state.trust import Trust
from tests.fakes_rebuild import FakeReader
from tests.fakes_state import (
    ALICE,
    BOB,
    CAROL,
    USDC,
    WETH,
    Clock,
    FakeAdapter,
    FakeMarket,
    FakeStreaks,
    account,
    address,
    child,
    first_block,
)

START = first_block()
VIEW = b"view"
RIGHT = account({WETH: 100}, {USDC: 100_000})  # at 1.6
LESS = account({WETH: 90}, {USDC: 100_000})
PRICES = {WETH: 2_000, USDC: 1}
WITHIN = 600.0


class Roomy(FakeAdapter):
    """Markets are the first byte of the user, and what it answers within can be set."""

    within = 0

    def published(self, holder: Holder) -> tuple[str, Address]:
        return f"{self.name}.{holder[0]}", holder

    def holder(self, protocol: str, user: Address) -> Holder | None:
        return user if protocol == self.published(user)[0] else None

    def exact_within(self, accounts: object) -> int:
        del accounts
        return self.within


class Chain(FakeReader):
    """Views answer what the true accounts are, at every block."""

    def __init__(self, adapter: FakeAdapter) -> None:
        super().__init__()
        self.adapter = adapter
        self.views: list[set[Holder]] = []
        self.calls: list[tuple[Call, ...]] = []
        self.meanwhile: Callable[[], None] | None = None
        self.fault: Exception | None = None

    async def block_at(self, number: int) -> Block | None:
        return self.blocks.get(number)

    async def read(self, calls: Sequence[Call], block: Block) -> Readings:
        self.blocks.setdefault(block.number, block)
        self.calls.append(tuple(calls))
        if self.meanwhile is not None:
            self.meanwhile()
        if self.fault is not None:
            raise self.fault
        self.views.append({Holder(Address(c.data[4:])) for c in calls if c.data[:4] == VIEW})
        return {call: self._answer(call, block) for call in calls}

    def _answer(self, call: Call, block: Block) -> bytes:
        if call.data[:4] != VIEW:
            return b"\x01"
        true = self.adapter.chain.get(Address(call.data[4:]), Account())
        market = FakeMarket(self.adapter.prices)
        return str(self.adapter.health(market, true, block.timestamp).factor).encode()


class House:
    """Some accounts of 1.6 in the book and on the chain alike, and a reconciler between them."""

    def __init__(
        self,
        users: Sequence[Address],
        *,
        adapter: FakeAdapter | None = None,
        cache: PositionCache | None = None,
        most_calls: int = 500,
        within: float = WITHIN,
        settled: float = 0.0,
    ) -> None:
        self.adapter = adapter or FakeAdapter()
        self.adapter.chain = dict.fromkeys(users, RIGHT)
        self.adapter.prices = PRICES
        self.clock = Clock()
        self.metrics = Metrics()
        self.book = Book(debug=True)
        self.load(self.adapter.chain, START)
        self.streaks = FakeStreaks()
        self.trust = Trust(window=within)
        self.cache = cache or PositionCache("")
        self.engine = StateEngine(
            {"fake": self.adapter}, self.book, self.cache, streaks=self.streaks, trust=self.trust
        )
        self.engine.adopt()
        self.chain = Chain(self.adapter)
        self.publisher = CachePublisher(self.cache, self.engine.mirror, clock=self.clock)
        self.faults: list[str] = []
        self.documents = Documents(
            self.cache,
            self.engine.mirror,
            self.publisher,
            self.trust,
            on_fault=self.faults.append,
            clock=self.clock,
        )
        self.reconciler = Reconciler(
            self.chain,
            self.engine,
            self.documents,
            self.metrics,
            within=within,
            most_calls=most_calls,
            settled=settled,
            clock=self.clock,
        )
        self.rebuilt: list[str] = []
        self.reconciler.rebuild = self.rebuild
        self.reconciler.look_again = self.look_again

    def load(self, accounts: Mapping[Address, Account], block: Block) -> None:
        market = FakeMarket(self.adapter.prices)
        self.book.load("fake", market, accounts, complete=False, block=block)

    async def rebuild(self, protocol: str) -> None:
        self.rebuilt.append(protocol)
        self.load(self.adapter.chain, self.book.block)
        self.engine.adopt()

    async def look_again(self) -> None:
        self.engine.look_again()

    def step(self, *logs: Log, salt: str = "", seconds: float = 2) -> None:
        """Seal the next block as the feed does, apply it, and tell the reconciler."""
        block = child(self.book.block, salt)
        readings: dict[Call, bytes | None] = {}
        while needs := self.engine.needs(block, logs, readings):
            readings.update(dict.fromkeys(needs.calls, b"\x01"))
        self.apply(BlockBatch(block, logs, readings), seconds=seconds)

    def apply(self, batch: BlockBatch, *, seconds: float = 2) -> None:
        self.clock.now += seconds
        self.engine.apply(batch)
        assert self.engine.near is not None
        self.reconciler.decided(batch.block, self.engine.touched, live=True)

    def account(self, user: Address) -> Account | None:
        return self.book.get(("fake", user))

    def count(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        lines = self.metrics.render().decode().splitlines()
        found = [line for line in lines if line.startswith(f"chimera_{name}")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)


def people(count: int) -> list[Address]:
    return [address((1 << 152) + number) for number in range(count)]


def house_with(wrong: dict[Address, Account], *, settled: float = 0.0) -> House:
    """Alice, Bob and Carol; `wrong` is what the chain has of them, unlike the book."""
    house = House([ALICE, BOB, CAROL], settled=settled)
    house.adapter.chain |= wrong
    return house
