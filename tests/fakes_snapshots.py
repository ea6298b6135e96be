"""A daemon's start with fakes around it: a chain that goes on, and memory that can be lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from chimera.app.loading import Loaded, load_mirror
from chimera.app.snapshots import RISKIEST, Snapshots
from chimera.domain.block import Address, Block, BlockBatch
from chimera.domain.call import Call, Readings
from chimera.domain.market import Account, Holder
from chimera.domain.opportunity import Checkpoint
from chimera.state.book import Book
from chimera.state.cache import PositionCache
from chimera.state.engine import StateEngine
from chimera.state.rebuild import Bootstrap
from chimera.store.snapshot_file import Identity, Instance
from tests.fakes_rebuild import FakeHistory, FakeReader, FakeScan
from tests.fakes_state import (
    BORROW,
    ENTRY,
    USDC,
    WETH,
    FakeAdapter,
    FakeStreaks,
    account,
    address,
    child,
    first_block,
    log,
)

START = first_block(500)
PEOPLE = [address(number) for number in range(1, 301)]
VACANT = [address(number) for number in range(1_001, 1_011)]
SAFE, RISKY = account({WETH: 100}, {USDC: 100}), account({WETH: 100}, {USDC: 745})
RISKIEST_USERS = PEOPLE[:RISKIEST]
IDENTITY = Identity("1.0", 31337, (Instance("fake", "fake", ENTRY, None, complete=False),))


class Reader(FakeReader):
    """Remembers whose accounts were read."""

    def __init__(self) -> None:
        super().__init__(START)
        self.people: list[Address] = []

    async def read(self, calls: Sequence[Call], block: Block) -> Readings:
        self.people += [Address(call.data) for call in calls if len(call.data) == 20]
        return await super().read(calls, block)


class House:
    """The chain goes on whatever happens to the daemon; a crash leaves history and file."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite+aiosqlite:///{folder}/chimera.db"
        self.file = folder / "chimera.db.31337.snapshot"
        self.reader = Reader()
        self.adapter = FakeAdapter(prices={WETH: 10, USDC: 1})
        self.adapter.chain = dict.fromkeys(PEOPLE, SAFE) | dict.fromkeys(RISKIEST_USERS, RISKY)
        self.history = FakeHistory(Checkpoint(START, {}))
        self.history.known = {"fake": {*PEOPLE, *VACANT}}
        self.history.scanned = {"fake": START.number}
        self.crash()

    def crash(self) -> None:
        """Forget everything that was in memory."""
        self.reader.people.clear()
        self.book = Book()
        adapters: Any = {"fake": self.adapter}
        cache = PositionCache("")
        self.engine = StateEngine(adapters, self.book, cache, streaks=FakeStreaks())
        self.bootstrap = Bootstrap(
            self.reader, self.history, adapters, self.book, scan=FakeScan({}), pauses=()
        )
        self.snapshots = Snapshots(
            self.url, IDENTITY, self.engine, self.bootstrap, most_behind=1_000
        )
        chain = SimpleNamespace(reader=self.reader, adapters=adapters)
        rpc = SimpleNamespace(max_backfill_blocks=1_000)
        self.rooms: Any = SimpleNamespace(
            chain=chain,
            settings=SimpleNamespace(rpc=rpc),
            bootstrap=self.bootstrap,
            engine=self.engine,
            snapshots=self.snapshots,
        )

    async def begin(self, *, recall: bool = True) -> Loaded:
        loaded = await load_mirror(self.rooms, self.history.kept, recall=recall)
        self.snapshots.took(loaded.block)
        return loaded

    async def block(self, user: Address = PEOPLE[-1], amount: int = 1) -> Block:
        block = child(self.book.block)
        self.reader.blocks[block.number] = block
        old = self.adapter.chain[user]
        self.adapter.chain[user] = old.but(
            owed={USDC: old.owed[USDC] + amount}, updated_block=block.number
        )
        self.engine.apply(BlockBatch(block, (log(BORROW, user, USDC, amount),), {}))
        self.history.kept.insert(0, Checkpoint(block, {}))
        self.snapshots.took(block)
        return block

    @property
    def accounts(self) -> dict[Holder, Account]:
        return dict(self.book.accounts("fake").users)
