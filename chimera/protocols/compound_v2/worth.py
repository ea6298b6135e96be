"""An account with every leg valued, as it is published: thousands at a time, so without detours."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from chimera.domain.block import Address
from chimera.domain.health import CollateralLeg, DebtLeg, Health, Valuation
from chimera.domain.market import FIRST_AMOUNT, Account, Shape
from chimera.domain.numeric import MAX_UINT256, WAD, Wad, short_decimal
from chimera.protocols.compound_v2 import valuation
from chimera.protocols.compound_v2.market import CompoundMarket
from chimera.protocols.compound_v2.valuation import CURRENCY, MOST_SHAPES, PLACES


class Plan(NamedTuple):
    """
    What all accounts of a shape have in common.

    Attributes:
        supplied: Markets of the supply side in order, and whether each is entered.
        owed: Markets of the debt side in order, where the index of each stands, and as above.
        blank: Markets that are entered, and nothing is there.
    """

    supplied: tuple[tuple[Address, bool], ...]
    owed: tuple[tuple[Address, int, bool], ...]
    blank: frozenset[Address]


def value(market: CompoundMarket, account: Account) -> Valuation:
    """
    Return the account with every leg valued; a leg without a price has value 0.

    It is `valuation.value`, by the same arithmetic in one go, or that very function where anything
    is out of the ordinary: the contract cannot tell about a market, or a product overflows.
    """
    return _quickly(market, account) or valuation.value(market, account)


def _quickly(market: CompoundMarket, account: Account) -> Valuation | None:
    plan, rows, at = plan_of(account[0]), market.shown(account[0].mode), FIRST_AMOUNT
    if plan is None or (plan.blank and not plan.blank <= rows.keys()):
        return None
    collateral = worth = debt = most = 0
    supplied: list[CollateralLeg] = []
    owed: list[DebtLeg] = []
    try:
        for mtoken, is_on in plan.supplied:
            asset, symbol, price, rate, weight, _, written = rows[mtoken]
            amount = rate * account[at] // WAD
            own = price * amount // WAD
            if is_on:
                counted = weight * account[at]
                most = max(most, counted)
                collateral += counted // WAD
                worth += own
            supplied.append(CollateralLeg(asset, symbol, amount, own, written, is_on))
            at += 1
        for mtoken, mark, is_on in plan.owed:
            asset, symbol, price, _, _, index, _ = rows[mtoken]
            grown = account[at] * index
            amount = grown // account[mark]
            own = price * amount
            if is_on:
                most = max(most, grown, own)
                debt += own // WAD
            owed.append(DebtLeg(asset, symbol, amount, own // WAD))
            at += 1
    except KeyError:
        return None
    if most > MAX_UINT256:
        return None
    factor = Wad(collateral * WAD // debt) if debt else None
    threshold = short_decimal(collateral * WAD // worth if worth else 0, PLACES)
    health = Health(factor, worth, debt, threshold)
    return Valuation(health, tuple(supplied), tuple(owed), CURRENCY, PLACES)


@lru_cache(maxsize=MOST_SHAPES)
def plan_of(shape: Shape) -> Plan | None:
    """Return what accounts of this shape have in common; None where a debt lacks its index."""
    if not set(shape.owed) <= set(shape.marks):
        return None
    first = FIRST_AMOUNT + len(shape.supplied) + len(shape.owed)
    marks = {mtoken: first + number for number, mtoken in enumerate(shape.marks)}
    return Plan(
        supplied=tuple((mtoken, mtoken in shape.enabled) for mtoken in shape.supplied),
        owed=tuple((mtoken, marks[mtoken], mtoken in shape.enabled) for mtoken in shape.owed),
        blank=shape.enabled.difference(shape.supplied, shape.owed),
    )
