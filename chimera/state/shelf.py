"""The accounts of one protocol, their indexes, and what a change makes of an account."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from chimera.domain.block import Address
from chimera.domain.changes import (
    AccountRead,
    Change,
    CollateralSwitched,
    DebtMoved,
    DebtSet,
    MarkMoved,
    ModeSet,
    SupplyMoved,
)
from chimera.domain.market import EMPTY, FIRST_AMOUNT, Account, Holder, Market, Shape
from chimera.errors import Rebuild
from chimera.state.endings import Endings


class Side(NamedTuple):
    """One side of an account: its name, its number, and where a shape has an asset on it."""

    name: str
    number: int
    place: Callable[[Shape, Address], int | None]


SIDES: dict[type[Change], Side] = {
    SupplyMoved: Side("supply", 0, Shape.supply_place),
    DebtMoved: Side("debt", 1, Shape.debt_place),
    MarkMoved: Side("mark", 2, Shape.mark_place),
}
CONTENT = ("supplied", "owed", "enabled", "mode", "marks")  # all but the block of the change


class Owing(AbstractSet[Holder]):
    """Those of the users who have debt, a live view that takes no room of its own."""

    __slots__ = ("_users", "count")

    def __init__(self, users: Mapping[Holder, Account]) -> None:
        self._users = users
        self.count = sum(account.is_open for account in users.values())

    @classmethod
    def _from_iterable(cls, holders: Iterable[Holder]) -> set[Holder]:  # type: ignore[override]
        return set(holders)

    def __contains__(self, holder: object) -> bool:
        """Tell whether this one has debt."""
        account = self._users.get(holder)  # type: ignore[call-overload]
        return account is not None and account.is_open

    def __iter__(self) -> Iterator[Holder]:
        """Iterate over those with debt."""
        return (holder for holder, account in self._users.items() if account.is_open)

    def __len__(self) -> int:
        """Return how many have debt."""
        return self.count


class Shelf:
    """
    The part of the book that belongs to one protocol; the `Accounts` that its adapter sees.

    `users` is the truth, and `open` a view of those with debt. `put` keeps in step how many these
    are, and who ends alike, once a family has asked for it. `near` is what the engine last saw near
    1. `get` returns an account, or None when the book does not follow this user.
    """

    __slots__ = (
        "__weakref__",
        "_complete",
        "ends",
        "get",
        "market",
        "name",
        "near",
        "open",
        "users",
    )

    def __init__(
        self, name: str, market: Market, accounts: Mapping[Address, Account], *, complete: bool
    ) -> None:
        self.name = name
        self.market = market
        self.users = dict(accounts)
        self.get: Callable[[Holder], Account | None] = self.users.get  # a call less, of each log
        self._complete = complete
        self.open = Owing(self.users)
        self.near: AbstractSet[Holder] = frozenset()
        self.ends: dict[bool, Endings] = {}  # by whether they owe; empty until asked for
        self.reindex()

    @property
    def complete(self) -> bool:
        """True when every holder is here, so that an unknown user starts empty."""
        return self._complete

    def keys(self) -> AbstractSet[Holder]:
        """Return everybody on the shelf, a live view."""
        return self.users.keys()

    def put(self, user: Address, new: Account | None) -> None:
        """Replace an account (None removes it) and keep the indexes in step."""
        known = self.users.get(user)
        if self.ends:
            self._end(user, known, new)
        old = EMPTY if known is None else known
        if new is None:
            self.users.pop(user, None)
            new = EMPTY
        else:
            self.users[user] = new
        self.open.count += new.is_open - old.is_open

    def those_of(self, users: Iterable[Holder]) -> dict[Holder, Account | None]:
        """Return the accounts of these users, each None where there is none."""
        wanted = tuple(users)
        return dict(zip(wanted, map(self.users.get, wanted), strict=True))

    def replace(
        self, accounts: Mapping[Holder, Account], olds: Mapping[Holder, Account | None]
    ) -> None:
        """
        Put many accounts in place of those that are here.

        Args:
            accounts: The new ones; whoever has nothing is removed where everybody is known.
            olds: What `those_of` returns for the same users.
        """
        users = self.users
        for (user, new), old in zip(accounts.items(), olds.values(), strict=True):
            if old is not None and new[0] is old[0]:
                users[user] = new  # the same legs: no index moves
            else:
                self.put(user, None if self._complete and new.is_blank else new)

    def holders(self, asset: Address) -> set[Holder]:
        """Return the users with `asset` on any leg; this looks at everybody."""
        return {user for user, account in self.users.items() if asset in assets_of(account)}

    def _end(self, user: Address, old: Account | None, new: Account | None) -> None:
        owed = None if old is None else old.is_open
        owes = None if new is None else new.is_open
        if owed is owes:
            return
        if owed is not None:
            self.ends[owed].remove(user)
        if owes is not None:
            self.ends[owes].add(user)

    def endings(self, *, owing: bool) -> Endings:
        """Return those with debt, or those without, by the ends of their addresses."""
        if not self.ends:
            self.ends = self.ended()
        return self.ends[owing]

    def ended(self) -> dict[bool, Endings]:
        """Return what both answers of `endings` must be."""
        idle = (user for user, account in self.users.items() if not account.is_open)
        owing = (user for user, account in self.users.items() if account.is_open)
        return {False: Endings(idle), True: Endings(owing)}

    def reindex(self) -> None:
        """Derive all indexes anew from the accounts."""
        self.open = Owing(self.users)
        self.ends = {}


def assets_of(account: Account) -> set[Address]:
    """Return every asset on a leg of the account."""
    return {*account.shape.supplied, *account.shape.owed}


def changed(old: Account, change: Change, block_number: int, protocol: str) -> Account:
    """
    Return the account after a change; `old` itself when nothing changed.

    Raises:
        Rebuild: A balance would go under zero.
    """
    side = SIDES.get(type(change))
    if side is not None:
        asset, delta = change.asset, change.delta  # type: ignore[union-attr]
        place = side.place(old[0], asset)
        amount = delta if place is None else old[place] + delta
        if amount > 0:  # no leg ends: nearly every change
            if place is None:
                return old.with_leg(side.number, asset, amount, block_number)
            return old.with_amount(place, amount, block_number) if delta else old
    new = _switched(old, change, block_number)
    if new is not None:
        return new
    new = old.but(**_parts(old, change, protocol), updated_block=block_number)
    if new.shape is old.shape and new[FIRST_AMOUNT:] == old[FIRST_AMOUNT:]:
        # An AccountRead of a user without balances still makes the user known.
        return new if _is_first_read(old, change) else old
    return new


def _switched(old: Account, change: Change, block_number: int) -> Account | None:
    """Return the account after a change of what counts or of its mode; None for other changes."""
    enabled, mode = old.enabled, old.mode
    if isinstance(change, CollateralSwitched):
        asset = frozenset((change.asset,))
        enabled = enabled | asset if change.enabled else enabled - asset
    elif isinstance(change, ModeSet):
        mode = change.mode
    else:
        return None
    same = enabled == old.enabled and mode == old.mode
    return old if same else old.with_terms(enabled, mode, block_number)


def _parts(old: Account, change: Change, protocol: str) -> dict[str, Any]:
    """Return the parts of an account that a change replaces, named as in its constructor."""
    parts: dict[str, Any] = {}
    match change:
        case SupplyMoved(_, asset, delta):
            parts["supplied"] = _moved(old.supplied, asset, delta, protocol, change)
        case DebtMoved(_, asset, delta):
            parts["owed"] = _moved(old.owed, asset, delta, protocol, change)
        case DebtSet(_, asset, amount, mark):
            parts["owed"] = {**old.owed, asset: amount}
            parts["marks"] = {**old.marks, asset: mark}
        case MarkMoved(_, asset, delta):
            parts["marks"] = _moved(old.marks, asset, delta, protocol, change)
        case AccountRead(_, read):
            parts.update({name: getattr(read, name) for name in CONTENT})
    return parts


def _is_first_read(old: Account, change: Change) -> bool:
    return old is EMPTY and isinstance(change, AccountRead)


def _moved(
    balances: Mapping[Address, int],
    asset: Address,
    delta: int,
    protocol: str,
    change: SupplyMoved | DebtMoved | MarkMoved,
) -> Mapping[Address, int]:
    balance = balances.get(asset, 0) + delta
    if balance < 0:
        side = SIDES[type(change)].name
        raise Rebuild(
            f"{side} of 0x{change.user.hex()} in {protocol}, asset 0x{asset.hex()}, "
            f"would be {balance} after a change of {delta}"
        )
    return {**balances, asset: balance}


def differences(shelf: Shelf) -> Iterator[str]:
    """Name every place where an index left the accounts that it is derived from."""
    counted = sum(1 for _ in shelf.open)
    if shelf.open.count != counted:
        yield f"{shelf.name}: {shelf.open.count} with debt instead of {counted}"
    yield from _misplaced(shelf)


def _misplaced(shelf: Shelf) -> Iterator[str]:
    """Name whoever stands in the wrong place by the end of the address."""
    derived = shelf.ended() if shelf.ends else {}
    for owing, kept in shelf.ends.items():
        (ours, ours_counted), (theirs, counted) = kept.content(), derived[owing].content()
        strays = {user for one, other in zip(ours, theirs, strict=True) for user in one ^ other}
        if strays or ours_counted != counted:
            kind = "with debt" if owing else "without debt"
            yield f"{shelf.name}: by ending, {kind} {_names(strays)}"


def _names(users: Iterable[Address]) -> str:
    return ", ".join(f"0x{user.hex()}" for user in sorted(users)) or "(an empty entry)"
