"""Every log of a comptroller and its mTokens, one by one, and what each makes of the book."""

from __future__ import annotations

import pytest

from chimera.domain import abi
from chimera.domain.block import Address, Block, Log
from chimera.domain.changes import AccountRead, DebtSet, Liquidated, SupplyMoved
from chimera.domain.market import Account
from chimera.domain.numeric import WAD
from chimera.protocols.compound_v2 import calls, events
from chimera.protocols.compound_v2.dialect import VENUS
from chimera.protocols.compound_v2.market import CompoundMarket
from chimera.protocols.compound_v2.math import State
from tests.fakes_compound_v2 import (
    ALICE,
    BLOCK,
    BOB,
    CAROL,
    COMPTROLLER,
    M_USDC,
    M_WETH,
    MOONWELL_ON_BASE,
    NOW,
    STATES,
    ZERO,
    Mirror,
    address,
    log,
    market,
    owing,
    readings,
    word,
    words,
)

INDEX = STATES[M_USDC].index


def state_after(*logs: Log, mtoken: Address = M_USDC, of: CompoundMarket | None = None) -> State:
    mirror = Mirror(of=of)
    mirror.take(*logs)
    return mirror.market.states[mtoken]


# --- figures -------------------------------------------------------------------------------------


def test_interest_is_logged_but_its_part_of_the_reserves_is_derived() -> None:
    before = STATES[M_USDC]
    entry = log(M_USDC, events.ACCRUE_INTEREST, 5, 1009, before.index + 7, before.borrows + 1009)

    after = state_after(entry)

    assert after == State(
        cash=before.cash,
        borrows=before.borrows + 1009,
        reserves=before.reserves + 100,  # a tenth, truncated
        supply=before.supply,
        index=before.index + 7,
        accrued=NOW + 2,
    )


