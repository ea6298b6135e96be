"""The accounts of one protocol as they are now, for whoever reads them while blocks go on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from chimera.domain.market import Account, Holder
from chimera.state.shelf import Shelf


class Still(Mapping[Holder, Account]):
    """
    What stood on a shelf at one time; see `Book.still`.

    Nothing is copied: the book tells what it replaces, and here that is kept.

    Attributes:
        shelf: Whose accounts these are.
    """

    __slots__ = ("__weakref__", "_replaced", "_size", "_told", "_users", "shelf")

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._users = shelf.users
        self._size = len(shelf.users)
        self._replaced: dict[Holder, Account | None] = {}  # the first of each; None: absent
        self._told: list[Mapping[Holder, Account | None]] = []

    def replaced(self, accounts: Mapping[Holder, Account | None]) -> None:
        """Be told which accounts of the shelf were replaced just now (None: there was none)."""
        self._told.append(accounts)

    def settle(self) -> None:
        """Take in what was told, so that it need not be done by who reads next."""
        told, self._told = self._told, []
        for accounts in told:
            for holder, old in accounts.items():
                self._replaced.setdefault(holder, old)

    def __getitem__(self, holder: Holder) -> Account:
        """Return an account. Raises KeyError for a holder who was not there."""
        if self._told:
            self.settle()
        found = self._replaced[holder] if holder in self._replaced else self._users[holder]
        if found is None:
            raise KeyError(holder)
        return found

    def __len__(self) -> int:
        """Return how many there were."""
        return self._size

    def __iter__(self) -> Iterator[Holder]:
        """Iterate over the holders; the book may go on meanwhile."""
        self.settle()
        gone = [
            holder
            for holder, old in self._replaced.items()
            if old is not None and holder not in self._users
        ]
        new = {holder for holder, old in self._replaced.items() if old is None}
        here = np.fromiter(self._users, object, len(self._users))  # garbage collection passes it by
        yield from (holder for holder in here if holder not in new)
        yield from gone
