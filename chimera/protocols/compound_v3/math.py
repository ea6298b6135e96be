"""The arithmetic of a Comet, to the last unit: interest, principals, values, absorptions."""

from __future__ import annotations

from dataclasses import dataclass

from chimera.domain.numeric import MAX_UINT256, WAD, Wad, mul_div, mul_div_up
from chimera.errors import Skip

INDEX_SCALE = 10**15  # CometCore.BASE_INDEX_SCALE
FACTOR_SCALE = WAD  # CometCore.FACTOR_SCALE
PRICE_DECIMALS = 8  # CometCore.PRICE_SCALE
MAX_INT256, MAX_UINT64 = 2**255 - 1, 2**64 - 1


def checked(value: int, limit: int = MAX_UINT256) -> int:
    """
    Return `value` if it does not exceed `limit`.

    Raises:
        Skip: It does: here the contract reverts.
    """
    if value > limit:
        raise Skip("a product overflows")
    return value


# --- interest ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Curve:
    """Interest per second over utilization, all four in factor scale (1e18)."""

    kink: int
    low: int
    high: int
    base: int


def rate(curve: Curve, utilization: int) -> int:
    """Return the rate per second. Mirrors Comet.getSupplyRate and getBorrowRate."""
    if utilization <= curve.kink:
        return curve.base + curve.low * utilization // FACTOR_SCALE
    below = curve.low * curve.kink // FACTOR_SCALE
    above = curve.high * (utilization - curve.kink) // FACTOR_SCALE
    return curve.base + below + above


@dataclass(frozen=True, slots=True)
class Indexes:
    """What one unit of principal is worth, scaled by 1e15, on either side."""

    supply: int
    borrow: int


@dataclass(frozen=True, slots=True)
class Totals:
    """
    What `totalsBasic` answers, but for the rewards.

    Attributes:
        indexes: As stored at `accrued_at`.
        supply: Sum of all positive principals (a dust above it, after supplies of 0).
        borrow: Sum of all negative principals, as a positive number.
        accrued_at: Second of the last accrual.
        pauses: Flags, see `market`.
    """

    indexes: Indexes
    supply: int
    borrow: int
    accrued_at: int
    pauses: int


def utilization(totals: Totals) -> int:
    """Return borrowed over supplied at the stored indexes; it may exceed 1e18."""
    supplied = totals.supply * totals.indexes.supply // INDEX_SCALE
    borrowed = totals.borrow * totals.indexes.borrow // INDEX_SCALE
    return borrowed * FACTOR_SCALE // supplied if supplied else 0


def accrued(totals: Totals, supply: Curve, borrow: Curve, timestamp: int) -> Indexes:
    """
    Return the indexes as an action at `timestamp` leaves them.

    Raises:
        Skip: An index leaves its 64 bits, so that every action reverts.

    Mirrors Comet.accruedInterestIndices.
    """
    elapsed = timestamp - totals.accrued_at
    if elapsed <= 0:
        return totals.indexes
    used, stored = utilization(totals), totals.indexes
    return Indexes(
        _grown(stored.supply, rate(supply, used) * elapsed),
        _grown(stored.borrow, rate(borrow, used) * elapsed),
    )


def _grown(index: int, growth: int) -> int:
    return checked(index + index * growth // FACTOR_SCALE, MAX_UINT64)


# --- principals ----------------------------------------------------------------------------------


def present_value(principal: int, indexes: Indexes) -> int:
    """Return a signed balance of base; both magnitudes round down. Mirrors presentValue."""
    if principal >= 0:
        return mul_div(principal, indexes.supply, INDEX_SCALE)
    return -mul_div(-principal, indexes.borrow, INDEX_SCALE)


def principal_value(present: int, indexes: Indexes) -> int:
    """Return a signed principal; supplies round down, debts up. Mirrors principalValue."""
    if present >= 0:
        return mul_div(present, INDEX_SCALE, indexes.supply)
    return -mul_div_up(-present, INDEX_SCALE, indexes.borrow)


def moved(principal: int, amount: int, indexes: Indexes) -> int:
    """Return the principal once `amount` of base was added to (or taken from) the balance."""
    return principal_value(present_value(principal, indexes) + amount, indexes)


def supply_principal(amount: int, indexes: Indexes) -> int:
    """
    Return the supply principal whose present value a `Transfer` logged.

    It is the only one, since no index is under 1e15.
    """
    return mul_div_up(amount, INDEX_SCALE, indexes.supply)


# --- values --------------------------------------------------------------------------------------


def value_of(amount: int, price: int, scale: int) -> int:
    """
    Return what an amount is worth, rounded toward zero, also where it is negative.

    Raises:
        Skip: The product overflows.

    Mirrors CometMath's mulPrice and signedMulPrice.
    """
    size = checked(abs(amount) * checked(price, MAX_INT256), MAX_INT256) // scale
    return size if amount >= 0 else -size


def times_factor(value: int, factor: int) -> int:
    """Return value x factor, rounded down. Raises Skip. Mirrors Comet.mulFactor."""
    return checked(value * factor) // FACTOR_SCALE


def health_factor(collateral: int, debt: int) -> Wad | None:
    """
    Return collateral over debt in WAD, None where the debt is worth nothing.

    Args:
        collateral: Sum of every value times its liquidation collateral factor, each rounded down.
        debt: Value of the debt, rounded down.

    Under `WAD` is then exactly what `absorb` requires.
    """
    return Wad(collateral * WAD // debt) if debt else None


# --- the store front -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Offer:
    """
    One collateral at the store front.

    Attributes:
        base_price: Price of the base token.
        base_scale: One whole base token.
        price: What the collateral costs there, discount taken off.
        scale: One whole token of the collateral.
    """

    base_price: int
    base_scale: int
    price: int
    scale: int


def discounted(price: int, store_front: int, liquidation: int) -> int:
    """
    Return the price at the store front.

    Args:
        price: Of the collateral.
        store_front: The market's storeFrontPriceFactor.
        liquidation: The collateral's liquidationFactor.

    Mirrors the first half of Comet.quoteCollateral.
    """
    discount = store_front * (FACTOR_SCALE - liquidation) // FACTOR_SCALE
    return times_factor(price, FACTOR_SCALE - discount)


def quote(offer: Offer, paid: int) -> int:
    """
    Return how much collateral `paid` base buys; 0 where the price is 0, by which Comet divides.

    Raises:
        Skip: A product overflows.

    Mirrors Comet.quoteCollateral.
    """
    if offer.price == 0:
        return 0
    return checked(offer.base_price * paid * offer.scale) // offer.price // offer.base_scale


def cost(offer: Offer, amount: int) -> int:
    """Return the most base for which `quote` does not exceed `amount`."""
    per_unit = offer.base_price * offer.scale
    return ((amount + 1) * offer.price * offer.base_scale - 1) // per_unit
