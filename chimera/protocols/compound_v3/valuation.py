"""An account as `absorb` would find it, leg by leg and line by line."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from chimera.domain.block import Address
from chimera.domain.health import CollateralLeg, DebtLeg, Health, Step, Valuation
from chimera.domain.market import FIRST_AMOUNT, Account, Shape
from chimera.domain.numeric import BPS, Wad, decimal_string, short_decimal
from chimera.errors import Skip
from chimera.protocols.compound_v3.market import Collateral, CometMarket, places
from chimera.protocols.compound_v3.math import (
    FACTOR_SCALE,
    INDEX_SCALE,
    MAX_INT256,
    PRICE_DECIMALS,
    Indexes,
    checked,
    health_factor,
    present_value,
    times_factor,
    value_of,
)

FACTOR_PLACES = 4  # Comet cuts factors to these
FACTOR_STEP = FACTOR_SCALE // 10**FACTOR_PLACES
MODERATE = 2**190  # times a factor of 64 bits, and added up 24 times, it fits an int256
MOST_SHAPES = 1 << 14  # of which it is remembered where their amounts stand


class DeadFeed(Skip):
    """Comet's `getPrice` reverts for a token that decides."""


class Held(NamedTuple):
    """One collateral of an account; `counted` is its value times its factor, rounded down."""

    collateral: Collateral
    amount: int
    price: int
    value: int
    counted: int


