"""What a block does to accounts and markets, as values that the book applies and can undo."""

from dataclasses import dataclass

from chimera.domain.block import Address
from chimera.domain.market import Account, Holder, Market


@dataclass(frozen=True, slots=True)
class SupplyMoved:
    """`delta` stored units of `asset` came to (or left) the user's supply."""

    user: Holder
    asset: Address
    delta: int


@dataclass(frozen=True, slots=True)
class DebtMoved:
    """`delta` stored units of `asset` came to (or left) the user's debt."""

    user: Holder
    asset: Address
    delta: int


@dataclass(frozen=True, slots=True)
class DebtSet:
    """The user's debt of `asset` is `amount` stored units, settled at `mark` (see `Account`)."""

    user: Holder
    asset: Address
    amount: int
    mark: int


@dataclass(frozen=True, slots=True)
class MarkMoved:
    """The user's mark of `asset` rose (or fell) by `delta`."""

    user: Holder
    asset: Address
    delta: int


@dataclass(frozen=True, slots=True)
class CollateralSwitched:
    """The user's supply of `asset` counts as collateral from here on, or no longer does."""

    user: Holder
    asset: Address
    enabled: bool


@dataclass(frozen=True, slots=True)
class ModeSet:
    """The user's risk mode (an Aave eMode) is `mode` from here on."""

    user: Holder
    mode: int


@dataclass(frozen=True, slots=True)
class AccountRead:
    """The whole account as the contracts have it at the end of this block."""

    user: Holder
    account: Account


@dataclass(frozen=True, slots=True)
class MarketMoved:
    """The market as it is after this block."""

    market: Market


@dataclass(frozen=True, slots=True)
class Liquidated:
    """Somebody liquidated the user in this block. A fact for the detector; it moves no balance."""

    user: Holder


Change = (
    SupplyMoved
    | DebtMoved
    | DebtSet
    | MarkMoved
    | CollateralSwitched
    | ModeSet
    | AccountRead
    | MarketMoved
    | Liquidated
)
