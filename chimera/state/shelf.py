"""The accounts of one protocol, their indexes, and what a change makes of an account."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet

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
from chimera.domain.market import EMPTY, Account, Holder, Market
from chimera.errors import Rebuild
from chimera.state.endings import Endings

SIDES = {SupplyMoved: "supply", DebtMoved: "debt", MarkMoved: "mark"}


class Shelf:
    """
    The part of the book that belongs to one protocol; the `Accounts` that its adapter sees.

    `users` is the truth; `open` (users with debt) and `holders` (asset -> users with it on any leg)
    are derived from it and kept in step by `put`; so is who ends alike, once a family has asked for
    it. `near` is what the engine last saw near 1.
    """

    __slots__ = (
        "__weakref__",
        "_complete",
        "ends",
        "holders",
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
        self._complete = complete
        self.open: set[Holder] = set()
        self.near: AbstractSet[Holder] = frozenset()
        self.holders: dict[Address, set[Address]] = {}
        self.ends: dict[bool, Endings] = {}  # by whether they owe; empty until asked for
        self.reindex()

    @property
    def complete(self) -> bool:
        """True when every holder is here, so that an unknown user starts empty."""
        return self._complete

    def keys(self) -> AbstractSet[Holder]:
        """Return everybody on the shelf, a live view."""
        return self.users.keys()

    def get(self, user: Holder) -> Account | None:
        """Return the account, or None when the book does not follow this user."""
        return self.users.get(user)

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
        if old.supplied.keys() != new.supplied.keys() or old.owed.keys() != new.owed.keys():
            self._move(user, old, new)

    def _move(self, user: Address, old: Account, new: Account) -> None:
        before, after = assets_of(old), assets_of(new)
        for asset in before - after:
            holders = self.holders[asset]
            holders.discard(user)
            if not holders:
                del self.holders[asset]
        for asset in after - before:
            self.holders.setdefault(asset, set()).add(user)
        if new.owed:
            self.open.add(user)
        else:
            self.open.discard(user)

    def _end(self, user: Address, old: Account | None, new: Account | None) -> None:
        owed = None if old is None else bool(old.owed)
        owes = None if new is None else bool(new.owed)
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
        idle = (user for user, account in self.users.items() if not account.owed)
        owing = (user for user, account in self.users.items() if account.owed)
        return {False: Endings(idle), True: Endings(owing)}

    def reindex(self) -> None:
        """Derive all indexes anew from the accounts."""
        self.open, self.holders = self.derived()
        self.ends = {}

    def derived(self) -> tuple[set[Address], dict[Address, set[Address]]]:
        """Return what `open` and `holders` must be."""
        holders: dict[Address, set[Address]] = {}
        for user, account in self.users.items():
            for asset in assets_of(account):
                holders.setdefault(asset, set()).add(user)
        return {user for user, account in self.users.items() if account.owed}, holders


def assets_of(account: Account) -> set[Address]:
    """Return every asset on a leg of the account."""
    return {*account.supplied, *account.owed}


def changed(old: Account, change: Change, block_number: int, protocol: str) -> Account:
    """
    Return the account after a change; `old` itself when nothing changed.

    Raises:
        Rebuild: A balance would go under zero.
    """
    supplied, owed, enabled, mode = old.supplied, old.owed, old.enabled, old.mode
    marks = old.marks
    match change:
        case SupplyMoved(_, asset, delta):
            supplied = _moved(supplied, asset, delta, protocol, change)
        case DebtMoved(_, asset, delta):
            owed = _moved(owed, asset, delta, protocol, change)
        case DebtSet(_, asset, amount, mark):
            owed, marks = _set(owed, asset, amount), _set(marks, asset, mark)
        case MarkMoved(_, asset, delta):
            marks = _moved(marks, asset, delta, protocol, change)
        case CollateralSwitched(_, asset, True):
            enabled |= {asset}
        case CollateralSwitched(_, asset):
            enabled -= {asset}
        case ModeSet(_, mode):
            pass
        case AccountRead(_, read):
            supplied, owed, enabled, mode = read.supplied, read.owed, read.enabled, read.mode
            marks = read.marks
    if (supplied, owed, enabled, mode, marks) == _content(old):
        # An AccountRead of a user without balances still makes the user known.
        return Account(updated_block=block_number) if _is_first_read(old, change) else old
    return Account(supplied, owed, enabled, mode, block_number, marks)


def _content(
    account: Account,
) -> tuple[
    Mapping[Address, int], Mapping[Address, int], frozenset[Address], int, Mapping[Address, int]
]:
    return account.supplied, account.owed, account.enabled, account.mode, account.marks


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
        side = SIDES[type(change)]
        raise Rebuild(
            f"{side} of 0x{change.user.hex()} in {protocol}, asset 0x{asset.hex()}, "
            f"would be {balance} after a change of {delta}"
        )
    return balances if delta == 0 else _set(balances, asset, balance)


def _set(balances: Mapping[Address, int], asset: Address, balance: int) -> Mapping[Address, int]:
    after = dict(balances)
    if balance:
        after[asset] = balance
    else:
        after.pop(asset, None)
    return after


def is_blank(account: Account) -> bool:
    """Tell whether the account says no more than an unknown one would."""
    return not any(_content(account))


def differences(shelf: Shelf) -> Iterator[str]:
    """Name every place where an index left the accounts that it is derived from."""
    open_users, holders = shelf.derived()
    if shelf.open != open_users:
        yield f"{shelf.name}: with debt {_names(shelf.open ^ open_users)}"
    for asset in sorted(shelf.holders.keys() | holders.keys()):
        kept, derived = shelf.holders.get(asset), holders.get(asset)
        if kept != derived:
            strays = (kept or set()) ^ (derived or set())
            yield f"{shelf.name}: holders of 0x{asset.hex()} {_names(strays)}"
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
