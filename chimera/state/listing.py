"""Positions for the HTTP API: sorted, filtered, and the same block on every page."""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import astuple

from chimera.domain.block import Address, BlockHash
from chimera.domain.health import VERDICT, Step
from chimera.domain.position import Position
from chimera.errors import BadCursor, StaleCursor
from chimera.pricing.explanation import explanation
from chimera.service import Turn
from chimera.state.engine import StateEngine
from chimera.state.snapshot import Filters, Snapshot
from chimera.state.trust import UNVERIFIED
from chimera.state.valuation import Draft

KEPT, SECONDS = 8, 60.0  # snapshots in memory: at most so many, each at most so long after its use
HASH, OFFSET, DIGEST = 32, 8, 8  # bytes of the three parts of a cursor


class Listing:
    """
    The book as `ports.Positions`.

    A cursor names a block and a place in its order. The block's snapshot stays while somebody pages
    through it, within `KEPT` and `SECONDS`.

    Args:
        engine: Whose book is listed.
        clock: Seconds of a monotonic clock.
    """

    def __init__(self, engine: StateEngine, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._snapshots: OrderedDict[BlockHash, tuple[float, Snapshot]] = OrderedDict()

    async def page(
        self,
        *,
        protocol: str | None = None,
        user: Address | None = None,
        asset: Address | None = None,
        max_health_factor: int | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> tuple[int, list[Position], str | None]:
        """
        Return (block, items, next cursor); others go first in between, the block stays.

        Numbers come lowest first, then accounts without a price, then accounts without debt.

        Raises:
            StaleCursor: The cursor's block has left memory.
            BadCursor: It is not one of ours, or was given out for other filters.
        """
        turn = Turn()
        if cursor is None and self._made() is None:
            await turn.end()  # to make a snapshot takes a turn of its own
        if not self._engine.book.loaded:
            return 0, [], None
        filters = Filters(protocol, user, asset, max_health_factor)
        offset, snapshot = 0, None
        if cursor is not None:
            block_hash, offset = _parsed(cursor, filters)
            snapshot = self._kept(block_hash)
        snapshot = snapshot or self._newest()
        await turn.give_way()
        ranks = await snapshot.listed(filters).slice(offset, offset + limit + 1)
        items = []
        for _, _, instance, holder in ranks[:limit]:
            position = snapshot.position((instance, holder))
            if position is not None:
                items.append(position)
            await turn.give_way()
        more = len(ranks) > limit
        following = _cursor(snapshot.block.hash, offset + limit, filters) if more else None
        return snapshot.block.number, items, following

    def sweep(self) -> None:
        """Drop snapshots that nobody has read for long; ready the others for their readers."""
        self._drop_old()
        for _, snapshot in self._snapshots.values():
            snapshot.settle()

    def position(self, protocol: str, user: Address) -> Position | None:
        """Return one account at the newest block, or None."""
        draft = self._draft(protocol, user)
        return None if draft is None else draft.position()

    def explain(self, protocol: str, user: Address) -> list[Step] | None:
        """List the arithmetic behind one account at the newest block, what turns it, or None."""
        key = self._engine.mirror.key(protocol, user)
        draft = self._draft(protocol, user)
        if key is None or draft is None:
            return None
        inputs = (draft.market, draft.account, draft.at.timestamp, key[1])
        steps = explanation(draft.adapter, *inputs)
        if draft.published[0] in self._engine.trust.quarantined and draft.account.is_open:
            kept = [step for step in steps if step.name != VERDICT]
            return [*kept, Step(VERDICT, f"not liquidatable: {UNVERIFIED.reason}")]
        return steps

    def _draft(self, protocol: str, user: Address) -> Draft | None:
        key = self._engine.mirror.key(protocol, user)
        return None if key is None else self._engine.mirror.draft(key, idle=True)

    def _newest(self) -> Snapshot:
        self._drop_old()
        found = self._made() or Snapshot(self._engine)
        self._keep(found)
        return found

    def _made(self) -> Snapshot | None:
        """Return the newest block's snapshot, if there is one and the book was not read anew."""
        book = self._engine.book
        known = self._snapshots.get(book.block.hash) if book.loaded else None
        if known is None or known[1].observation is not self._engine.observation:
            return None
        return known[1]

    def _kept(self, block_hash: BlockHash) -> Snapshot:
        self._drop_old()
        known = self._snapshots.get(block_hash)
        if known is None:
            raise StaleCursor("the block of this cursor has left memory; begin again without it")
        self._keep(known[1])
        return known[1]

    def _keep(self, snapshot: Snapshot) -> None:
        self._snapshots[snapshot.block.hash] = (self._clock(), snapshot)
        self._snapshots.move_to_end(snapshot.block.hash)
        while len(self._snapshots) > KEPT:
            self._snapshots.popitem(last=False)

    def _drop_old(self) -> None:
        oldest = self._clock() - SECONDS
        for block_hash in [key for key, (used, _) in self._snapshots.items() if used <= oldest]:
            del self._snapshots[block_hash]


def _cursor(block_hash: BlockHash, offset: int, filters: Filters) -> str:
    raw = block_hash + offset.to_bytes(OFFSET, "big") + _digest(filters)
    return base64.urlsafe_b64encode(raw).decode()


def _parsed(cursor: str, filters: Filters) -> tuple[BlockHash, int]:
    try:
        raw = base64.b64decode(cursor, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadCursor("this is no cursor") from error
    if len(raw) != HASH + OFFSET + DIGEST:
        raise BadCursor("this is no cursor of positions")
    if raw[HASH + OFFSET :] != _digest(filters):
        raise BadCursor("this cursor was given out for other filters")
    return BlockHash(raw[:HASH]), int.from_bytes(raw[HASH : HASH + OFFSET], "big")


def _digest(filters: Filters) -> bytes:
    return hashlib.blake2b(repr(astuple(filters)).encode(), digest_size=DIGEST).digest()
