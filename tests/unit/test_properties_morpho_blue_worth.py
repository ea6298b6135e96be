"""The published value of an account is what its legs say one by one, and its health the check's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hypothesis import event, given
from hypothesis import strategies as st

from chimera.domain.health import CollateralLeg, DebtLeg
from chimera.domain.market import Account, Token
from chimera.domain.numeric import short_decimal
from chimera.errors import Skip
from chimera.protocols.morpho_blue.market import MorphoMarket, Quote, Terms
from chimera.protocols.morpho_blue.math import Totals, quoted, to_assets_down, to_assets_up
from tests.fakes_morpho_blue import NOW, ORACLE, USDC
from tests.unit.test_properties_morpho_blue import MANY, MORPHO, SECONDS, cases

PRICES = (
    st.sampled_from([None, 0, 1])
    | st.integers(10**20, 10**40)
    | st.integers(10**20, 10**40)
    | st.integers(2**250, 2**256 - 1)
)
COLLATERAL = st.sampled_from([0, 1]) | st.integers(10**16, 10**26)
SHARES = st.just(0) | st.integers(1, 10**30)
LOANS = {USDC: Token("USDC", 6)}  # the other token has not been read


@MANY
@given(case=cases(), price=PRICES, lent=SHARES, seconds=SECONDS, data=st.data())
def test_every_leg_and_the_health_are_those_of_the_slow_way(
    case: tuple[MorphoMarket, Account],
    price: int | None,
    lent: int,
    seconds: int,
    data: st.DataObject,
) -> None:
    base, held = case
    (terms,) = base.terms.values()
    of = replace(
        base,
        quotes={ORACLE: Quote(price, None if price is not None else "it reverts")},
        curves=data.draw(st.sampled_from([base.curves, frozenset()])),  # else no rate is known
        tokens=data.draw(st.sampled_from([base.tokens, LOANS])),
    )
    supplied = {terms.id: data.draw(COLLATERAL)}
    owed = held.owed if data.draw(st.integers(0, 3)) else {}
    account, now = Account(supplied, owed, marks={terms.id: lent}), NOW + seconds

    found = MORPHO.value(of, account, now)

    event(str(found.health.error)[:8])
    assert found.health == MORPHO.health(of, account, now)
    assert list(found.collateral) == list(collateral_legs(of, account, terms, now))
    assert list(found.debt) == list(debt_legs(of, account, terms, now))
    if not account.is_blank:
        assert (found.base_currency, found.base_decimals) == ("USDC", 6)


# --- the slow way: every leg by itself -----------------------------------------------------------


def totals_of(of: MorphoMarket, terms: Terms, now: int) -> Totals:
    try:
        return of.accrued(terms.id, now)
    except Skip:
        return of.totals[terms.id]


def collateral_legs(
    of: MorphoMarket, account: Account, terms: Terms, now: int
) -> Iterator[CollateralLeg]:
    if amount := account.supplied.get(terms.id):
        symbol = of.tokens[terms.collateral].symbol if terms.collateral in of.tokens else None
        try:
            worth = quoted(amount, of.price(terms.id))
        except Skip:
            worth = 0
        yield CollateralLeg(
            asset=terms.collateral,
            symbol=symbol or f"0x{terms.collateral[:4].hex()}",
            amount=amount,
            value=worth,
            threshold=short_decimal(terms.lltv, 18),
            enabled=True,
        )
    if shares := account.marks.get(terms.id):
        totals = totals_of(of, terms, now)
        amount = to_assets_down(shares, totals.supply_assets, totals.supply_shares)
        yield CollateralLeg(USDC, "USDC", amount, amount, "0", enabled=False)


def debt_legs(of: MorphoMarket, account: Account, terms: Terms, now: int) -> Iterator[DebtLeg]:
    if shares := account.owed.get(terms.id):
        totals = totals_of(of, terms, now)
        amount = to_assets_up(shares, totals.borrow_assets, totals.borrow_shares)
        yield DebtLeg(USDC, "USDC", amount, amount)
