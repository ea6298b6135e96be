"""The float screen may look at too many, never at too few."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.domain.block import Address
from chimera.domain.market import Account
from chimera.domain.numeric import RAY, Bps
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.protocols.aave_v3.engine import ENGINES, V3_0, V3_4, V3_5, V3_6, Engine
from chimera.protocols.aave_v3.market import AaveMarket, Mode, Reserve
from chimera.protocols.aave_v3.valuation import account_data
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
    address,
    configured,
    market,
    standing,
)

AAVE = AaveV3(name="aave", address=PROVIDER, from_block=0)
NOW = 1_800_000_000
ASSETS = (WETH, USDC, WBTC, WSTETH)
FINE = (WETH, WSTETH)  # a unit of them is next to nothing: all that counts is the value's rounding


def candidates(pool: AaveMarket, account: Account) -> list[Address]:
    screen = Screen(AAVE)
    screen.load({ALICE: account})
    return screen.candidates(screen.weigh(pool, NOW))


def weight(pool: AaveMarket, asset: Address, *, debt: bool = False, mode: int = 0) -> float:
    collateral, owed = AAVE.weights(pool, [(asset, debt, mode)], NOW)
    assert (collateral if debt else owed) == [0.0]
    return float((owed if debt else collateral)[0])


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


PEOPLE = [address(0xC00000 + number) for number in range(1_000)]
EACH = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)


class Attack:
    """Made-up accounts within a few units of 1: dust, whales, mixed thresholds, many legs."""

    def __init__(self, engine: Engine, seed: int, assets: tuple[Address, ...] = ASSETS) -> None:
        self.assets = assets
        self.random = Random(f"{engine.version} {seed}")  # noqa: S311  (a seeded life, no secret)
        indexes = {asset: (self._index(), self._index()) for asset in ASSETS}
        rates = {a: standing(NOW, income=i, debt=d) for a, (i, d) in indexes.items()}
        self.market = market(rates=rates, engine=engine, reserves=self._reserves())
        self.accounts = {user: self._account() for user in PEOPLE}

    def _index(self) -> int:
        return RAY + self.random.choice((0, 1, self.random.randrange(3 * RAY)))

    def _reserves(self) -> dict[Address, Reserve]:
        def terms(old: Reserve) -> Reserve:
            threshold = Bps(self.random.randrange(1, 10_000))
            return replace(old, configuration=replace(old.configuration, threshold=threshold))

        return {asset: terms(reserve) for asset, reserve in RESERVES.items()}

    def _account(self) -> Account:
        random, market = self.random, self.market
        held = random.sample(self.assets, random.randint(1, len(self.assets)))
        digits = random.choice((-5, -4, -2, 2, 8))  # from dust to whales, in token units
        supplied = {
            asset: 1 + random.randrange(1 + int(RESERVES[asset].unit * 10 ** (digits - 4)))
            for asset in held
        }
        mode = random.randrange(2)
        account = Account(supplied, {}, frozenset(held), mode)
        data = account_data(market, account, NOW)
        truncated = data.collateral * data.threshold // 10_000  # what decides up to v3.4
        limit = random.choice((truncated, data.weighted // 10_000)) + random.randrange(2)
        owed = {}
        borrowed = random.sample(self.assets, random.randint(1, len(self.assets)))
        for number, asset in enumerate(borrowed, 1):
            part = limit if number == len(borrowed) else random.randrange(limit + 1)
            limit -= part
            per_unit = (market.prices[asset] or 1) * market.rates[asset].debt_index
            debt = part * RESERVES[asset].unit * RAY // per_unit + random.randint(-2, 2)
            owed[asset] = max(1, debt)
        return account.but(owed=owed)


class WithoutUnits(AaveV3):
    """The same adapter, with no room for what rounding does to a balance."""

    unit_band = 0.0


class WithoutValues(AaveV3):
    """The same adapter, with no room for what rounding does to a value."""

    absolute_band = 0.0

    def leg_bands(self, market: AaveMarket) -> tuple[float, float]:
        del market
        return 0.0, 0.0


def missed(adapter: AaveV3, attack: Attack) -> tuple[int, int]:
    """How many are under 1, and how many of those the screen passes over."""
    screen = Screen(adapter)
    screen.load(attack.accounts)
    looked_at = set(screen.candidates(screen.weigh(attack.market, NOW)))
    under = [
        user
        for user, account in attack.accounts.items()
        if adapter.health(attack.market, account, NOW).is_unhealthy
    ]
    return len(under), len(set(under) - looked_at)


@EACH
def test_of_ten_thousand_adversarial_accounts_none_is_passed_over(engine: Engine) -> None:
    counts = [missed(AAVE, Attack(engine, seed)) for seed in range(10)]

    assert sum(under for under, _ in counts) > 2_000
    assert sum(unseen for _, unseen in counts) == 0


@pytest.mark.parametrize("engine", [V3_0, V3_6])
@pytest.mark.parametrize(("sabotaged", "assets"), [(WithoutUnits, ASSETS), (WithoutValues, FINE)])
def test_without_the_bands_some_would_be(
    sabotaged: type[AaveV3], assets: tuple[Address, ...], engine: Engine
) -> None:
    unbanded = sabotaged(name="aave", address=PROVIDER, from_block=0)

    attacks = [Attack(engine, seed, assets) for seed in range(5)]
    assert sum(missed(unbanded, attack)[1] for attack in attacks) > 0
    assert sum(missed(AAVE, attack)[1] for attack in attacks) == 0


def test_since_v3_5_collateral_weighs_its_whole_threshold() -> None:
    price = 300012345678 / 10**18

    assert math.isclose(weight(market(engine=V3_6), WETH), price * 0.83)
    assert math.isclose(weight(market(engine=V3_6), WETH, mode=1), price * 0.93)


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


@pytest.mark.parametrize(("engine", "mode"), [(V3_4, 0), (V3_6, 1)])
def test_a_product_that_overflows_is_seen_where_its_asset_weighs_nothing(
    engine: Engine, mode: int
) -> None:
    """At a threshold of a basis point, less the one of the average, or at an eMode's of 0."""
    pool = market(
        engine=engine,
        modes={1: Mode(Bps(0), Bps(10100), collateral=0b0001)},
        reserves=configured(WETH, threshold=Bps(1)),
        prices={WETH: 2**200},
    )
    account = Account({WETH: 2**127, USDC: 10**12}, {USDC: 1}, frozenset({WETH, USDC}), mode)

    assert AAVE.health(pool, account, NOW).error is not None
    assert candidates(pool, account) == [ALICE]
    fine = replace(pool, prices={**pool.prices, WETH: 2**100})
    assert weight(fine, WETH, mode=mode) == 0.0
    assert AAVE.health(fine, account, NOW).error is None
    assert candidates(fine, account) == []