def test_the_factor_in_force_before_a_log_decides() -> None:
    change = log(M_USDC, events.NEW_RESERVE_FACTOR, WAD // 10, WAD // 2)
    interest = log(M_USDC, events.ACCRUE_INTEREST, 5, 1000, INDEX + 7, 10**12)
    reserves = STATES[M_USDC].reserves

    assert state_after(interest, change).reserves == reserves + 100
    assert state_after(change, interest).reserves == reserves + 500


def test_the_older_log_of_compound_has_a_word_less() -> None:
    entry = log(M_USDC, events.OLD_ACCRUE_INTEREST, 1009, INDEX + 7, 10**12)

    after = state_after(entry)

    assert (after.borrows, after.index) == (10**12, INDEX + 7)
    assert after.reserves == STATES[M_USDC].reserves + 100


def test_venus_and_compound_note_the_block_in_which_interest_was_added() -> None:
    entry = log(M_USDC, events.ACCRUE_INTEREST, 5, 0, INDEX, 10**12)

    assert state_after(entry, of=market(dialect=VENUS)).accrued == 2
    assert Mirror(of=market(dialect=VENUS)).market.block_number == NOW


def test_reserves_that_venus_pays_out_meanwhile_have_their_part_already() -> None:
    paid = log(M_USDC, events.RESERVES_REDUCED, address(9), 3, 17, index=0)
    interest = log(M_USDC, events.ACCRUE_INTEREST, 5, 1000, INDEX, 10**12, index=1)

    assert state_after(paid, interest).reserves == 17


def test_a_mint_and_a_redemption_move_the_total() -> None:
    supply = STATES[M_USDC].supply

    assert state_after(log(M_USDC, events.MINT, ALICE, 9, 500)).supply == supply + 500
    assert state_after(log(M_USDC, events.REDEEM, ALICE, 9, 500)).supply == supply - 500


def test_the_fourth_word_of_venus_is_a_balance_and_no_total() -> None:
    supply = STATES[M_USDC].supply
    minted = log(M_USDC, events.MINT_WITH_BALANCE, ALICE, 9, 500, 7)
    given = log(M_USDC, events.MINT_BEHALF, BOB, ALICE, 9, 500, 7)
    redeemed = log(M_USDC, events.REDEEM_WITH_BALANCE, ALICE, 9, 500, 7)

    assert state_after(minted).supply == supply + 500
    assert state_after(given).supply == supply + 500
    assert state_after(redeemed).supply == supply - 500


def sent(user: Address, amount: int, index: int) -> Log:
    return log(M_USDC, events.TRANSFER, amount, indexed=(user, M_USDC), index=index)


def added(by: Address, index: int) -> Log:
    return log(M_USDC, events.RESERVES_ADDED, by, 5, 99, index=index)


@pytest.mark.parametrize(
    ("logs", "burned"),
    [
        ((sent(ALICE, 30, 7), added(M_USDC, 8)), 30),  # the protocol's share of a seizure
        ((sent(ALICE, 30, 7),), 0),  # a mistake, or part of a redemption
        ((sent(ALICE, 30, 7), added(BOB, 8)), 0),  # another transaction adds to the reserves
        ((sent(ALICE, 30, 6), added(M_USDC, 8)), 0),  # something unheard of lies between
        ((sent(ALICE, 30, 5), sent(BOB, 4, 7), added(M_USDC, 8)), 4),
        ((added(M_USDC, 8),), 0),
    ],
)
def test_only_a_seized_share_is_burned(logs: tuple[Log, ...], burned: int) -> None:
    holders = {user: owing({M_USDC: 100}, {}) for user in (ALICE, BOB)}
    mirror = Mirror(holders)

    mirror.take(*logs)

    after = mirror.market.states[M_USDC]
    assert STATES[M_USDC].supply - after.supply == burned
    assert after.reserves == (
        99 if any(e.topics[0] == events.RESERVES_ADDED for e in logs) else 5434995
    )


def test_reserves_are_what_the_log_says() -> None:
    assert state_after(log(M_USDC, events.RESERVES_REDUCED, ALICE, 1, 42)).reserves == 42


def test_cash_is_what_was_polled_whatever_the_logs() -> None:
    mirror = Mirror()
    cash = abi.plain(M_USDC, calls.GET_CASH)

    mirror.take(answers={cash: word(123)})

    assert mirror.market.states[M_USDC].cash == 123
    assert mirror.market.states[M_WETH].cash == STATES[M_WETH].cash


# --- accounts ------------------------------------------------------------------------------------


def test_a_transfer_moves_mtokens_and_what_a_market_has_of_itself_is_nobodys() -> None:
    mirror = Mirror({ALICE: owing({M_USDC: 100}, {})})
    plain = log(M_USDC, events.TRANSFER, 30, indexed=(ALICE, BOB))
    minted = log(M_USDC, events.TRANSFER, 7, indexed=(M_USDC, CAROL))
    nothing = log(M_USDC, events.TRANSFER, 0, indexed=(ALICE, BOB))
    born = log(M_USDC, events.TRANSFER, 3, indexed=(ZERO, BOB))

    changes = mirror.take(plain, minted, nothing, sent(ALICE, 10, 3), born)

    assert changes == [
        SupplyMoved(ALICE, M_USDC, -30),
        SupplyMoved(BOB, M_USDC, 30),
        SupplyMoved(CAROL, M_USDC, 7),
        SupplyMoved(ALICE, M_USDC, -10),
        SupplyMoved(BOB, M_USDC, 3),
    ]
    assert mirror.account(ALICE).supplied == {M_USDC: 60}


def test_a_debt_is_settled_at_the_index_of_the_interest_before() -> None:
    mirror = Mirror()
    interest = log(M_USDC, events.ACCRUE_INTEREST, 5, 1000, INDEX + 7, 10**12)
    drawn = log(M_USDC, events.BORROW, ALICE, 500, 777, 10**12 + 500)

    changes = mirror.take(interest, drawn)

    assert changes == [DebtSet(ALICE, M_USDC, 777, INDEX + 7)]
    assert mirror.account(ALICE).owed == {M_USDC: 777}
    assert mirror.account(ALICE).marks == {M_USDC: INDEX + 7}
    assert mirror.market.states[M_USDC].borrows == 10**12 + 500


def test_a_repayment_settles_the_borrower_and_not_the_payer() -> None:
    mirror = Mirror({ALICE: owing({}, {M_USDC: 777})})

    mirror.take(log(M_USDC, events.REPAY_BORROW, BOB, ALICE, 100, 677, 5))

    assert mirror.account(ALICE).owed == {M_USDC: 677}
    assert mirror.account(BOB) == Account()
    assert mirror.market.states[M_USDC].borrows == 5


def test_a_debt_that_is_repaid_leaves_no_mark() -> None:
    mirror = Mirror({ALICE: owing({}, {M_USDC: 777})})

    mirror.take(log(M_USDC, events.REPAY_BORROW, ALICE, ALICE, 777, 0, 5))

    assert mirror.account(ALICE) == owing({}, {}, (M_USDC,)).but(updated_block=2)


def test_a_liquidation_is_told_of_the_borrower() -> None:
    entry = log(M_USDC, events.LIQUIDATE_BORROW, BOB, ALICE, 5, M_WETH, 6)

    assert Mirror().take(entry) == [Liquidated(ALICE)]


def test_membership_comes_and_goes_whoever_indexes_its_words() -> None:
    mirror = Mirror()

    mirror.take(log(COMPTROLLER, events.MARKET_ENTERED, M_WETH, ALICE))
    assert mirror.account(ALICE).enabled == {M_WETH}
    mirror.take(log(COMPTROLLER, events.MARKET_EXITED, indexed=(M_WETH, ALICE)))
    assert mirror.account(ALICE) == Account()
    mirror.take(log(COMPTROLLER, events.MARKET_ENTERED, indexed=(M_WETH, ALICE)))
    assert mirror.account(ALICE).enabled == {M_WETH}


def test_in_a_book_of_borrowers_strangers_are_not_followed() -> None:
    mirror = Mirror({ALICE: owing({M_USDC: 100}, {M_WETH: 5})}, complete=False)

    changes = mirror.take(
        log(M_USDC, events.TRANSFER, 30, indexed=(ALICE, BOB)),
        log(COMPTROLLER, events.MARKET_ENTERED, M_WETH, BOB),
        log(COMPTROLLER, events.POOL_SELECTED, 0, indexed=(BOB, 1)),
        log(M_USDC, events.REPAY_BORROW, BOB, CAROL, 1, 2, 3),
    )

    assert changes == [SupplyMoved(ALICE, M_USDC, -30)]


def test_a_stranger_who_borrows_is_read_as_the_block_leaves_him() -> None:
    mirror = Mirror(complete=False)
    logs = (
        log(M_USDC, events.TRANSFER, 30, indexed=(M_USDC, BOB)),
        log(COMPTROLLER, events.MARKET_ENTERED, M_USDC, BOB),
        log(M_WETH, events.BORROW, BOB, 5, 5, 9),
    )
    block = Block(2, BLOCK.hash, BLOCK.hash, NOW + 2)
    accounts = mirror.book.accounts(MOONWELL_ON_BASE.name)
    told = readings(mirror.market)

    needs = MOONWELL_ON_BASE.needs(mirror.market, accounts, block, logs, told)
    first = {call: ANSWERS.get(call, words(0, 0, 0, 0)) for call in needs.calls}
    again = MOONWELL_ON_BASE.needs(mirror.market, accounts, block, logs, {**told, **first})
    second = {call: ANSWERS[call] for call in again.calls}
    rest = MOONWELL_ON_BASE.needs(mirror.market, accounts, block, logs, {**told, **first, **second})
    changes = mirror.take(*logs, answers={**first, **second})

    assert len(again.calls) == 2  # principal and index
    assert not rest
    bob = Account({M_USDC: 30}, {M_WETH: 5}, frozenset({M_USDC, M_WETH}), 0, 2, {M_WETH: WAD})
    assert changes == [AccountRead(BOB, bob)]
    assert mirror.account(BOB) == bob


ENTRY = calls.entry(M_WETH, 16, BOB)
ANSWERS = {
    **{abi.plain(m, calls.BORROW_INDEX): word(STATES[m].index) for m in STATES},
    abi.of_address(COMPTROLLER, calls.GET_ASSETS_IN, BOB): words(32, 2, M_USDC, M_WETH),
    abi.of_address(M_USDC, calls.GET_ACCOUNT_SNAPSHOT, BOB): words(0, 30, 0, 9),
    abi.of_address(M_WETH, calls.GET_ACCOUNT_SNAPSHOT, BOB): words(
        0, 0, 5 * STATES[M_WETH].index // WAD, 9
    ),
    ENTRY[0]: word(5),
    ENTRY[1]: word(WAD),
}
