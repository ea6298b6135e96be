"""
The account as cells of a float matrix, and weights that cannot miss a liquidatable account.

Why no account under 1 escapes the band, for any timestamp. Let s be a scaled balance, N its index
(it begins at 1 and never falls), p its price, u its unit, T its threshold in basis points;
x(s) = s N p / u is the leg's true value.

1. Up to v3.4 a token balance is s N rounded to the nearest unit, which is within x(s - 1/2) and
   x(s + 1/2) since N >= 1. From v3.5 on it is rounded down for collateral, up for debt: over
   x(s - 1) and under x(s + 1). Rounded down it is also s at least, as s is whole and N >= 1, and
   floor(s N) >= s N / 2: a scaled balance less one, yet half of it at least, is safe for both.
   That is the `unit_band` of 1.
2. The value is rounded down: less than 1 is lost of each collateral. From v3.5 on it is rounded up
   for debt, less than 1 more. That are the `leg_bands`.
3. Up to v3.4 the contract floors the average threshold: C A >= sum(value T) - C, so what it
   compares with the debt is at least sum(value (T - 1) / 10,000) - 1/2. The weights take T - 1, and
   `absolute_band` is more than 1/2. From v3.5 on it divides the whole sum by the debt, rounds half
   up and then drops four digits, so that "under 1" implies sum(value T / 10,000) < debt: the
   weights take T.
4. Hence "health factor < 1" implies sum(x(s - 1) T' / 10,000) < sum(debt x(s + 1)) + slack, T'
   being T - 1 or T and slack one per leg and 1/2 (no T exceeds 10,000): whatever the price of a
   unit, an account's own legs say how wrong it can be. A pool without any value of debt has no
   health factor to be under 1.
5. float32 rounds a weight, an amount and each product by 2**-24 of itself, and a sum of n terms by
   at most n 2**-24 more: 4e-6 of both sums covers 64 legs a side.

Infinite weights send every holder to the exact integers: unknown prices, overflows, and indexes
under 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from chimera.domain.market import FIRST_AMOUNT, Account, Cells, Column, Shape
from chimera.domain.numeric import RAY
from chimera.errors import Skip
from chimera.protocols.aave_v3.market import AaveMarket, Reserve
from chimera.protocols.aave_v3.valuation import Terms, may_count, price_of, terms_of

RELATIVE_BAND = 4e-6  # float32, 64 legs
ABSOLUTE_BAND = 1.0  # base units
UNIT_BAND = 1.0  # scaled units
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
    mode, enabled, first_debt = shape.mode, shape.enabled, FIRST_AMOUNT + len(shape.supplied)
    return (
        *[
            ((asset, False, mode), place)
            for place, asset in enumerate(shape.supplied, FIRST_AMOUNT)
            if asset in enabled
        ],
        *[((asset, True, mode), place) for place, asset in enumerate(shape.owed, first_debt)],
    )


def weights(market: AaveMarket, columns: Sequence[Column], timestamp: int) -> Weights:
    """Return, per column, value per scaled unit: of collateral at its threshold, and of debt."""
    collateral, debt = [], []
    for asset, is_debt, mode in columns:
        weight = math.inf
        if asset in market.reserves:
            weight = _weight(market, market.reserves[asset], mode, timestamp, is_debt=is_debt)
        collateral.append(0.0 if is_debt else weight)
        debt.append(weight if is_debt else 0.0)
    return collateral, debt


def leg_bands(market: AaveMarket) -> tuple[float, float]:
    """Return what rounding takes of a leg of collateral and adds to one of debt, base units."""
    return 1.0, 0.0 if market.engine.rounds_to_nearest else 1.0


def _weight(
    market: AaveMarket, reserve: Reserve, mode: int, timestamp: int, *, is_debt: bool
) -> float:
    try:
        terms = terms_of(market, mode)
        price = price_of(market, reserve, terms)
    except Skip:
        return math.inf
    indexes = market.indexes(timestamp)[reserve.asset]
    if min(indexes.income, indexes.debt) < RAY:
        return math.inf
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
