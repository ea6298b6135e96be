"""What a liquidation may take: close factors, seizures, dust and bad debt, by revision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chimera.domain.numeric import BPS, WAD, Bps, Ray, Wad
from chimera.protocols.aave_v3.math import checked, percent_mul, ray_div_up, ray_mul_down

HALF_CLOSE = Bps(5_000)  # LiquidationLogic.DEFAULT_LIQUIDATION_CLOSE_FACTOR
CLOSE_FACTOR_THRESHOLD = Wad(95 * WAD // 100)  # LiquidationLogic.CLOSE_FACTOR_HF_THRESHOLD
MIN_HALF_CLOSE = 2_000 * 10**8  # LiquidationLogic.MIN_BASE_MAX_CLOSE_FACTOR_THRESHOLD
MIN_LEFTOVER = 1_000 * 10**8  # LiquidationLogic.MIN_LEFTOVER_BASE

Rounding = Callable[[int, int], int]
Worth = Callable[[int, int, int], int]
"""(amount, price, unit) -> value in base currency."""


@dataclass(frozen=True, slots=True)
class Side:
    """One asset of a liquidation: its price, and its unit (10 to its decimals)."""

    price: int
    unit: int

    def value(self, amount: int) -> int:
        """Return what `amount` is worth in base currency, rounded down."""
        return checked(amount * self.price) // self.unit


@dataclass(frozen=True, slots=True)
class Target:
    """
    One debt and one collateral of an account under 1. Amounts in token units, values in base.

    Attributes:
        owed: The debt, rounded as the revision rounds it.
        owed_value: What it is worth, likewise.
        scaled: The collateral as the aToken stores it.
        balance: The collateral in token units.
        income: Liquidity index of the collateral.
        bonus: Liquidation bonus, 10,500 for 5 percent.
        fee: Protocol fee, part of the bonus.
        collateral: Price and unit of the collateral; the price is not 0.
        debt: Price and unit of the debt; the price is not 0.
        total_collateral: Value of all collateral of the account.
        total_debt: Value of all its debts.
        factor: Its health factor.
    """

    owed: int
    owed_value: int
    scaled: int
    balance: int
    income: Ray
    bonus: Bps
    fee: Bps
    collateral: Side
    debt: Side
    total_collateral: int
    total_debt: int
    factor: Wad


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

    @property
    def taken(self) -> int:
        """All that the borrower loses, units of the collateral asset."""
        return self.seized + self.fee


# --- how much may be repaid ----------------------------------------------------------------------


def half_or_all(target: Target) -> int:
    """
    Return how much of one debt a call may repay: half, or all of it at 0.95 and under.

    Mirrors LiquidationLogic._calculateDebt, v3.0 to v3.2.
    """
    factor = HALF_CLOSE if target.factor > CLOSE_FACTOR_THRESHOLD else BPS
    return percent_mul(target.owed, factor)


def half_of_the_position(target: Target) -> int:
    """
    Return how much of one debt a call may repay: all, or at most half of everything owed.

    The limit holds above 0.95 and only where debt and collateral are both worth 2,000 or more.
    Mirrors LiquidationLogic.executeLiquidationCall, v3.3 and later.
    """
    is_large = min(target.collateral.value(target.balance), target.owed_value) >= MIN_HALF_CLOSE
    half = percent_mul(target.total_debt, HALF_CLOSE)
    if is_large and target.factor > CLOSE_FACTOR_THRESHOLD and target.owed_value > half:
        return checked(half * target.debt.unit) // target.debt.price
    return target.owed


# --- what that takes -----------------------------------------------------------------------------


def seizure(
    target: Target,
    repay: int,
    *,
    add_bonus: Rounding,
    need: Rounding,
    without_bonus: Rounding,
    levy: Rounding,
) -> Seizure:
    """
    Return what `repay` of the debt, already within the close factor, takes of the collateral.

    Args:
        target: The pair.
        repay: Units of the debt asset.
        add_bonus: How the bonus is put on the collateral that the debt is worth.
        need: How it is taken off again where the whole balance is seized.
        without_bonus: How the part of a seizure that is no bonus is found.
        levy: How the protocol's fee is taken of the bonus.

    Mirrors LiquidationLogic._calculateAvailableCollateralToLiquidate.
    """
    of, by = target.collateral, target.debt
    base = checked(by.price * repay * of.unit) // checked(of.price * by.unit)
    taken, repaid = add_bonus(base, target.bonus), repay
    if taken > target.balance:
        taken = target.balance
        worth = checked(of.price * taken * by.unit) // checked(by.price * of.unit)
        repaid = need(worth, target.bonus)
    fee = levy(taken - without_bonus(taken, target.bonus), target.fee)
    return Seizure(repaid=repaid, seized=taken - fee, fee=fee)


# --- what may be left over -----------------------------------------------------------------------


def any_leftover(_target: Target, _moved: Seizure, _worth: Worth) -> bool:
    """Return False: up to v3.2 a liquidation may leave dust."""
    return False


def leaves_dust(target: Target, moved: Seizure, worth: Worth) -> bool:
    """
    Tell whether debt and collateral both stay and either is worth less than 1,000.

    Mirrors the MustNotLeaveDust check of LiquidationLogic.executeLiquidationCall, v3.3 and later.
    """
    debt, collateral = target.owed - moved.repaid, target.balance - moved.taken
    if debt <= 0 or collateral <= 0:
        return False
    left = worth(debt, target.debt.price, target.debt.unit)
    return min(left, target.collateral.value(collateral)) < MIN_LEFTOVER


# --- bad debt ------------------------------------------------------------------------------------


def never_written_off(_target: Target, _moved: Seizure) -> bool:
    """Return False: up to v3.2 debt without collateral stays."""
    return False


def written_off_by_value(target: Target, moved: Seizure) -> bool:
    """
    Tell whether the rest of the account's debts is burned: nothing of value is left.

    Mirrors hasNoCollateralLeft in LiquidationLogic.executeLiquidationCall, v3.3 to v3.6.
    """
    return target.collateral.value(moved.taken) == target.total_collateral


def written_off_by_scaled(target: Target, moved: Seizure) -> bool:
    """
    Tell the same by what the tokens move, each move rounded up in scaled units.

    Mirrors hasNoCollateralLeft in LiquidationLogic.executeLiquidationCall, v3.7.
    """
    moves = ray_div_up(moved.seized, target.income) + ray_div_up(moved.fee, target.income)
    consumed = ray_mul_down(min(moves, target.scaled), target.income)
    return target.collateral.value(consumed) == target.total_collateral
