"""The book: one block after the other, and back."""

from __future__ import annotations

import pytest

from chimera.domain.block import Block
from chimera.domain.changes import (
    AccountRead,
    AccountsSet,
    Change,
    CollateralSwitched,
    DebtMoved,
    Liquidated,
    MarketMoved,
    ModeSet,
    SupplyMoved,
)
from chimera.domain.market import EMPTY, Account
from chimera.errors import Rebuild
from chimera.state.book import Book
from tests.fakes_state import ALICE, BOB, USDC, WETH, FakeMarket, child, first_block

AAVE, COMET = "aave", "comet"
START = first_block()


def loaded(*, complete: bool = True, window: int = 64) -> Book:
    book = Book(undo_window=window, debug=True)
    alice = Account({WETH: 10}, {USDC: 5}, frozenset({WETH}), 1, 90)
    book.load(AAVE, FakeMarket({WETH: 1}), {ALICE: alice}, complete=complete, block=START)
    book.load(COMET, FakeMarket(), {}, complete=complete, block=START)
    return book


def extend(book: Book, *changes: Change, protocol: str = AAVE, salt: str = "") -> Block:
    block = child(book.block, salt)
    book.begin(block)
    for change in changes:
        book.apply(protocol, change)
    book.commit()
    return block


def test_a_loaded_book_knows_accounts_markets_and_holders() -> None:
    book = loaded()

    assert book.block == START
    assert book.open_keys(AAVE) == {ALICE}
    assert book.holders(AAVE, USDC) == book.holders(AAVE, WETH) == {ALICE}
    assert book.holders(COMET, WETH) == set()
    assert book.market(AAVE) == FakeMarket({WETH: 1})
    assert book.accounts(AAVE).complete


def test_an_empty_book_has_no_block() -> None:
    with pytest.raises(Rebuild, match="load a snapshot"):
        _ = Book().block


def test_changes_move_balances_and_mark_the_block() -> None:
    book = loaded()

    block = extend(
        book,
        SupplyMoved(BOB, WETH, 7),
        DebtMoved(BOB, USDC, 3),
        CollateralSwitched(BOB, WETH, enabled=True),
        ModeSet(BOB, 2),
    )

    assert book.get((AAVE, BOB)) == Account(
        {WETH: 7}, {USDC: 3}, frozenset({WETH}), 2, block.number
    )
    assert book.touched == {(AAVE, BOB)}
    assert book.newcomers() == {AAVE: {BOB}}
    assert book.open_keys(AAVE) == {ALICE, BOB}


def test_a_repaid_debt_closes_the_account_and_a_new_one_opens_it_again() -> None:
    book = loaded()

    extend(book, DebtMoved(ALICE, USDC, -5))
    assert book.open_keys(AAVE) == set()
    assert book.holders(AAVE, USDC) == set()
    assert book.holders(AAVE, WETH) == {ALICE}

    extend(book, DebtMoved(ALICE, WETH, 1))
    assert book.open_keys(AAVE) == {ALICE}
    extend(book, SupplyMoved(ALICE, WETH, -10))
    assert book.holders(AAVE, WETH) == {ALICE}  # still owed


def test_an_account_of_nothing_is_dropped_from_a_complete_book() -> None:
    book = loaded()
    extend(book, DebtMoved(ALICE, USDC, -5), SupplyMoved(ALICE, WETH, -10))
    assert book.get((AAVE, ALICE)) is not None  # its mode and its flag must survive

    extend(book, ModeSet(ALICE, 0), CollateralSwitched(ALICE, WETH, enabled=False))

    assert book.get((AAVE, ALICE)) is None
    assert book.newcomers() == {}


def test_an_account_of_nothing_stays_in_an_incomplete_book() -> None:
    book = loaded(complete=False)

    extend(book, AccountRead(BOB, EMPTY))
    extend(book, DebtMoved(BOB, USDC, 4))
    extend(book, DebtMoved(BOB, USDC, -4))

    assert book.get((AAVE, BOB)) == Account(updated_block=START.number + 3)


