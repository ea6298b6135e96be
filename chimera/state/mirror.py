"""The book seen by those who publish it: its accounts as drafts of positions."""

from __future__ import annotations

from collections.abc import Sequence

from chimera.domain.block import Address
from chimera.domain.market import Key
from chimera.ports import Streaks
from chimera.state.book import Book
from chimera.state.valuation import Adapters, Draft, key_of


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

    def open_keys(self) -> list[Key]:
        """Return every account with debt."""
        return [(name, user) for name in self.protocols for user in self.book.open_keys(name)]

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

    def key(self, protocol: str, user: Address) -> Key | None:
        """Return where the book keeps a published account; None for an unknown protocol."""
        return key_of(self.adapters, protocol, user)
