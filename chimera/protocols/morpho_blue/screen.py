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

Why interest may be reckoned in float64. All debts grow at every block, and there may be thousands
of markets. `Interest` follows the contract's formulas without its roundings; let r be the rate per
second (WAD), t the seconds, g = r t / 1e18 and A (1 + g + g**2 / 2 + g**3 / 6) the debts.

6. The rates at the end and in the middle lie between bounds under 1e11, so that what e**x loses by
   rounding in the 18th place is less than a unit of them. With the divisions of their average and
   of the curve, whose slope is 4 at most, r is off by less than 12 units. Up to 2**32 seconds g is
   off by less than 12 x 2**32 / 1e18 < 6e-8, and the debts by no larger part of themselves: their
   derivative by g is less than they are.
7. float64 adds less than 1e-12. The polynomial for e**x jumps where it doubles once more: whoever
   is within 1e-9 of such a place is reckoned exactly. Beyond e**20 at the end, and e**10 in the
   middle, all rates are at a bound.
8. The interest is rounded down, which the weight is not: that can only make a debt look larger.
9. Together with 4 this is less than 6e-7, and `RELATIVE_BAND` is more.
10. Totals over 2**127 are reckoned exactly, so that none that leaves 128 bits goes unnoticed, and
    so is whatever has a rate that is not a curve's, or that no curve has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from chimera.domain.block import ZERO_ADDRESS, Address
from chimera.domain.market import Account, Cells, Column, Shape, Token
from chimera.domain.numeric import WAD
from chimera.errors import Skip
from chimera.ports import LegBands
from chimera.protocols.morpho_blue.market import NOT_ASKED, Id, MorphoMarket, Terms
from chimera.protocols.morpho_blue.math import (
    ADJUSTMENT_SPEED,
    HIGHEST_RATE,
    INITIAL_RATE,
    LN_2,
    LOWEST_RATE,
    MAX_UINT128,
    ORACLE_SCALE,
    VIRTUAL_ASSETS,
    VIRTUAL_SHARES,
    Totals,
    curve,
    toward_zero,
    utilization_error,
)

RELATIVE_BAND = 1e-6  # float32, two legs
ABSOLUTE_BAND = UNIT_BAND = 0.0
LEG_BANDS: LegBands = 2.0, 1.0  # raw units of the loan token: of collateral, of debt

LEAST_LLTV = WAD // 100  # see 5
SCALE = ORACLE_SCALE * WAD

LONGEST = 2**32  # seconds, see 6
DOUBLING = LN_2 / WAD
UNSURE, BEYOND = 1e-9, 20.0  # see 7
LARGE = 2.0**127  # see 10

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.intp]

Weights = tuple[Doubles, Doubles]
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


class Weigher:
    """
    Weighs all columns at once, and remembers what of a market no block changes.

    Whatever is remembered is held against the market that it is asked about, so that the weights
    are the same whatever was asked before.
    """

    def __init__(self) -> None:
        self._rows: _Rows | None = None
        self._interest = Interest()

    def weights(self, market: MorphoMarket, columns: Sequence[Column], timestamp: int) -> Weights:
        """Return, per column, what one unit of collateral allows to owe, or a share is worth."""
        rows = self._rows
        if rows is None or not rows.fits(market, columns):
            rows = self._rows = _Rows(market, columns)
        collateral = rows.of_collateral(market)[rows.places]
        debt = self._interest.of_shares(market, rows.ids, timestamp)[rows.places]
        collateral[rows.debts] = 0
        debt[~rows.debts] = 0
        return collateral, debt


class _Rows:
    """What the columns stand for, by the terms of their markets."""

    def __init__(self, market: MorphoMarket, columns: Sequence[Column]) -> None:
        asked = dict.fromkeys(where for where, _, _ in columns)
        ids = [Id(where) for where in asked if where in market.terms]
        numbers = {where: number for number, where in enumerate(ids)}
        terms = [market.terms[where] for where in ids]
        self._columns = tuple(columns)
        self._terms: Mapping[Id, Terms] = market.terms
        self._tokens: Mapping[Address, Token] = market.tokens
        self._oracles = [one.oracle for one in terms]
        self._factors = np.array([one.lltv / SCALE for one in terms])
        self._low = np.array([one.lltv < LEAST_LLTV for one in terms], np.bool_)
        self._nameless = np.array(
            [not {one.loan, one.collateral} <= market.tokens.keys() for one in terms], np.bool_
        )
        self.ids = ids
        # Of markets that a rollback has taken away, there is an infinite weight after all others.
        self.places: Integers = np.array(
            [numbers.get(Id(where), len(ids)) for where, _, _ in columns], np.intp
        )
        self.debts: Bools = np.array([is_debt for _, is_debt, _ in columns], np.bool_)

    def fits(self, market: MorphoMarket, columns: Sequence[Column]) -> bool:
        """Tell whether these are the columns, and the market has the same terms and tokens."""
        same = market.terms is self._terms and market.tokens is self._tokens
        return same and tuple(columns) == self._columns

    def of_collateral(self, market: MorphoMarket) -> Doubles:
        """Return what one unit of collateral allows to owe."""
        quotes = market.quotes
        told = [quotes.get(oracle, NOT_ASKED).price for oracle in self._oracles]
        prices = np.array([math.inf if price is None else price for price in told], np.float64)
        prices[self._nameless | (self._low & (prices >= MAX_UINT128))] = math.inf
        with np.errstate(invalid="ignore"):
            return np.append(prices * self._factors, math.inf)


