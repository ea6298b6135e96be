"""
The account as cells of a float matrix, and weights that cannot miss an account under 1.

Why no account under 1 escapes the band. Let w be the comptroller's own weight of an mToken, an
integer in WAD of base units, b a balance, p a price, P a principal, I the borrow index, J the index
at which P was settled, all as stored.

1. Collateral counts as floor(w b / 10**18) in the contract; the cell is b and the weight is
   w / 10**18, so a leg is less than one base unit (10**-18 USD) too much.
2. A debt counts as floor(p floor(P I / J) / 10**18). The cell is P 10**6 / J rounded up, times
   10**18, and the weight is p I / 10**42: never less than the contract's figure.
3. Hence "health factor < 1" implies collateral < debt + n by the weights, n being the legs of
   collateral: `LEG_BANDS`. A debt that floors to 0 makes no shortfall.
4. float32 rounds a weight, an amount and each product by 2**-24 of itself, and a sum of n terms by
   at most n 2**-24 more: 4e-6 of both sums covers 64 legs a side.

An entered market in which an account has nothing has a cell of the smallest debt, so that a dead
price, whose weight is infinite, sends every member to the exact integers; as a debt of a millionth
of a unit it can only make an account look worse. Overflows are infinite, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from chimera.domain.market import FIRST_AMOUNT, Account, Column, Shape
from chimera.domain.numeric import WAD
from chimera.ports import LegBands
from chimera.protocols.compound_v2.market import CompoundMarket, Count
from chimera.protocols.compound_v2.valuation import MOST_SHAPES

RELATIVE_BAND = 4e-6  # float32, 64 legs
ABSOLUTE_BAND = UNIT_BAND = 0.0
LEG_BANDS: LegBands = 1.0, 0.0  # base units, 10**-18 USD: of collateral, of debt
FLOAT32_MAX = 3.4e38
FINENESS = 10**6  # cells of a debt are this part of a unit, at an index of 1

Weights = tuple[list[float], list[float]]
"""Per column, the weight on the collateral side and on the debt side."""


def columns(account: Account) -> Iterator[tuple[Column, int]]:
    """Yield a cell for each collateral that counts, each debt, and each market with neither."""
    places = _places_of(account.shape)
    for column, place in places.collateral:
        yield column, account[place]
    for column, place, mark in places.debts:
        yield column, -(-account[place] * FINENESS * WAD // account[mark])
    for column in places.blank:
        yield column, 1


class Places(NamedTuple):
    """Columns of the accounts of one shape, each with the places that its cell is made of."""

    collateral: tuple[tuple[Column, int], ...]
    debts: tuple[tuple[Column, int, int], ...]  # place of the principal, and of its index
    blank: tuple[Column, ...]


@lru_cache(maxsize=MOST_SHAPES)
def _places_of(shape: Shape) -> Places:
    supplies, debts, mode = shape.supply_places, shape.debt_places, shape.mode
    first = FIRST_AMOUNT + len(shape.supplied) + len(shape.owed)
    marks = {mtoken: place for place, mtoken in enumerate(shape.marks, first)}
    entered = [mtoken for mtoken in supplies if mtoken in shape.enabled]
    return Places(
        tuple(((mtoken, False, mode), supplies[mtoken]) for mtoken in entered),
        tuple(((mtoken, True, mode), place, marks[mtoken]) for mtoken, place in debts.items()),
        tuple((m, True, mode) for m in sorted(shape.enabled - supplies.keys() - debts.keys())),
    )


def weights(market: CompoundMarket, columns: Sequence[Column]) -> Weights:
    """Return, per column, value per cell: of collateral as it counts, and of debt."""
    collateral, debt = [], []
    for mtoken, is_debt, mode in columns:
        count = market.counts(mode).get(mtoken)
        if is_debt:
            collateral.append(0.0)
            debt.append(math.inf if count is None else _of_debt(count))
        else:
            collateral.append(math.inf if count is None else _quotient(count.weight, WAD))
            debt.append(0.0)
    return collateral, debt


def _of_debt(count: Count) -> float:
    return _quotient(count.price * count.borrow_index, FINENESS * WAD * WAD)


def _quotient(numerator: int, denominator: int) -> float:
    try:
        quotient = numerator / denominator
    except OverflowError:
        return math.inf
    return quotient if quotient < FLOAT32_MAX else math.inf
