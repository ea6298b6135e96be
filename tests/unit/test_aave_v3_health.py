"""Health as the deployed pool answers it, and every way in which its view reverts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.domain.block import Address
from chimera.domain.health import Health
from chimera.domain.market import Account
from chimera.domain.numeric import MAX_UINT256, Bps, Ray, Wad
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.protocols.aave_v3.engine import (
    V3_0,
    V3_2,
    V3_3,
    V3_4,
    V3_5,
    V3_6,
    V3_7,
    Engine,
)
from chimera.protocols.aave_v3.market import AaveMarket, Mode, vacant
from chimera.protocols.aave_v3.math import Rates
from chimera.protocols.aave_v3.proof import differences
from tests.fakes_aave_v3 import (
    PRICE_SOURCE,
    PROVIDER,
    USDC,
    WBTC,
    WETH,
    WSTETH,
    configured,
    market,
    standing,
    words,
)

AAVE = AaveV3(name="aave", address=PROVIDER, from_block=0)
NOW = 1803988039


def rates(at: int, income: int, debt: int, yearly: int, borrowed: int) -> Rates:
    return Rates(Ray(income), Ray(debt), Ray(yearly), Ray(borrowed), at)


RATES = {
    WETH: rates(
        1800100022,
        1000000000012137885049912865,
        1000000000291379759083339267,
        80026610402099812477056,
        1715271055604578796901888,
    ),
    USDC: rates(
        1800100014,
        1000000000000443942568456222,
        1000000000049326647568246394,
        3482608401740727792710,
        387921485725607002474714,
    ),
}
LATER = {
    WETH: rates(
        1800100022,
        1000000000012137885049912865,
        1000000000291379759090414454,
        80026610402099812482458,
        1715271055604578796959785,
    ),
    USDC: rates(
        1800100014,
        1000000000000443942568456222,
        1000000000049326647568550539,
        3482608401740727916492,
        387921485725607002474714,
    ),
}
BORROWER = Account({WETH: 10123456789012345678}, {USDC: 20000123456}, frozenset({WETH}))
MIXED = Account(
    {USDC: 5000000001, WBTC: 123456789}, {WETH: 25000000000000012345}, frozenset({USDC, WBTC})
)
MIXED_LATER = MIXED.but(supplied={USDC: 5000000000, WBTC: 123456789})
STAKER = Account(
    {WSTETH: 3000000000000000333}, {WETH: 2999999999125860834}, frozenset({WSTETH}), mode=1
)


@pytest.mark.parametrize(
    ("account", "collateral", "debt", "threshold", "factor"),
    [
        (BORROWER, 3037191983344, 1999861067766, 8300, 1260522236673173840),
        (MIXED, 12540833042034, 7501894922354, 7800, 1303917193459913049),
        (STAKER, 1101037036803, 900227390420, 9300, 1137450887546612670),
    ],
)
def test_health_equals_the_deployed_pool(
    account: Account, collateral: int, debt: int, threshold: int, factor: int
) -> None:
    """AV-4, v3.0.2."""
    health = AAVE.health(market(rates=RATES), account, NOW)
    answer = words(collateral, debt, 0, threshold, 0, factor)

    assert (health.collateral, health.debt, health.factor) == (collateral, debt, factor)
    assert not differences(health, answer)
    assert differences(health, answer[:-1] + bytes([answer[-1] ^ 1]))


@pytest.mark.parametrize("engine", [V3_5, V3_6, V3_7])
@pytest.mark.parametrize(
    ("account", "expected"),
    [
        (BORROWER, (3037191983344, 1999861067767, 0, 8300, 8000, 1260522236672303518)),
        (MIXED_LATER, (12540833041834, 7501894922367, 0, 7800, 7307, 1303917193436794766)),
        (STAKER, (1101037036803, 900227390422, 0, 9300, 9000, 1137450887543852365)),
    ],
)
def test_health_equals_the_deployed_pool_of_v3_6(
    engine: Engine, account: Account, expected: tuple[int, ...]
) -> None:
    """AV-4, v3.6.0; in these v3.5 and v3.7 compute the same."""
    health = AAVE.health(market(rates=LATER, engine=engine), account, NOW)

    assert not differences(health, words(*expected))


def test_values_of_debts_are_rounded_up_since_v3_5() -> None:
    account = Account({}, {WETH: 1})

    assert AAVE.health(market(), account, NOW).debt == 0
    assert AAVE.health(market(engine=V3_5), account, NOW).debt == 1
    assert AAVE.value(market(engine=V3_5), account, NOW).debt[0].value == 1


def test_v3_4_rounds_as_before_and_compounds_otherwise() -> None:
    old, new = (AAVE.health(market(rates=RATES, engine=e), MIXED, NOW) for e in (V3_3, V3_4))
    assert old == AAVE.health(market(rates=RATES), MIXED, NOW)
    assert old.debt < new.debt


def test_without_debt_there_is_no_factor_and_the_view_answers_its_maximum() -> None:
    """AV-11, v3.0.2."""
    rates = {WETH: standing(NOW, income=1000020389031396802273259872)}
    account = Account({WETH: 1111088943418998419}, enabled=frozenset({WETH}))

    health = AAVE.health(market(rates=rates), account, NOW)

    assert health == Health(None, 333347196659, 0, "0.83")
    assert not differences(health, words(333347196659, 0, 1, 8300, 8000, MAX_UINT256))


def test_atokens_that_are_not_enabled_are_nothing() -> None:
    """AV-11, v3.6.0: what was received is not collateral."""
    health = AAVE.health(market(engine=V3_6), Account({WETH: 1111088943418998414}), NOW)

    assert health == Health(None, 0, 0, "0")


def test_debt_without_collateral_has_a_factor_of_zero() -> None:
    """AV-12."""
    rates = {WETH: standing(NOW, debt=1000442321995583203862627601)}
    account = Account(owed={WETH: 2427242635416079278})

    assert AAVE.health(market(rates=rates), account, NOW) == Health(Wad(0), 0, 728524856677, "0")


def test_what_is_supplied_but_not_enabled_does_not_count_and_is_shown() -> None:
    valuation = AAVE.value(market(), Account({WETH: 10**18, USDC: 7}, {}, frozenset({USDC})), NOW)

    assert valuation.health.collateral == 7 * 99987654 // 10**6
    assert {leg.symbol: leg.enabled for leg in valuation.collateral} == {
        "WETH": False,
        "USDC": True,
    }


@pytest.mark.parametrize(
    ("engine", "collateral"), [(V3_0, 0), (V3_5, 0), (V3_6, 300012345678), (V3_7, 300012345678)]
)
def test_a_reserve_without_threshold_is_no_collateral_even_in_an_emode_up_to_v3_5(
    engine: Engine, collateral: int
) -> None:
    pool = market(reserves=configured(WETH, threshold=Bps(0)), engine=engine)
    account = Account({WETH: 10**18}, {USDC: 1}, frozenset({WETH}), mode=1)

    assert AAVE.health(pool, account, NOW).collateral == collateral
    shown = AAVE.value(pool, account, NOW).collateral[0].threshold
    assert shown == ("0.93" if collateral else "0")


def test_a_collateral_without_any_threshold_lowers_the_average_since_v3_6() -> None:
    pool = market(reserves=configured(WETH, threshold=Bps(0)), engine=V3_6)
    account = Account({WETH: 10**18}, {USDC: 1}, frozenset({WETH}))

    assert AAVE.health(pool, account, NOW) == Health(Wad(0), 300012345678, 100, "0")


def test_an_emode_covers_what_its_bitmap_says_since_v3_2() -> None:
    account = Account({WBTC: 10**8}, {USDC: 1}, frozenset({WBTC}), mode=1)
    modes = {1: Mode(Bps(9300), Bps(10100), collateral=1 << 2)}

    assert AAVE.health(market(modes=modes), account, NOW).threshold == "0.78"
    assert AAVE.health(market(modes=modes, engine=V3_2), account, NOW).threshold == "0.93"


def test_a_dead_price_takes_the_view_down_for_everybody_whose_bitmap_names_the_asset() -> None:
    dead = market(prices={WETH: None})
    error = "price of WETH reverts"

    for account in (
        Account(owed={WETH: 1}),
        Account({WETH: 1}, {}, frozenset({WETH})),
        Account(enabled=frozenset({WETH})),  # a bit that outlived its balance
    ):
        assert AAVE.health(dead, account, NOW) == Health(None, 0, 0, "0", error=error)
    assert AAVE.health(dead, Account({WETH: 1}), NOW).error is None
    assert AAVE.verdict(dead, Account(owed={WETH: 1}), NOW).reason == "price unknown"


def test_a_reverting_view_agrees_only_with_an_error() -> None:
    dead = AAVE.health(market(prices={WETH: None}), Account(owed={WETH: 1}), NOW)
    alive = AAVE.health(market(), Account(owed={WETH: 1}), NOW)

    assert not differences(dead, None)
    assert differences(alive, None)
    assert differences(dead, bytes(192))


def emode(price: int | None) -> AaveMarket:
    modes = {1: Mode(Bps(9300), Bps(10100), PRICE_SOURCE)}
    return market(modes=modes, prices={PRICE_SOURCE: price, WETH: 1, WSTETH: None})


@pytest.mark.parametrize(
    ("price", "owed", "expected"),
    [
        (200 * 10**8, WETH, 200 * 10**8),  # the source stands in for its assets
        (200 * 10**8, WSTETH, 200 * 10**8),  # whose own price nobody asks for then
        (200 * 10**8, USDC, 99987654 * 10**12),  # but not for others
        (0, WETH, 1),  # a source that answers 0 is no source
        (0, WSTETH, "price of wstETH reverts"),
        (None, USDC, "price source of eMode 1 reverts"),  # whatever the user holds
    ],
)
def test_an_emode_with_a_price_source(price: int | None, owed: Address, expected: object) -> None:
    pool = emode(price)

    health = AAVE.health(pool, Account(owed={owed: 10**18}, mode=1), NOW)

    assert (health.error or health.debt) == expected


def test_a_dead_price_source_hurts_nobody_outside_the_emode_and_nobody_empty() -> None:
    pool = emode(None)

    assert AAVE.health(pool, Account(owed={WETH: 10**18}), NOW).debt == 1
    assert AAVE.health(pool, Account(mode=1), NOW).error is None


@pytest.mark.parametrize("price", [2**200, MAX_UINT256])
def test_a_product_of_more_than_256_bits_reverts(price: int) -> None:
    account = Account({WETH: 2**90}, {USDC: 1}, frozenset({WETH}))

    health = AAVE.health(market(prices={WETH: price}), account, NOW)

    assert health.error == "a product overflows 256 bits"


def test_a_bit_left_by_a_dropped_asset_counts_for_the_asset_that_inherits_it() -> None:
    gone = vacant(77)
    heir = replace(market(), heirs={gone: WETH})
    account = Account({WETH: 10**18}, {USDC: 1}, frozenset({gone}))

    assert AAVE.health(market(), account, NOW).collateral == 0
    assert AAVE.health(heir, account, NOW).collateral == 300012345678


def test_an_explanation_holds_every_figure_of_the_sum() -> None:
    steps = {step.name: step.value for step in AAVE.explain(market(rates=RATES), MIXED, NOW)}

    assert steps["health factor"] == "1.303917193459913049"
    assert steps["total collateral"] == "125408.33042034 USD"
    assert steps["average threshold"] == "7800 bps (truncated)"
    assert steps["WETH debt index"] == "1000211495350404939158818717 ray"
    assert steps["verdict"] == "not liquidatable: healthy"


def test_an_explanation_names_supply_that_does_not_count() -> None:
    idle = MIXED.but(enabled=MIXED.enabled - {WBTC})
    steps = {step.name: step.value for step in AAVE.explain(market(rates=RATES), idle, NOW)}
    counted = {step.name: step.value for step in AAVE.explain(market(rates=RATES), MIXED, NOW)}

    remark = " (not enabled as collateral: does not count)"
    assert steps["WBTC supplied"] == counted["WBTC supplied"] + remark
    assert "WBTC collateral value" not in steps
    assert "does not count" not in " ".join(counted.values())


def test_an_explanation_shows_the_sum_that_decides_since_v3_5() -> None:
    pool = market(rates=LATER, engine=V3_6)
    steps = {step.name: step.value for step in AAVE.explain(pool, MIXED_LATER, NOW)}

    assert steps["revision"] == "Aave v3.6"
    assert steps["health factor"] == "1.303917193436794766"
    assert steps["average threshold"] == "7800 bps (shown only)"
    assert steps["sum of value times threshold"] == f"{12540833041834 * 7800} bps"


def test_an_explanation_names_the_price_that_reverts_and_the_emode() -> None:
    dead = AAVE.explain(market(prices={WETH: None}), STAKER, NOW)
    named = {step.name: step.value for step in dead}

    assert named["eMode"] == "1"
    assert named["health factor"] == "none: the contract reverts, price of WETH reverts"
