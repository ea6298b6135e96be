"""Health with accrued interest, and every case in which there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.domain.health import Health
from chimera.domain.market import Account
from chimera.domain.numeric import WAD
from chimera.protocols.compound_v3 import valuation
from chimera.protocols.compound_v3.math import Indexes, Totals
from tests.fakes_compound_v3 import (
    CBBTC,
    CBBTC_FEED,
    COMPOUND,
    START,
    TERMS,
    USDC,
    USDC_FEED,
    WETH,
    WETH_FEED,
    account,
    address,
    market,
)

ETHER = 10**18
NOW, LATER = START.accrued_at, 1801392625
INDEBTED = account(-22484812009, weth=10 * ETHER)


@pytest.mark.parametrize(
    ("price", "counted", "factor", "view"),
    [
        (251199316123, 2260793845107, 1000000000000884645, False),
        (251199316122, 2260793845098, 999999999996903742, True),
    ],
)
def test_c7_health_at_the_stored_indexes(
    price: int,
    counted: int,
    factor: int,
    view: bool,  # noqa: FBT001
) -> None:
    at = market(prices={WETH: price})

    found = valuation.standing(at, INDEBTED, NOW)

    assert (found.balance, found.debt) == (-22610199471, 2260793845105)
    assert (found.counted, found.factor) == (counted, factor)
    health = COMPOUND.health(at, INDEBTED, NOW)
    assert health == Health(found.factor, 10 * price, 2260793845105, "0.9")
    assert valuation.liquidatable(at, INDEBTED, at.totals.indexes) is view


def test_c7_a_day_of_interest_that_the_view_does_not_know() -> None:
    under, safe = (market(prices={WETH: price}) for price in (251369321342, 251369321343))

    assert COMPOUND.health(under, INDEBTED, LATER).is_unhealthy
    assert not COMPOUND.health(safe, INDEBTED, LATER).is_unhealthy
    assert not valuation.liquidatable(under, INDEBTED, START.indexes)
    steps = {step.name: step.value for step in COMPOUND.explain(under, INDEBTED, LATER)}
    assert steps["isLiquidatable (by stored indexes)"] == "false"
    assert steps["verdict"].startswith("liquidatable")
    assert steps["borrow index"].startswith("1006257088685055 ")
    assert steps["health factor"].startswith("0.99999999")


def test_equality_is_safe() -> None:
    even = Totals(Indexes(10**15, 10**15), 10**12, 10**11, NOW, 0)
    at = market(even, prices={WETH: 10**8, USDC: 10**8})
    exactly, less = (account(-(9 * 10**6), weth=amount) for amount in (10**19, 10**19 - 10**11))

    assert COMPOUND.health(at, exactly, NOW).factor == WAD
    assert not valuation.liquidatable(at, exactly, even.indexes)
    assert COMPOUND.health(at, less, NOW).is_unhealthy
    assert valuation.liquidatable(at, less, even.indexes)


def test_without_debt_there_is_no_factor() -> None:
    supplier = account(10**9, weth=ETHER)

    health = COMPOUND.health(market(), supplier, NOW)

    assert (health.factor, health.error, health.debt) == (None, None, 0)
    assert health.collateral == 251199316123


def test_a_debt_that_is_worth_nothing_is_never_under() -> None:
    dust = account(-1)
    cheap = market(prices={USDC: 999_999})

    health = COMPOUND.health(cheap, dust, NOW)

    assert health == Health(None, 0, 0, "0")
    assert COMPOUND.verdict(cheap, dust, NOW).reason == "healthy"
    steps = {step.name: step.value for step in COMPOUND.explain(cheap, dust, NOW)}
    assert steps["health factor"] == "none: the debt is worth nothing"


def test_bad_debt_without_collateral_is_zero() -> None:
    assert COMPOUND.health(market(), account(-22484812009), NOW).factor == 0


# --- dead feeds -----------------------------------------------------------------------------------


def test_a_dead_feed_is_an_error_of_every_borrower_who_holds_the_asset() -> None:
    at = market(prices={CBBTC: None})
    holder = account(-22484812009, weth=100 * ETHER, cbbtc=1)
    other, supplier = account(-22484812009, weth=100 * ETHER), account(5, cbbtc=1)

    assert COMPOUND.health(at, holder, NOW).error == "price of cbBTC reverts"
    assert COMPOUND.health(at, other, NOW).error is None
    assert COMPOUND.health(at, supplier, NOW) == Health(None, 0, 0, "0")


def test_the_view_does_not_look_past_what_covers_the_debt() -> None:
    """`isLiquidatable` prices by offset and stops; `absorb` would price everything."""
    at = market(prices={CBBTC: None})
    covered = account(-22484812009, weth=100 * ETHER, cbbtc=1)
    uncovered = account(-22484812009, weth=ETHER, cbbtc=1)

    assert not valuation.liquidatable(at, covered, START.indexes)
    with pytest.raises(valuation.DeadFeed):
        valuation.liquidatable(at, uncovered, START.indexes)
    assert COMPOUND.verdict(at, covered, NOW).reason == "healthy"
    assert COMPOUND.verdict(at, uncovered, NOW).reason == "price unknown"
    steps = {step.name: step.value for step in COMPOUND.explain(at, uncovered, NOW)}
    assert steps["isLiquidatable (by stored indexes)"] == "reverts, price of cbBTC reverts"
    assert steps["health factor"] == "none: the contract reverts, price of cbBTC reverts"


def test_a_dead_base_feed_is_an_error_of_every_borrower() -> None:
    at = market(prices={USDC: None})

    assert COMPOUND.health(at, INDEBTED, NOW).error == "price of USDC reverts"
    assert COMPOUND.health(at, account(5, weth=ETHER), NOW).error is None
    assert COMPOUND.value(at, INDEBTED, NOW).debt[0].value == 0


def test_prices_beyond_the_contract_are_an_error() -> None:
    """A price above 2**128 is a price, until a product leaves 255 bits."""
    high = market(prices={WETH: 2**130})
    assert COMPOUND.health(high, INDEBTED, NOW).collateral == 10 * 2**130
    for price in (2**255, 2**200):
        at = market(prices={WETH: price})
        held = account(-22484812009, weth=2**100)
        assert COMPOUND.health(at, held, NOW).error == "a product overflows"
        assert COMPOUND.verdict(at, held, NOW).reason == "figures overflow"


def test_an_index_that_overflows_stops_everything() -> None:
    full = replace(START, indexes=Indexes(2**64 - 1, 2**64 - 1))
    at = market(full)

    assert COMPOUND.health(at, INDEBTED, LATER).error == "a product overflows"
    assert COMPOUND.health(at, account(weth=1), LATER).error is None
    assert COMPOUND.verdict(at, INDEBTED, LATER).reason == "figures overflow"
    assert COMPOUND.value(at, INDEBTED, LATER).debt[0].amount == 22484812009 * (2**64 - 1) // 10**15
    last = COMPOUND.explain(at, INDEBTED, LATER)[-1]
    assert (last.name, last.value) == ("verdict", "not liquidatable: figures overflow")


# --- legs -----------------------------------------------------------------------------------------


def test_every_leg_is_valued_and_base_supply_is_no_collateral() -> None:
    at = market()
    held = account(999999004406, weth=ETHER, cbbtc=10**7)

    value = COMPOUND.value(at, held, NOW)

    legs = [
        (leg.symbol, leg.amount, leg.value, leg.threshold, leg.enabled) for leg in value.collateral
    ]
    supply = 999999004406 * START.indexes.supply // 10**15
    assert legs == [
        ("WETH", ETHER, 251199316123, "0.9", True),
        ("cbBTC", 10**7, 600_000_000_000, "0.85", True),
        ("USDC", supply, supply * 99990000 // 10**6, "0", False),
    ]
    assert (value.debt, value.base_currency, value.base_decimals) == ((), "USD", 8)
    assert value.health.threshold == "0.8647"
    assert COMPOUND.assets(at, held) == {WETH, CBBTC, USDC}


def test_a_debt_is_a_leg_rounded_down() -> None:
    debt = COMPOUND.value(market(), INDEBTED, NOW).debt[0]

    assert (debt.asset, debt.amount, debt.value) == (USDC, 22610199471, 2260793845105)


def test_a_token_of_no_and_of_eighteen_decimals() -> None:
    whole = replace(TERMS.collaterals[WETH], scale=1, symbol="NFT")
    terms = replace(TERMS, collaterals={**TERMS.collaterals, WETH: whole})
    at = market(terms=terms, prices={WETH: 10**12})
    held = Account(supplied={WETH: 3}, owed={USDC: 10**9}, enabled=frozenset({WETH}))

    assert COMPOUND.health(at, held, NOW).collateral == 3 * 10**12
    assert COMPOUND.tokens(at)[WETH].decimals == 0
    steps = {step.name: step.value for step in COMPOUND.explain(at, held, NOW)}
    assert steps["NFT held"] == "3 NFT"


def test_prices_can_be_asked_what_if() -> None:
    at = market()
    at.indexes(LATER)

    moved = COMPOUND.priced(at, WETH, 1)

    assert COMPOUND.quotes(moved)[WETH] == 1
    assert COMPOUND.quotes(at)[WETH] == 251199316123
    assert moved.indexes(LATER) == at.indexes(LATER)
    with pytest.raises(StopIteration) as told:
        next(COMPOUND.sources(at))
    assert told.value.value == {USDC: USDC_FEED, WETH: WETH_FEED, CBBTC: CBBTC_FEED}
    assert COMPOUND.tokens(at)[USDC].decimals == 6


def test_an_account_is_published_under_the_name_of_the_instance() -> None:
    user = address(1)

    assert COMPOUND.published(user) == ("compound", user)
    assert COMPOUND.holder("compound", user) == user
    assert COMPOUND.holder("other", user) is None
