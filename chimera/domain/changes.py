"""What a block does to accounts and markets, as values that the book applies and can undo."""

from collections.abc import Mapping

import msgspec

from chimera.domain.block import Address
from chimera.domain.market import Account, Holder, Market


class SupplyMoved(msgspec.Struct, frozen=True, gc=False):
    """`delta` stored units of `asset` came to (or left) the user's supply."""

    user: Holder
    asset: Address
    delta: int


class DebtMoved(msgspec.Struct, frozen=True, gc=False):
    """`delta` stored units of `asset` came to (or left) the user's debt."""

    user: Holder
    asset: Address
    delta: int


class DebtSet(msgspec.Struct, frozen=True, gc=False):
    """The user's debt of `asset` is `amount` stored units, settled at `mark` (see `Account`)."""

    user: Holder
    asset: Address
    amount: int
    mark: int


class MarkMoved(msgspec.Struct, frozen=True, gc=False):
    """The user's mark of `asset` rose (or fell) by `delta`."""

    user: Holder
    asset: Address
    delta: int


class CollateralSwitched(msgspec.Struct, frozen=True, gc=False):
    """The user's supply of `asset` counts as collateral from here on, or no longer does."""

    user: Holder
    asset: Address
    enabled: bool


class ModeSet(msgspec.Struct, frozen=True, gc=False):
    """The user's risk mode (an Aave eMode) is `mode` from here on."""

    user: Holder
    mode: int


class AccountRead(msgspec.Struct, frozen=True, gc=False):
    """The whole account as the contracts have it at the end of this block."""

    user: Holder
    account: Account


class AccountsSet(msgspec.Struct, frozen=True, gc=False):
    """
    These accounts are so at the end of this block, which is the block of their last change.

    All that the block did to them, in one change: for a family that adds a block's logs up before
    the book hears of any.
    """

    accounts: Mapping[Holder, Account]


class MarketMoved(msgspec.Struct, frozen=True, gc=False):
    """The market as it is after this block."""

    market: Market


class Liquidated(msgspec.Struct, frozen=True, gc=False):
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
    | AccountsSet
    | MarketMoved
    | Liquidated
)
