"""
The account as cells of a float matrix, and weights that cannot miss a liquidatable account.

Why no account under 1 escapes the band, for any timestamp. Let s be a scaled balance, N its index,
p its price, u its unit, T its threshold in basis points; x = s N p / u is the leg's true value.

1. A token balance is s N rounded to the nearest unit, its value rounded down: it differs from x by
   less than 1 + p / 2u, for collateral and debt alike.
2. The contract floors the average threshold: C A >= sum(value T) - C, so what it compares with the
   debt is at least sum(value (T - 1) / 10,000) - 1/2. The weights take T - 1.
3. Hence "health factor < 1" implies sum(x (T - 1) / 10,000) < sum(debt x) + slack, with slack at
   most 1 + the sum of (1 + p / 2u) over all legs. `_too_coarse` takes out, by weights that
   are infinite, the assets with the largest p / 2u until this sum over *every* reserve, counted on
   both sides, fits into `absolute_band`: the bound then holds for whatever mix an account has.
4. float32 rounds a weight, an amount and each product by 2**-24 of itself, and a sum of n terms by
   at most n 2**-24 more: 4e-6 of both sums covers 64 legs a side.

Infinite weights send every holder to the exact integers: unknown prices, and overflows, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from chimera.domain.block import Address
from chimera.domain.market import Account, Column
from chimera.domain.numeric import RAY
from chimera.errors import Skip
from chimera.protocols.aave_v3.market import AaveMarket, Reserve
from chimera.protocols.aave_v3.valuation import Terms, price_of, terms_of

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


def weights(market: AaveMarket, columns: Sequence[Column], timestamp: int) -> Weights:
    """Return, per column, value per scaled unit: of collateral at T - 1 bps, and of debt."""
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
    return _quotient(price * indexes.income * _low_threshold(reserve, terms), unit * 10_000)


def _low_threshold(reserve: Reserve, terms: Terms) -> int:
    counts = reserve.configuration.threshold != 0
    return max(terms.threshold(reserve) - 1, 0) if counts else 0


def _quotient(numerator: int, denominator: int) -> float:
    try:
        quotient = numerator / denominator
    except OverflowError:
        return math.inf
    return quotient if quotient < FLOAT32_MAX else math.inf


def _too_coarse(market: AaveMarket) -> set[Address]:
    """Return the assets to leave to exact integers, so that all others fit into the band."""
    half_units = {asset: _half_unit(market, reserve) for asset, reserve in market.reserves.items()}
    left = ABSOLUTE_BAND - 1 - sum(2 * (1 + half) for half in half_units.values())
    coarse: set[Address] = set()
    for asset in sorted(half_units, key=lambda asset: half_units[asset], reverse=True):
        if left >= 0:
            break
        coarse.add(asset)
        left = (
            ABSOLUTE_BAND - 1 - sum(2 * (1 + h) for a, h in half_units.items() if a not in coarse)
        )
    return coarse


def _half_unit(market: AaveMarket, reserve: Reserve) -> float:
    """Return the value of half a smallest unit at the highest price that any user sees."""
    mode = market.modes.get(reserve.configuration.mode)
    sources = [reserve.asset] if mode is None else [reserve.asset, mode.price_source]
    prices = [market.prices.get(source) or 0 for source in sources]
    return _quotient(max(prices), 2 * reserve.unit)
