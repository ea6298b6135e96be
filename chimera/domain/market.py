"""What the book keeps: accounts in a shape that fits every family, and markets that do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chimera.domain.block import Address

Key = tuple[str, Address]
"""(protocol instance, user): the identity of an account."""


@dataclass(frozen=True, slots=True)
class Account:
    """
    One borrower in one protocol, in the units that the contracts store (scaled balances, shares).

    Immutable: a change makes a new account, so whoever holds an old one keeps a true past.
    Balances of zero are absent from `supplied` and `owed`.
    """

    supplied: Mapping[Address, int] = field(default_factory=dict)
    owed: Mapping[Address, int] = field(default_factory=dict)
    enabled: frozenset[Address] = frozenset()
    mode: int = 0
    updated_block: int = 0

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


Column = tuple[Address, bool, int]
"""One row of the screen: (asset, is it debt, mode of the accounts, such as an eMode)."""
