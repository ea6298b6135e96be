"""What the comptroller's view says of an account: vectors CV-4 to CV-6, errors, odd decimals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.domain.block import Address
from chimera.domain.health import Health
from chimera.domain.market import EMPTY, Account
from chimera.domain.numeric import MAX_UINT256, WAD
from chimera.protocols.compound_v2 import proof, valuation
from chimera.protocols.compound_v2.dialect import VENUS
from chimera.protocols.compound_v2.market import CompoundMarket, Figures
from chimera.protocols.compound_v2.math import State, exchange_rate, weight_of
from chimera.protocols.compound_v2.pools import Pool, Terms
from tests.fakes_compound_v2 import (
    ALICE,
    COMPTROLLER,
    FACTORS,
    LISTINGS,
    M_CBBTC,
    M_USDC,
    M_WETH,
    MOONWELL_ON_BASE,
    NOW,
    PRICES,
    STATES,
    USDC,
    WETH,
    configured,
    market,
    owing,
    words,
)

HIGH, LOW = 3000123456780000000000, 2050123456780000000000  # of WETH
W1, W4, W6, W7 = (
    200000000000006020469590624,
    200032135341991410390089114,
    200032489584786748786389240,
    200070716770175475473494093,
)
W8 = 200557810653744757504325462
U1, U4, U6, U7 = 200000000004999, 200009535692761, 200009734323208, 200017460970771
B1 = 20000000000000000  # of cbBTC

Rows = list[tuple[Address, int, int, int]]


def b(balance: int, weth: int, debt: int, usdc: int) -> Rows:
    return [(M_WETH, balance, 0, weth), (M_USDC, 0, debt, usdc)]


def c(usdc: int, debt: int, weth: int) -> Rows:
    return [
        (M_CBBTC, 6172839450, 0, B1),
        (M_USDC, 25000000004375, 0, usdc),
        (M_WETH, 0, debt, weth),
    ]


# mToken balance, stored debt and exchange rate per entered market; price; liquidity, shortfall
CV_5 = {
    "M1 B": (b(50617283945, W1, 20000123483, U1), HIGH, 4603358075111839382563, 0),
    "M1 C": (c(U1, 25000000000000012345, W1), HIGH, 25473557680419370415980, 0),
    "M4 B": (b(53394615470, W4, 18818796516, U4), HIGH, 7138547560620673756881, 0),
    "M4 C": (c(U4, 25077526220757127442, W4), HIGH, 25241167288103052275746, 0),
    "M5 B": (b(53394615470, W4, 18818796516, U4), LOW, 0, 1080204110041255721371),
    "M5 C": (c(U4, 25077526220757127442, W4), LOW, 49064817197822323345646, 0),
    "M6 B": (b(39984623639, W6, 13819905536, U6), LOW, 0, 536348868952128963643),
    "M7 stale B": (b(39984623639, W6, 13819905536, U6), LOW, 0, 536348868952128963643),
    "M7 stale C": (c(U6, 25078381985755382589, W6), LOW, 49063066894998834408257, 0),
    "M7 fresh B": (b(39984623639, W7, 13863045984, U7), LOW, 0, 576945764362551872044),
    "M7 fresh C": (c(U7, 25170711536172449447, W7), LOW, 48873940226077719971790, 0),
    "M8 donation B": (b(39984623639, W8, 13863045984, U7), LOW, 0, 544603477688459548991),
}


@pytest.mark.parametrize(("rows", "price", "over", "under"), CV_5.values(), ids=CV_5)
def test_liquidity_is_the_comptrollers(rows: Rows, price: int, over: int, under: int) -> None:
    prices = {**PRICES, M_WETH: price}
    instead = {}
    for mtoken, _, _, rate in rows:
        quoted = prices[mtoken] or 0
        instead[mtoken] = Figures(WAD, rate, quoted, weight_of(FACTORS[mtoken], rate, quoted))
    account = Account(
        supplied={mtoken: balance for mtoken, balance, _, _ in rows if balance},
        owed={mtoken: debt for mtoken, _, debt, _ in rows if debt},
        enabled=frozenset(mtoken for mtoken, *_ in rows),
        marks={mtoken: WAD for mtoken, _, debt, _ in rows if debt},
    )

    told = valuation.liquidity(market(prices=prices), account, instead)

    assert (max(0, told.collateral - told.debt), told.shortfall) == (over, under)
    assert (told.code, told.error) == (0, None)


# The market between the liquidation and the next touch, 108 days later: CV-6.
STALE = {
    M_WETH: State(
        385679012344567888889,
        25078381985755382639,
        92230319215272813,
        2052992315716,
        1003167081007184275,
        NOW,
    ),
    M_USDC: State(991234444442, 13819905535, 5434995, 5025000000039375, 1002752899707636328, NOW),
}
C_OWES = Account(
    supplied={M_CBBTC: 6172839450, M_USDC: 25000000004375},
    owed={M_WETH: 25000000000000012345},
    enabled=frozenset({M_CBBTC, M_USDC, M_WETH}),
    marks={M_WETH: 1000031702181771067},
)


def test_interest_that_nobody_has_added_does_not_count_until_somebody_adds_it() -> None:
    stale = market(states=STALE, prices={M_WETH: LOW})
    times = {M_WETH: 1817380001, M_USDC: 1817380002, M_CBBTC: 1817380003}
    fresh = replace(stale, states={m: stale.accrued(m, times[m]) for m in times})

    before, after = (valuation.liquidity(of, C_OWES) for of in (stale, fresh))

    assert before.collateral - before.debt == 49063066894998834408257
    assert after.collateral - after.debt == 48873940226077719971790


def test_a_donation_lifts_the_collateral_without_a_log() -> None:
    stale = market(states=STALE, prices={M_WETH: LOW})
    weth, usdc = stale.accrued(M_WETH, 1817380001), stale.accrued(M_USDC, 1817380002)
    given = replace(weth, cash=(weth.cash or 0) + 10**18)
    account = Account(
        supplied={M_WETH: 39984623639},
        owed={M_USDC: 13819905536},
        enabled=frozenset({M_WETH, M_USDC}),
        marks={M_USDC: 1002752899707636328},
    )

    poor = valuation.liquidity(replace(stale, states={M_WETH: weth, M_USDC: usdc}), account)
    rich = valuation.liquidity(replace(stale, states={M_WETH: given, M_USDC: usdc}), account)

    assert exchange_rate(given) == W8
    assert (poor.shortfall, rich.shortfall) == (576945764362551872044, 544603477688459548991)


# --- the health factor ---------------------------------------------------------------------------


def health(of: CompoundMarket, account: Account) -> Health:
    return MOONWELL_ON_BASE.health(of, account, NOW)


BORROWER = owing({M_WETH: 53394615470}, {M_USDC: 18819905536})


def test_the_factor_is_collateral_over_debt_truncated() -> None:
    told = valuation.liquidity(market(), BORROWER)

    found = health(market(), BORROWER)

    assert found.factor == told.collateral * WAD // told.debt
    assert found.debt == told.debt
    assert found.collateral > told.collateral
    assert found.threshold.startswith("0.8")
    assert found.error is None


def test_equality_is_not_under_one() -> None:
    unit = State(cash=10**18, borrows=10**18, reserves=0, supply=2 * 10**18, index=WAD, accrued=NOW)
    states = dict.fromkeys((M_WETH, M_USDC), unit)
    listings = {**configured(M_WETH, factor=WAD), **configured(M_USDC, factor=WAD)}
    even = market(states=states, listings=listings, prices={M_WETH: WAD, M_USDC: WAD})

    for owed, factor in ((1000, WAD), (1001, 999000999000999000)):
        account = Account(
            {M_WETH: 1000}, {M_USDC: owed}, frozenset({M_WETH, M_USDC}), marks={M_USDC: WAD}
        )
        assert health(even, account).factor == factor
        assert health(even, account).is_unhealthy is (owed > 1000)


def test_without_debt_there_is_no_factor() -> None:
    assert health(market(), EMPTY).factor is None
    assert health(market(), owing({M_WETH: 10**10}, {})).factor is None
    dust = BORROWER.but(owed={M_USDC: 1})
    assert health(market(prices={M_USDC: 1}), dust).factor is None  # worth nothing at all


def test_collateral_counts_only_in_markets_that_are_entered() -> None:
    outside = BORROWER.but(enabled=frozenset({M_USDC}))

    assert health(market(), outside).factor == 0
    assert health(market(), outside).threshold == "0"


@pytest.mark.parametrize(
    ("prices", "code", "error"),
    [
        ({M_WETH: 0}, 13, "price of WETH is 0 (PRICE_ERROR)"),
        ({M_WETH: None}, None, "price of WETH reverts"),
        ({M_CBBTC: None}, None, "price of cbBTC reverts"),
        ({M_WETH: MAX_UINT256}, None, "WETH: a figure overflows"),
    ],
)
def test_a_dead_price_of_any_entered_market_takes_the_factor_away(
    prices: dict[Address, int | None], code: int | None, error: str
) -> None:
    member = BORROWER.but(enabled=BORROWER.enabled | {M_CBBTC})
    of = market(prices=prices)

    assert health(of, member) == Health(None, 0, 0, "0", error=error)
    assert valuation.liquidity(of, member).code == code
    assert health(of, owing({M_USDC: 5}, {M_USDC: 5})).error is None


def test_venus_skips_markets_in_which_there_is_nothing() -> None:
    member = BORROWER.but(enabled=BORROWER.enabled | {M_CBBTC})
    dead = market(dialect=VENUS, prices={M_CBBTC: None})

    assert health(dead, member) == health(market(), BORROWER)
    assert health(market(dialect=VENUS, prices={M_WETH: None}), member).error is not None


def test_a_market_with_more_reserves_than_money_cannot_value_anything() -> None:
    broke = market(states={M_WETH: State(1, 1, 3, 5, WAD, NOW)})

    assert valuation.liquidity(broke, BORROWER).code == valuation.SNAPSHOT_ERROR
    assert "SNAPSHOT_ERROR" in (health(broke, BORROWER).error or "")
    assert MOONWELL_ON_BASE.value(broke, BORROWER, NOW).collateral[0].value == 0


def test_figures_beyond_every_word_are_shown_and_take_the_factor_away() -> None:
    huge = MAX_UINT256 // 2
    account = owing({M_WETH: huge}, {M_USDC: huge})

    found = MOONWELL_ON_BASE.value(market(), account, NOW)

    assert found.health == health(market(), account)
    assert found.health.error is not None
    assert found.debt[0].amount == huge
    assert not MOONWELL_ON_BASE.verdict(market(), account, NOW).liquidatable
    assert MOONWELL_ON_BASE.explain(market(), account, NOW)[-1].name == "verdict"


# --- pools of Venus ------------------------------------------------------------------------------

POOLS = {
    1: Pool(falls_back=True, terms={M_WETH: Terms(9 * WAD // 10, WAD)}),
    2: Pool(terms={M_USDC: Terms(9 * WAD // 10, WAD)}),
    3: Pool(is_active=False, terms={M_WETH: Terms(9 * WAD // 10, WAD)}),
}


@pytest.mark.parametrize(
    ("mode", "weth", "cbbtc"),
    [
        (0, 81, 80),
        (1, 90, 80),  # cbBTC falls back
        (2, 0, 0),  # neither is in it
        (3, 81, 80),  # not active
        (9, 81, 80),  # unknown
    ],
)
def test_a_pool_has_terms_of_its_own(mode: int, weth: int, cbbtc: int) -> None:
    of = market(dialect=VENUS, pools=POOLS)

    assert of.terms(M_WETH, mode).factor == weth * WAD // 100
    assert of.terms(M_CBBTC, mode).factor == cbbtc * WAD // 100
    told = valuation.liquidity(of, BORROWER.but(mode=mode))
    rate = exchange_rate(STATES[M_WETH])
    weight = weight_of(weth * WAD // 100, rate, PRICES[M_WETH] or 0)
    assert told.collateral == weight * BORROWER.supplied[M_WETH] // WAD


# --- legs and lines ------------------------------------------------------------------------------


def test_legs_are_shown_in_the_underlying() -> None:
    account = owing({M_WETH: 53394615470, M_USDC: 10**12}, {M_USDC: 18819905536})
    account = account.but(enabled=frozenset({M_WETH}))

    found = MOONWELL_ON_BASE.value(market(), account, NOW)

    weth, usdc = found.collateral
    assert (weth.asset, weth.symbol, weth.threshold, weth.enabled) == (WETH, "WETH", "0.81", True)
    assert weth.amount == 53394615470 * 200032489584786748786301958 // WAD
    assert weth.value == weth.amount * HIGH // WAD
    assert (usdc.asset, usdc.enabled) == (USDC, False)
    assert [(leg.asset, leg.amount) for leg in found.debt] == [(USDC, 18819905536)]
    assert (found.base_currency, found.base_decimals) == ("USD", 18)
    assert MOONWELL_ON_BASE.assets(market(), account) == {WETH, USDC}


@pytest.mark.parametrize(("decimals", "scale"), [(0, 10**36), (30, 10**6)])
def test_tokens_of_any_decimals_are_valued(decimals: int, scale: int) -> None:
    """The oracle's price is scaled by 10 to (36 - decimals): a whole token at 5 dollars."""
    whole = 10**decimals
    state = State(cash=100 * whole, borrows=0, reserves=0, supply=10**10, index=WAD, accrued=NOW)
    listings = configured(M_WETH, decimals=decimals, factor=WAD // 2)
    of = market(states={M_WETH: state}, listings=listings, prices={M_WETH: 5 * scale})
    account = owing({M_WETH: 10**9}, {})  # a tenth: 10 tokens

    found = MOONWELL_ON_BASE.value(of, account, NOW)

    assert found.collateral[0].amount == 10 * whole
    assert found.collateral[0].value == 50 * WAD
    assert MOONWELL_ON_BASE.quotes(of)[WETH] == 5 * WAD
    assert f"{10 * whole}"[:2] == "10"
    steps = {step.name: step.value for step in MOONWELL_ON_BASE.explain(of, account, NOW)}
    assert steps["WETH price"] == "5.000000000000000000 USD"
    assert steps["health factor"] == "none: no debt"


def test_an_explanation_has_every_input_and_both_verdicts() -> None:
    outside = BORROWER.but(supplied={**BORROWER.supplied, M_CBBTC: 10**9})
    found = MOONWELL_ON_BASE.explain(market(prices={M_WETH: LOW}), outside, NOW)
    steps = {step.name: step.value for step in found}

    assert steps["revision"] == "Moonwell"
    assert steps["time"] == f"{NOW} s, block 1"
    assert steps["USDC principal"] == "18819905536"
    assert steps["USDC index of the principal"] == "1002752899707636328 wad"
    assert steps["USDC owed"] == "18819.905536 USDC"
    assert steps["WETH mTokens"] == "53394615470"
    assert steps["WETH factor"] == "0.81"
    assert "may be seized" in steps["cbBTC supplied"]
    assert steps["health factor"].startswith("0.9")
    assert "getAccountLiquidity, interest as it is stored" in steps["shortfall"]
    pair = steps["shortfall with interest added in USDC and WETH"]
    assert pair.endswith("(liquidateBorrow)")
    assert found[-1].name == "verdict"
    assert found[-1].value.startswith("liquidatable, with interest added")


def test_an_explanation_says_what_is_not_known_exactly() -> None:
    unsearched = market(listings=configured(M_USDC, slot=None))
    steps = {s.name: s.value for s in MOONWELL_ON_BASE.explain(unsearched, BORROWER, NOW)}
    assert "may be one unit short" in steps["USDC index of the principal"]

    dead = MOONWELL_ON_BASE.explain(market(prices={M_USDC: None}), BORROWER, NOW)
    steps = {step.name: step.value for step in dead}
    assert steps["health factor"] == "none: the contract cannot tell, price of USDC reverts"
    assert steps["verdict"].startswith("not liquidatable: price unknown")


def test_the_block_and_the_pool_stand_in_an_explanation_of_venus() -> None:
    of = market(dialect=VENUS, pools=POOLS)
    told = MOONWELL_ON_BASE.explain(of, BORROWER.but(mode=1), NOW)
    steps = {step.name: step.value for step in told}

    assert steps["revision"] == "Venus"
    assert steps["pool"] == "1"
    assert steps["WETH factor"] == "0.9"
    assert steps["WETH interest stored at"] == f"block {STATES[M_WETH].accrued}"
    assert LISTINGS[M_WETH].factor == 81 * WAD // 100


# --- the contract's own view ---------------------------------------------------------------------


def differences(of: CompoundMarket, account: Account, answer: bytes | None) -> list[str]:
    call = proof.view(COMPTROLLER, ALICE)
    assert MOONWELL_ON_BASE.proof(of, ALICE) == (call,)
    block = MOONWELL_ON_BASE  # any: the view takes interest as it is stored
    found = block.differences(of, ALICE, account, None, {call: answer})  # type: ignore[arg-type]
    return [f"{one.name}: {one.ours}, {one.theirs}" for one in found]


def test_the_comptrollers_view_is_compared_figure_by_figure() -> None:
    told = valuation.liquidity(market(), BORROWER)
    over = told.collateral - told.debt

    assert differences(market(), BORROWER, words(0, over, 0)) == []
    assert differences(market(), BORROWER, words(0, over + 1, 0)) == [
        f"liquidity: {over}, {over + 1}"
    ]
    assert differences(market(), BORROWER, words(0, over, 1)) == ["shortfall: 0, 1"]
    assert differences(market(), BORROWER, None) == ["view: answers, reverts"]
    assert differences(market(), BORROWER, words(13, 0, 0)) == ["view: answers, answers error 13"]


def test_a_view_that_fails_agrees_with_an_error_only() -> None:
    dead = market(prices={M_WETH: None})

    assert differences(dead, BORROWER, None) == []
    assert differences(dead, BORROWER, words(13, 0, 0)) == []
    assert differences(dead, BORROWER, words(0, 1, 0)) == ["view: price of WETH reverts, answers"]
