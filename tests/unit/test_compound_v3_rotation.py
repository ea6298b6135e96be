"""Who is read when more hold something than one block can ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from chimera.domain.block import Address, Block
from chimera.domain.market import Account
from chimera.ports import Accounts
from chimera.protocols.compound_v3 import calls, events, rotation
from chimera.protocols.compound_v3.rotation import BOUND, ROTATING, exact_within, left_out, turn
from chimera.state.shelf import Shelf
from tests.fakes_compound_v3 import (
    COMET,
    COMPOUND,
    NAME,
    START,
    USDC,
    WETH,
    FakeComet,
    Follower,
    account,
    address,
    block_at,
    in_order,
    log,
    market,
    supplied,
)

BORROWER, HOLDER = account(-(10**9), weth=10**18), account(weth=10**18)
NOW = START.accrued_at


def crowd(borrowers: int, holders: int = 0) -> dict[Address, Account]:
    """Return accounts, borrowers at the lower addresses."""
    users = (address(0x1000 + place) for place in range(borrowers + holders))
    kinds = [BORROWER] * borrowers + [HOLDER] * holders
    return dict(zip(users, kinds, strict=True))


def shelf(borrowers: int, holders: int = 0, *, near: int = 0) -> Shelf:
    found = Shelf(NAME, market(), crowd(borrowers, holders), complete=True)
    found.near = frozenset(sorted(found.open)[:near])
    return found


def at(number: int) -> Block:
    return block_at(NOW, number)


def test_everybody_is_read_at_every_block_while_they_fit() -> None:
    accounts = shelf(BOUND - 10, 10)

    assert set(turn(accounts, at(7))) == accounts.keys()
    assert COMPOUND.exact_within(accounts) == 0
    assert left_out(accounts, frozenset(turn(accounts, at(7))), at(7)) == ()


def test_a_silent_block_reads_borrowers_first() -> None:
    accounts = shelf(50, 3 * BOUND)
    asked = frozenset(sorted(accounts.keys())[10:40])

    more = left_out(accounts, asked, at(5))

    assert set(more) >= accounts.open - asked
    assert BOUND // 2 < len(more) == len(set(more) - asked) <= BOUND
    assert BOUND // 2 < len(left_out(shelf(3 * BOUND), frozenset(), at(5))) <= BOUND


def everybody_has_a_turn(accounts: Shelf, first: int) -> list[tuple[Address, ...]]:
    within = exact_within(accounts)
    turns = [turn(accounts, at(number)) for number in range(first, first + within)]
    assert all(len(asked) == len(set(asked)) <= BOUND for asked in turns)
    assert set().union(*turns) == accounts.keys()
    return turns


def test_borrowers_come_first_while_they_leave_room_for_turns() -> None:
    accounts = shelf(BOUND - ROTATING, 3 * ROTATING)

    turns = everybody_has_a_turn(accounts, 0)

    assert all(accounts.open <= set(asked) for asked in turns)
    assert len(turns) == 4


@pytest.mark.parametrize("first", [0, 17, 10**7 + 3])
def test_above_that_the_riskiest_are_read_always_and_all_others_in_turn(first: int) -> None:
    accounts = shelf(1200, 300, near=20)

    turns = everybody_has_a_turn(accounts, first)

    assert all(accounts.near <= set(asked) for asked in turns)
    assert len(turns) == 4


def test_too_many_at_risk_take_turns_themselves() -> None:
    everybody_has_a_turn(shelf(2000, near=1000), 5)
    everybody_has_a_turn(shelf(2000, near=2000), 5)


def test_addresses_that_end_alike_cannot_keep_each_other_from_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rotation, "MOST_TURNS", 16)
    alike = {address(place << 16 | 0xABCD): BORROWER for place in range(1, 2_000)}
    accounts = Shelf(NAME, market(), alike, complete=True)

    everybody_has_a_turn(accounts, 3)


def test_nobody_loses_a_turn_when_others_come_and_go() -> None:
    before, after = shelf(1500, 200), shelf(1500, 200)
    assert exact_within(after) == exact_within(before)  # from here on the index keeps in step
    gone = sorted(after.keys())[100:160]
    for user in gone:
        after.put(user, None)
    for place in range(60):
        after.put(address(0x5000 + place), BORROWER)

    first, second = (set(turn(accounts, at(9))) for accounts in (before, after))

    assert exact_within(before) == exact_within(after)
    everybody_has_a_turn(after, 9)
    assert first - set(gone) <= second


def test_a_risk_that_is_gone_from_the_book_is_not_read() -> None:
    accounts = shelf(1200)
    accounts.near = frozenset({address(1)})

    assert address(1) not in turn(accounts, at(0))


def test_many_are_not_walked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = shelf(1200, 900, near=20)
    stated = exact_within(accounts)  # the first to ask builds the index

    def refuse(*_: object) -> Iterator[Address]:
        raise AssertionError("somebody walks through all holders")

    class Unwalked(set[Address]):
        __iter__ = refuse

    monkeypatch.setattr(Shelf, "keys", lambda self: Unwalked(self.users))
    monkeypatch.setattr(accounts, "open", Unwalked(accounts.open))

    within = exact_within(accounts)
    asked = turn(accounts, at(5))
    more = left_out(accounts, frozenset(asked), at(5))

    assert within == stated > 0
    assert 0 < len(asked) <= BOUND
    assert 0 < len(more) <= BOUND


def test_polls_name_totals_cash_prices_and_the_principals_in_turn() -> None:
    accounts = shelf(1200, near=20)

    polled = COMPOUND.polls(market(), accounts, at(3))

    principals = [
        calls.user_of(COMET, call) for call in polled if call.data[:4] == calls.USER_BASIC
    ]
    assert tuple(principals) == turn(accounts, at(3))
    rest = [call.data[:4] for call in polled[: -len(principals)]]
    assert rest == [calls.TOTALS_BASIC, calls.BALANCE_OF, *[calls.GET_PRICE] * 3]


# --- following many -------------------------------------------------------------------------------


def follower(borrowers: int, holders: int = 0) -> Follower:
    return Follower(FakeComet(market(), NOW, crowd(borrowers, holders)))


def accrue(follower: Follower) -> None:
    comet = follower.comet
    comet.timestamp += 60
    totals = replace(comet.market.totals, indexes=comet.indexes, accrued_at=comet.timestamp)
    comet.market = replace(comet.market, totals=totals)


def differing(follower: Follower) -> set[Address]:
    truth = follower.comet.accounts
    return {user for user, found in truth.items() if follower.account(user).owed != found.owed}


def change(follower: Follower, *places: int, by: int = 1) -> set[Address]:
    """Move the debts at these places without a log."""
    users = sorted(follower.comet.accounts)
    for place in places:
        owed = follower.comet.accounts[users[place]].owed[USDC] + by
        follower.comet.accounts[users[place]] = account(-owed, weth=10**18)
    return {users[place] for place in places}


def test_a_silent_block_reads_as_many_again() -> None:
    run = follower(2 * BOUND)
    changed = change(run, *range(0, 2 * BOUND, 100))
    accrue(run)

    after = run.follow()

    assert differing(run) == set()
    assert after.corrections == len(changed)


def test_needs_take_for_asked_whom_the_polls_named_whoever_is_near_by_then() -> None:
    run = follower(4 * BOUND)
    accrue(run)
    block, accounts = block_at(run.comet.timestamp, 100), run.book.accounts(NAME)
    accounts.near = frozenset(sorted(accounts.open)[:100])
    polled = COMPOUND.polls(run.market, accounts, block)
    readings = dict(run.comet.read(polled))
    expected = left_out(accounts, frozenset(turn(accounts, block)), block)

    accounts.near = frozenset(sorted(accounts.open)[-200:])
    first = COMPOUND.needs(run.market, accounts, block, (), readings).calls
    accounts.near = frozenset()
    then = COMPOUND.needs(run.market, accounts, block, (), {**readings, **run.comet.read(first)})

    assert [calls.user_of(COMET, call) for call in first] == list(expected)
    assert then.calls == ()


def test_a_block_finds_whose_turn_it_is_once(monkeypatch: pytest.MonkeyPatch) -> None:
    run, found = follower(3 * BOUND), list[int]()

    def counted(accounts: Accounts, block: Block) -> tuple[Address, ...]:
        found.append(block.number)
        return turn(accounts, block)

    monkeypatch.setattr(rotation, "turn", counted)
    for _ in range(3):
        accrue(run)
        run.follow()

    assert found == [100, 101, 102]


def test_polls_made_ahead_are_made_anew_once_the_block_before_has_brought_somebody() -> None:
    run = follower(10)
    newcomer, ahead = address(0x9999), block_at(NOW + 4, 101)
    call = calls.user_basic(COMET, newcomer)
    assert call not in COMPOUND.polls(run.market, run.book.accounts(NAME), ahead)

    run.comet.accounts[newcomer] = account(weth=1)
    run.comet.timestamp += 2
    run.follow(log(events.SUPPLY_COLLATERAL, newcomer, newcomer, WETH, words=[1]))

    assert call in COMPOUND.polls(run.market, run.book.accounts(NAME), ahead)


def test_beyond_that_everybody_is_exact_within_the_stated_blocks() -> None:
    run = follower(3 * BOUND)
    within = COMPOUND.exact_within(run.book.accounts(NAME))
    assert within == 4
    change(run, *range(0, 3 * BOUND, 50))
    accrue(run)
    run.follow()
    assert differing(run)
    assert not run.market.is_exact

    for _ in range(within):
        run.comet.timestamp += 2
        run.follow()  # late corrections without accrual are no fault here

    assert differing(run) == set()


def test_a_silent_transfer_beside_a_logged_action_waits_for_its_turn() -> None:
    run = follower(2 * BOUND)
    hidden = change(run, 2 * BOUND - 1)
    accrue(run)
    known = min(run.comet.accounts)
    run.comet.accounts[known] = account(-(10**9) + 99446, weth=10**18)

    repay = supplied(known, 100_000)
    turns = [set(turn(run.book.accounts(NAME), at(number))) for number in range(100, 108)]
    run.follow(repay)

    late = next(place for place, asked in enumerate(turns) if hidden <= asked)
    assert (differing(run) == hidden) is (late > 0)
    for _ in range(late):
        run.comet.timestamp += 2
        run.follow()
    assert differing(run) == set()


def test_whoever_a_log_names_is_read_at_once() -> None:
    run = follower(2 * BOUND)
    block = block_at(NOW, 100)
    accounts = run.book.accounts(NAME)
    outside = max(accounts.keys() - set(turn(accounts, block)))
    newcomer = address(0x9999)

    batch = run.seal(block, in_order(supplied(outside, 0), supplied(newcomer, 1)))

    asked = {calls.user_of(COMET, call) for call in batch.readings}
    assert {outside, newcomer} <= asked


def test_accounts_without_any_reading_keep_what_logs_said() -> None:
    run = follower(2 * BOUND, 0)
    run.comet.timestamp += 2

    after = run.follow()

    assert after.corrections == 0
    assert run.account(min(run.comet.accounts)).supplied == {WETH: 10**18}
