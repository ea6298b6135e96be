"""What the book keeps: accounts in a shape that fits every family, and markets that do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from chimera.domain.block import Address
from chimera.domain.numeric import decimal_string, short_decimal

Holder = Address
"""
Whose account it is, within one protocol instance: the user's 20 bytes. Where a family has isolated
markets and a user has an account in each, the market's id (32 bytes) stands before the user.
"""

Key = tuple[str, Holder]
"""(protocol instance, holder) in the book; (published protocol, user) everywhere outside of it."""


FEW_PLACES = 8  # of a price: those of most oracles
MARKET_FOLLOWS = "."  # in a published protocol, whose configured name has no dot


def instance_of(protocol: str) -> str:
    """Return the configured name behind a published protocol: what stands before its market."""
    return protocol.partition(MARKET_FOLLOWS)[0]


NOTHING: Mapping[Address, int] = MappingProxyType({})  # shared: most accounts have no marks


@dataclass(frozen=True, slots=True)
class Account:
    """
    One borrower in one protocol, in the units that the contracts store (scaled balances, shares).

    Immutable: a change makes a new account, so whoever holds an old one keeps a true past. What an
    asset is here (a token, a market of the family) is the family's to say. Zeros are absent.

    Attributes:
        supplied: Stored units per asset on the supply side.
        owed: Stored units per asset on the debt side.
        enabled: Assets whose supply counts as collateral.
        mode: Risk mode, such as an Aave eMode.
        updated_block: The newest block that changed the account.
        marks: What the contract keeps besides, per asset: the index at which a debt was last
            settled (compound_v2), a lender's shares (morpho_blue).
    """

    supplied: Mapping[Address, int] = field(default_factory=dict)
    owed: Mapping[Address, int] = field(default_factory=dict)
    enabled: frozenset[Address] = frozenset()
    mode: int = 0
    updated_block: int = 0
    marks: Mapping[Address, int] = field(default_factory=lambda: NOTHING)

    @property
    def is_open(self) -> bool:
        """Tell whether there is any debt."""
        return bool(self.owed)


EMPTY = Account()


class Market:
    """
    Base of what a family keeps about its market as a whole: reserves, indexes, prices of the block.

    Families subclass it as frozen dataclasses and replace them, so undo keeps the old one.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Token:
    """What a price is quoted for: a token's symbol, and the places of its amounts."""

    symbol: str
    decimals: int


@dataclass(frozen=True, slots=True)
class Quoted:
    """How a price is written: of what, in which currency, and how many of its digits are places."""

    name: str
    currency: str
    decimals: int

    def written(self, price: int) -> str:
        """Write a price as a decimal; zeros at the end stay where there are few places."""
        write = decimal_string if self.decimals <= FEW_PLACES else short_decimal
        return write(price, self.decimals)


Column = tuple[Address, bool, int]
"""One row of the screen: (asset, is it debt, mode of the accounts, such as an eMode)."""
