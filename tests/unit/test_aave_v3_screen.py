"""The float screen may look at too many, never at too few."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.domain.block import Address
from chimera.domain.market import Account
from chimera.domain.numeric import RAY, Bps
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.protocols.aave_v3.market import AaveMarket, Mode
from chimera.state.screen import Screen
from tests.fakes_aave_v3 import (
    ALICE,
    PRICE_SOURCE,
    PROVIDER,
    RESERVES,
    USDC,
    WBTC,
    WETH,
    WSTETH,
    configured,
    market,
    standing,
)

AAVE = AaveV3(name="aave", address=PROVIDER, from_block=0)
NOW = 1_800_000_000
ASSETS = (WETH, USDC, WBTC, WSTETH)


def candidates(pool: AaveMarket, account: Account) -> list[Address]:
    screen = Screen(AAVE)
    screen.load({ALICE: account})
    return screen.candidates(screen.weigh(pool, NOW))


def weight(pool: AaveMarket, asset: Address, *, debt: bool = False, mode: int = 0) -> float:
    collateral, owed = AAVE.weights(pool, [(asset, debt, mode)], NOW)
    assert (collateral if debt else owed) == [0.0]
    return owed[0] if debt else collateral[0]


@st.composite
def near_one(draw: st.DrawFn) -> tuple[AaveMarket, Account]:
    """Accounts with a debt that takes them to 1, give or take a little."""
    indexes = st.integers(RAY, 3 * RAY)
    rates = {asset: standing(NOW, income=draw(indexes), debt=draw(indexes)) for asset in ASSETS}
    pool = market(rates=rates)
    assets = draw(st.lists(st.sampled_from(ASSETS), min_size=1, max_size=4, unique=True))
    supplied = {
        asset: draw(st.integers(1, 10 ** (RESERVES[asset].configuration.decimals + 4)))
        for asset in assets
    }
    mode = draw(st.integers(0, 1))
    account = Account(supplied, {}, frozenset(assets), mode)
    health = AAVE.health(pool, account, NOW)
    limit = health.collateral * int(health.threshold.removeprefix("0.").ljust(4, "0")) // 10**4
    owed = draw(st.sampled_from(ASSETS))
    price = pool.prices[owed] or 1
    debt = limit * RESERVES[owed].unit * RAY // (price * rates[owed].debt_index)
    debt = max(1, debt + draw(st.integers(-2, 2)) * max(1, debt // 10**9))
    return pool, Account(supplied, {owed: debt}, frozenset(assets), mode)


@settings(max_examples=400, deadline=None)
@given(near_one())
def test_nobody_under_one_is_passed_over(case: tuple[AaveMarket, Account]) -> None:
    pool, account = case

    if AAVE.health(pool, account, NOW).is_unhealthy:
        assert candidates(pool, account) == [ALICE]


def test_an_account_that_is_clearly_healthy_is_passed_over() -> None:
    account = Account({WETH: 10**18}, {USDC: 10**9}, frozenset({WETH}))

    assert candidates(market(), account) == []


def test_what_is_not_enabled_has_no_cell() -> None:
    account = Account({WETH: 5, USDC: 6}, {WBTC: 7}, frozenset({USDC, WSTETH}), 1)

    assert list(AAVE.columns(account)) == [((USDC, False, 1), 6), ((WBTC, True, 1), 7)]


def test_collateral_weighs_one_basis_point_less_than_its_threshold() -> None:
    price = 300012345678 / 10**18

    assert math.isclose(weight(market(), WETH), price * 0.8299)
    assert math.isclose(weight(market(), WETH, mode=1), price * 0.9299)
    assert math.isclose(weight(market(), WETH, debt=True), price)


def test_a_price_that_nobody_knows_sends_its_holders_to_the_integers() -> None:
    dead = market(prices={WETH: None})
    source = market(
        modes={1: Mode(Bps(9300), Bps(10100), PRICE_SOURCE)}, prices={PRICE_SOURCE: None}
    )

    assert weight(dead, WETH) == weight(dead, WETH, debt=True) == math.inf
    assert weight(source, USDC, mode=1) == math.inf
    assert weight(source, USDC) < math.inf
    assert candidates(dead, Account({USDC: 10**12}, {WETH: 1}, frozenset({USDC}))) == [ALICE]


def test_a_price_beyond_all_measure_breaks_nothing() -> None:
    huge = market(prices={WETH: 2**200})

    assert weight(huge, WETH) == math.inf
    assert candidates(huge, Account({USDC: 10**12}, {WETH: 1}, frozenset({USDC}))) == [ALICE]
    assert weight(huge, USDC) < math.inf


def test_an_asset_too_coarse_for_the_band_is_left_to_the_integers() -> None:
    """Half a unit of it is worth more than the band: no float bound could hold."""
    coarse = market(reserves=configured(WBTC, decimals=0))

    assert weight(coarse, WBTC) == weight(coarse, WBTC, debt=True) == math.inf
    assert weight(coarse, WETH) < math.inf


def test_an_asset_without_threshold_weighs_nothing() -> None:
    assert weight(market(reserves=configured(WETH, threshold=Bps(0))), WETH, mode=1) == 0.0
