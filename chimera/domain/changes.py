"""What a block does to accounts and markets, as values that the book applies and can undo."""

from dataclasses import dataclass

from chimera.domain.block import Address
from chimera.domain.market import Account, Market


@dataclass(frozen=True, slots=True)
class SupplyMoved:
    """`delta` stored units of `asset` came to (or left) the user's supply."""

    user: Address
    asset: Address
    delta: int


@dataclass(frozen=True, slots=True)
class DebtMoved:
    """`delta` stored units of `asset` came to (or left) the user's debt."""

    user: Address
    asset: Address
    delta: int


@dataclass(frozen=True, slots=True)
class CollateralSwitched:
    """The user's supply of `asset` counts as collateral from here on, or no longer does."""

    user: Address
    asset: Address
    enabled: bool


@dataclass(frozen=True, slots=True)
class ModeSet:
    """The user's risk mode (an Aave eMode) is `mode` from here on."""

    user: Address
    mode: int


@dataclass(frozen=True, slots=True)
class AccountRead:
    """The whole account as the contracts have it at the end of this block."""

    user: Address
    account: Account


@dataclass(frozen=True, slots=True)
class MarketMoved:
    """The market as it is after this block."""

    market: Market


@dataclass(frozen=True, slots=True)
class Liquidated:
    """Somebody liquidated the user in this block. A fact for the detector; it moves no balance."""

    user: Address


Change = (
    SupplyMoved | DebtMoved | CollateralSwitched | ModeSet | AccountRead | MarketMoved | Liquidated
)
