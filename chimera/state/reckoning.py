"""Accounts under 1 at a block: who at once, everything else when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator, KeysView, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from chimera.domain.block import Address
from chimera.domain.market import Account, Key, Market
from chimera.domain.numeric import Wad
from chimera.domain.opportunity import Underwater
from chimera.ports import Adapter
from chimera.state.trust import UNVERIFIED
from chimera.state.valuation import underwater


class Reckoning(Mapping[Key, Underwater]):
    """
    What detection is told of a block, by published key.

    A decision needs to know who is under 1. Values, and the best pair of assets, cost ten times as
    much and are reckoned at the first look: accounts and markets are immutable, so the outcome is
    the same whenever that is.

    Args:
        timestamp: Of the block, seconds.
        unverified: Published protocols whose verdicts nobody should act on, as of this block.
    """

    __slots__ = ("_entries", "_known", "_timestamp", "_unverified")

    def __init__(self, timestamp: int, unverified: AbstractSet[str]) -> None:
        self._timestamp = timestamp
        self._unverified = frozenset(unverified)
        self._entries: dict[Key, tuple[Wad, Adapter[Any], Market, Account]] = {}
        self._known: dict[Key, Underwater] = {}

    def add(
        self,
        key: tuple[str, Address],
        factor: Wad,
        adapter: Adapter[Any],
        market: Market,
        its: Account,
    ) -> None:
        """Note an account under 1, and what all about it follows from."""
        self._entries[key] = factor, adapter, market, its

    def __getitem__(self, key: Key) -> Underwater:
        """Return all that the account's flag will say."""
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._reckon(key)
        return found

    def __contains__(self, key: object) -> bool:
        """Tell whether the account is under 1, and reckon nothing."""
        return key in self._entries

    def __iter__(self) -> Iterator[Key]:
        """Iterate over who is under 1, and reckon nothing."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Return how many are under 1."""
        return len(self._entries)

    def keys(self) -> KeysView[Key]:
        """Return who is under 1, as a view that is quick to compare with others."""
        return self._entries.keys()

    def factor(self, key: Key) -> Wad:
        """Return the exact health factor, WAD."""
        return self._entries[key][0]

    def _reckon(self, key: Key) -> Underwater:
        factor, adapter, market, account = self._entries[key]
        value = adapter.value(market, account, self._timestamp)
        verdict = UNVERIFIED
        if key[0] not in self._unverified:
            verdict = adapter.verdict(market, account, self._timestamp)
        return underwater(key, factor, value.health, verdict, value.base_decimals)
