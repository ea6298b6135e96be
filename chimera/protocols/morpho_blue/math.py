"""The arithmetic of the singleton and of AdaptiveCurveIrm, to the last unit."""

from __future__ import annotations

from dataclasses import dataclass

from chimera.domain.numeric import MAX_UINT256, WAD, Wad, mul_div, mul_div_up
from chimera.errors import Skip

MAX_UINT128 = 2**128 - 1
ORACLE_SCALE = 10**36
VIRTUAL_SHARES, VIRTUAL_ASSETS = 10**6, 1  # SharesMathLib

# LiquidationIncentiveFactor, ConstantsLib
LIQUIDATION_CURSOR = 3 * 10**17
MAX_INCENTIVE = 115 * 10**16

# AdaptiveCurveIrm, ConstantsLib: all signed, WAD, per second
YEAR = 365 * 86_400
TARGET_UTILIZATION = 9 * 10**17
CURVE_STEEPNESS = 4 * WAD
ADJUSTMENT_SPEED = 50 * WAD // YEAR
INITIAL_RATE = 4 * 10**16 // YEAR
LOWEST_RATE = 10**15 // YEAR
HIGHEST_RATE = 2 * WAD // YEAR

# ExpLib
LN_2 = 693147180559945309
LN_WEI = -41446531673892822312
EXP_UPPER_BOUND = 93859467695000404319
EXP_UPPER_VALUE = 57716089161558943949701069502944508345128422502756744429568


def checked(value: int, limit: int = MAX_UINT256) -> int:
    """
    Return `value` if it fits.

    Raises:
        Skip: It does not: here the contract reverts.
    """
    if value > limit:
        raise Skip("figures overflow")
    return value


def toward_zero(a: int, b: int) -> int:
    """Return a / b, truncated toward zero as Solidity does it; `b` is positive."""
    return a // b if a >= 0 else -(-a // b)


# --- shares --------------------------------------------------------------------------------------


def to_assets_down(shares: int, assets_total: int, shares_total: int) -> int:
    """Return what shares are worth, rounded down. Mirrors SharesMathLib.toAssetsDown."""
    return mul_div(shares, assets_total + VIRTUAL_ASSETS, shares_total + VIRTUAL_SHARES)


def to_assets_up(shares: int, assets_total: int, shares_total: int) -> int:
    """Return what shares are worth, rounded up. Mirrors SharesMathLib.toAssetsUp."""
    return mul_div_up(shares, assets_total + VIRTUAL_ASSETS, shares_total + VIRTUAL_SHARES)


def to_shares_down(assets: int, assets_total: int, shares_total: int) -> int:
    """Return how many shares assets make, rounded down. Mirrors SharesMathLib.toSharesDown."""
    return mul_div(assets, shares_total + VIRTUAL_SHARES, assets_total + VIRTUAL_ASSETS)


def to_shares_up(assets: int, assets_total: int, shares_total: int) -> int:
    """Return how many shares assets make, rounded up. Mirrors SharesMathLib.toSharesUp."""
    return mul_div_up(assets, shares_total + VIRTUAL_SHARES, assets_total + VIRTUAL_ASSETS)


# --- the rate ------------------------------------------------------------------------------------


def w_exp(x: int) -> int:
    """Return about e**x, both WAD, by a second-order polynomial. Mirrors ExpLib.wExp."""
    if x < LN_WEI:
        return 0
    if x >= EXP_UPPER_BOUND:
        return EXP_UPPER_VALUE
    half = LN_2 // 2 if x >= 0 else -(LN_2 // 2)
    doublings = toward_zero(x + half, LN_2)
    rest = x - doublings * LN_2
    power = WAD + rest + toward_zero(rest * rest, WAD) // 2
    return power << doublings if doublings >= 0 else power >> -doublings


def utilization_error(supplied: int, borrowed: int) -> int:
    """
    Return how far the utilization is from its target: -1 (nothing borrowed) to 1 (all), WAD.

    The totals are those before the accrual, without virtual amounts.
    """
    utilization = borrowed * WAD // supplied if supplied else 0
    over = utilization > TARGET_UTILIZATION
    span = WAD - TARGET_UTILIZATION if over else TARGET_UTILIZATION
    return toward_zero((utilization - TARGET_UTILIZATION) * WAD, span)


