"""What the book keeps: accounts in a shape that fits every family, and markets that do not."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Self
from weakref import WeakValueDictionary, ref

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


class Shape:
    """
    Which legs an account has: all that two accounts of the same kind share.

    There is one object for each shape in use, so two of them are equal exactly if they are the
    same. Assets are in the order of their addresses.

    Attributes:
        supplied: Assets on the supply side.
        owed: Assets on the debt side.
        marks: Assets of which something is kept besides.
        enabled: Assets whose supply counts as collateral.
        mode: Risk mode, such as an Aave eMode.
    """

    __slots__ = ("__weakref__", "enabled", "marks", "mode", "owed", "supplied")

    def __init__(
        self,
        supplied: tuple[Address, ...],
        owed: tuple[Address, ...],
        marks: tuple[Address, ...],
        enabled: frozenset[Address],
        mode: int,
    ) -> None:
        self.supplied, self.owed, self.marks = supplied, owed, marks
        self.enabled, self.mode = enabled, mode

    @property
    def supply_places(self) -> dict[Address, int]:
        """Where in an account the amount of each supplied asset stands."""
        return {asset: FIRST_AMOUNT + n for n, asset in enumerate(self.supplied)}

    @property
    def debt_places(self) -> dict[Address, int]:
        """Where in an account the amount of each borrowed asset stands."""
        first = FIRST_AMOUNT + len(self.supplied)
        return {asset: first + n for n, asset in enumerate(self.owed)}

    def supply_place(self, asset: Address) -> int | None:
        """Return where the supply of an asset stands, None where there is none."""
        return FIRST_AMOUNT + self.supplied.index(asset) if asset in self.supplied else None

    def debt_place(self, asset: Address) -> int | None:
        """Return where the debt of an asset stands, None where there is none."""
        if asset not in self.owed:
            return None
        return FIRST_AMOUNT + len(self.supplied) + self.owed.index(asset)

    def mark_place(self, asset: Address) -> int | None:
        """Return where the mark of an asset stands, None where there is none."""
        if asset not in self.marks:
            return None
        return FIRST_AMOUNT + len(self.supplied) + len(self.owed) + self.marks.index(asset)


FIRST_AMOUNT = 2  # before them, an account has its shape and its block


class _Kept(ref[Shape]):
    __slots__ = ("content",)
    content: tuple[object, ...]


class Shapes:
    """The shapes in use by what they are made of; a `WeakValueDictionary` takes twice as long."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], _Kept] = {}
        self._callback = self._forget

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._kept)

    def get(self, content: tuple[object, ...]) -> Shape | None:
        """Return the shape that is made of this, if one is in use."""
        kept = self._kept.get(content)
        return None if kept is None else kept()

    def __setitem__(self, content: tuple[object, ...], shape: Shape) -> None:
        """Keep a shape for as long as somebody uses it."""
        kept = self._kept[content] = _Kept(shape, self._callback)
        kept.content = content

    def _forget(self, kept: _Kept) -> None:
        if self._kept.get(kept.content) is kept:  # nobody has made another one meanwhile
            del self._kept[kept.content]


_shapes = Shapes()
_sets: WeakValueDictionary[frozenset[Address], frozenset[Address]] = WeakValueDictionary()


def shape_of(
    supplied: tuple[Address, ...],
    owed: tuple[Address, ...],
    marks: tuple[Address, ...],
    enabled: frozenset[Address],
    mode: int,
) -> Shape:
    """
    Return the shape with these legs, each side in the order of the addresses.

    Whoever makes many of them passes the same set for equal ones, see `shared`.
    """
    known = _shapes.get((supplied, owed, marks, enabled, mode))
    if known is None:
        known = Shape(supplied, owed, marks, enabled, mode)
        _shapes[supplied, owed, marks, enabled, mode] = known
    return known


def shared(enabled: frozenset[Address]) -> frozenset[Address]:
    """Return the set equal to this one that shapes in use share; it may be this one."""
    return _sets.setdefault(enabled, enabled)


def _shape_of(
    supplied: Iterable[Address],
    owed: Iterable[Address],
    marks: Iterable[Address],
    enabled: frozenset[Address],
    mode: int,
) -> Shape:
    content = tuple(sorted(supplied)), tuple(sorted(owed)), tuple(sorted(marks)), enabled, mode
    known = _shapes.get(content)
    return known or shape_of(*content[:3], _sets.setdefault(enabled, enabled), mode)


def interned(shape: Shape) -> Shape:
    """
    Return the one object for the legs of a shape: accounts have that, and no other.

    So somebody who changes a shape several times looks it up once.
    """
    content = shape.supplied, shape.owed, shape.marks, shape.enabled, shape.mode
    known = _shapes.get(content)
    if known is None:
        shape.enabled = _sets.setdefault(shape.enabled, shape.enabled)
        known = _shapes[content] = shape
    return known


def with_leg(shape: Shape, side: int, asset: Address) -> tuple[Shape, int]:
    """
    Return a shape, not interned, of one leg more, and the place of its amount.

    Args:
        shape: One that has no such leg.
        side: Supply (0), debt (1) or marks (2).
        asset: Whose leg it is.
    """
    sides = [shape.supplied, shape.owed, shape.marks]
    legs = sides[side]
    at = bisect(legs, asset)
    place = FIRST_AMOUNT + sum(map(len, sides[:side])) + at
    sides[side] = (*legs[:at], asset, *legs[at:])
    return Shape(sides[0], sides[1], sides[2], shape.enabled, shape.mode), place


