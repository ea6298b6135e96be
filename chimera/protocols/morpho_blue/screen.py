"""
The account as cells of a float matrix, and weights that cannot miss a liquidatable account.

Why no account under 1 escapes the band. An account is in one market, and both sides are in raw
units of its loan token. Let c be the collateral, p the price, l the LLTV (under 1), s the borrow
shares, A and S the accrued totals with their virtual amounts; x = c p l / 1e54 and y = s A / S are
the true values of both sides.

1. The contract rounds the collateral down twice: once before the LLTV (which loses less than l < 1)
   and once after (less than 1). What may be owed is more than x - 2.
2. It rounds the debt up: what is owed is less than y + 1.
3. "Health factor < 1" means that the first integer is smaller, so it is smaller by 1 at least:
   x - 2 < allowed <= owed - 1 < y. Hence x < y + 2, which `LEG_BANDS` say.
4. Two legs: float32 rounds weights, amounts, products and their sum by less than 8 x 2**-24.
5. Accounts whose product c p leaves 256 bits have no health factor and must be seen, too. Then x is
   at least 2**256 l / 1e36 > 1e41 l. From an LLTV of 1 % on float32 cannot hold that: the sum is no
   number, and the screen takes it for a candidate. Below 1 % the weight is infinite for any price
   over 2**128; for others there is no such product, since c < 2**128.

Infinite weights send every holder to the exact integers: unknown prices and rates as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from chimera.domain.market import Account, Cells, Column, Shape
from chimera.domain.numeric import WAD
from chimera.errors import Skip
from chimera.protocols.morpho_blue.market import Id, MorphoMarket
from chimera.protocols.morpho_blue.math import (
    MAX_UINT128,
    ORACLE_SCALE,
    VIRTUAL_ASSETS,
    VIRTUAL_SHARES,
)

RELATIVE_BAND = 1e-6  # float32, two legs
LEG_BANDS = 2.0, 1.0  # raw units of the loan token: of collateral, of debt

LEAST_LLTV = WAD // 100  # see 5
SCALE = ORACLE_SCALE * WAD

Weights = tuple[list[float], list[float]]
"""Per column, the weight on the collateral side and on the debt side."""


def columns(account: Account) -> Iterator[tuple[Column, int]]:
    """Yield a cell for the collateral and one for the borrow shares."""
    for market, amount in account.supplied.items():
        yield (market, False, 0), amount
    for market, shares in account.owed.items():
        yield (market, True, 0), shares


def cells(shape: Shape) -> Cells:
    """Tell where the amounts of `columns` stand: they are stored as they are."""
    return (
        *(((market, False, 0), place) for market, place in shape.supply_places.items()),
        *(((market, True, 0), place) for market, place in shape.debt_places.items()),
    )


def weights(market: MorphoMarket, columns: Sequence[Column], timestamp: int) -> Weights:
    """Return, per column, what one unit of collateral allows to owe, or what one share is worth."""
    collateral, debt = [], []
    for where, is_debt, _ in columns:
        weight = _of_debt(market, where, timestamp) if is_debt else _of_collateral(market, where)
        collateral.append(0.0 if is_debt else weight)
        debt.append(weight if is_debt else 0.0)
    return collateral, debt


def _of_collateral(market: MorphoMarket, where: Id) -> float:
    lltv = market.terms[where].lltv
    try:
        price = market.price(where)
    except Skip:
        return math.inf
    if price > MAX_UINT128 and lltv < LEAST_LLTV:
        return math.inf
    return price * lltv / SCALE


def _of_debt(market: MorphoMarket, where: Id, timestamp: int) -> float:
    try:
        totals = market.accrued(where, timestamp)
    except Skip:
        return math.inf
    return (totals.borrow_assets + VIRTUAL_ASSETS) / (totals.borrow_shares + VIRTUAL_SHARES)