def test_a_coarse_asset_widens_the_band_of_its_holders_only() -> None:
    """A unit of it is worth 97,000 USD, and a balance may be off by one."""
    coarse = market(reserves=configured(WBTC, decimals=0))

    assert candidates(coarse, Account({WBTC: 2}, {USDC: 10**6}, frozenset({WBTC}))) == []
    assert candidates(coarse, Account({USDC: 6 * 10**11}, {WBTC: 4}, frozenset({USDC}))) == [ALICE]
    assert candidates(coarse, Account({USDC: 10**6}, {USDC: 10**5}, frozenset({USDC}))) == []


def test_an_index_under_one_sends_its_holders_to_the_integers() -> None:
    """Then a unit of a balance is no part of a scaled one any more."""
    rates = {WETH: standing(NOW, income=RAY // 2, debt=RAY // 2)}

    assert weight(market(rates=rates), WETH) == weight(market(rates=rates), WETH, debt=True)
    assert weight(market(rates=rates), WETH) == math.inf


def test_an_asset_without_threshold_weighs_nothing_up_to_v3_5() -> None:
    reserves = configured(WETH, threshold=Bps(0))

    assert weight(market(reserves=reserves), WETH, mode=1) == 0.0
    assert weight(market(reserves=reserves, engine=V3_5), WETH, mode=1) == 0.0
    assert weight(market(reserves=reserves, engine=V3_6), WETH, mode=1) > 0.0


@pytest.mark.parametrize(("engine", "weighs"), [(V3_0, math.inf), (V3_4, math.inf), (V3_6, 0.0)])
def test_collateral_at_an_emodes_threshold_of_0_takes_from_an_average(
    engine: Engine, weighs: float
) -> None:
    """Up to v3.4 it costs up to a basis point of its value: more than it has."""
    worthless = Mode(Bps(0), Bps(10100), collateral=0b1001)

    assert weight(market(engine=engine, modes={1: worthless}), WETH, mode=1) == weighs
