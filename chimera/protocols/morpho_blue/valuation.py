"""An account as the singleton's health check has it, leg by leg and line by line."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from chimera.domain.health import CollateralLeg, DebtLeg, Health, Valuation
from chimera.domain.market import FIRST_AMOUNT, Account, Token
from chimera.domain.numeric import Wad, short_decimal
from chimera.errors import Skip
from chimera.protocols.morpho_blue.market import Id, MorphoMarket, Terms, market_of
from chimera.protocols.morpho_blue.math import (
    Totals,
    health_factor,
    max_borrow,
    quoted,
    to_assets_down,
    to_assets_up,
)

WAD_PLACES = 18
PRICE_PLACES = 36
MOST_LLTVS = 1 << 10  # remembered as text; governance has enabled about ten
PRICE_UNIT = "loan units per collateral unit"


class Figures(NamedTuple):
    """What decides about an account: units of the loan token, but `collateral` and `price`."""

    market: Id
    terms: Terms
    totals: Totals  # with interest
    shares: int
    borrowed: int
    collateral: int  # units of the collateral token
    price: int
    value: int
    allowed: int

    @property
    def factor(self) -> Wad | None:
        """The health factor, WAD; None without debt."""
        return health_factor(self.allowed, self.borrowed)


def figures(market: MorphoMarket, account: Account, timestamp: int) -> Figures | None:
    """
    Compute the account as `_isHealthy` does after an accrual to `timestamp`; None without debt.

    Raises:
        Skip: The contract reverts, or the price or the rate is not known.

    Mirrors Morpho._accrueInterest and Morpho._isHealthy.
    """
    for where, shares in account.owed.items():
        terms, collateral = market.terms[where], account.supplied.get(where, 0)
        price, totals = market.price(where), market.accrued(where, timestamp)
        return Figures(
            market=where,
            terms=terms,
            totals=totals,
            shares=shares,
            borrowed=to_assets_up(shares, totals.borrow_assets, totals.borrow_shares),
            collateral=collateral,
            price=price,
            value=quoted(collateral, price),
            allowed=max_borrow(collateral, price, terms.lltv),
        )
    return None


def factor(market: MorphoMarket, account: Account, timestamp: int) -> Wad | None:
    """
    Return the health factor alone, by what is the same for everybody in the market.

    Raises:
        Skip: The contract reverts, or the price or the rate is not known.
    """
    shape = account.shape
    if not shape.owed:
        return None
    where = Id(shape.owed[0])
    limit, place = market.limit(where, timestamp), shape.supply_place(where)
    collateral = 0 if place is None else account[place]
    shares = account[FIRST_AMOUNT + len(shape.supplied)]
    allowed = max_borrow(collateral, limit.price, limit.lltv)
    return health_factor(allowed, to_assets_up(shares, limit.owed_assets, limit.owed_shares))


def health(market: MorphoMarket, account: Account, timestamp: int) -> Health:
    """Return the health factor at `timestamp`, or why there is none."""
    try:
        found = figures(market, account, timestamp)
    except Skip as reverts:
        return Health(None, 0, 0, _threshold(market, account), error=str(reverts))
    if found is None:
        return Health(None, _idle_value(market, account), 0, _threshold(market, account))
    return Health(found.factor, found.value, found.borrowed, _threshold(market, account))


def _threshold(market: MorphoMarket, account: Account) -> str:
    for where in account.supplied:
        return _written(market.terms[where].lltv)
    return "0"


def _idle_value(market: MorphoMarket, account: Account) -> int:
    """Return what collateral without a debt is worth, 0 where nobody asks for its price."""
    for where, amount in account.supplied.items():
        try:
            return quoted(amount, market.price(where))
        except Skip:
            return 0
    return 0


def value(market: MorphoMarket, account: Account, timestamp: int) -> Valuation:
    """Return the account with every leg valued; a leg without a price has value 0."""
    where = market_of(account)
    if where is None:
        return Valuation(health(market, account, timestamp), (), (), PRICE_UNIT, PRICE_PLACES)
    try:
        found = figures(market, account, timestamp)
    except Skip:
        found = None
    if found is None:
        whole, worth = health(market, account, timestamp), _idle_value(market, account)
        owed = _owed(market, account, where, timestamp)
    else:
        worth, owed = found.value, found.borrowed
        whole = Health(found.factor, worth, owed, _threshold(market, account))
    terms = market.terms[where]
    loan = token(market, terms.loan)
    return Valuation(
        health=whole,
        collateral=tuple(_collateral_legs(market, account, where, worth, timestamp)),
        debt=(DebtLeg(terms.loan, loan.symbol, owed, owed),) if account.is_open else (),
        base_currency=loan.symbol,
        base_decimals=loan.decimals,
    )


def _collateral_legs(
    market: MorphoMarket, account: Account, where: Id, worth: int, timestamp: int
) -> list[CollateralLeg]:
    terms, legs = market.terms[where], []
    if amount := account.supplied.get(where, 0):
        symbol, threshold = token(market, terms.collateral).symbol, _written(terms.lltv)
        legs.append(CollateralLeg(terms.collateral, symbol, amount, worth, threshold, enabled=True))
    if shares := account.marks.get(where, 0):
        totals = _totals(market, where, timestamp)
        lent = to_assets_down(shares, totals.supply_assets, totals.supply_shares)
        symbol = token(market, terms.loan).symbol
        legs.append(CollateralLeg(terms.loan, symbol, lent, lent, "0", enabled=False))
    return legs


def _owed(market: MorphoMarket, account: Account, where: Id, timestamp: int) -> int:
    shares = account.owed.get(where, 0)
    if not shares:
        return 0
    totals = _totals(market, where, timestamp)
    return to_assets_up(shares, totals.borrow_assets, totals.borrow_shares)


def _totals(market: MorphoMarket, where: Id, timestamp: int) -> Totals:
    """Return the totals with interest, as stored where that cannot be told."""
    try:
        return market.accrued(where, timestamp)
    except Skip:
        return market.totals[where]


@lru_cache(maxsize=MOST_LLTVS)
def _written(lltv: Wad) -> str:
    return short_decimal(lltv, WAD_PLACES)


def token(market: MorphoMarket, address: Id) -> Token:
    """Return a token by its own name; by its address and in the smallest unit if not read."""
    return market.tokens.get(address) or Token(f"0x{address[:4].hex()}", 0)