def curve(rate_at_target: int, error: int) -> int:
    """Return the rate of the curve at this error. Mirrors AdaptiveCurveIrm._curve."""
    steepness = CURVE_STEEPNESS - WAD if error >= 0 else WAD - WAD * WAD // CURVE_STEEPNESS
    return toward_zero((toward_zero(steepness * error, WAD) + WAD) * rate_at_target, WAD)


def adapted(rate_at_target: int, adaptation: int) -> int:
    """Return the rate at target after a linear adaptation (WAD), between its bounds."""
    moved = toward_zero(rate_at_target * w_exp(adaptation), WAD)
    return min(max(moved, LOWEST_RATE), HIGHEST_RATE)


def borrow_rate(rate_at_target: int, error: int, elapsed: int) -> tuple[int, int]:
    """
    Return (average rate over `elapsed` seconds, rate at target at their end), WAD per second.

    `rate_at_target` is 0 for a market that the IRM has not seen. Mirrors
    AdaptiveCurveIrm._borrowRate.
    """
    if not rate_at_target:
        return curve(INITIAL_RATE, error), INITIAL_RATE
    adaptation = toward_zero(ADJUSTMENT_SPEED * error, WAD) * elapsed
    if not adaptation:
        return curve(rate_at_target, error), rate_at_target
    end = adapted(rate_at_target, adaptation)
    middle = adapted(rate_at_target, toward_zero(adaptation, 2))
    average = (rate_at_target + end + 2 * middle) // 4
    return curve(average, error), end


# --- accrual -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Totals:
    """
    What the singleton stores of a market besides its terms: `market(id)`, word by word.

    `updated` is the time up to which interest is in the totals, `fee` the part of it (WAD) that
    goes to the fee recipient.
    """

    supply_assets: int = 0
    supply_shares: int = 0
    borrow_assets: int = 0
    borrow_shares: int = 0
    updated: int = 0
    fee: int = 0


def compounded(rate: int, seconds: int) -> Wad:
    """Return e**(rate * seconds) - 1 by three terms. Mirrors MathLib.wTaylorCompounded."""
    first = rate * seconds
    second = first * first // (2 * WAD)
    third = second * first // (3 * WAD)
    return Wad(first + second + third)


def accrued(totals: Totals, rate: int, timestamp: int) -> Totals:
    """
    Return the totals with the interest up to `timestamp` at this average rate.

    Always from the last stored time in one step: an accrual split in two gives other totals.

    Raises:
        Skip: A total leaves 128 bits: the contract reverts.

    Mirrors Morpho._accrueInterest.
    """
    elapsed = timestamp - totals.updated
    if not elapsed:
        return totals
    interest = totals.borrow_assets * compounded(rate, elapsed) // WAD
    supply_assets = checked(totals.supply_assets + interest, MAX_UINT128)
    supply_shares = totals.supply_shares
    if totals.fee:
        fee = interest * totals.fee // WAD
        supply_shares += to_shares_down(fee, supply_assets - fee, supply_shares)
    return Totals(
        supply_assets,
        checked(supply_shares, MAX_UINT128),
        checked(totals.borrow_assets + interest, MAX_UINT128),
        totals.borrow_shares,
        timestamp,
        totals.fee,
    )


# --- health --------------------------------------------------------------------------------------


def quoted(collateral: int, price: int) -> int:
    """
    Return the collateral's worth in units of the loan token, rounded down.

    Raises:
        Skip: The product overflows: the contract reverts.
    """
    return checked(collateral * price) // ORACLE_SCALE


def max_borrow(collateral: int, price: int, lltv: int) -> int:
    """
    Return the most that may be owed against this collateral, units of the loan token.

    Raises:
        Skip: A product overflows: the contract reverts.

    Mirrors the first half of Morpho._isHealthy: two divisions in a row, each rounded down.
    """
    return quoted(collateral, price) * lltv // WAD


def health_factor(allowed: int, borrowed: int) -> Wad | None:
    """Return allowed / borrowed, WAD, rounded down: under 1 exactly when allowed < borrowed."""
    return Wad(allowed * WAD // borrowed) if borrowed else None


def incentive_factor(lltv: int) -> Wad:
    """Return what a liquidator gets per unit repaid, WAD. Mirrors Morpho.liquidate."""
    discount = LIQUIDATION_CURSOR * (WAD - lltv) // WAD
    return Wad(min(MAX_INCENTIVE, WAD * WAD // (WAD - discount)))
