"""An account with every leg valued, as it is published: thousands at a time, so without detours."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from chimera.domain.health import CollateralLeg, DebtLeg, Health, Valuation
from chimera.domain.market import FIRST_AMOUNT, Account, Shape
from chimera.domain.numeric import BPS, MAX_UINT256, RAY, Bps, Ray, short_decimal
from chimera.errors import Skip
from chimera.protocols.aave_v3.market import AaveMarket, Place
from chimera.protocols.aave_v3.math import average_threshold
from chimera.protocols.aave_v3.valuation import (
    BPS_PLACES,
    enabled_in,
    health,
    may_count,
    price_of,
    terms_of,
)

HALF_RAY = RAY // 2


class Shown(NamedTuple):
    """
    What one asset, held in one eMode, is worth at one second, and how that is written.

    Attributes:
        symbol: Of the asset.
        price: Of the asset or the eMode's source, base currency units; 0 where it reverts.
        unit: One whole token in its smallest unit.
        income: Liquidity index, ray.
        debt: Debt index, ray.
        threshold: In this eMode; 0 where the asset cannot be collateral.
        written: The threshold as a decimal.
        counts: Whether the asset can be collateral.
        reverts: Whether its price does.
    """

    symbol: str
    price: int
    unit: int
    income: Ray
    debt: Ray
    threshold: Bps
    written: str
    counts: bool
    reverts: bool


Side = tuple[Place, bool]
"""A row, and whether the asset's bit is set."""


class Plan(NamedTuple):
    """
    What all accounts of a shape have in common.

    Attributes:
        supplied: Per asset of the supply side in order.
        owed: Per asset of the debt side, its row.
        idle: Rows of what is in the bitmap and on neither side.
    """

    supplied: tuple[Side, ...]
    owed: tuple[Place, ...]
    idle: tuple[Place, ...]


def value(market: AaveMarket, account: Account, timestamp: int) -> Valuation:
    """
    Return the account with every leg valued; a leg without a price has value 0.

    Its health is `valuation.health`, added up on the way: by the same arithmetic, or by that very
    function where the view reverts. Roundings are additions before a division, as in `factor`.
    """
    nearest, plan = market.engine.rounds_to_nearest, market.lasting_for(account[0], _plan)
    to_supply, to_debt = (HALF_RAY, HALF_RAY) if nearest else (0, RAY - 1)
    rows, at, doubtful = market.rows(timestamp, Shown), FIRST_AMOUNT, False
    collateral = weighted = debt = 0
    supplied: list[CollateralLeg] = []
    for place, is_on in plan.supplied:
        row = rows.get(place) or shown(market, place, timestamp)
        symbol, price, unit, income, _, threshold, written, counts, is_dead = row
        amount = (account[at] * income + to_supply) // RAY
        worth = amount * price
        own = worth // unit
        if is_on:
            doubtful = doubtful or is_dead
            if counts:
                doubtful = doubtful or worth > MAX_UINT256
                collateral += own
                weighted += own * threshold
        supplied.append(CollateralLeg(place[0], symbol, amount, own, written, is_on))
        at += 1
    owed: list[DebtLeg] = []
    for place in plan.owed:
        row = rows.get(place) or shown(market, place, timestamp)
        symbol, price, unit, _, index, _, _, _, is_dead = row
        amount = (account[at] * index + to_debt) // RAY
        worth = amount * price
        own = worth // unit if nearest else -(-worth // unit)
        doubtful = doubtful or is_dead or worth > MAX_UINT256
        debt += own
        owed.append(DebtLeg(place[0], symbol, amount, own))
        at += 1
    if plan.idle:
        doubtful |= any(shown(market, place, timestamp).reverts for place in plan.idle)
    if doubtful or collateral > MAX_UINT256 or weighted > MAX_UINT256 or debt > MAX_UINT256:
        whole = health(market, account, timestamp)
    else:
        whole = _health(market, collateral, weighted, debt)
    return Valuation(
        whole, tuple(supplied), tuple(owed), market.base_currency, market.base_decimals
    )


def _health(market: AaveMarket, collateral: int, weighted: int, debt: int) -> Health:
    """Return the health that sums within 256 bits make, or why it overflows them at last."""
    try:
        factor = market.engine.health(collateral, weighted, debt)
    except Skip as reverts:
        return Health(None, 0, 0, "0", error=str(reverts))
    average = average_threshold(collateral, weighted)
    return Health(factor, collateral, debt, _written(average))


def shown(market: AaveMarket, place: Place, timestamp: int) -> Shown:
    """Return the row of an asset and an eMode, worked out once for a market and a second."""
    rows = market.rows(timestamp, Shown)
    known = rows.get(place)
    if known is None:
        known = rows[place] = _shown(market, place, timestamp)
    return known


def _shown(market: AaveMarket, place: Place, timestamp: int) -> Shown:
    asset, mode = place
    reserve, indexes = market.reserves[asset], market.indexes(timestamp)[asset]
    counts, reverts = may_count(market, reserve), False
    try:
        terms = terms_of(market, mode)
        price = price_of(market, reserve, terms)
        threshold = terms.threshold(reserve) if counts else Bps(0)
    except Skip:
        price, threshold, reverts = 0, reserve.configuration.threshold, True
    return Shown(
        symbol=reserve.symbol,
        price=price,
        unit=reserve.unit,
        income=indexes.income,
        debt=indexes.debt,
        threshold=threshold,
        written=_written(threshold),
        counts=counts,
        reverts=reverts,
    )


def _plan(market: AaveMarket, shape: Shape) -> Plan:
    enabled = enabled_in(market, shape.enabled)
    kept = market.lasting(_no_sides)
    assets = enabled.union(shape.supplied, shape.owed)
    sides = {asset: ((asset, shape.mode), asset in enabled) for asset in assets}
    same = {asset: kept.setdefault(side, side) for asset, side in sides.items()}
    return Plan(
        supplied=tuple(same[asset] for asset in shape.supplied),
        owed=tuple(same[asset][0] for asset in shape.owed),
        idle=tuple(same[asset][0] for asset in enabled.difference(shape.supplied, shape.owed)),
    )


def _no_sides(_market: AaveMarket) -> dict[Side, Side]:
    """Return where equal sides become one object: plans are many, and what is few stays at hand."""
    return {}


@lru_cache(maxsize=BPS + 1)
def _written(threshold: Bps) -> str:
    return short_decimal(threshold, BPS_PLACES)
