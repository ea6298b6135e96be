"""
The members of the family, as far as they compute, keep or announce things differently.

All of them truncate. The first comptrollers of Compound rounded products half up; they are not
supported, and comparing accounts with the comptroller's own view would show it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """
    One member of the family.

    Attributes:
        name: As people call it.
        by_timestamp: Interest runs by seconds; else by block numbers.
        has_thresholds: A liquidation threshold and an incentive of its own per market, also in
            pools of risk; else the collateral factor, and one incentive of the comptroller.
        seizes_entered_only: Only collateral in markets that the borrower has entered.
        skips_blank: Entered markets in which an account has nothing do not count, whatever their
            price.
        may_deprecate: Markets that are wound up are liquidated without a shortfall.
    """

    name: str
    by_timestamp: bool
    has_thresholds: bool
    seizes_entered_only: bool
    skips_blank: bool
    may_deprecate: bool


MOONWELL = Dialect(
    "Moonwell",
    by_timestamp=True,
    has_thresholds=False,
    seizes_entered_only=False,
    skips_blank=False,
    may_deprecate=False,
)
COMPOUND = Dialect(
    "Compound v2",
    by_timestamp=False,
    has_thresholds=False,
    seizes_entered_only=False,
    skips_blank=False,
    may_deprecate=True,
)
VENUS = Dialect(
    "Venus",
    by_timestamp=False,
    has_thresholds=True,
    seizes_entered_only=True,
    skips_blank=True,
    may_deprecate=False,
)
