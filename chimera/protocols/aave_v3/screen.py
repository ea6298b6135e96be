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
   weights take T. What counts at a threshold of 0 takes from an average: its weight is infinite.
4. Hence "health factor < 1" implies sum(x(s - 1) T' / 10,000) < sum(debt x(s + 1)) + slack, T'
   being T - 1 or T and slack one per leg and 1/2 (no T exceeds 10,000): whatever the price of a
   unit, an account's own legs say how wrong it can be. A pool without any value of debt has no
   health factor to be under 1.
5. Where a product or a sum leaves 256 bits, the view reverts. A scaled balance has 128 bits, so no
   product of an amount and a price does while p N < 2**120, and no sum of 128 such either: beyond
   that, the weight is infinite, whatever the threshold. All other products are of what is compared
   itself, times less than 2**80: then float32 cannot hold that.
6. float32 rounds a weight, an amount and each product by 2**-24 of itself, and a sum of n terms by
   at most n 2**-24 more: 4e-6 of both sums covers 64 legs a side.

Infinite weights send every holder to the exact integers: unknown prices, overflows, and indexes
under 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from chimera.domain.block import Address
from chimera.domain.market import FIRST_AMOUNT, Account, Cells, Column, Shape
from chimera.domain.numeric import BPS, RAY, Bps
from chimera.errors import Skip
from chimera.ports import LegBands
from chimera.protocols.aave_v3.market import AaveMarket, Reserve
from chimera.protocols.aave_v3.valuation import may_count, price_of, terms_of, unpriced_terms_of

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.intp]

RELATIVE_BAND = 4e-6  # float32, 64 legs
ABSOLUTE_BAND = 1.0  # base units
UNIT_BAND = 1.0  # scaled units
FLOAT32_MAX = 3.4e38
MOST_WORTH = 2.0**120 * RAY  # price times index in ray, see 5
MOST_SIDES = 1 << 12  # remembered; of all accounts' supplies, and of their debts

Weights = tuple[Floats, Floats]
"""Per column, the weight on the collateral side and on the debt side."""


def columns(account: Account) -> Iterator[tuple[Column, int]]:
    """
    Yield a cell for each collateral that counts, and each debt, in scaled units.

    What counts by the bit of a dropped asset has none: an account is better than it looks by that.
    """
    for asset, scaled in account.supplied.items():
        if asset in account.enabled:
            yield (asset, False, account.mode), scaled
    for asset, scaled in account.owed.items():
        yield (asset, True, account.mode), scaled


def cells(shape: Shape) -> Cells:
    """Tell where the amounts of `columns` stand: they are stored as they are."""
    mode, first_debt = shape.mode, FIRST_AMOUNT + len(shape.supplied)
    return (
        *_supply_cells(shape.supplied, shape.enabled, mode),
        *_debt_cells(shape.owed, first_debt, mode),
    )


# Thousands of shapes are put together from hundreds of sides.


@lru_cache(maxsize=MOST_SIDES)
def _supply_cells(supplied: tuple[Address, ...], enabled: frozenset[Address], mode: int) -> Cells:
    return tuple(
        ((asset, False, mode), place)
        for place, asset in enumerate(supplied, FIRST_AMOUNT)
        if asset in enabled
    )


@lru_cache(maxsize=MOST_SIDES)
def _debt_cells(owed: tuple[Address, ...], first: int, mode: int) -> Cells:
    return tuple(((asset, True, mode), place) for place, asset in enumerate(owed, first))


class Frame(NamedTuple):
    """
    What of the weights of some columns lasts until governance acts; an array has each column's.

    Attributes:
        columns: Whose weights these are.
        is_debt: Whether it weighs on the debt side.
        asset: Number of its asset among the reserves.
        rate: Number of its index, where all incomes stand first, then all debt indexes.
        share: Of price times index: threshold over unit and ray, for debts one over them.
        unlisted: Whether its asset is no reserve.
        sourced: Those in an eMode with a price source.
    """

    columns: tuple[Column, ...]
    is_debt: Bools
    asset: Integers
    rate: Integers
    share: Floats
    unlisted: Bools
    sourced: tuple[int, ...]