def test_an_account_that_is_read_replaces_what_was_known() -> None:
    book = loaded()

    block = extend(book, AccountRead(ALICE, Account({USDC: 3}, {WETH: 2})))

    assert book.get((AAVE, ALICE)) == Account({USDC: 3}, {WETH: 2}, updated_block=block.number)
    assert book.holders(AAVE, USDC) == {ALICE}


def test_accounts_set_at_once_replace_what_was_known_and_are_undone_as_it_was() -> None:
    book = loaded()
    before, number = book.get((AAVE, ALICE)), START.number + 1
    alice, bob = Account({WETH: 3}, {}, updated_block=number), Account({}, {USDC: 1})

    extend(book, SupplyMoved(ALICE, WETH, 1), AccountsSet({ALICE: alice, BOB: bob}))

    assert (book.get((AAVE, ALICE)), book.get((AAVE, BOB))) == (alice, bob)
    assert book.open_keys(AAVE) == {BOB}
    assert book.touched == {(AAVE, ALICE), (AAVE, BOB)}
    assert book.newcomers() == {AAVE: {BOB}}
    assert book.at((AAVE, ALICE), START.number) == (START, book.market(AAVE), before)
    book.rollback(START.number)
    assert (book.get((AAVE, ALICE)), book.get((AAVE, BOB))) == (before, None)


@pytest.mark.parametrize("complete", [True, False])
def test_who_is_set_to_nothing_is_dropped_where_everybody_is_known(*, complete: bool) -> None:
    book = loaded(complete=complete)

    extend(book, AccountsSet({ALICE: EMPTY}))

    assert book.get((AAVE, ALICE)) == (None if complete else EMPTY)
    assert book.open_keys(AAVE) == set()


@pytest.mark.parametrize(
    "change",
    [
        Liquidated(ALICE),
        SupplyMoved(ALICE, WETH, 0),
        ModeSet(ALICE, 1),
        CollateralSwitched(ALICE, WETH, enabled=True),
        CollateralSwitched(BOB, WETH, enabled=False),
        AccountRead(ALICE, Account({WETH: 10}, {USDC: 5}, frozenset({WETH}), 1)),
    ],
)
def test_what_changes_nothing_touches_nobody(change: Change) -> None:
    book = loaded()
    before = book.get((AAVE, ALICE))

    extend(book, change)

    assert book.get((AAVE, ALICE)) is before
    assert book.touched == set()


def test_a_negative_balance_names_the_account_and_the_asset() -> None:
    book = loaded()
    book.begin(child(START))

    with pytest.raises(Rebuild, match=f"debt of 0x{ALICE.hex()} in aave, asset 0x{USDC.hex()}"):
        book.apply(AAVE, DebtMoved(ALICE, USDC, -6))


def test_an_aborted_block_never_happened() -> None:
    book = loaded()
    before = book.get((AAVE, ALICE))
    book.begin(child(START))
    book.apply(AAVE, SupplyMoved(ALICE, USDC, 6))
    book.apply(AAVE, DebtMoved(BOB, USDC, 6))
    book.apply(AAVE, MarketMoved(FakeMarket({WETH: 2})))

    book.abort()

    assert book.get((AAVE, ALICE)) is before
    assert book.get((AAVE, BOB)) is None
    assert book.market(AAVE) == FakeMarket({WETH: 1})
    assert book.block == START
    book.verify_indexes()
    assert extend(book, DebtMoved(BOB, USDC, 6)) == book.block


def test_only_the_next_block_is_accepted() -> None:
    book = loaded()
    block = extend(book)

    for wrong in (block, child(START, "sibling"), child(child(block))):
        with pytest.raises(Rebuild, match="does not build on"):
            book.begin(wrong)
    assert book.block == block


def test_two_blocks_cannot_be_open() -> None:
    book = loaded()
    book.begin(child(START))

    with pytest.raises(Rebuild, match="never finished"):
        book.begin(child(START))


def test_a_change_needs_an_open_block() -> None:
    with pytest.raises(Rebuild, match="outside"):
        loaded().apply(AAVE, ModeSet(ALICE, 3))
    with pytest.raises(Rebuild, match="no block is open"):
        loaded().commit()


