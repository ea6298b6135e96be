"""
The account as cells of a float matrix, and weights that cannot miss a liquidatable account.

Why no account under a limit escapes the band, for any timestamp. Let x be the true value of a leg,
for collateral times its factor.

1. The contract rounds the value of each collateral down, and that value times the factor again: it
   counts more than x - 2 for each.
2. It rounds the present value of the debt down, and its value again: it counts at most x.
3. Hence "health factor < limit" implies sum(x - 2 of collateral) < limit * (x of debt), which is
   what `LEG_BANDS` say. A debt without any value is none.
4. float32 rounds a weight, an amount and each product by 2**-24 of itself, and a sum of n terms by
   at most n 2**-24 more: 4e-6 of both sums covers 64 legs; there are 25.

Infinite weights send every holder to the exact integers: unknown prices, and overflows, too. A
product of an amount (128 bits) and a price (under 2**120) is none; beyond that, the weight is
infinite whatever the factor. All that is multiplied with a factor is what is compared itself. Base
that is supplied has no cell: it is no collateral.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from chimera.domain.block import Address
from chimera.domain.market import Account, Cells, Column, Shape
from chimera.errors import Skip
from chimera.ports import LegBands
from chimera.protocols.compound_v3.market import CometMarket
from chimera.protocols.compound_v3.math import FACTOR_SCALE, INDEX_SCALE

RELATIVE_BAND = 4e-6  # float32, 64 legs
ABSOLUTE_BAND = UNIT_BAND = 0.0
LEG_BANDS: LegBands = 2.0, 0.0  # units of a price, 8 places: of collateral, of debt
FLOAT32_MAX = 3.4e38
MOST_PRICE = 2**120  # times 128 bits it leaves room in 256

Weights = tuple[list[float], list[float]]
"""Per column, the weight on the collateral side and on the debt side."""


def columns(account: Account) -> Iterator[tuple[Column, int]]:
    """Yield a cell for each collateral in token units, and one for the principal of the debt."""
    for asset, amount in account.supplied.items():
        if asset in account.enabled:
            yield (asset, False, 0), amount
    for asset, principal in account.owed.items():
        yield (asset, True, 0), principal


def cells(shape: Shape) -> Cells:
    """Tell where the amounts of `columns` stand: they are stored as they are."""
    return (
        *(
            ((asset, False, 0), place)
            for asset, place in shape.supply_places.items()
            if asset in shape.enabled
        ),
        *(((asset, True, 0), place) for asset, place in shape.debt_places.items()),
    )


def weights(market: CometMarket, columns: Sequence[Column], timestamp: int) -> Weights:
    """Return, per column, value per unit: of collateral at its factor, and of debt."""
    collateral, debt = [], []
    for asset, is_debt, _ in columns:
        if is_debt:
            collateral.append(0.0)
            debt.append(_of_debt(market, asset, timestamp))
        else:
            collateral.append(_of_collateral(market, asset))
            debt.append(0.0)
    return collateral, debt


def _of_collateral(market: CometMarket, asset: Address) -> float:
    count = market.counts.get(asset)
    if count is None:
        return math.inf
    price, scale, factor = count
    if price >= MOST_PRICE:
        return math.inf
    return _quotient(price * factor, scale * FACTOR_SCALE)


def _of_debt(market: CometMarket, asset: Address, timestamp: int) -> float:
    price = market.prices.get(asset)
    try:
        index = market.indexes(timestamp).borrow
    except Skip:
        return math.inf
    if price is None:
        return math.inf
    return _quotient(price * index, market.terms.base.scale * INDEX_SCALE)


def _quotient(numerator: int, denominator: int) -> float:
    try:
        quotient = numerator / denominator
    except OverflowError:
        return math.inf
    return quotient if quotient < FLOAT32_MAX else math.inf
