"""The health factor alone, for the accounts that are suspects at every block."""

from __future__ import annotations

from typing import NamedTuple

from chimera.domain.market import Account, Shape
from chimera.domain.numeric import MAX_UINT256, RAY, Bps, Ray, Wad
from chimera.errors import Skip
from chimera.protocols.aave_v3.market import AaveMarket, Place
from chimera.protocols.aave_v3.math import OVERFLOWS
from chimera.protocols.aave_v3.valuation import (
    enabled_in,
    may_count,
    price_of,
    terms_of,
    unpriced_terms_of,
)


class Row(NamedTuple):
    """
    All that one asset, held in one eMode, adds to a health factor at one second.

    Attributes:
        price: Of the asset or the eMode's source, base currency units.
        unit: One whole token in its smallest unit.
        income: Liquidity index, ray; 0 where the asset cannot be collateral.
        debt: Debt index, ray.
        threshold: In this eMode.
    """

    price: int
    unit: int
    income: Ray
    debt: Ray
    threshold: Bps


Leg = tuple[Place, int | None, int | None]
"""A row, and where in the account the supply that counts and the debt stand."""


def row_of(market: AaveMarket, place: Place, timestamp: int) -> Row:
    """
    Return the row of an asset and an eMode, worked out once for a market and a second.

    Raises:
        Skip: A price of it reverts.
    """
    rows = market.rows(timestamp, Row)
    known = rows.get(place)
    if known is None:
        known = rows[place] = _row(market, place, timestamp)
    return known


def _row(market: AaveMarket, place: Place, timestamp: int) -> Row:
    asset, mode = place
    part = market.lasting_for(place, _part)
    price = market.prices[asset]
    if part.may_differ or price is None:
        price = price_of(market, market.reserves[asset], terms_of(market, mode))
    indexes = market.indexes(timestamp)[asset]
    income = indexes.income if part.counts else Ray(0)
    return Row(price, part.unit, income, indexes.debt, part.threshold)


class Part(NamedTuple):
    """What of a row lasts; `may_differ` where the eMode has a price source."""

    unit: int
    threshold: Bps
    counts: bool
    may_differ: bool


def _part(market: AaveMarket, place: Place) -> Part:
    asset, mode = place
    reserve, terms = market.reserves[asset], unpriced_terms_of(market, mode)
    return Part(
        unit=reserve.unit,
        threshold=terms.threshold(reserve),
        counts=may_count(market, reserve),
        may_differ=terms.source is not None,
    )


def factor(market: AaveMarket, account: Account, timestamp: int) -> Wad | None:
    """
    Return `valuation.account_data(...).factor`, by the same arithmetic without its parts.

    Every rounding is an addition before a division that rounds down: of half a ray to nearest, of
    one less than the divisor up, of nothing down.

    Raises:
        Skip: The view reverts, for the reason that `account_data` gives.
    """
    engine = market.engine
    to_supply, to_debt = (RAY // 2, RAY // 2) if engine.rounds_to_nearest else (0, RAY - 1)
    collateral = weighted = debt = 0
    rows = market.rows(timestamp, Row)
    for place, supply_at, debt_at in legs_of(market, account[0]):
        row = rows.get(place)
        price, unit, income, index, threshold = row or row_of(market, place, timestamp)
        if supply_at:
            worth = (account[supply_at] * income + to_supply) // RAY * price
            if worth > MAX_UINT256:
                raise Skip(OVERFLOWS)
            value = worth // unit
            collateral += value
            weighted += value * threshold
        if debt_at:
            worth = (account[debt_at] * index + to_debt) // RAY * price
            if worth > MAX_UINT256:
                raise Skip(OVERFLOWS)
            debt += worth // unit if engine.rounds_to_nearest else -(-worth // unit)
    if collateral > MAX_UINT256 or weighted > MAX_UINT256 or debt > MAX_UINT256:
        raise Skip(OVERFLOWS)
    return engine.health(collateral, weighted, debt)


def legs_of(market: AaveMarket, shape: Shape) -> tuple[Leg, ...]:
    """Return what accounts of this shape have in their bitmap, in the order of the contract."""
    return market.lasting_for(shape, _legs)


def _legs(market: AaveMarket, shape: Shape) -> tuple[Leg, ...]:
    enabled = enabled_in(market, shape.enabled)
    held = [market.reserves[asset] for asset in enabled.union(shape.owed)]
    return tuple(
        (
            (reserve.asset, shape.mode),
            shape.supply_place(reserve.asset) if reserve.asset in enabled else None,
            shape.debt_place(reserve.asset),
        )
        for reserve in sorted(held, key=lambda reserve: reserve.bit)
    )
