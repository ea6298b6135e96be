"""Verdicts about one account at one block, in exact integers."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from chimera.domain.block import Address
from chimera.domain.numeric import WAD, Wad


class Health(msgspec.Struct, frozen=True, gc=False):
    """
    What the contract's own view answers about an account.

    Attributes:
        factor: Health factor in WAD; None without debt, and where `error` is set.
        collateral: Value of the collateral that counts, base currency units.
        debt: Value of all debt, base currency units.
        threshold: Liquidation threshold averaged by value, decimal string ("0" without collateral).
        error: Why the contract's view reverts, or None.
    """

    factor: Wad | None
    collateral: int
    debt: int
    threshold: str
    error: str | None = None

    @property
    def is_unhealthy(self) -> bool:
        """Tell whether the health factor exists and is under 1."""
        return self.factor is not None and self.factor < WAD


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure about which we and the contract's own view disagree, as both have it."""

    name: str
    ours: str
    theirs: str


class CollateralLeg(msgspec.Struct, frozen=True, gc=False):
    """One supplied asset: `amount` in token units, `value` in base currency units."""

    asset: Address
    symbol: str
    amount: int
    value: int
    threshold: str
    enabled: bool


class DebtLeg(msgspec.Struct, frozen=True, gc=False):
    """One borrowed asset: `amount` in token units, `value` in base currency units."""

    asset: Address
    symbol: str
    amount: int
    value: int


class Valuation(msgspec.Struct, frozen=True, gc=False):
    """An account with every leg valued. `base_decimals` places in every value."""

    health: Health
    collateral: tuple[CollateralLeg, ...]
    debt: tuple[DebtLeg, ...]
    base_currency: str
    base_decimals: int


@dataclass(frozen=True, slots=True)
class Pair:
    """
    A debt to repay and a collateral to seize, at the contract's own limits, before costs.

    Attributes:
        max_repay: Most that may be repaid, units of the debt asset.
        seize: What the liquidator receives for it, units of the collateral asset.
        gross_bonus: Value received minus value paid, base currency units.
    """

    collateral_asset: Address
    debt_asset: Address
    max_repay: int
    seize: int
    gross_bonus: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the contract would let anybody liquidate the account now; if not, the rule why."""

    liquidatable: bool
    reason: str | None = None
    best: Pair | None = None


VERDICT = "verdict"
"""Name of the last step: whether the contract would allow a liquidation and, if not, why."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of an explanation: what it is, and the figure with its unit."""

    name: str
    value: str