def without_leg(shape: Shape, side: int, asset: Address) -> Shape:
    """Return a shape, not interned, without one of its legs; arguments as of `with_leg`."""
    sides = [shape.supplied, shape.owed, shape.marks]
    sides[side] = tuple([kept for kept in sides[side] if kept != asset])
    return Shape(sides[0], sides[1], sides[2], shape.enabled, shape.mode)


def with_terms(shape: Shape, enabled: frozenset[Address], mode: int) -> Shape:
    """Return a shape, not interned, of the same legs, of which others count or in another mode."""
    return Shape(shape.supplied, shape.owed, shape.marks, enabled, mode)


class Account(tuple[Any, ...]):
    """
    One borrower in one protocol, in the units that the contracts store (scaled balances, shares).

    Immutable: a change makes a new account, so whoever holds an old one keeps a true past. What an
    asset is here (a token, a market of the family) is the family's to say. Zeros are absent.

    There may be a million of them, hence one flat tuple: the `Shape`, shared by all accounts with
    the same legs, the block of the last change, then the amounts of supply, debt and marks.

    Args:
        supplied: Stored units per asset on the supply side.
        owed: Stored units per asset on the debt side.
        enabled: Assets whose supply counts as collateral.
        mode: Risk mode, such as an Aave eMode.
        updated_block: The newest block that changed the account.
        marks: What the contract keeps besides, per asset: the index at which a debt was last
            settled (compound_v2), a lender's shares (morpho_blue).
    """

    __slots__ = ()

    def __new__(  # noqa: PLR0917  (supply, debt and what counts stand where everybody looks)
        cls,
        supplied: Mapping[Address, int] = NOTHING,
        owed: Mapping[Address, int] = NOTHING,
        enabled: frozenset[Address] = frozenset(),
        mode: int = 0,
        updated_block: int = 0,
        marks: Mapping[Address, int] = NOTHING,
    ) -> Self:
        """Make an account; an asset with an amount of 0 is none of its legs."""
        supplied, owed, marks = _present(supplied), _present(owed), _present(marks)
        shape = _shape_of(supplied, owed, marks, enabled, mode)
        return tuple.__new__(
            cls,
            (
                shape,
                updated_block,
                *(supplied[asset] for asset in shape.supplied),
                *(owed[asset] for asset in shape.owed),
                *(marks[asset] for asset in shape.marks),
            ),
        )

    shape: Shape = property(itemgetter(0))  # type: ignore[assignment]
    updated_block: int = property(itemgetter(1))  # type: ignore[assignment]

    @property
    def supplied(self) -> dict[Address, int]:
        """Stored units per asset on the supply side."""
        assets = self[0].supplied
        return dict(zip(assets, self[FIRST_AMOUNT:], strict=False))

    @property
    def owed(self) -> dict[Address, int]:
        """Stored units per asset on the debt side."""
        shape = self[0]
        return dict(zip(shape.owed, self[FIRST_AMOUNT + len(shape.supplied) :], strict=False))

    @property
    def marks(self) -> dict[Address, int]:
        """What the contract keeps besides, per asset."""
        shape = self[0]
        return dict(zip(shape.marks, self[len(self) - len(shape.marks) :], strict=True))

    @property
    def enabled(self) -> frozenset[Address]:
        """Assets whose supply counts as collateral."""
        found: frozenset[Address] = self[0].enabled
        return found

    @property
    def mode(self) -> int:
        """Risk mode, such as an Aave eMode."""
        found: int = self[0].mode
        return found

    @property
    def is_open(self) -> bool:
        """Tell whether there is any debt."""
        return bool(self[0].owed)

    @property
    def is_blank(self) -> bool:
        """Tell whether the account says no more than an unknown one would."""
        return self[0] is EMPTY[0]

    def with_amount(self, place: int, amount: int, block_number: int) -> Account:
        """Return the account with another amount, not 0, at a place of its shape."""
        parts = list(self)
        parts[1], parts[place] = block_number, amount
        return tuple.__new__(Account, parts)

    def with_leg(self, side: int, asset: Address, amount: int, block_number: int) -> Account:
        """Return the account with one leg more: of supply (0), debt (1) or marks (2)."""
        shape, place = with_leg(self[0], side, asset)
        before, after = self[FIRST_AMOUNT:place], self[place:]
        return tuple.__new__(Account, (interned(shape), block_number, *before, amount, *after))

    def with_terms(self, enabled: frozenset[Address], mode: int, block_number: int) -> Account:
        """Return the account with the same amounts, of which others count or in another mode."""
        shape = interned(with_terms(self[0], enabled, mode))
        return tuple.__new__(Account, (shape, block_number, *self[FIRST_AMOUNT:]))

    def but(self, **parts: Any) -> Account:  # noqa: ANN401  (those of the constructor)
        """Return the account with other parts, named as in the constructor."""
        own = {name: getattr(self, name) for name in PARTS if name not in parts}
        return Account(**own, **parts)

    def __repr__(self) -> str:
        """Return the account as it would be made, the same text for equal ones."""
        parts: dict[str, object] = {name: getattr(self, name) for name in PARTS}
        parts["enabled"] = f"frozenset({sorted(self.enabled)})"
        return f"Account({', '.join(f'{name}={part}' for name, part in parts.items())})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy it by its parts, so that its shape stays one object."""
        return Account, tuple(getattr(self, name) for name in PARTS)


PARTS = ("supplied", "owed", "enabled", "mode", "updated_block", "marks")


def _present(amounts: Mapping[Address, int]) -> Mapping[Address, int]:
    if all(amounts.values()):
        return amounts
    return {asset: amount for asset, amount in amounts.items() if amount}


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

Cells = tuple[tuple[Column, int], ...]
"""Columns of an account, each with the place of its amount in the account."""
