"""Reading accounts: where debts are stored, who there is, and what is read in the middle."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.domain import abi
from chimera.domain.block import Address
from chimera.domain.call import Answer, Call, Slot
from chimera.domain.market import Account
from chimera.domain.numeric import WAD
from chimera.errors import Refuse
from chimera.protocols.compound_v2 import calls, events
from chimera.protocols.compound_v2.dialect import MOONWELL, VENUS
from chimera.protocols.compound_v2.market import USUAL_SLOT, CompoundMarket
from tests.fakes_aave_v3 import drive
from tests.fakes_compound_v2 import (
    ALICE,
    BLOCK,
    BOB,
    COMPTROLLER,
    LISTINGS,
    M_CBBTC,
    M_NEW,
    M_USDC,
    M_WETH,
    MOONWELL_ON_BASE,
    NEW,
    STATES,
    Mirror,
    address,
    chain,
    layout,
    log,
    market,
    market_answers,
    readings,
    state_answers,
    word,
    words,
)


def read(told: dict[Call, Answer]) -> CompoundMarket:
    return drive(MOONWELL_ON_BASE.read_market(BLOCK), told)


# --- where debts are stored ----------------------------------------------------------------------


def test_debts_are_found_behind_four_words_that_are_known() -> None:
    told = {call: a for call, a in chain().items() if not isinstance(call, Slot)}
    for mtoken, start in ((M_WETH, 20), (M_USDC, 20), (M_CBBTC, 3)):
        told |= layout(mtoken, STATES[mtoken], start)

    found = read(told).listings

    assert [listing.slot for listing in found.values()] == [26, 26, 9]


@pytest.mark.parametrize("copies", [0, 2])
def test_a_layout_that_is_not_found_or_found_twice_is_not_known(copies: int) -> None:
    told = {call: a for call, a in chain().items() if not isinstance(call, Slot)}
    for copy in range(copies):
        told |= layout(M_WETH, STATES[M_WETH], 10 * copy)

    assert read(told).listings[M_WETH].slot is None


PRINCIPAL = 18000000000
STORED = calls.entry(M_USDC, USUAL_SLOT, ALICE)


def account_answers(principal: int, mark: int) -> dict[Call, Answer]:
    debt = PRINCIPAL * STATES[M_USDC].index // WAD
    found: dict[Call, Answer] = {
        abi.plain(mtoken, calls.BORROW_INDEX): word(state.index) for mtoken, state in STATES.items()
    }
    for user in (ALICE, BOB):
        found[abi.of_address(COMPTROLLER, calls.GET_ASSETS_IN, user)] = words(32, 0)
        for mtoken in STATES:
            asked = abi.of_address(mtoken, calls.GET_ACCOUNT_SNAPSHOT, user)
            found[asked] = words(0, 0, 0, 5)
    found[abi.of_address(COMPTROLLER, calls.GET_ASSETS_IN, ALICE)] = words(32, 1, M_USDC)
    found[abi.of_address(M_USDC, calls.GET_ACCOUNT_SNAPSHOT, ALICE)] = words(0, 0, debt, 5)
    found[abi.of_address(M_WETH, calls.GET_ACCOUNT_SNAPSHOT, ALICE)] = words(0, 77, 0, 5)
    return {**found, STORED[0]: word(principal), STORED[1]: word(mark)}


def accounts_of(of: CompoundMarket, told: dict[Call, Answer]) -> dict[Address, Account]:
    return drive(MOONWELL_ON_BASE.read_accounts(of, [ALICE, BOB], BLOCK), told)


def test_a_debt_is_taken_from_storage_and_proved_by_what_it_comes_to() -> None:
    found = accounts_of(market(), account_answers(PRINCIPAL, WAD))

    alice = Account({M_WETH: 77}, {M_USDC: PRINCIPAL}, frozenset({M_USDC}), 0, 1, {M_USDC: WAD})
    assert found == {ALICE: alice}  # and nobody who has nothing


def test_without_a_layout_the_usual_place_is_tried_and_proved() -> None:
    unknown = replace(LISTINGS[M_USDC], slot=None)
    of = market(listings={M_USDC: unknown})
    debt, index = PRINCIPAL * STATES[M_USDC].index // WAD, STATES[M_USDC].index

    there = accounts_of(of, account_answers(PRINCIPAL, WAD))[ALICE]
    elsewhere = accounts_of(of, account_answers(5, WAD))[ALICE]
    nothing = accounts_of(of, account_answers(0, 0))[ALICE]

    assert (there.owed, there.marks) == ({M_USDC: PRINCIPAL}, {M_USDC: WAD})
    for settled in (elsewhere, nothing):
        assert (settled.owed, settled.marks) == ({M_USDC: debt}, {M_USDC: index})


def test_a_proved_layout_that_holds_another_debt_is_refused() -> None:
    with pytest.raises(Refuse, match="its layout is not understood"):
        accounts_of(market(), account_answers(5, WAD))


def test_the_pool_of_an_account_is_read_where_there_are_pools() -> None:
    asked = abi.of_address(COMPTROLLER, calls.USER_POOL_ID, BOB)
    told = {**account_answers(PRINCIPAL, WAD), asked: word(2)}

    assert accounts_of(market(dialect=VENUS), told)[BOB] == Account(mode=2, updated_block=1)
    assert BOB not in accounts_of(market(), told)
    assert drive(MOONWELL_ON_BASE.read_accounts(market(), [], BLOCK), {}) == {}


# --- who there is --------------------------------------------------------------------------------


def test_borrowers_and_suppliers_are_found_in_logs() -> None:
    logs = [
        log(M_WETH, events.BORROW, ALICE, 1, 2, 3),
        log(M_WETH, events.TRANSFER, 5, indexed=(M_WETH, BOB)),
        log(M_WETH, events.TRANSFER, 5, indexed=(BOB, M_WETH)),
        log(COMPTROLLER, events.MARKET_ENTERED, M_WETH, address(7)),
        log(COMPTROLLER, events.POOL_SELECTED, 0, indexed=(address(8), 1)),
    ]
    few = MOONWELL_ON_BASE.discovery(market(), suppliers=False)
    all_of_them = MOONWELL_ON_BASE.discovery(market(), suppliers=True)

    assert [few.wants(entry) for entry in logs] == [True, False, False, False, False]
    assert all(all_of_them.wants(entry) for entry in logs)
    assert MOONWELL_ON_BASE.users_in(logs, suppliers=False) == {ALICE}
    everybody = {ALICE, BOB, address(7), address(8)}
    assert MOONWELL_ON_BASE.users_in(logs, suppliers=True) == everybody


def test_names_outside_lead_back_to_the_holder() -> None:
    assert MOONWELL_ON_BASE.published(ALICE) == ("moonwell", ALICE)
    assert MOONWELL_ON_BASE.holder("moonwell", ALICE) == ALICE
    assert MOONWELL_ON_BASE.holder("venus", ALICE) is None
    assert MOONWELL_ON_BASE.exact_within(Mirror().book.accounts("moonwell")) == 0


# --- at run time ---------------------------------------------------------------------------------


def test_a_market_that_is_listed_is_heard_asked_and_taken_in() -> None:
    mirror = Mirror()
    listed = log(COMPTROLLER, events.MARKET_LISTED, M_NEW)
    accounts = mirror.book.accounts(MOONWELL_ON_BASE.name)
    told: dict[Call, Answer] = {**readings(mirror.market)}
    answers = {**chain(), **market_answers(MOONWELL, M_NEW, "NEW", 12, NEW)}

    first = MOONWELL_ON_BASE.needs(mirror.market, accounts, BLOCK, (listed,), told)
    assert first.addresses == {M_NEW}
    for _ in range(8):
        needs = MOONWELL_ON_BASE.needs(mirror.market, accounts, BLOCK, (listed,), told)
        if not needs:
            break
        assert needs.calls
        told |= {call: answers.get(call) for call in needs.calls}
    drawn = log(M_NEW, events.BORROW, ALICE, 5, 5, 5)
    minted = log(M_NEW, events.TRANSFER, 9, indexed=(M_NEW, ALICE))
    unseen = log(M_NEW, events.ACCRUE_INTEREST, 1, 10**30, 3, 4)
    mirror.take(listed, unseen, minted, drawn, answers=told)

    assert not needs
    after = mirror.market
    assert after.states[M_NEW] == STATES[M_WETH]  # as it was read, not as its logs moved it
    assert after.listings[M_NEW].symbol == "NEW"
    assert after.listings[M_NEW].slot == USUAL_SLOT
    assert after.prices[M_NEW] == 5
    assert mirror.account(ALICE).marks == {M_NEW: STATES[M_WETH].index}
    assert mirror.account(ALICE).supplied == {M_NEW: 9}
    assert M_NEW in MOONWELL_ON_BASE.interest(after).addresses


@pytest.mark.parametrize(
    "topic", [events.NEW_IMPLEMENTATION, events.NEW_MARKET_INTEREST_RATE_MODEL]
)
def test_a_market_whose_code_or_model_is_replaced_is_read_anew(topic: bytes) -> None:
    mirror = Mirror()
    state = replace(STATES[M_WETH], reserves=1)
    answers = {**chain(), **state_answers(MOONWELL, M_WETH, state), **layout(M_WETH, state)}
    answers[abi.plain(M_WETH, calls.PROTOCOL_SEIZE_SHARE_MANTISSA)] = word(9)

    mirror.take(log(M_WETH, topic, address(1), address(2)), answers=answers)

    assert mirror.market.listings[M_WETH].seize_share == 9
    assert mirror.market.states[M_WETH] == state
    assert mirror.market.states[M_USDC] == STATES[M_USDC]


def test_a_market_read_anew_has_the_incentive_of_its_own_block() -> None:
    mirror = Mirror()

    mirror.take(
        log(M_WETH, events.NEW_IMPLEMENTATION, address(1), address(2)),
        log(COMPTROLLER, events.NEW_LIQUIDATION_INCENTIVE, 1, 12 * WAD // 10),
        answers=chain(),
    )

    incentives = {listing.incentive for listing in mirror.market.listings.values()}
    assert incentives == {12 * WAD // 10} == {mirror.market.incentive}


@pytest.mark.parametrize("topic", [events.NEW_IMPLEMENTATION, events.DIAMOND_CUT])
def test_a_comptroller_whose_code_is_replaced_is_read_anew(topic: bytes) -> None:
    mirror = Mirror()
    answers = {**chain(), abi.plain(COMPTROLLER, calls.CLOSE_FACTOR_MANTISSA): word(9)}

    mirror.take(log(COMPTROLLER, topic, 32, 0), answers=answers)

    assert mirror.market == replace(market(), close_factor=9, block_number=2)
