"""What holds of every account of a Comet, whatever its figures."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.domain.market import Account
from chimera.domain.numeric import WAD
from chimera.errors import Skip
from chimera.protocols.compound_v3 import liquidation, valuation
from chimera.protocols.compound_v3.market import CometMarket
from chimera.protocols.compound_v3.math import (
    Curve,
    Indexes,
    Offer,
    Totals,
    accrued,
    cost,
    moved,
    present_value,
    principal_value,
    quote,
    supply_principal,
)
from tests.fakes_compound_v3 import CBBTC, COMPOUND, START, USDC, WETH, account, market

# Far apart, they would mean a utilization whose interest leaves 64 bits within a year.
indexes = st.integers(10**15, 10**17).flatmap(
    lambda supply: st.builds(
        Indexes, st.just(supply), st.integers(max(10**15, supply // 2), 2 * supply)
    )
)
prices = st.integers(1, 10**16)
amounts = st.integers(0, 10**24)
debts = st.integers(1, 10**18)
NOW = START.accrued_at
LATER = st.integers(NOW, NOW + 400 * 86_400)


@st.composite
def markets(draw: st.DrawFn) -> CometMarket:
    stored = replace(START, indexes=draw(indexes))
    quoted = {USDC: draw(prices), WETH: draw(prices), CBBTC: draw(prices)}
    return market(stored, prices=quoted)


borrowers = st.builds(
    lambda debt, weth, cbbtc: account(-debt, weth=weth + 1, cbbtc=cbbtc + 1),
    debts,
    amounts,
    amounts,
)


def factor(at: CometMarket, held: Account, timestamp: int) -> int:
    """Return the health factor; a debt that is worth nothing is healthier than any."""
    found = COMPOUND.health(at, held, timestamp)
    assert found.error is None
    return 2**600 if found.factor is None else found.factor


@settings(max_examples=1_000)
@given(markets(), borrowers, st.sampled_from([WETH, CBBTC]), st.data(), LATER)
def test_health_never_improves_when_a_price_of_collateral_falls(
    at: CometMarket, held: Account, asset: bytes, data: st.DataObject, now: int
) -> None:
    token = WETH if asset == WETH else CBBTC
    lower = data.draw(st.integers(1, at.prices[token] or 1))

    assert factor(at.priced(token, lower), held, now) <= factor(at, held, now)


@settings(max_examples=1_000)
@given(markets(), borrowers, st.data(), LATER)
def test_health_never_suffers_when_the_price_of_base_falls(
    at: CometMarket, held: Account, data: st.DataObject, now: int
) -> None:
    lower = data.draw(st.integers(1, at.prices[USDC] or 1))

    assert factor(at.priced(USDC, lower), held, now) >= factor(at, held, now)


@settings(max_examples=1_000)
@given(markets(), borrowers, st.integers(0, 10**19), LATER)
def test_a_repayment_never_lowers_health(
    at: CometMarket, held: Account, amount: int, now: int
) -> None:
    principal = moved(at.principal(held), amount, at.indexes(now))
    owed = {USDC: -principal} if principal < 0 else {}

    assert factor(at, held.but(owed=owed), now) >= factor(at, held, now)


@settings(max_examples=500)
@given(markets(), borrowers, st.integers(0, 10**7), LATER)
def test_time_alone_never_improves_health(
    at: CometMarket, held: Account, seconds: int, now: int
) -> None:
    assert factor(at, held, now + seconds) <= factor(at, held, now)


@settings(max_examples=1_000)
@given(markets(), borrowers, LATER)
def test_under_one_is_exactly_what_absorb_requires(
    at: CometMarket, held: Account, now: int
) -> None:
    under = factor(at, held, now) < WAD

    assert valuation.liquidatable(at, held, at.indexes(now)) is under
    assert COMPOUND.verdict(at, held, now).liquidatable is under


@settings(max_examples=500)
@given(markets(), borrowers, LATER)
def test_an_absorption_leaves_no_debt(at: CometMarket, held: Account, now: int) -> None:
    done = liquidation.absorption(at, valuation.standing(at, held, now), now)

    assert done.after >= 0
    assert done.principal >= 0
    assert done.paid >= -done.before


@settings(max_examples=1_000)
@given(indexes, st.integers(-(10**20), 10**20), st.integers(-(10**20), 10**20))
def test_a_principal_never_stands_for_more_than_it_should(
    at: Indexes, principal: int, amount: int
) -> None:
    present = present_value(principal, at) + amount

    assert present_value(principal_value(present, at), at) <= present
    assert moved(principal, amount, at) <= moved(principal, amount + 1, at)
    if principal < 0:
        assert principal_value(present_value(principal, at), at) == principal


@settings(max_examples=1_000)
@given(indexes, st.integers(0, 10**24))
def test_a_transfer_tells_the_principal_that_it_moved(at: Indexes, principal: int) -> None:
    assert supply_principal(present_value(principal, at), at) == principal


rates = st.integers(0, 10**11)
curves = st.builds(Curve, st.integers(0, WAD), rates, rates, rates)
stored = st.builds(
    lambda at, supply, borrow: Totals(at, supply + 10**6, borrow, 0, 0),
    indexes,
    st.integers(0, 10**18),
    st.integers(0, 10**18),
)


@settings(max_examples=500)
@given(stored, curves, curves, st.integers(0, 10**6))
def test_indexes_never_fall(totals: Totals, lent: Curve, owed: Curve, seconds: int) -> None:
    try:
        after = accrued(totals, lent, owed, seconds)
    except Skip:
        return  # beyond 64 bits nothing accrues at all

    assert after.supply >= totals.indexes.supply
    assert after.borrow >= totals.indexes.borrow


@settings(max_examples=1_000)
@given(
    st.builds(Offer, prices, st.sampled_from([1, 10**6, 10**18]), prices, st.just(10**18)),
    st.integers(0, 10**26),
)
def test_the_cost_is_the_most_that_the_store_front_takes(offer: Offer, amount: int) -> None:
    paid = cost(offer, amount)

    assert quote(offer, paid) <= amount < quote(offer, paid + 1)
