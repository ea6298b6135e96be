"""The book as it stands now, to be read in parts while blocks go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from chimera.domain.market import Account, Holder
from chimera.errors import Skip
from chimera.state.book import Book

PART = 256  # accounts; one is read within half a millisecond


class Past:
    """
    Everybody's account as of one block, which the book goes on from.

    Only the holders are copied at once, into arrays, which no collection of garbage walks through.
    Their accounts are looked up when they are read, and those that newer blocks have replaced are
    taken from the undo log.
    """

    def __init__(self, book: Book) -> None:
        self.block = book.block
        self._book = book
        self._shelves = {name: book.accounts(name) for name in book.protocols}
        self._holders = {
            name: np.fromiter(shelf.users, object, len(shelf.users))
            for name, shelf in self._shelves.items()
        }

    def items(self, protocol: str) -> Iterator[tuple[Holder, Account]]:
        """
        Yield the accounts of one protocol; the book may change between any two of them.

        Raises:
            Skip: The book was loaded anew, or has left the block, or is too far beyond it.
        """
        holders = self._holders[protocol]
        for start in range(0, len(holders), PART):
            yield from self._read(protocol, holders[start : start + PART].tolist())

    def _read(self, protocol: str, holders: Sequence[Holder]) -> Iterator[tuple[Holder, Account]]:
        """Read these at once, so that no block comes between them."""
        book, shelf = self._book, self._shelves[protocol]
        replaced = book.replaced_since(self.block)
        same = protocol in book.protocols and book.accounts(protocol) is shelf
        if replaced is None or not same:
            raise Skip(f"the book has no way back to block {self.block.number}")
        before = {holder: old for (name, holder), old in replaced.items() if name == protocol}
        accounts = [before.get(holder) or shelf.users[holder] for holder in holders]
        return zip(holders, accounts, strict=True)