class Grown(NamedTuple):
    """What makes the debts of one market grow, as far as only its logs change it."""

    is_curve: bool
    is_still: bool  # without interest
    updated: int
    borrow_assets: float
    borrow_shares: float
    supply_assets: float
    supply_shares: float
    fee: float
    target: float  # rate at target per second, WAD
    speed: float  # of the adaptation, per second
    slope: float  # rate of the curve for a rate at target of 1


class Interest:
    """The debts of all markets with interest up to a block, see 6 to 10."""

    def __init__(self) -> None:
        self._ids: Sequence[Id] = ()
        self._totals: list[Totals] = []
        self._targets: list[int] = []
        self._curves: frozenset[Address] = frozenset()
        self._grown: Doubles = np.zeros((len(Grown._fields), 0))

    def of_shares(self, market: MorphoMarket, ids: Sequence[Id], timestamp: int) -> Doubles:
        """Return what a share of each debt is worth; infinite where the contract cannot tell."""
        self._follow(market, ids)
        with np.errstate(all="ignore"):  # whatever that makes is reckoned exactly
            debts, shares, sure = self._debts(timestamp)
            found = np.append((debts + VIRTUAL_ASSETS) / (shares + VIRTUAL_SHARES), math.inf)
        for number in np.flatnonzero(~sure).tolist():
            found[number] = _of_share(market, ids[number], timestamp)
        return found

    def _follow(self, market: MorphoMarket, ids: Sequence[Id]) -> None:
        """Take over what has changed since the market that was asked about last."""
        totals = [market.totals[where] for where in ids]
        targets = [market.targets.get(where, 0) for where in ids]
        if ids is self._ids and market.curves == self._curves:
            before = zip(totals, self._totals, targets, self._targets, strict=True)
            moved = [n for n, (a, b, c, d) in enumerate(before) if a is not b or c != d]
        else:
            moved = list(range(len(ids)))
            self._grown = np.zeros((len(Grown._fields), len(ids)))
        self._ids, self._totals, self._targets = ids, totals, targets
        self._curves = market.curves
        if moved:
            grown = [_grown(market, ids[n], totals[n], targets[n]) for n in moved]
            self._grown[:, moved] = np.array(grown, np.float64).T

    def _debts(self, timestamp: int) -> tuple[Doubles, Doubles, Bools]:
        """Return all debts, their shares, and where the debts are as good as exact."""
        is_curve, is_still, updated, owed, shares, lent, parts, fee, *rates = self._grown
        elapsed = timestamp - updated
        rate, sure = _average(elapsed, *rates)
        growth = rate * np.where(is_still, 0, elapsed) / WAD
        interest = owed * growth * (1 + growth * (1 / 2 + growth / 6))
        paid = interest * fee
        minted = paid * (parts + VIRTUAL_SHARES) / (lent + interest - paid + VIRTUAL_ASSETS)
        most = np.maximum(np.maximum(owed, lent) + interest, parts + minted)
        timely = sure & (elapsed >= 0) & (elapsed <= LONGEST)
        ruled = (is_curve > 0) & timely
        return owed + interest, shares, (ruled | (is_still > 0)) & (most < LARGE)


def _grown(market: MorphoMarket, where: Id, totals: Totals, target: int) -> Grown:
    irm = market.terms[where].irm
    error = utilization_error(totals.supply_assets, totals.borrow_assets)
    bounded = LOWEST_RATE <= target <= HIGHEST_RATE
    return Grown(
        is_curve=irm in market.curves and (bounded or not target),
        is_still=irm == ZERO_ADDRESS,
        updated=totals.updated,
        borrow_assets=totals.borrow_assets,
        borrow_shares=totals.borrow_shares,
        supply_assets=totals.supply_assets,
        supply_shares=totals.supply_shares,
        fee=totals.fee / WAD,
        target=target or INITIAL_RATE,
        speed=toward_zero(ADJUSTMENT_SPEED * error, WAD) / WAD if target else 0.0,
        slope=curve(WAD, error) / WAD,
    )


def _average(
    elapsed: Doubles, target: Doubles, speed: Doubles, slope: Doubles
) -> tuple[Doubles, Bools]:
    """Return the average rates, and where they are sure. Mirrors AdaptiveCurveIrm._borrowRate."""
    moved = np.clip(speed * elapsed, -BEYOND, BEYOND)
    end, is_end_sure = _exponential(moved)
    middle, is_middle_sure = _exponential(moved / 2)
    at_end = np.clip(target * end, LOWEST_RATE, HIGHEST_RATE)
    at_middle = np.clip(target * middle, LOWEST_RATE, HIGHEST_RATE)
    average = (target + at_end + 2 * at_middle) / 4
    return slope * average, is_end_sure & is_middle_sure


def _exponential(x: Doubles) -> tuple[Doubles, Bools]:
    """Return the polynomial for e**x, and where it does not jump. Mirrors ExpLib.wExp."""
    halves = np.abs(x) / DOUBLING + 1 / 2
    doublings = np.copysign(np.floor(halves), x)
    rest = x - doublings * DOUBLING
    return np.ldexp(1 + rest + rest * rest / 2, doublings.astype(np.intc)), (
        np.abs(halves - np.rint(halves)) > UNSURE
    )


def _of_share(market: MorphoMarket, where: Id, timestamp: int) -> float:
    """Return what a share of debt is worth, by exact totals."""
    try:
        totals = market.accrued(where, timestamp)
    except Skip:
        return math.inf
    return (totals.borrow_assets + VIRTUAL_ASSETS) / (totals.borrow_shares + VIRTUAL_SHARES)
