"""The book read in parts: as it stood at one block, whatever the blocks after it do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.block import Address
from chimera.domain.changes import AccountRead, DebtMoved
from chimera.domain.market import EMPTY, Account
from chimera.errors import Skip
from chimera.state import past
from chimera.state.book import Book
from chimera.state.past import Past
from tests.fakes_state import USDC, WETH, FakeMarket, account, address, child, first_block

USERS = [address(number) for number in range(1, 8)]
START = first_block()

moves = st.one_of(st.sampled_from(USERS), st.integers(1, 3))  # a block that changes one, or back


@pytest.fixture(autouse=True)
def _short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past, "PART", 2)


def loaded(*, window: int = 64) -> Book:
    book = Book(undo_window=window)
    everybody = dict.fromkeys(USERS[:6], account({WETH: 3}, {USDC: 2}))
    for name in ("one", "other"):
        book.load(name, FakeMarket(), everybody, complete=True, block=START)
    return book


def extend(book: Book, user: Address = USERS[5], salt: str = "") -> None:
    """Let a block change one account; the last of `USERS` comes and goes."""
    block = child(book.block, salt)
    book.begin(block)
    comes = book.get(("one", user)) is None
    if user in USERS[::3]:
        read = account({}, {USDC: 9}) if comes else EMPTY
        book.apply("one", AccountRead(user, read))
    else:
        book.apply("one", DebtMoved(user, USDC, 1))
    book.commit()


def everybody(book: Book, name: str = "one") -> dict[Address, Account]:
    return dict(book.accounts(name).users)


@given(before=st.lists(moves, max_size=4), meanwhile=st.lists(moves, max_size=8))
def test_blocks_and_reorgs_meanwhile_change_nothing(
    before: list[Address | int], meanwhile: list[Address | int]
) -> None:
    book, steps = loaded(), iter(meanwhile)
    for number, step in enumerate(before):
        follow(book, step, f"before {number}")
    expected, block = everybody(book), book.block

    moment, found = Past(book), {}
    others = moment.items("other")
    try:
        for number, (holder, held) in enumerate(moment.items("one")):
            found[holder] = held
            follow(book, next(steps, 0), f"meanwhile {number}")
        assert dict(others) == everybody(book, "other")
    except Skip:
        assert book.canonical(block.number) != block
    else:
        assert found == expected
        assert list(found) == list(expected)


def follow(book: Book, step: Address | int, salt: str) -> None:
    if not isinstance(step, int):
        extend(book, step, salt)
    elif step:
        book.rollback(max(START.number, book.block.number - step))


def test_whoever_came_later_is_not_in_it_and_whoever_left_is() -> None:
    book = loaded()
    moment = Past(book)
    extend(book, USERS[6])
    extend(book, USERS[0])
    assert USERS[6] in everybody(book)
    assert USERS[0] not in everybody(book)

    assert [holder for holder, _ in moment.items("one")] == USERS[:6]


def test_a_block_that_has_left_or_is_out_of_reach_is_not_read_any_more() -> None:
    book = loaded(window=3)
    extend(book)
    gone = Past(book)
    book.rollback(START.number)
    extend(book, salt="another branch")
    reached = Past(book)
    for _ in range(3):
        extend(book)
    assert len(list(reached.items("one"))) == 6
    extend(book)

    for moment in (gone, reached):
        with pytest.raises(Skip, match="no way back to block 101"):
            list(moment.items("one"))


def test_a_book_that_was_loaded_anew_or_lost_a_protocol_is_not_read_any_more() -> None:
    book = loaded()
    moment = Past(book)
    book.load("one", FakeMarket(), {}, complete=True, block=START)
    book.drop("other")

    for name in ("one", "other"):
        with pytest.raises(Skip):
            list(moment.items(name))
