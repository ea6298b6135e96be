"""The book seen by those who publish it: its accounts as drafts of positions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from chimera.domain.block import Address
from chimera.domain.market import Key, Market
from chimera.ports import Adapter, Streaks
from chimera.state.book import Book
from chimera.state.valuation import Adapters, Draft, key_of


class Roll:
    """
    Everybody who is in the book at one time, with debt or without, in parts.

    It takes eight bytes each, and is made in no time: nobody is looked at.
    """

    def __init__(self, book: Book) -> None:
        # Tuples of bytes: a collection of garbage looks at them once and not again.
        self._parts = [(name, tuple(book.keys(name))) for name in book.protocols]

    def __len__(self) -> int:
        return sum(len(holders) for _, holders in self._parts)

    def between(self, start: int, stop: int) -> list[Key]:
        """Return the keys from place `start` on, up to `stop`."""
        found: list[Key] = []
        for name, holders in self._parts:
            found += [(name, holder) for holder in holders[start:stop]]
            start, stop = max(0, start - len(holders)), max(0, stop - len(holders))
        return found


class Mirror:
    """
    Accounts with everything that values them, as of the book's newest block.

    Args:
        adapters: The followed protocols by name.
        book: Their accounts and markets.
        streaks: Blocks in a row under 1, counted by detection.
    """

    def __init__(self, adapters: Adapters, book: Book, streaks: Streaks) -> None:
        self.adapters = adapters
        self.book = book
        self.streaks = streaks

    @property
    def protocols(self) -> Sequence[str]:
        """Names of the loaded protocols."""
        return self.book.protocols

    def roll(self) -> Roll:
        """Return everybody who is in the book now."""
        return Roll(self.book)

    def owes(self, key: Key) -> bool:
        """Tell whether the account has debt."""
        account = self.book.get(key)
        return account is not None and account.is_open

    def draft(self, key: Key, *, idle: bool = False) -> Draft | None:
        """
        Return the account as a position of the newest block, or None.

        Args:
            key: The account.
            idle: Whether an account without debt counts, too.
        """
        account = self.book.get(key)
        if account is None or not (idle or account.is_open):
            return None
        adapter = self.adapters[key[0]]
        streak = self.streaks.blocks_unhealthy(adapter.published(key[1]))
        return Draft(adapter, key[1], account, self.book.market(key[0]), self.book.block, streak)

    def drafts(self, keys: Iterable[Key]) -> list[Draft]:
        """Return the accounts with debt among these as positions of the newest block."""
        book, found = self.book, []
        length, block = self.streaks.blocks_unhealthy, book.block
        markets: dict[str, tuple[Adapter[Any], Market]] = {}
        for key in keys:
            account = book.get(key)
            if account is None or not account.is_open:
                continue
            name, holder = key
            if name not in markets:
                markets[name] = self.adapters[name], book.market(name)
            adapter, market = markets[name]
            streak = length(adapter.published(holder))
            found.append(Draft(adapter, holder, account, market, block, streak))
        return found

    def key(self, protocol: str, user: Address) -> Key | None:
        """Return where the book keeps a published account; None for an unknown protocol."""
        return key_of(self.adapters, protocol, user)
