"""The published value of an account is what its legs say one by one, and its health `absorb`'s."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hypothesis import event, given, settings
from hypothesis import strategies as st

from chimera.domain.health import CollateralLeg, DebtLeg
from chimera.domain.market import Account
from chimera.domain.numeric import short_decimal
from chimera.errors import Skip
from chimera.protocols.compound_v3.market import CometMarket
from chimera.protocols.compound_v3.math import Indexes, present_value
from tests.fakes_compound_v3 import CBBTC, COMPOUND, START, USDC, WETH, account, market

SEARCHED = settings(max_examples=400, deadline=None, derandomize=True)
PRICES = st.integers(1, 10**16) | st.sampled_from([None, 0, 2**254])
AMOUNTS = st.integers(0, 10**24) | st.integers(2**120, 2**128)
PRINCIPALS = st.integers(-(10**18), 10**18) | st.sampled_from([0, -1, 1])
INDEXES = st.sampled_from([START.indexes, Indexes(10**15, 10**15), Indexes(2**64 - 9, 2**64 - 9)])
NOW = START.accrued_at


@st.composite
def markets(draw: st.DrawFn) -> CometMarket:
    quoted = {USDC: draw(PRICES), WETH: draw(PRICES), CBBTC: draw(PRICES)}
    return market(replace(START, indexes=draw(INDEXES)), prices=quoted)


ACCOUNTS = st.builds(
    lambda principal, weth, cbbtc: account(principal, weth=weth, cbbtc=cbbtc),
    PRINCIPALS,
    AMOUNTS,
    AMOUNTS,
)


@SEARCHED
@given(markets(), ACCOUNTS, st.integers(NOW, NOW + 10**9))
def test_every_leg_and_the_health_are_those_of_the_slow_way(
    at: CometMarket, held: Account, now: int
) -> None:
    found = COMPOUND.value(at, held, now)

    event(str(found.health.error)[:8])
    assert found.health == COMPOUND.health(at, held, now)
    assert list(found.collateral) == list(collateral_legs(at, held, now))
    assert list(found.debt) == list(debt_legs(at, held, now))
    assert (found.base_currency, found.base_decimals) == ("USD", 8)


# --- the slow way: every leg by itself -----------------------------------------------------------


def balance_of(at: CometMarket, held: Account, now: int) -> int:
    try:
        return present_value(at.principal(held), at.indexes(now))
    except Skip:
        return present_value(at.principal(held), at.totals.indexes)


def collateral_legs(at: CometMarket, held: Account, now: int) -> Iterator[CollateralLeg]:
    for asset, one in at.terms.collaterals.items():  # they are listed by their offset
        if asset in held.enabled:
            amount, threshold = held.supplied.get(asset, 0), short_decimal(one.liquidate_factor, 18)
            worth = amount * (at.prices[asset] or 0) // one.scale
            yield CollateralLeg(asset, one.symbol, amount, worth, threshold, enabled=True)
    if at.principal(held) > 0:
        amount = balance_of(at, held, now)
        worth = amount * (at.prices[USDC] or 0) // 10**6
        yield CollateralLeg(USDC, "USDC", amount, worth, "0", enabled=False)


def debt_legs(at: CometMarket, held: Account, now: int) -> Iterator[DebtLeg]:
    if at.principal(held) < 0:
        amount = -balance_of(at, held, now)
        yield DebtLeg(USDC, "USDC", amount, amount * (at.prices[USDC] or 0) // 10**6)
