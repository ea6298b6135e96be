"""Accounts added up over a block: the same as log by log, and one change for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.domain.block import Address
from chimera.domain.changes import (
    AccountsSet,
    Change,
    CollateralSwitched,
    DebtMoved,
    ModeSet,
    SupplyMoved,
)
from chimera.domain.market import Account
from chimera.errors import Rebuild
from chimera.protocols.aave_v3.balances import DEBT, SUPPLY, Balances
from chimera.state.book import Book
from tests.fakes_state import FakeMarket, address, child, first_block

ALICE, BOB, CAROL = map(address, range(1, 4))
WETH, USDC, DAI = map(address, range(11, 14))
NAME, START = "aave", first_block()
HELD = {
    ALICE: Account({WETH: 10, USDC: 2}, {USDC: 5}, frozenset({WETH}), 1, 90),
    BOB: Account({USDC: 3}, {}, frozenset({USDC}), 0, 91),
}


def as_said(_before: int, amount: int, _index: int) -> int:
    return amount


@dataclass(frozen=True)
class Act:
    """What one log does to one user."""

    kind: str
    user: Address
    asset: Address
    number: int

    def change(self) -> Change:
        """It as a change of its own."""
        kinds: dict[str, Callable[[], Change]] = {
            "supply": lambda: SupplyMoved(self.user, self.asset, self.number),
            "debt": lambda: DebtMoved(self.user, self.asset, self.number),
            "switch": lambda: CollateralSwitched(self.user, self.asset, enabled=self.number > 0),
            "mode": lambda: ModeSet(self.user, abs(self.number)),
        }
        return kinds[self.kind]()

    def into(self, balances: Balances) -> None:
        """It as a part of a sum."""
        if self.kind == "switch":
            balances.switch(self.user, self.asset, enabled=self.number > 0)
        elif self.kind == "mode":
            balances.set_mode(self.user, abs(self.number))
        else:
            side = SUPPLY if self.kind == "supply" else DEBT
            balances.move(self.user, side, self.asset, as_said, self.number, 0)


ACTS = st.builds(
    Act,
    kind=st.sampled_from(["supply", "supply", "debt", "debt", "switch", "mode"]),
    user=st.sampled_from([ALICE, BOB, CAROL]),
    asset=st.sampled_from([WETH, USDC, DAI]),
    number=st.integers(-3, 3),
)
BLOCKS = st.lists(st.lists(ACTS, max_size=8), min_size=1, max_size=4)


def book_of(*, complete: bool) -> Book:
    book = Book(debug=True)
    book.load(NAME, FakeMarket(), HELD, complete=complete, block=START)
    book.accounts(NAME).endings(owing=True)  # from here on it has to keep in step
    return book


def balances_of(book: Book, *, read: tuple[Address, ...] = (), number: int = 7) -> Balances:
    return Balances(book.accounts(NAME), read, block_number=number, protocol=NAME)


def one_by_one(book: Book, acts: list[Act]) -> str | None:
    """Apply each act by itself to whom the book follows; return what forbids it."""
    shelf = book.accounts(NAME)
    book.begin(child(book.block))
    try:
        for act in acts:
            if shelf.complete or shelf.get(act.user) is not None:
                book.apply(NAME, act.change())
    except Rebuild as error:
        book.abort()
        return str(error)
    book.commit()
    return None


def at_once(book: Book, acts: list[Act]) -> str | None:
    """Add the acts up and apply the sums."""
    block = child(book.block)
    balances = balances_of(book, number=block.number)
    book.begin(block)
    try:
        for act in acts:
            act.into(balances)
        book.apply(NAME, AccountsSet(balances.changed()))
    except Rebuild as error:
        book.abort()
        return str(error)
    book.commit()
    return None


@settings(max_examples=120, deadline=None, derandomize=True)
@given(blocks=BLOCKS, complete=st.booleans())
def test_a_block_added_up_leaves_what_its_logs_would_leave_one_by_one(
    blocks: list[list[Act]],
    complete: bool,  # noqa: FBT001  (hypothesis passes it)
) -> None:
    ours, expected = book_of(complete=complete), book_of(complete=complete)

    for acts in blocks:
        assert at_once(ours, acts) == one_by_one(expected, acts)
        users, theirs = ours.accounts(NAME).users, expected.accounts(NAME).users
        assert users == theirs
        assert all(users[user][0] is theirs[user][0] for user in users)
        assert (ours.touched, ours.newcomers()) == (expected.touched, expected.newcomers())

    ours.rollback(START.number)
    assert ours.accounts(NAME).users == HELD


def test_nobody_is_changed_by_what_moves_nothing() -> None:
    balances = balances_of(book_of(complete=True))

    balances.move(ALICE, SUPPLY, WETH, as_said, 0, 0)
    balances.move(CAROL, DEBT, WETH, as_said, 0, 0)
    balances.switch(ALICE, WETH, enabled=True)
    balances.switch(CAROL, WETH, enabled=False)
    balances.set_mode(ALICE, 1)

    assert balances.changed() == {}


def test_who_came_and_went_within_a_block_was_touched_and_is_not_there() -> None:
    book = book_of(complete=True)

    at_once(book, [Act("debt", CAROL, WETH, 2), Act("debt", CAROL, WETH, -2)])

    assert book.get((NAME, CAROL)) is None
    assert book.touched == {(NAME, CAROL)}
    assert book.newcomers() == {}


def test_strangers_and_those_who_were_just_read_are_left_alone() -> None:
    balances = balances_of(book_of(complete=False), read=(BOB,))

    for user in (BOB, CAROL):
        assert balances.move(user, SUPPLY, USDC, as_said, 4, 0) is None
        balances.switch(user, USDC, enabled=False)
        balances.set_mode(user, 2)

    assert balances.changed() == {}
    assert balances.move(ALICE, SUPPLY, USDC, as_said, 4, 0) == 4


def test_a_rule_is_told_what_the_logs_before_it_have_left() -> None:
    told: list[tuple[int, int, int]] = []

    def rule(before: int, amount: int, index: int) -> int:
        told.append((before, amount, index))
        return amount

    balances = balances_of(book_of(complete=True))
    balances.move(ALICE, DEBT, USDC, rule, -5, 8)
    balances.move(ALICE, DEBT, USDC, rule, 4, 9)

    assert told == [(5, -5, 8), (0, 4, 9)]
    expected = Account({WETH: 10, USDC: 2}, {USDC: 4}, frozenset({WETH}), 1, 7)
    assert balances.changed() == {ALICE: expected}


def test_a_balance_under_zero_is_refused_though_a_later_log_would_lift_it() -> None:
    balances = balances_of(book_of(complete=True))

    with pytest.raises(Rebuild) as refused:
        balances.move(ALICE, SUPPLY, USDC, as_said, -3, 0)

    assert str(refused.value) == (
        f"supply of 0x{ALICE.hex()} in aave, asset 0x{USDC.hex()}, would be -1 after a change of -3"
    )
