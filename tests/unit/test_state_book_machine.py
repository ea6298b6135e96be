"""The book against a model that keeps a whole copy of every block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chimera.domain.block import Address, Block
from chimera.domain.changes import (
    AccountRead,
    DebtMoved,
    DebtSet,
    MarketMoved,
    MarkMoved,
    ModeSet,
    SupplyMoved,
)
from chimera.domain.market import Account, Market
from chimera.errors import Rebuild
from chimera.state.book import Book
from chimera.state.still import Still
from tests.fakes_state import FakeMarket, address, child, first_block

USERS = st.sampled_from([address(number) for number in range(1, 5)])
ASSETS = st.sampled_from([address(number) for number in range(11, 14)])
AMOUNTS = st.integers(min_value=-3, max_value=3)
WINDOW = 5

Legs = dict[Address, int]
Expected = tuple[Legs, Legs, int, Legs]  # supplied, owed, mode, marks
Copy = tuple[Block, dict[Address, Account], Market]


class BookMachine(RuleBasedStateMachine):
    """Opens, closes, re-opens, aborts and rolls back."""

    @initialize(complete=st.booleans())
    def load(self, complete: bool) -> None:  # noqa: FBT001  (hypothesis passes it)
        self.book = Book(undo_window=WINDOW)
        self.book.load("p", FakeMarket(), {}, complete=complete, block=first_block())
        self.book.accounts("p").endings(owing=True)  # from here on it has to keep in step
        self.salt = self.reach = 0
        self.history: list[Copy] = [self.copy()]
        self.expected: dict[Address, Expected] = {}
        self.past = [self.expected]
        self.stills: list[tuple[Still, dict[Address, Account]]] = []
        self.readers: list[tuple[Iterator[Address], list[Address], dict[Address, Account]]] = []

    def copy(self) -> Copy:
        users = dict(self.book.accounts("p").users)
        return self.book.block, users, self.book.market("p")

    @rule(moves=st.lists(st.tuples(st.booleans(), USERS, ASSETS, AMOUNTS), max_size=6))
    def move(self, moves: list[tuple[bool, Address, Address, int]]) -> None:
        expected = self.fresh()
        fits = True
        self.begin()
        try:
            for is_debt, user, asset, delta in moves:
                supplied, owed, _, _ = expected.setdefault(user, ({}, {}, 0, {}))
                legs = owed if is_debt else supplied
                legs[asset] = legs.get(asset, 0) + delta
                fits = legs[asset] >= 0
                change = DebtMoved if is_debt else SupplyMoved
                self.book.apply("p", change(user, asset, delta))
        except Rebuild:
            assert not fits
            self.book.abort()
            return
        assert fits
        self.commit(expected)

    def fresh(self) -> dict[Address, Expected]:
        """Copy what is expected, to be changed."""
        held = self.expected.items()
        return {user: (dict(a), dict(b), m, dict(c)) for user, (a, b, m, c) in held}

    @rule(user=USERS, asset=ASSETS, amount=st.integers(0, 3), mark=st.integers(0, 3), delta=AMOUNTS)
    def settle(self, user: Address, asset: Address, amount: int, mark: int, delta: int) -> None:
        expected = self.fresh()
        _, owed, _, marks = expected.setdefault(user, ({}, {}, 0, {}))
        owed[asset], marks[asset] = amount, mark + delta
        self.begin()
        try:
            self.book.apply("p", DebtSet(user, asset, amount, mark))
            self.book.apply("p", MarkMoved(user, asset, delta))
        except Rebuild:
            assert mark + delta < 0
            self.book.abort()
            return
        assert mark + delta >= 0
        self.commit(expected)

    @rule(user=USERS, mode=st.integers(min_value=0, max_value=1), close=st.booleans())
    def read(self, user: Address, mode: int, close: bool) -> None:  # noqa: FBT001
        self.begin()
        if close:
            self.book.apply("p", AccountRead(user, Account(mode=mode)))
        else:
            self.book.apply("p", ModeSet(user, mode))
        supplied, owed, _, marks = self.expected.get(user, ({}, {}, 0, {}))
        kept: Expected = ({}, {}, mode, {}) if close else (supplied, owed, mode, marks)
        self.commit(self.expected | {user: kept})

    @rule(depth=st.integers(min_value=0, max_value=WINDOW))
    def roll_back(self, depth: int) -> None:
        depth = min(depth, self.reach)
        self.reach -= depth
        self.book.rollback(self.book.block.number - depth)
        self.history = self.history[: len(self.history) - depth]
        self.past = self.past[: len(self.past) - depth]
        self.expected = self.past[-1]
        assert self.copy() == self.history[-1]

    @rule()
    def hold_still(self) -> None:
        self.stills.append((self.book.still("p"), self.copy()[1]))

    @rule(number=st.integers(min_value=0), user=USERS)
    def look(self, number: int, user: Address) -> None:
        if self.stills:
            still, users = self.stills[number % len(self.stills)]
            assert (still.get(user), len(still)) == (users.get(user), len(users))

    @rule(number=st.integers(min_value=0))
    def begin_to_read(self, number: int) -> None:
        if self.stills:
            still, users = self.stills[number % len(self.stills)]
            self.readers.append((iter(still), [], users))

    @rule(number=st.integers(min_value=0))
    def read_on(self, number: int) -> None:
        if self.readers:
            reader, found, _ = self.readers[number % len(self.readers)]
            found += islice(reader, 1)

    def teardown(self) -> None:
        """Compare what was held still, and what was read of it by and by, with the copies."""
        for still, users in getattr(self, "stills", ()):
            assert dict(still) == users
        for reader, found, users in getattr(self, "readers", ()):
            assert sorted([*found, *reader]) == sorted(users)

    @precondition(lambda self: len(self.history) > self.reach + 1)
    @rule()
    def roll_back_too_far(self) -> None:
        try:
            self.book.rollback(self.book.block.number - self.reach - 1)
        except Rebuild:
            return
        raise AssertionError("the window does not hold")

    @invariant()
    def indexes_hold(self) -> None:
        self.book.verify_indexes()
        holders = {asset: self.book.holders("p", asset) for asset in map(address, range(11, 14))}
        for user, (supplied, owed, mode, marks) in self.expected.items():
            account = self.book.get(("p", user)) or Account()
            assert account.supplied == _held(supplied)
            assert account.owed == _held(owed)
            assert account.mode == mode
            assert account.marks == _held(marks)
            assert (user in self.book.open_keys("p")) == bool(_held(owed))
            for asset, users in holders.items():
                assert (user in users) == (asset in account.supplied or asset in account.owed)

    def begin(self) -> None:
        self.salt += 1
        self.book.begin(child(self.book.block, str(self.salt)))
        self.book.apply("p", MarketMoved(FakeMarket({address(11): self.salt})))

    def commit(self, expected: dict[Address, Expected]) -> None:
        self.book.commit()
        self.reach = min(WINDOW, self.reach + 1)
        self.expected = expected
        self.past.append(expected)
        self.history.append(self.copy())


def _held(legs: Legs) -> Legs:
    items: Iterable[tuple[Address, int]] = legs.items()
    return {asset: amount for asset, amount in items if amount}


TestBook = BookMachine.TestCase
TestBook.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
