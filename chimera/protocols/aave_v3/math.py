"""The pool's arithmetic, to the last unit, and which of it belongs to which revision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chimera.domain.numeric import (
    BPS,
    MAX_UINT256,
    RAY,
    WAD,
    Bps,
    Ray,
    Wad,
    mul_div_half_up,
)
from chimera.errors import Skip

YEAR = 365 * 86_400  # seconds; MathUtils ignores leap years
HALF_CLOSE = Bps(5_000)  # LiquidationLogic.DEFAULT_LIQUIDATION_CLOSE_FACTOR
CLOSE_FACTOR_THRESHOLD = Wad(95 * WAD // 100)  # LiquidationLogic.CLOSE_FACTOR_HF_THRESHOLD


def checked(value: int) -> int:
    """
    Return `value` if a uint256 can hold it.

    Raises:
        Skip: It cannot: here the contract reverts.
    """
    if value > MAX_UINT256:
        raise Skip("a product overflows 256 bits")
    return value


def ray_mul(a: int, b: int) -> int:
    """Return a * b in rays, halves up. Mirrors WadRayMath.rayMul."""
    return mul_div_half_up(a, b, RAY)


def ray_div(a: int, b: int) -> int:
    """Return a / b in rays, halves up. Mirrors WadRayMath.rayDiv."""
    return (a * RAY + b // 2) // b


def percent_mul(a: int, percentage: int) -> int:
    """Return the percentage (basis points) of `a`, halves up. Mirrors PercentageMath.percentMul."""
    return (a * percentage + BPS // 2) // BPS


def percent_div(a: int, percentage: int) -> int:
    """Return `a` over the percentage (basis points), halves up. Mirrors PercentageMath."""
    return (a * BPS + percentage // 2) // percentage


def wad_div(a: int, b: int) -> int:
    """Return a / b in wads, halves up. Mirrors WadRayMath.wadDiv."""
    return (a * WAD + b // 2) // b


def linear_interest(rate: int, seconds: int) -> int:
    """Return the growth factor of supply, rays. Mirrors MathUtils.calculateLinearInterest."""
    return RAY + rate * seconds // YEAR


def binomial_interest(rate: int, seconds: int) -> int:
    """
    Return the growth factor of debt, rays: three terms of a binomial series.

    Mirrors MathUtils.calculateCompoundedInterest of v3.0 to v3.3.
    """
    if seconds == 0:
        return RAY
    before, two_before = seconds - 1, max(seconds - 2, 0)
    power_two = ray_mul(rate, rate) // (YEAR * YEAR)
    power_three = ray_mul(power_two, rate) // YEAR
    second_term = seconds * before * power_two // 2
    third_term = seconds * before * two_before * power_three // 6
    return RAY + rate * seconds // YEAR + second_term + third_term


def minted_half_up(value: int, balance_increase: int, index: int) -> int:
    """
    Return the scaled amount behind a `Mint`; negative when it is a burn logged as Mint.

    `value` is the amount plus the interest since the holder's last touch. When more interest had
    accrued than was burned, the token logs Mint with value < balanceIncrease. Equal: a note of
    interest beside a transfer. Mirrors ScaledBalanceTokenBase._mintScaled and _burnScaled.
    """
    amount = value - balance_increase
    return ray_div(amount, index) if amount >= 0 else -ray_div(-amount, index)


def burned_half_up(value: int, balance_increase: int, index: int) -> int:
    """Return the scaled amount behind a `Burn`. Mirrors ScaledBalanceTokenBase._burnScaled."""
    return ray_div(value + balance_increase, index)


def average_threshold(collateral: int, weighted: int) -> Bps:
    """Return the value-weighted threshold, truncated to whole basis points (0 without value)."""
    return Bps(weighted // collateral) if collateral else Bps(0)


def health_of_average(collateral: int, weighted: int, debt: int) -> Wad | None:
    """
    Return the health factor by the truncated average threshold; None without debt.

    Args:
        collateral: Value of the collateral that counts, base currency.
        weighted: Sum of each value times its threshold in basis points.
        debt: Value of all debt, base currency.

    Mirrors the end of GenericLogic.calculateUserAccountData, v3.0 to v3.4.
    """
    if debt == 0:
        return None
    checked(collateral * (average := average_threshold(collateral, weighted)) + BPS // 2)
    adjusted = percent_mul(collateral, average)
    checked(adjusted * WAD + debt // 2)
    return Wad(wad_div(adjusted, debt))


def half_or_all(debt: int, health_factor: Wad) -> int:
    """
    Return how much of one debt a call may repay: half, or all of it at 0.95 and under.

    Mirrors LiquidationLogic._calculateDebt, v3.0 to v3.2.
    """
    factor = HALF_CLOSE if health_factor > CLOSE_FACTOR_THRESHOLD else BPS
    return percent_mul(debt, factor)


@dataclass(frozen=True, slots=True)
class Side:
    """One asset of a liquidation: its price, and its unit (10 to its decimals)."""

    price: int
    unit: int


@dataclass(frozen=True, slots=True)
class Seizure:
    """
    What a liquidation moves.

    Attributes:
        repaid: Pulled from the liquidator, units of the debt asset.
        seized: Paid to the liquidator, units of the collateral asset.
        fee: Paid to the treasury on top, units of the collateral asset.
    """

    repaid: int
    seized: int
    fee: int


def seizure_half_up(
    *, repay: int, balance: int, bonus: Bps, fee: Bps, collateral: Side, debt: Side
) -> Seizure:
    """
    Return what `repay` of the debt takes from a collateral `balance`.

    Args:
        repay: Debt to cover, already within the close factor.
        balance: The borrower's aToken balance.
        bonus: Liquidation bonus, 10,500 for 5 percent.
        fee: Protocol fee, part of the bonus.
        collateral: Price and unit of the collateral; the price is not 0.
        debt: Price and unit of the debt.

    Mirrors LiquidationLogic._calculateAvailableCollateralToLiquidate, v3.0 to v3.4.
    """
    base = debt.price * repay * collateral.unit // (collateral.price * debt.unit)
    taken, repaid = percent_mul(base, bonus), repay
    if taken > balance:
        taken = balance
        worth = collateral.price * taken * debt.unit // (debt.price * collateral.unit)
        repaid = percent_div(worth, bonus)
    to_treasury = percent_mul(taken - percent_div(taken, bonus), fee) if fee else 0
    return Seizure(repaid=repaid, seized=taken - to_treasury, fee=to_treasury)


@dataclass(frozen=True, slots=True)
class Engine:
    """
    The arithmetic of one revision: everything that a later Aave v3 computes otherwise.

    Attributes:
        version: As Aave names it.
        supplied: (scaled, liquidity index) -> aToken balance.
        owed: (scaled, debt index) -> vToken balance.
        compound: (rate, seconds) -> growth factor of debt.
        minted: (value, balanceIncrease, index) of a Mint -> scaled amount.
        burned: The same for a Burn.
        health: (collateral, sum of value times threshold, debt) -> health factor.
        close: (one debt, health factor) -> how much of it may be repaid at once.
        seize: What a repayment takes of a collateral.
    """

    version: str
    supplied: Callable[[int, int], int]
    owed: Callable[[int, int], int]
    compound: Callable[[int, int], int]
    minted: Callable[[int, int, int], int]
    burned: Callable[[int, int, int], int]
    health: Callable[[int, int, int], Wad | None]
    close: Callable[[int, Wad], int]
    seize: Callable[..., Seizure]


V3_0 = Engine(
    version="3.0",
    supplied=ray_mul,
    owed=ray_mul,
    compound=binomial_interest,
    minted=minted_half_up,
    burned=burned_half_up,
    health=health_of_average,
    close=half_or_all,
    seize=seizure_half_up,
)


@dataclass(frozen=True, slots=True)
class Rates:
    """Index state of a reserve as stored: indexes and yearly rates in rays, and when set."""

    liquidity_index: Ray
    debt_index: Ray
    liquidity_rate: Ray
    debt_rate: Ray
    updated: int


def normalized_income(rates: Rates, timestamp: int) -> Ray:
    """Return the liquidity index at `timestamp`. Mirrors ReserveLogic.getNormalizedIncome."""
    seconds = timestamp - rates.updated
    if seconds == 0:
        return rates.liquidity_index
    return Ray(ray_mul(linear_interest(rates.liquidity_rate, seconds), rates.liquidity_index))


def normalized_debt(engine: Engine, rates: Rates, timestamp: int) -> Ray:
    """Return the variable debt index at `timestamp`. Mirrors ReserveLogic.getNormalizedDebt."""
    seconds = timestamp - rates.updated
    if seconds == 0:
        return rates.debt_index
    return Ray(ray_mul(engine.compound(rates.debt_rate, seconds), rates.debt_index))