def test_a_rollback_restores_accounts_markets_and_the_block() -> None:
    book = loaded()
    before, market = book.get((AAVE, ALICE)), book.market(AAVE)
    extend(book, SupplyMoved(ALICE, USDC, 6), DebtMoved(BOB, WETH, 1))
    extend(book, MarketMoved(FakeMarket({WETH: 2})), DebtMoved(ALICE, USDC, -5))
    extend(book, DebtMoved(BOB, WETH, 1), protocol=COMET)

    restored = book.rollback(START.number)

    assert book.block == START
    assert book.get((AAVE, ALICE)) is before
    assert book.market(AAVE) is market
    assert restored == {(AAVE, ALICE), (AAVE, BOB), (COMET, BOB)}
    assert book.keys(COMET) == set()
    extend(book, DebtMoved(BOB, WETH, 1), salt="other fork")
    assert book.open_keys(AAVE) == {ALICE, BOB}


def test_a_rollback_to_the_newest_block_changes_nothing() -> None:
    book = loaded()
    block = extend(book, SupplyMoved(ALICE, USDC, 6))

    assert book.rollback(block.number) == set()
    assert book.block == block


def test_no_rollback_reaches_beyond_the_window_or_a_snapshot() -> None:
    book = loaded(window=2)
    for _ in range(3):
        extend(book, SupplyMoved(ALICE, USDC, 1))
    newest = book.get((AAVE, ALICE))

    for number in (START.number, book.block.number + 1):
        with pytest.raises(Rebuild, match="no way back"):
            book.rollback(number)
    assert book.get((AAVE, ALICE)) is newest

    book.load(AAVE, FakeMarket(), {}, complete=True, block=book.block)
    assert book.touched == {(AAVE, ALICE)}
    with pytest.raises(Rebuild, match="no way back"):
        book.rollback(book.block.number - 1)


def test_the_canonical_past_is_known_within_the_window() -> None:
    book = loaded(window=2)
    blocks = [START, *(extend(book) for _ in range(3))]

    assert [book.canonical(block.number) for block in blocks] == [None, *blocks[1:]]


def test_protocols_of_one_book_share_a_block() -> None:
    book = loaded()
    extend(book)

    with pytest.raises(Rebuild, match="snapshot of aave"):
        book.load(AAVE, FakeMarket(), {}, complete=True, block=START)
    book.clear()
    assert not book.loaded
    book.load(AAVE, FakeMarket(), {}, complete=True, block=START)
    assert book.protocols == (AAVE,)


def test_a_wrong_count_of_those_with_debt_is_found_and_mended() -> None:
    book = loaded()
    shelf = book.accounts(AAVE)
    right = len(shelf.open)
    shelf.open.count += 1

    with pytest.raises(Rebuild, match=f"{right + 1} with debt instead of {right}"):
        book.verify_indexes()

    book.rebuild_indexes()
    book.verify_indexes()


def test_an_index_by_endings_that_left_the_accounts_is_named_and_mended() -> None:
    book = loaded()
    shelf = book.accounts(AAVE)
    owing = shelf.endings(owing=True)
    assert ALICE in owing

    shelf.ends[True].remove(ALICE)

    with pytest.raises(Rebuild, match=f"by ending, with debt 0x{ALICE.hex()}"):
        book.verify_indexes()

    book.rebuild_indexes()
    book.verify_indexes()
    assert ALICE in shelf.endings(owing=True)


def test_what_is_held_still_stays_though_the_book_is_loaded_anew() -> None:
    book = loaded()
    still = book.still(AAVE)
    before = dict(book.accounts(AAVE).users)
    extend(book, SupplyMoved(ALICE, WETH, 1), SupplyMoved(BOB, WETH, 7))
    book.drop(COMET)
    bob = Account({WETH: 3}, {USDC: 1})
    book.load(AAVE, FakeMarket(), {BOB: bob}, complete=True, block=book.block)
    extend(book, SupplyMoved(BOB, WETH, 1))

    assert dict(still) == before == {ALICE: still[ALICE]}
    assert still.get(BOB) is None


def test_what_nobody_holds_any_more_is_not_told() -> None:
    book = loaded()
    still = book.still(AAVE)
    assert len(book._stills) == 1

    del still

    assert len(book._stills) == 0