class Standing(NamedTuple):
    """
    An account in figures, values with 8 places.

    Attributes:
        principal: Signed, as stored.
        balance: Signed present value in base token units.
        held: Every collateral, by offset.
        collateral: Sum of the values.
        counted: Sum of the values times their factors.
        debt: Value of the debt.
        factor: Health factor, None where the debt is worth nothing.
    """

    principal: int
    balance: int
    held: tuple[Held, ...]
    collateral: int
    counted: int
    debt: int
    factor: Wad | None

    @property
    def threshold(self) -> str:
        """Liquidation collateral factor averaged by value, truncated to four places."""
        if self.collateral == 0:
            return "0"
        weighted = sum(held.value * held.collateral.liquidate_factor for held in self.held)
        return _written(weighted // self.collateral // FACTOR_STEP)


def price_of(market: CometMarket, token: Address, symbol: str) -> int:
    """Return the price of a token. Raises DeadFeed where `getPrice` reverts (BadPrice)."""
    price = market.prices[token]
    if price is None:
        raise DeadFeed(f"price of {symbol} reverts")
    return price


def holdings(market: CometMarket, account: Account) -> list[tuple[Collateral, int]]:
    """Return what the account's bitmap names, by offset, and how much it holds of each."""
    held = sorted(
        (market.terms.collaterals[asset] for asset in account.enabled), key=lambda one: one.offset
    )
    supplied = account.supplied
    return [(one, supplied.get(one.asset, 0)) for one in held]


def standing(market: CometMarket, account: Account, timestamp: int) -> Standing:
    """
    Reckon the account as `absorb` at `timestamp` would, every price looked at.

    Raises:
        Skip: `absorb` reverts whatever the figures: a feed of something held is dead, or an index
            or a product overflows.

    Mirrors Comet.isLiquidatable after accrueInternal.
    """
    principal = market.principal(account)
    return _reckoned(market, account, principal, market.indexes(timestamp))


def _reckoned(market: CometMarket, account: Account, principal: int, indexes: Indexes) -> Standing:
    balance = present_value(principal, indexes)
    held = tuple(_held(market, one, amount) for one, amount in holdings(market, account))
    debt = debt_value(market, balance)
    counted = checked(sum(one.counted for one in held), MAX_INT256)
    total = sum(one.value for one in held)
    return Standing(principal, balance, held, total, counted, debt, health_factor(counted, debt))


def _held(market: CometMarket, one: Collateral, amount: int) -> Held:
    price = price_of(market, one.asset, one.symbol)
    value = value_of(amount, price, one.scale)
    return Held(one, amount, price, value, times_factor(value, one.liquidate_factor))


def debt_value(market: CometMarket, balance: int) -> int:
    """Return what a negative balance is worth, else 0. Raises Skip."""
    if balance >= 0:
        return 0
    base = market.terms.base
    return -value_of(balance, price_of(market, base.token, base.symbol), base.scale)


def liquidatable(market: CometMarket, account: Account, indexes: Indexes) -> bool:
    """
    Tell what `isLiquidatable` answers at these indexes: the stored ones are the view's.

    It stops as soon as the collateral covers the debt, so that a dead feed may go unnoticed.

    Raises:
        Skip: It reverts.

    Mirrors Comet.isLiquidatable.
    """
    principal = market.principal(account)
    if principal >= 0:
        return False
    liquidity = -debt_value(market, present_value(principal, indexes))
    for one, amount in holdings(market, account):
        if liquidity >= 0:
            return False
        liquidity += _held(market, one, amount).counted
    return liquidity < 0


def health(market: CometMarket, account: Account, timestamp: int) -> Health:
    """
    Return the health at `timestamp`, with interest accrued, as `absorb` would find it.

    A dead feed of anything held makes an error of it, also where `isLiquidatable` answers false
    without looking that far: `absorb` prices all that it seizes.
    """
    try:
        found = standing(market, account, timestamp)
    except Skip as reverts:
        error = str(reverts) if account.owed else None
        return Health(None, 0, 0, "0", error=error)
    return Health(found.factor, found.collateral, found.debt, found.threshold)


def factor(market: CometMarket, account: Account, timestamp: int) -> Wad | None:
    """
    Return the health factor alone. Whatever might overflow, or has no price, is left to `standing`.

    Raises:
        Skip: `absorb` reverts whatever the figures.
    """
    if not account.shape.owed:
        return None
    quick = _quickly(market, account, market.indexes(timestamp))
    return standing(market, account, timestamp).factor if quick is None else health_factor(*quick)


def _quickly(market: CometMarket, account: Account, indexes: Indexes) -> tuple[int, int] | None:
    """Return what the collateral counts for and the debt's value, None where that needs a look."""
    shape, base = account.shape, market.terms.base
    price, places = market.prices[base.token], held_in(shape)
    if price is None or places is None or shape.owed != (base.token,):
        return None
    owed = account[FIRST_AMOUNT + len(shape.supplied)] * indexes.borrow // INDEX_SCALE * price
    if owed > MODERATE or base.token in shape.supplied:
        return None
    counts, counted = market.counts, 0
    for asset, place in places:
        if asset not in counts:
            return None
        price, scale, part = counts[asset]
        value = account[place] * price
        if value > MODERATE:
            return None
        counted += value // scale * part // FACTOR_SCALE
    return counted, owed // base.scale


@lru_cache(maxsize=MOST_SHAPES)
def held_in(shape: Shape) -> tuple[tuple[Address, int], ...] | None:
    """Return where the amounts of the collaterals stand; None if the bitmap names one without."""
    places = shape.supply_places
    if not shape.enabled <= places.keys():
        return None
    return tuple((asset, place) for asset, place in places.items() if asset in shape.enabled)


# --- legs ----------------------------------------------------------------------------------------


def value(market: CometMarket, account: Account, timestamp: int) -> Valuation:
    """Return the account with every leg valued; a leg without a price has value 0."""
    try:
        found = standing(market, account, timestamp)
    except Skip:
        return _value_of_reverting(market, account, timestamp)
    whole = Health(found.factor, found.collateral, found.debt, found.threshold)
    legs = [_leg(held.collateral, held.amount, held.value) for held in found.held]
    return _valuation(market, whole, legs, found.principal, found.balance)


def _value_of_reverting(market: CometMarket, account: Account, timestamp: int) -> Valuation:
    """Return what can be told of an account that `absorb` cannot seize."""
    principal = market.principal(account)
    try:
        balance = present_value(principal, market.indexes(timestamp))
    except Skip:  # nothing can accrue any more
        balance = present_value(principal, market.totals.indexes)
    held = holdings(market, account)
    legs = [_leg(one, amount, _worth(market, one.asset, amount, one.scale)) for one, amount in held]
    return _valuation(market, health(market, account, timestamp), legs, principal, balance)


def _valuation(
    market: CometMarket, whole: Health, legs: list[CollateralLeg], principal: int, balance: int
) -> Valuation:
    base, debts = market.terms.base, list[DebtLeg]()
    worth = _worth(market, base.token, abs(balance), base.scale)
    if principal > 0:
        legs.append(CollateralLeg(base.token, base.symbol, balance, worth, "0", enabled=False))
    if principal < 0:
        debts.append(DebtLeg(base.token, base.symbol, -balance, worth))
    return Valuation(whole, tuple(legs), tuple(debts), market.terms.currency, PRICE_DECIMALS)


def _leg(one: Collateral, amount: int, value: int) -> CollateralLeg:
    threshold = _written(one.liquidate_factor // FACTOR_STEP)
    return CollateralLeg(one.asset, one.symbol, amount, value, threshold, enabled=True)


@lru_cache(maxsize=BPS + 1)
def _written(factor: int) -> str:
    return short_decimal(factor, FACTOR_PLACES)


def _worth(market: CometMarket, token: Address, amount: int, scale: int) -> int:
    return amount * (market.prices[token] or 0) // scale


# --- explanation ---------------------------------------------------------------------------------


def explain(market: CometMarket, account: Account, timestamp: int) -> Iterator[Step]:
    """List the arithmetic of the health factor, in the order of the contract."""
    base = market.terms.base
    yield Step("time", f"{timestamp} s")
    yield Step("last accrual", f"{market.totals.accrued_at} s")
    try:
        indexes = market.indexes(timestamp)
        yield Step("supply index", f"{indexes.supply} (accrued; 1e15 is 1)")
        yield Step("borrow index", f"{indexes.borrow} (accrued; 1e15 is 1)")
        yield Step("principal", str(market.principal(account)))
        found = standing(market, account, timestamp)
    except Skip as reverts:
        yield Step("health factor", f"none: the contract reverts, {reverts}")
        yield from _explain_view(market, account)
        return
    yield Step("balance", f"{decimal_string(found.balance, places(base.scale))} {base.symbol}")
    if found.principal < 0:
        price = price_of(market, base.token, base.symbol)
        yield Step(f"{base.symbol} price", _money(market, price))
        yield Step("debt value", _money(market, found.debt))
    for held in found.held:
        yield from _explain_held(market, held)
    yield Step("collateral at its factors", _money(market, found.counted))
    yield Step("health factor", _factor(found))
    yield from _explain_view(market, account)


def _explain_held(market: CometMarket, held: Held) -> Iterator[Step]:
    one, name = held.collateral, held.collateral.symbol
    factor = decimal_string(one.liquidate_factor, 18)
    yield Step(f"{name} held", f"{decimal_string(held.amount, places(one.scale))} {name}")
    yield Step(f"{name} price", _money(market, held.price))
    yield Step(f"{name} collateral value", _money(market, held.value))
    yield Step(f"{name} liquidate collateral factor", factor)
    yield Step(f"{name} counts for", _money(market, held.counted))


def _factor(found: Standing) -> str:
    if found.principal >= 0:
        return "none: no debt"
    if found.factor is None:
        return "none: the debt is worth nothing"
    return decimal_string(found.factor, 18)


def _explain_view(market: CometMarket, account: Account) -> Iterator[Step]:
    """Tell what the view says, which knows no interest since the last accrual."""
    try:
        says = "true" if liquidatable(market, account, market.totals.indexes) else "false"
    except Skip as reverts:
        says = f"reverts, {reverts}"
    yield Step("isLiquidatable (by stored indexes)", says)


def _money(market: CometMarket, amount: int) -> str:
    return f"{decimal_string(amount, PRICE_DECIMALS)} {market.terms.currency}"
