"""The arithmetic of pools and tokens, to the last unit; `engine` says which is whose."""

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
    mul_div,
    mul_div_half_up,
    mul_div_up,
)
from chimera.errors import Rebuild, Skip

YEAR = 365 * 86_400  # seconds; MathUtils ignores leap years
OVERFLOWS = "a product overflows 256 bits"  # why a view reverts


def checked(value: int) -> int:
    """
    Return `value` if a uint256 can hold it.

    Raises:
        Skip: It cannot: here the contract reverts.
    """
    if value > MAX_UINT256:
        raise Skip(OVERFLOWS)
    return value


def ray_mul(a: int, b: int) -> int:
    """Return a * b in rays, halves up. Mirrors WadRayMath.rayMul."""
    return mul_div_half_up(a, b, RAY)


def ray_div(a: int, b: int) -> int:
    """Return a / b in rays, halves up. Mirrors WadRayMath.rayDiv."""
    return (a * RAY + b // 2) // b


def ray_mul_down(a: int, b: int) -> int:
    """Return a * b in rays, rounded down. Mirrors WadRayMath.rayMulFloor."""
    return mul_div(a, b, RAY)


def ray_mul_up(a: int, b: int) -> int:
    """Return a * b in rays, rounded up. Mirrors WadRayMath.rayMulCeil."""
    return mul_div_up(a, b, RAY)


def ray_div_down(a: int, b: int) -> int:
    """Return a / b in rays, rounded down. Mirrors WadRayMath.rayDivFloor."""
    return mul_div(a, RAY, b)


def ray_div_up(a: int, b: int) -> int:
    """Return a / b in rays, rounded up. Mirrors WadRayMath.rayDivCeil."""
    return mul_div_up(a, RAY, b)


def percent_mul(a: int, percentage: int) -> int:
    """Return the percentage (basis points) of `a`, halves up. Mirrors PercentageMath.percentMul."""
    return (a * percentage + BPS // 2) // BPS


def percent_div(a: int, percentage: int) -> int:
    """Return `a` over the percentage (basis points), halves up. Mirrors PercentageMath."""
    return (a * BPS + percentage // 2) // percentage


def percent_mul_down(a: int, percentage: int) -> int:
    """Return the percentage of `a`, rounded down. Mirrors PercentageMath.percentMulFloor."""
    return mul_div(a, percentage, BPS)


def percent_mul_up(a: int, percentage: int) -> int:
    """Return the percentage of `a`, rounded up. Mirrors PercentageMath.percentMulCeil."""
    return mul_div_up(a, percentage, BPS)


def percent_div_down(a: int, percentage: int) -> int:
    """Return `a` over the percentage, rounded down. Mirrors PercentageMath.percentDivFloor."""
    return mul_div(a, BPS, percentage)


def percent_div_up(a: int, percentage: int) -> int:
    """Return `a` over the percentage, rounded up. Mirrors PercentageMath.percentDivCeil."""
    return mul_div_up(a, BPS, percentage)


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


def nested_interest(rate: int, seconds: int) -> int:
    """
    Return the growth factor of debt, rays: three terms of the exponential series, nested.

    Mirrors MathUtils.calculateCompoundedInterest, v3.4 and later.
    """
    x = rate * seconds // YEAR
    return RAY + x + ray_mul(x, x // 2 + ray_mul(x, x // 6))


def moved_half_up(_: int, amount: int, index: int) -> int:
    """
    Return by how much a scaled balance moved when its token logged `amount`.

    Args:
        _: The scaled balance before; the older tokens' logs do not depend on it.
        amount: Of a `Mint`, value - balanceIncrease, which is negative for a burn logged as Mint
            (more interest had accrued than was burned) and 0 for a note of interest beside a
            transfer; of a `Burn`, -(value + balanceIncrease).
        index: As logged.

    Mirrors ScaledBalanceTokenBase._mintScaled and _burnScaled of tokens up to v3.4.
    """
    return ray_div(amount, index) if amount >= 0 else -ray_div(-amount, index)


def supply_moved_down(scaled: int, amount: int, index: int) -> int:
    """
    Return by how much an aToken's scaled balance moved, from what its balance moved by.

    Since v3.5 a token logs differences of balances, so the new balance is known, and only one
    scaled balance rounds down to it (an index is never under 1). Arguments as `moved_half_up`.

    Raises:
        Rebuild: None does: `scaled` was not the balance before.

    Mirrors ScaledBalanceTokenBase with TokenMath.getATokenBalance, v3.5 and later.
    """
    balance = scaled * index // RAY + amount
    after = ray_div_up(balance, index)
    if after < 0 or after * index // RAY != balance:
        raise Rebuild(_misfit("aToken", scaled, amount, index))
    return after - scaled


def debt_moved_up(scaled: int, amount: int, index: int) -> int:
    """
    Return by how much a vToken's scaled balance moved; as `supply_moved_down`, rounded up.

    Raises:
        Rebuild: `scaled` was not the balance before.

    Mirrors ScaledBalanceTokenBase with TokenMath.getVTokenBalance, v3.5 and later.
    """
    balance = ray_mul_up(scaled, index) + amount
    after = balance * RAY // index
    if after < 0 or ray_mul_up(after, index) != balance:
        raise Rebuild(_misfit("vToken", scaled, amount, index))
    return after - scaled


def _misfit(token: str, scaled: int, amount: int, index: int) -> str:
    return f"the {token} logs a move by {amount} at index {index} that {scaled} cannot make"


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
    adjusted = percent_mul(collateral, average_threshold(collateral, weighted))
    checked(adjusted * WAD + debt // 2)  # where percentMul overflows, so does this
    return Wad(wad_div(adjusted, debt))


def health_of_sum(_: int, weighted: int, debt: int) -> Wad | None:
    """
    Return the health factor by the whole sum of value times threshold; None without debt.

    Args as `health_of_average`. Mirrors GenericLogic.calculateUserAccountData, v3.5 and later.
    """
    if debt == 0:
        return None
    checked(weighted * WAD + debt // 2)
    return Wad(wad_div(weighted, debt) // BPS)


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


def normalized_debt(compound: Callable[[int, int], int], rates: Rates, timestamp: int) -> Ray:
    """Return the variable debt index at `timestamp`. Mirrors ReserveLogic.getNormalizedDebt."""
    seconds = timestamp - rates.updated
    if seconds == 0:
        return rates.debt_index
    return Ray(ray_mul(compound(rates.debt_rate, seconds), rates.debt_index))
