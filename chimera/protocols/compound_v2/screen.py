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

from chimera.domain.block import Address
from chimera.domain.market import Account, Column
from chimera.domain.numeric import WAD
from chimera.ports import LegBands
from chimera.protocols.compound_v2.market import CompoundMarket

RELATIVE_BAND = 4e-6  # float32, 64 legs
ABSOLUTE_BAND = UNIT_BAND = 0.0
LEG_BANDS: LegBands = 1.0, 0.0  # base units, 10**-18 USD: of collateral, of debt
FLOAT32_MAX = 3.4e38
FINENESS = 10**6  # cells of a debt are this part of a unit, at an index of 1

Weights = tuple[list[float], list[float]]
"""Per column, the weight on the collateral side and on the debt side."""


def columns(account: Account) -> Iterator[tuple[Column, int]]:
    """Yield a cell for each collateral that counts, each debt, and each market with neither."""
    for mtoken, balance in account.supplied.items():
        if mtoken in account.enabled:
            yield (mtoken, False, account.mode), balance
    for mtoken, principal in account.owed.items():
        yield (mtoken, True, account.mode), -(-principal * FINENESS * WAD // account.marks[mtoken])
    for mtoken in account.enabled:
        if mtoken not in account.supplied and mtoken not in account.owed:
            yield (mtoken, True, account.mode), 1


def weights(market: CompoundMarket, columns: Sequence[Column]) -> Weights:
    """Return, per column, value per cell: of collateral as it counts, and of debt."""
    collateral, debt = [], []
    for mtoken, is_debt, mode in columns:
        weight = _weight(market, mtoken, mode, is_debt=is_debt)
        collateral.append(0.0 if is_debt else weight)
        debt.append(weight if is_debt else 0.0)
    return collateral, debt


def _weight(market: CompoundMarket, mtoken: Address, mode: int, *, is_debt: bool) -> float:
    if mtoken not in market.listings:
        return math.inf
    figures = market.figures(mtoken, mode)
    if not figures.price or figures.weight is None:
        return math.inf
    if is_debt:
        return _quotient(figures.price * figures.borrow_index, FINENESS * WAD * WAD)
    return _quotient(figures.weight, WAD)


def _quotient(numerator: int, denominator: int) -> float:
    try:
        quotient = numerator / denominator
    except OverflowError:
        return math.inf
    return quotient if quotient < FLOAT32_MAX else math.inf
