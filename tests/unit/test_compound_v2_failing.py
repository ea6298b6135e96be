"""Markets that cannot value an account, and underlyings that do not tell the cash of a market."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from chimera.domain import abi
from chimera.domain.block import Address
from chimera.domain.call import Answer, Call
from chimera.domain.health import Health
from chimera.domain.market import Account
from chimera.domain.numeric import WAD
from chimera.errors import Rebuild, Refuse
from chimera.protocols.compound_v2 import calls, events, liquidation, proof, valuation
from chimera.protocols.compound_v2.dialect import VENUS
from chimera.protocols.compound_v2.market import USUAL_SLOT, CompoundMarket
from tests.fakes_aave_v3 import drive
from tests.fakes_compound_v2 import (
    ALICE,
    BLOCK,
    BOB,
    COMPTROLLER,
    JUMP,
    M_CBBTC,
    M_USDC,
    M_WETH,
    MOONWELL_ON_BASE,
    NAME,
    NOW,
    STATES,
    Mirror,
    chain,
    configured,
    log,
    market,
    owing,
    word,
    words,
)

PRINCIPAL = 18000000000
DEBT = PRINCIPAL * STATES[M_USDC].index // WAD
FAILURES = [words(9, 0, 0, 0), words(15, 0, 0, 0), words(0, 77), b"", None]


def account_answers(failing: Sequence[Address], how: Answer = None) -> dict[Call, Answer]:
    """Alice has 77 mWETH and owes USDC, in three markets of which some have no exchange rate."""
    figures = {M_WETH: (77, 0), M_USDC: (0, DEBT), M_CBBTC: (0, 0)}
    principal, mark = calls.entry(M_USDC, USUAL_SLOT, ALICE)
    found: dict[Call, Answer] = {
        abi.of_address(COMPTROLLER, calls.GET_ASSETS_IN, ALICE): words(32, 2, M_USDC, M_WETH),
        principal: word(PRINCIPAL),
        mark: word(WAD),
    }
    for mtoken, (tokens, debt) in figures.items():
        found[abi.plain(mtoken, calls.BORROW_INDEX)] = word(STATES[mtoken].index)
        snapshot = how if mtoken in failing else words(0, tokens, debt, 5)
        found[abi.of_address(mtoken, calls.GET_ACCOUNT_SNAPSHOT, ALICE)] = snapshot
        if mtoken in failing:
            found[abi.of_address(mtoken, calls.BALANCE_OF, ALICE)] = word(tokens)
            found[abi.of_address(mtoken, calls.BORROW_BALANCE_STORED, ALICE)] = word(debt)
    return found


def alice_of(told: dict[Call, Answer], of: CompoundMarket | None = None) -> Account:
    return drive(MOONWELL_ON_BASE.read_accounts(of or market(), [ALICE], BLOCK), told)[ALICE]


READ = Account(
    supplied={M_WETH: 77},
    owed={M_USDC: PRINCIPAL},
    enabled=frozenset({M_USDC, M_WETH}),
    updated_block=1,
    marks={M_USDC: WAD},
)

# --- accounts are read as they are stored --------------------------------------------------------


@pytest.mark.parametrize("how", FAILURES)
@pytest.mark.parametrize("failing", [[M_CBBTC], [M_WETH], [M_USDC], [M_WETH, M_USDC, M_CBBTC]])
def test_an_account_is_read_from_markets_that_cannot_value_it(
    failing: list[Address], how: Answer
) -> None:
    assert alice_of(account_answers([])) == READ
    assert alice_of(account_answers(failing, how)) == READ


def test_a_stored_debt_is_proved_though_the_snapshot_fails() -> None:
    told = account_answers([M_USDC])
    told[abi.of_address(M_USDC, calls.BORROW_BALANCE_STORED, ALICE)] = word(DEBT + 1)

    with pytest.raises(Refuse, match="its layout is not understood"):
        alice_of(told)
    unknown = alice_of(told, market(listings=configured(M_USDC, slot=None)))
    assert (unknown.owed, unknown.marks) == ({M_USDC: DEBT + 1}, {M_USDC: STATES[M_USDC].index})


@pytest.mark.parametrize("stored", [(PRINCIPAL, WAD), (0, 0), (0, WAD), (PRINCIPAL, 0)])
def test_a_debt_beyond_every_word_is_taken_as_it_is_stored(stored: tuple[int, int]) -> None:
    told = account_answers([M_USDC])
    told[abi.of_address(M_USDC, calls.BORROW_BALANCE_STORED, ALICE)] = None
    told |= dict(zip(calls.entry(M_USDC, USUAL_SLOT, ALICE), map(word, stored), strict=True))

    found = alice_of(told)

    owes = stored == (PRINCIPAL, WAD)
    assert found.owed == ({M_USDC: PRINCIPAL} if owes else {})
    assert found.marks == ({M_USDC: WAD} if owes else {})


def test_a_market_that_does_not_even_tell_a_balance_has_to_be_read_later() -> None:
    told = {**account_answers([M_WETH]), abi.of_address(M_WETH, calls.BALANCE_OF, ALICE): None}

    with pytest.raises(Rebuild, match="does not tell the balance"):
        alice_of(told)


def test_a_first_borrower_is_read_in_a_block_in_which_a_market_fails() -> None:
    mirror = Mirror(complete=False)

    mirror.take(
        log(M_USDC, events.BORROW, ALICE, PRINCIPAL, PRINCIPAL, STATES[M_USDC].borrows),
        answers=account_answers([M_CBBTC, M_WETH]),
    )

    assert mirror.account(ALICE) == READ.but(updated_block=2)


# --- cash that nobody tells ----------------------------------------------------------------------

NO_CASH: dict[Call, Answer] = {abi.plain(M_WETH, calls.GET_CASH): None}
REASON = "cash of WETH reverts"
MEMBER = owing({M_WETH: 53394615470}, {M_USDC: 18819905536})
OUTSIDE = owing({M_USDC: 10**12}, {M_USDC: 5}).but(supplied={M_USDC: 10**12, M_WETH: 10**10})


def health(of: CompoundMarket, account: Account) -> Health:
    return MOONWELL_ON_BASE.health(of, account, NOW)


def without_cash(*mtokens: Address, of: CompoundMarket | None = None) -> CompoundMarket:
    of = of or market()
    unknown = {mtoken: replace(of.states[mtoken], cash=None) for mtoken in mtokens}
    return replace(of, states={**of.states, **unknown})


def test_only_members_of_a_market_without_cash_lose_their_health_factor() -> None:
    mirror = Mirror({ALICE: MEMBER, BOB: OUTSIDE})
    before = {user: health(mirror.market, mirror.account(user)) for user in (ALICE, BOB)}

    mirror.take(answers=NO_CASH)

    assert mirror.market.states[M_WETH] == replace(STATES[M_WETH], cash=None)
    assert health(mirror.market, MEMBER) == Health(None, 0, 0, "0", error=REASON)
    assert valuation.liquidity(mirror.market, MEMBER).code is None
    view = {proof.view(COMPTROLLER, ALICE): None}
    assert MOONWELL_ON_BASE.differences(mirror.market, ALICE, MEMBER, BLOCK, view) == ()
    assert health(mirror.market, OUTSIDE) == before[BOB]
    assert before[BOB].error is None
    shown = MOONWELL_ON_BASE.value(mirror.market, OUTSIDE, NOW).collateral
    assert {leg.symbol: leg.amount == 0 for leg in shown} == {"USDC": False, "WETH": True}
    steps = {s.name: s.value for s in MOONWELL_ON_BASE.explain(mirror.market, MEMBER, NOW)}
    assert steps["health factor"] == f"none: the contract cannot tell, {REASON}"
    assert REASON in steps["shortfall with interest added in USDC and WETH"]

    mirror.take(answers={abi.plain(M_WETH, calls.GET_CASH): word(STATES[M_WETH].cash or 0)})

    assert mirror.market.states == STATES
    assert health(mirror.market, MEMBER) == before[ALICE]


def test_a_reorg_brings_the_cash_back_and_takes_it_away() -> None:
    mirror = Mirror({ALICE: MEMBER})
    before = health(mirror.market, MEMBER)
    known = {abi.plain(M_WETH, calls.GET_CASH): word(STATES[M_WETH].cash or 0)}
    mirror.take(answers=NO_CASH)
    mirror.take(answers=known)

    mirror.book.rollback(2)
    assert health(mirror.market, MEMBER).error == REASON
    mirror.book.rollback(1)
    assert health(mirror.market, MEMBER) == before
    mirror.take(answers=NO_CASH)
    assert health(mirror.market, MEMBER).error == REASON
    assert mirror.book.market(NAME) is mirror.market


def test_interest_and_debts_are_followed_while_the_cash_is_unknown() -> None:
    state = STATES[M_WETH]
    mirror = Mirror(of=without_cash(M_WETH))
    added = log(M_WETH, events.ACCRUE_INTEREST, 5, 100, state.index + 7, state.borrows + 100)

    mirror.take(added, answers=NO_CASH)

    after = mirror.market.states[M_WETH]
    assert (after.borrows, after.index) == (state.borrows + 100, state.index + 7)
    assert after.reserves == state.reserves + 15


def test_a_market_without_mtokens_is_not_asked_for_its_cash() -> None:
    """The exchange rate is the initial one then: the view goes through."""
    of = market(states={M_CBBTC: replace(STATES[M_CBBTC], supply=0)})
    member = MEMBER.but(enabled=MEMBER.enabled | {M_CBBTC})

    assert health(without_cash(M_CBBTC, of=of), member) == health(of, member)
    assert health(without_cash(M_CBBTC), member).error == "cash of cbBTC reverts"


@pytest.mark.parametrize(
    ("change", "code", "error"),
    [
        ({"cash": None}, None, "cash of cbBTC reverts"),
        ({"reserves": 10**30}, 15, "cbBTC has no exchange rate (SNAPSHOT_ERROR)"),
    ],
)
def test_venus_asks_for_a_snapshot_before_it_skips_a_market(
    change: dict[str, int | None], code: int | None, error: str
) -> None:
    broken = replace(STATES[M_CBBTC], **change)  # type: ignore[arg-type]
    of = market(dialect=VENUS, states={M_CBBTC: broken}, prices={M_CBBTC: None})
    member = MEMBER.but(enabled=MEMBER.enabled | {M_CBBTC})

    found = valuation.liquidity(of, member)

    assert (found.error, found.code) == (error, code)
    assert valuation.liquidity(of, MEMBER).error is None


def test_the_screen_looks_at_every_member_of_a_market_without_cash() -> None:
    of, blank = without_cash(M_WETH), MEMBER.but(supplied={})

    for member in (MEMBER, blank):
        columns = [column for column, _ in MOONWELL_ON_BASE.columns(member)]
        collateral, debt = MOONWELL_ON_BASE.weights(of, columns, NOW)
        assert math.inf in (*collateral, *debt)


# --- liquidation ---------------------------------------------------------------------------------

LOW = {M_WETH: 2050123456780000000000}


@pytest.mark.parametrize("is_forced", [False, True])
@pytest.mark.parametrize("mtoken", [M_WETH, M_USDC])
def test_nobody_is_liquidated_through_a_market_without_cash(
    mtoken: Address, *, is_forced: bool
) -> None:
    good = market(prices=LOW, listings=configured(M_USDC, is_forced=is_forced))
    for time in (NOW, NOW + 9):  # in the block in which interest was added, and later
        found = MOONWELL_ON_BASE.verdict(without_cash(mtoken, of=good), MEMBER, time)
        assert (found.liquidatable, found.reason) == (False, liquidation.STUCK)
        assert MOONWELL_ON_BASE.verdict(good, MEMBER, time).liquidatable


def test_a_third_market_without_cash_keeps_its_members_from_being_liquidated() -> None:
    of = without_cash(M_CBBTC, of=market(prices=LOW))
    member = MEMBER.but(enabled=MEMBER.enabled | {M_CBBTC})
    bare = member.but(supplied={})

    assert MOONWELL_ON_BASE.verdict(of, MEMBER, NOW).liquidatable
    for account in (member, bare):
        assert MOONWELL_ON_BASE.verdict(of, account, NOW).reason == liquidation.UNVALUED
    assert liquidation.case(of, member, M_USDC, M_WETH, NOW).returns(1) is None


# --- a start without cash ------------------------------------------------------------------------


def test_a_market_is_read_without_its_cash_and_mends_when_the_cash_is_told() -> None:
    rate = abi.plain(M_WETH, calls.BORROW_RATE_PER_TIMESTAMP)

    found = drive(MOONWELL_ON_BASE.read_market(BLOCK), {**chain(), **NO_CASH, rate: None})

    assert found.states == {**STATES, M_WETH: replace(STATES[M_WETH], cash=None)}
    # Its rate model has proved nothing, so the rate is asked for at every block.
    assert (found.listings[M_WETH].rates, found.listings[M_USDC].rates) == (None, JUMP)
    assert health(found, MEMBER).error == REASON
    mirror = Mirror(of=found)
    cash = STATES[M_WETH].cash or 0
    mirror.take(answers={abi.plain(M_WETH, calls.GET_CASH): word(cash), rate: word(123)})
    assert mirror.market.states == STATES
    assert mirror.market.borrow_rate(M_WETH) == 123
    assert health(mirror.market, MEMBER) == health(market(), MEMBER)
