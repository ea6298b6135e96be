"""The published value of an account is what its legs say one by one, and its health the view's."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import event, given
from hypothesis import strategies as st

from chimera.domain.health import CollateralLeg, DebtLeg
from chimera.domain.market import Account
from chimera.domain.numeric import RAY, Bps, short_decimal
from chimera.errors import Skip
from chimera.protocols.aave_v3.engine import V3_6, Engine
from chimera.protocols.aave_v3.market import AaveMarket, Reserve
from chimera.protocols.aave_v3.valuation import BPS_PLACES, may_count, price_of, terms_of, used
from tests.fakes_aave_v3 import WETH, market, standing
from tests.unit.test_properties_aave_v3_factor import (
    AAVE,
    ASSETS,
    BORROWER,
    EACH,
    NOW,
    SEARCHED,
    accounts,
    markets,
)


@EACH
@SEARCHED
@given(data=st.data())
def test_every_leg_and_the_health_are_those_of_the_slow_way(
    engine: Engine, data: st.DataObject
) -> None:
    pool, some = data.draw(markets(engine)), data.draw(st.lists(accounts(), min_size=1, max_size=9))
    for account in some:
        found = AAVE.value(pool, account, NOW)

        event(str(found.health.error)[:8])
        assert found.health == AAVE.health(pool, account, NOW)
        assert list(found.collateral) == list(collateral_legs(pool, account, NOW))
        assert list(found.debt) == list(debt_legs(pool, account, NOW))
        assert found.base_currency == pool.base_currency
        assert found.base_decimals == pool.base_decimals


def test_what_is_remembered_is_not_taken_for_another_market_or_second() -> None:
    first = market()
    pools = [
        first,
        first.moved(prices={**first.prices, WETH: 7}),
        first.moved(prices={**first.prices, WETH: None}),
        first.moved(rates={asset: standing(NOW - 9, income=2 * RAY) for asset in ASSETS}),
        first.moved(modes={}),
        first.moved(engine=V3_6),
    ]
    for pool in (*pools, *pools):
        for moment in (NOW, NOW + 1):
            found = AAVE.value(pool, BORROWER, moment)
            assert found.health == AAVE.health(pool, BORROWER, moment)
            assert list(found.collateral) == list(collateral_legs(pool, BORROWER, moment))
            assert list(found.debt) == list(debt_legs(pool, BORROWER, moment))


# --- the slow way: every leg by itself -----------------------------------------------------------


def collateral_legs(pool: AaveMarket, account: Account, timestamp: int) -> Iterator[CollateralLeg]:
    enabled = {reserve.asset for reserve, is_on in used(pool, account) if is_on}
    for asset, scaled in account.supplied.items():
        reserve = pool.reserves[asset]
        amount = pool.engine.supplied(scaled, pool.indexes(timestamp)[asset].income)
        price, threshold = shown(pool, account, reserve)
        yield CollateralLeg(
            asset=asset,
            symbol=reserve.symbol,
            amount=amount,
            value=amount * price // reserve.unit,
            threshold=short_decimal(threshold, BPS_PLACES),
            enabled=asset in enabled,
        )


def debt_legs(pool: AaveMarket, account: Account, timestamp: int) -> Iterator[DebtLeg]:
    for asset, scaled in account.owed.items():
        reserve = pool.reserves[asset]
        amount = pool.engine.owed(scaled, pool.indexes(timestamp)[asset].debt)
        price, _ = shown(pool, account, reserve)
        worth = pool.engine.debt_value(amount, price, reserve.unit)
        yield DebtLeg(asset, reserve.symbol, amount, worth)


def shown(pool: AaveMarket, account: Account, reserve: Reserve) -> tuple[int, Bps]:
    try:
        terms = terms_of(pool, account.mode)
        price = price_of(pool, reserve, terms)
    except Skip:
        return 0, reserve.configuration.threshold
    return price, terms.threshold(reserve) if may_count(pool, reserve) else Bps(0)
