"""The published positions in memory: what stands in for Redis while it is away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from chimera.domain.block import Address
from chimera.domain.market import Account
from chimera.domain.position import Position
from chimera.service import Turn
from chimera.state.valuation import Draft, Owner, Publishable, key_in, name_of, written

REMEMBERED = 4_096  # positions that were valued for a reader, and are kept for the next one
NO_STREAKS: dict[tuple[str, Owner], int] = {}


class Edition:
    """
    What was written at once: all that its entries have in common, so that they are small.

    Attributes:
        model: The first of them.
        expires: When all of them die, seconds of the clock.
        streaks: Blocks under 1, of those who are under 1.
    """

    __slots__ = ("expires", "model", "streaks")

    def __init__(self, model: Publishable, expires: float) -> None:
        self.model = model
        self.expires = expires
        self.streaks = NO_STREAKS

    def covers(self, draft: Draft) -> bool:
        """Tell whether a draft has all of this in common with the model."""
        model = self.model
        return (
            isinstance(model, Draft)
            and model.market is draft.market
            and model.at is draft.at
            and model.adapter is draft.adapter
        )


class Entry(msgspec.Struct, frozen=True, eq=False, gc=False):
    """
    An account of its edition; None where the model itself is all there is.

    There is one for each account, and none is part of a cycle: no collection walks through them.
    """

    edition: Edition
    account: Account | None


Entries = dict[Owner, Entry]


class MemoryPositions:
    """
    Keys with a time to live, as Redis keeps them.

    Drafts are taken apart: an account has one entry, under the very bytes by which the book knows
    it, of things that are there anyway. Names are parsed, and drafts valued, when somebody reads.

    Args:
        ttl: Seconds that an entry lives after it was written.
        clock: Seconds of a monotonic clock.
    """

    def __init__(self, *, ttl: float, clock: Callable[[], float]) -> None:
        self._ttl = ttl
        self._clock = clock
        self._entries: dict[str, Entries] = {}  # by published protocol
        self._walk: Iterator[tuple[Entries, Owner]] = iter(())  # over all, for the dead ones
        self._valued: dict[tuple[str, Owner], tuple[Entry, Position]] = {}

    def write(self, contents: Sequence[Publishable], *, over: int = 0) -> int:
        """
        Write all, but for those older than what stands there; count them.

        Blocks up to `over` may have left the chain: what is of one of them is always replaced.
        """
        now, count, edition = self._clock(), 0, None
        for content in contents:
            protocol, owner = content.published
            entries = self._entries.setdefault(protocol, {})
            old = entries.get(owner)
            if (
                old is not None
                and max(content.block, over) < old.edition.model.block
                and old.edition.expires > now
            ):
                continue
            count += 1
            if not isinstance(content, Draft):
                entries[owner] = Entry(Edition(content, now + self._ttl), None)
                continue
            if edition is None or not edition.covers(content):
                edition = Edition(content, now + self._ttl)
            if content.blocks_unhealthy:
                edition.streaks = {**edition.streaks, (protocol, owner): content.blocks_unhealthy}
            entries[owner] = Entry(edition, content.account)
        self._bury(2 * len(contents))
        return count

    def remove(self, names: Iterable[str]) -> int:
        """Remove keys; count those that were there."""
        count = 0
        for name in names:
            protocol, owner = key_in(name)
            entry = self._entries.get(protocol, {}).pop(owner, None)
            count += entry is not None and self._clock() < entry.edition.expires
        return count

    def _bury(self, most: int) -> None:
        """Look at so many entries, at others each time, and drop those that are dead."""
        now = self._clock()
        for _ in range(most):
            place = next(self._walk, None)
            if place is None:
                self._walk = self._everybody()
                return
            entries, owner = place
            entry = entries.get(owner)
            if entry is not None and now >= entry.edition.expires:
                del entries[owner]

    def _everybody(self) -> Iterator[tuple[Entries, Owner]]:
        for entries in list(self._entries.values()):
            for owner in list(entries):
                yield entries, owner

    # --- reading ---------------------------------------------------------------------------------

    def read(self, name: str) -> Position | None:
        """Return what stands under the key, or None."""
        protocol, owner = key_in(name)
        entry = self._entries.get(protocol, {}).get(owner)
        if entry is None or self._clock() >= entry.edition.expires:
            return None
        return self._position(protocol, owner, entry)

    async def read_all(self) -> list[Position]:
        """Return everything that is alive."""
        return [self._position(*found) async for found in self._living()]

    async def names(self) -> list[str]:
        """Return every living key."""
        return [name_of(protocol, written(owner)) async for protocol, owner, _ in self._living()]

    async def _living(self) -> AsyncIterator[tuple[str, Owner, Entry]]:
        turn = Turn()
        for protocol, entries in list(self._entries.items()):
            for owner in list(entries):
                entry = entries.get(owner)
                if entry is not None and self._clock() < entry.edition.expires:
                    yield protocol, owner, entry
                await turn.give_way()

    def _position(self, protocol: str, owner: Owner, entry: Entry) -> Position:
        known = self._valued.get((protocol, owner))
        if known is not None and known[0] is entry:
            return known[1]
        edition, account = entry.edition, entry.account
        content = edition.model
        if account is not None and isinstance(content, Draft):
            holder = content.adapter.holder(protocol, Address(owner))  # type: ignore[arg-type]
            streak = edition.streaks.get((protocol, owner), 0)
            content = replace(content, holder=holder, account=account, blocks_unhealthy=streak)
        if len(self._valued) >= REMEMBERED:
            self._valued.clear()
        position = content.position()
        self._valued[protocol, owner] = entry, position
        return position
