"""The arithmetic of mTokens and of their comptroller. Every division truncates."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chimera.domain.numeric import MAX_UINT256, WAD
from chimera.errors import Skip

MAX_BORROW_RATE = 5 * 10**12  # MToken.borrowRateMaxMantissa: 0.0005 percent per second or block


@dataclass(frozen=True, slots=True)
class RateModel:
    """
    A rate model with one kink (JumpRateModel); without any, `kink` is the largest number.

    Attributes:
        base: Rate at no utilisation, WAD per second (or block).
        multiplier: Slope up to the kink, likewise.
        jump: Slope beyond it, likewise.
        kink: Utilisation at which the slope changes, WAD.
    """

    base: int
    multiplier: int
    jump: int
    kink: int


@dataclass(frozen=True, slots=True)
class State:
    """
    What one mToken stores. Amounts in units of the underlying, `supply` in mTokens.

    Attributes:
        cash: Underlying that lies in the contract; None while the underlying does not tell.
        borrows: All debts, with the interest up to `accrued`.
        reserves: The part of the cash and of the debts that belongs to the protocol.
        supply: All mTokens.
        index: Borrow index, WAD.
        accrued: When interest was last added: seconds, or a block number.
    """

    cash: int | None
    borrows: int
    reserves: int
    supply: int
    index: int
    accrued: int


def checked(value: int) -> int:
    """
    Return `value` if it fits a uint256.

    Raises:
        Skip: It does not: the contract reverts.
    """
    if not 0 <= value <= MAX_UINT256:
        raise Skip("a figure overflows")
    return value


def borrow_rate(model: RateModel, cash: int | None, borrows: int, reserves: int) -> int:
    """
    Return the rate of borrowing, WAD per second (or block).

    Raises:
        Skip: The model reverts: the reserves are larger than everything else. Or nobody can call
            it: the market does not know its cash.

    Mirrors JumpRateModel.getBorrowRate.
    """
    if cash is None:
        raise Skip("the cash is unknown")
    if borrows == 0:
        used = 0
    elif cash + borrows <= reserves:
        raise Skip("the reserves exceed cash and borrows")
    else:
        used = borrows * WAD // (cash + borrows - reserves)
    if used <= model.kink:
        return used * model.multiplier // WAD + model.base
    normal = model.kink * model.multiplier // WAD + model.base
    return (used - model.kink) * model.jump // WAD + normal


def reserved(reserve_factor: int, interest: int) -> int:
    """Return the part of the interest that goes to the reserves: truncated, then added."""
    return reserve_factor * interest // WAD


def accrued(state: State, reserve_factor: int, rate: int, moment: int) -> State:
    """
    Return the market with simple interest at `rate` up to `moment`.

    Raises:
        Skip: The contract reverts: the rate is absurdly high.

    Mirrors MToken.accrueInterest.
    """
    elapsed = moment - state.accrued
    if elapsed == 0:
        return state
    if rate > MAX_BORROW_RATE or elapsed < 0:
        raise Skip("the borrow rate is absurdly high")
    growth = rate * elapsed
    interest = growth * state.borrows // WAD
    return replace(
        state,
        borrows=state.borrows + interest,
        reserves=state.reserves + reserved(reserve_factor, interest),
        index=state.index + growth * state.index // WAD,
        accrued=moment,
    )


def exchange_rate(state: State) -> int:
    """
    Return what an mToken is worth in underlying, WAD; 0 while there are none.

    The contract answers its initial rate then. Nobody has a balance to multiply it with, and no
    getter tells it.

    Raises:
        Skip: The reserves are larger than everything else, or the cash is unknown.

    Mirrors MToken.exchangeRateStoredInternal.
    """
    if state.supply == 0:
        return 0
    if state.cash is None:
        raise Skip("the cash is unknown")
    if state.cash + state.borrows < state.reserves:
        raise Skip("the reserves exceed cash and borrows")
    return checked((state.cash + state.borrows - state.reserves) * WAD) // state.supply


def borrow_balance(principal: int, mark: int, index: int) -> int:
    """
    Return a debt of `principal`, settled at the index `mark`, at `index`.

    Mirrors MToken.borrowBalanceStoredInternal.
    """
    return principal * index // mark if principal else 0


def weight_of(factor: int, rate: int, price: int) -> int:
    """
    Return what an mToken counts as collateral, WAD of base currency.

    The product of factor and exchange rate is truncated before the price is applied. Mirrors
    Comptroller.getHypotheticalAccountLiquidityInternal.
    """
    return checked(checked(factor * rate) // WAD * price) // WAD


def value_of(price: int, amount: int) -> int:
    """Return `amount` times `price`, a WAD, truncated."""
    return checked(price * amount) // WAD


def seize_ratio(incentive: int, debt_price: int, collateral_price: int, rate: int) -> int:
    """
    Return how many mTokens a unit of repaid debt takes, WAD.

    Raises:
        Skip: The contract divides by zero.

    Mirrors Comptroller.liquidateCalculateSeizeTokens.
    """
    numerator = checked(incentive * debt_price) // WAD
    denominator = checked(collateral_price * rate) // WAD
    if denominator == 0:
        raise Skip("the collateral is worth nothing")
    return checked(numerator * WAD) // denominator


def repayable(ratio: int, balance: int) -> int:
    """Return the largest repayment that takes no more than `balance` mTokens at this ratio."""
    return ((balance + 1) * WAD - 1) // ratio if ratio else MAX_UINT256