def weights(market: AaveMarket, columns: Sequence[Column], timestamp: int) -> Weights:
    """Return, per column, value per scaled unit: of collateral at its threshold, and of debt."""
    frame = _frame_of(market, tuple(columns))
    own, indexes = _prices(market), _indexes(market, timestamp)
    prices = own[frame.asset]
    for number in frame.sourced:
        asset, _, mode = frame.columns[number]
        prices[number] = _price(market, market.reserves[asset], mode)
    with np.errstate(over="ignore", invalid="ignore"):
        worth = prices * indexes[frame.rate]
        found = worth * frame.share
    unknown = frame.unlisted | ~(worth < MOST_WORTH) | (indexes < RAY)[frame.rate]
    found[unknown | ~(found < FLOAT32_MAX)] = math.inf
    return np.where(frame.is_debt, 0.0, found), np.where(frame.is_debt, found, 0.0)


def leg_bands(market: AaveMarket) -> LegBands:
    """Return what rounding takes of a leg of collateral and adds to one of debt, base units."""
    return 1.0, 0.0 if market.engine.rounds_to_nearest else 1.0


def _prices(market: AaveMarket) -> Floats:
    """Return the price of every reserve; infinite where nobody knows it."""
    prices = (market.prices[asset] for asset in market.reserves)
    return np.array([math.inf if price is None else _float(price) for price in prices], np.float64)


def _price(market: AaveMarket, reserve: Reserve, mode: int) -> float:
    try:
        return _float(price_of(market, reserve, terms_of(market, mode)))
    except Skip:
        return math.inf


def _indexes(market: AaveMarket, timestamp: int) -> Floats:
    of = market.indexes(timestamp)
    each = [of[asset] for asset in market.reserves]
    exact = [indexes.income for indexes in each] + [indexes.debt for indexes in each]
    return np.array([_float(index) for index in exact], np.float64)


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


# --- what lasts ----------------------------------------------------------------------------------


def _frame_of(market: AaveMarket, columns: tuple[Column, ...]) -> Frame:
    """Return the frame of these columns; the last one is remembered."""
    frames = market.lasting(_no_frames)
    if not frames or frames[0].columns != columns:
        frames[:] = [_frame(market, columns)]
    return frames[0]


def _no_frames(_market: AaveMarket) -> list[Frame]:
    return []


def _frame(market: AaveMarket, columns: tuple[Column, ...]) -> Frame:
    numbers = {asset: number for number, asset in enumerate(market.reserves)}
    known = [column if column[0] in numbers else None for column in columns]
    assets = [numbers.get(asset, 0) for asset, _, _ in columns]
    is_debt = np.array([side for _, side, _ in columns], np.bool_)
    return Frame(
        columns=columns,
        is_debt=is_debt,
        asset=np.array(assets, np.intp),
        rate=np.array(assets, np.intp) + is_debt * len(numbers),
        share=np.array([0.0 if its is None else _share(market, its) for its in known], np.float64),
        unlisted=np.array([its is None for its in known], np.bool_),
        sourced=tuple(
            number
            for number, its in enumerate(known)
            if its is not None and unpriced_terms_of(market, its[2]).source is not None
        ),
    )


def _share(market: AaveMarket, column: Column) -> float:
    asset, is_debt, mode = column
    reserve = market.reserves[asset]
    if is_debt:
        return 1 / (RAY * reserve.unit)
    if not may_count(market, reserve):
        return 0.0
    threshold = unpriced_terms_of(market, mode).threshold(reserve)
    if market.engine.averages_threshold:
        threshold = Bps(threshold - 1)
    return threshold / (RAY * reserve.unit * BPS) if threshold >= 0 else math.inf
