"""
The account as cells of a float matrix, and weights that cannot miss a liquidatable account.

Why no account under 1 escapes the band, for any timestamp. Let s be a scaled balance, N its index,
p its price, u its unit, T its threshold in basis points; x = s N p / u is the leg's true value.

1. Up to v3.4 a token balance is s N rounded to the nearest unit and its value is rounded down: it
   differs from x by less than 1 + p / 2u, for collateral and debt alike. From v3.5 on balance and
   value are rounded down for collateral, up for debt: each differs by less than 1 + p / u.
2. Up to v3.4 the contract floors the average threshold: C A >= sum(value T) - C, so what it
   compares with the debt is at least sum(value (T - 1) / 10,000) - 1/2. The weights take T - 1.
   From v3.5 on it divides the whole sum by the debt, rounds half up and then drops four digits, so
   that "under 1" implies sum(value T / 10,000) < debt: the weights take T.
3. Hence "health factor < 1" implies sum(x T' / 10,000) < sum(debt x) + slack, T' being T - 1 or T,
   with slack at most 1 + the sum of (1 + p / 2u), or (1 + p / u), over all legs (no T exceeds
   10,000). `_too_coarse` takes out, by weights that are infinite, the assets with the largest error
   until this sum over *every* reserve, counted on both sides, fits into `absolute_band`: the bound
   then holds for whatever mix an account has.
4. float32 rounds a weight, an amount and each product by 2**-24 of itself, and a sum of n terms by
   at most n 2**-24 more: 4e-6 of both sums covers 64 legs a side.

Infinite weights send every holder to the exact integers: unknown prices, and overflows, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from chimera.domain.block import Address
from chimera.domain.market import Account, Cells, Column, Shape
from chimera.domain.numeric import RAY
from chimera.errors import Skip
from chimera.protocols.aave_v3.market import AaveMarket, Reserve
from chimera.protocols.aave_v3.valuation import Terms, may_count, price_of, terms_of

RELATIVE_BAND = 4e-6  # float32, 64 legs
ABSOLUTE_BAND = 2_000_000.0  # base units: 0.02 USD where prices have 8 decimals
USD_DECIMALS = 8
FLOAT32_MAX = 3.4e38

Weights = tuple[list[float], list[float]]
"""Per column, the weight on the collateral side and on the debt side."""


def columns(account: Account) -> Iterator[tuple[Column, int]]:
    """Yield a cell for each collateral that counts, and each debt, in scaled units."""
    for asset, scaled in account.supplied.items():
        if asset in account.enabled:
            yield (asset, False, account.mode), scaled
    for asset, scaled in account.owed.items():
        yield (asset, True, account.mode), scaled


def cells(shape: Shape) -> Cells:
    """Tell where the amounts of `columns` stand: they are stored as they are."""
    return (
        *(
            ((asset, False, shape.mode), place)
            for asset, place in shape.supply_places.items()
            if asset in shape.enabled
        ),
        *(((asset, True, shape.mode), place) for asset, place in shape.debt_places.items()),
    )


def weights(market: AaveMarket, columns: Sequence[Column], timestamp: int) -> Weights:
    """Return, per column, value per scaled unit: of collateral at its threshold, and of debt."""
    exact_only = _too_coarse(market)
    collateral, debt = [], []
    for asset, is_debt, mode in columns:
        weight = math.inf
        if asset in market.reserves and asset not in exact_only:
            weight = _weight(market, market.reserves[asset], mode, timestamp, is_debt=is_debt)
        collateral.append(0.0 if is_debt else weight)
        debt.append(weight if is_debt else 0.0)
    return collateral, debt


def _weight(
    market: AaveMarket, reserve: Reserve, mode: int, timestamp: int, *, is_debt: bool
) -> float:
    try:
        terms = terms_of(market, mode)
        price = price_of(market, reserve, terms)
    except Skip:
        return math.inf
    indexes = market.indexes(timestamp)[reserve.asset]
    unit = RAY * reserve.unit
    if is_debt:
        return _quotient(price * indexes.debt, unit)
    threshold = _low_threshold(market, reserve, terms)
    return _quotient(price * indexes.income * threshold, unit * 10_000)


def _low_threshold(market: AaveMarket, reserve: Reserve, terms: Terms) -> int:
    lost = 1 if market.engine.averages_threshold else 0
    return max(terms.threshold(reserve) - lost, 0) if may_count(market, reserve) else 0


def _quotient(numerator: int, denominator: int) -> float:
    try:
        quotient = numerator / denominator
    except OverflowError:
        return math.inf
    return quotient if quotient < FLOAT32_MAX else math.inf


def _too_coarse(market: AaveMarket) -> set[Address]:
    """Return the assets to leave to exact integers, so that all others fit into the band."""
    errors = {asset: _error(market, reserve) for asset, reserve in market.reserves.items()}
    left = ABSOLUTE_BAND - 1 - sum(2 * (1 + error) for error in errors.values())
    coarse: set[Address] = set()
    for asset in sorted(errors, key=lambda asset: errors[asset], reverse=True):
        if left >= 0:
            break
        coarse.add(asset)
        left = ABSOLUTE_BAND - 1 - sum(2 * (1 + e) for a, e in errors.items() if a not in coarse)
    return coarse


def _error(market: AaveMarket, reserve: Reserve) -> float:
    """Return the value of what a balance may be off, at the highest price that any user sees."""
    mode = market.modes.get(reserve.configuration.mode)
    sources = [reserve.asset] if mode is None else [reserve.asset, mode.price_source]
    prices = [market.prices.get(source) or 0 for source in sources]
    parts = 2 if market.engine.rounds_to_nearest else 1
    return _quotient(max(prices), parts * reserve.unit)
