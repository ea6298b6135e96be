"""The cached positions, compared field by field with the book at the block that each one names."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import structlog

from chimera.domain.block import Block
from chimera.domain.market import Key
from chimera.domain.position import Position
from chimera.state.book import UNDO_WINDOW
from chimera.state.cache import PositionCache
from chimera.state.mirror import Mirror
from chimera.state.publisher import CachePublisher, slices
from chimera.state.trust import Trust
from chimera.state.valuation import Draft, checksummed, name_of

SLACK: Final = 10.0  # seconds that a new borrower's key may take to be written
MOST_LINES: Final = 10  # of the log, per sample

OnFault = Callable[[str], None]
"""Told "different", "missing", "stale" or "ahead"."""

log = structlog.get_logger()


class Documents:
    """
    Compares what stands in Redis, and has what is wrong written again.

    A document is right when it says what the book said at its block; the undo log knows the book of
    the newest blocks. One of a block to come is judged once that block is ours, for another daemon
    may be ahead, unless nobody can be so far. What is wrong is therefore of no later block than
    ours or past the cache's horizon, so that writing it again replaces it. What another block
    replaced for longer than the time to live is stale, for a document is rewritten well within
    that. While Redis is away nothing is compared, nor for one time to live after everything had to
    be written anew (`settle`).

    Args:
        cache: The published positions.
        mirror: The book that they are made from.
        publisher: Writes them.
        trust: Knows when the book was loaded anew.
        on_fault: Told what is wrong with a document.
        clock: Seconds of a monotonic clock.
    """

    def __init__(
        self,
        cache: PositionCache,
        mirror: Mirror,
        publisher: CachePublisher,
        trust: Trust,
        *,
        on_fault: OnFault,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._mirror = mirror
        self._publisher = publisher
        self._trust = trust
        self._on_fault = on_fault
        self._clock = clock
        self._decided: dict[int, float] = {}  # when each of the newest blocks was decided
        self._quiet_until = 0.0
        self.settle()

    def decided(self, block: Block) -> None:
        """Note when a block was decided."""
        self._decided[block.number] = self._clock()
        while len(self._decided) > UNDO_WINDOW:
            del self._decided[next(iter(self._decided))]

    def settle(self) -> None:
        """Compare nothing for a while: everything is being written anew."""
        self._decided.clear()
        self._quiet_until = self._clock() + self._cache.ttl

    async def check(self, keys: Iterable[Key]) -> None:
        """Compare the documents of these accounts; have those that are wrong written again."""
        wrong: list[tuple[Key, str, dict[str, Any]]] = []
        generation = self._trust.generation
        for part in slices(list(keys)):
            if self._is_quiet() or not self._follows(part):
                return
            found = await self._cache.stored([self._name(key) for key in part])
            if found is None or self._is_quiet() or generation != self._trust.generation:
                return
            if not self._follows(part):
                return
            for key, document in zip(part, found, strict=True):
                fault = self._fault(key, document)
                if fault is not None:
                    wrong.append((key, *fault))
            await asyncio.sleep(0)
        if wrong:
            self._rewrite(wrong)

    def _follows(self, keys: Iterable[Key]) -> bool:
        """Tell whether none of their protocols was left out meanwhile."""
        return all(protocol in self._mirror.adapters for protocol, _ in keys)

    def _is_quiet(self) -> bool:
        return self._clock() < self._quiet_until

    def _rewrite(self, wrong: Sequence[tuple[Key, str, dict[str, Any]]]) -> None:
        for count, (key, kind, figures) in enumerate(wrong):
            self._on_fault(kind)
            if count < MOST_LINES:
                log.error("position_diverges", key=self._name(key), fault=kind, differences=figures)
        if len(wrong) > MOST_LINES:
            log.error("more_positions_diverge", positions=len(wrong) - MOST_LINES)
        self._publisher.publish_block([key for key, _, _ in wrong])

    def _fault(self, key: Key, document: Position | None) -> tuple[str, dict[str, Any]] | None:
        """Say what is wrong with a document, and every figure as we and the document have it."""
        now, head = self._clock(), self._mirror.book.block.number
        if document is None:
            return ("missing", {}) if self._is_due(key, now) else None
        number = document.block
        if number > head:  # perhaps of another daemon, whose node is ahead: wait for that block
            figures = {"block": {"ours": head, "theirs": number}}
            return ("ahead", figures) if number > self._cache.horizon else None
        if self._age(number, now) > self._cache.ttl:
            return "stale", {"block": {"ours": head, "theirs": number}}
        known = self._mirror.book.at(key, number)
        if known is None:
            return None
        block, market, account = known
        if account is None or not account.is_open:
            return "different", {"debt": {"ours": "none", "theirs": document.debt_amount}}
        adapter = self._mirror.adapters[key[0]]
        protocol, user = adapter.published(key[1])
        streak = self._streak((protocol, user), head - number)
        draft = Draft(adapter, key[1], account, market, block, streak or 0)
        ours = draft.position()
        if streak is None:
            ours = replace(ours, blocks_unhealthy=document.blocks_unhealthy)
        figures = _differing(ours, document)
        return ("different", figures) if figures else None

    def _streak(self, published: Key, ago: int) -> int | None:
        """Return the streak as it was some blocks ago; None where it cannot be told any more."""
        now = self._mirror.streaks.blocks_unhealthy(published)
        return now - ago if now > ago or not ago else None

    def _age(self, number: int, now: float) -> float:
        """Return for how many seconds another block has replaced this one, as far as is known."""
        later = (at for height, at in self._decided.items() if height > number)
        return now - next(later, now)

    def _is_due(self, key: Key, now: float) -> bool:
        """Tell whether the account has had debt all the time that writing its key may take."""
        account = self._mirror.book.get(key)
        then = [number for number, at in self._decided.items() if now - at >= SLACK]
        if account is None or not account.is_open or not then:
            return False
        return all(self._owed(key, number) for number in self._decided if number >= then[-1])

    def _owed(self, key: Key, number: int) -> bool:
        past = self._mirror.book.at(key, number)
        return past is not None and past[2] is not None and past[2].is_open

    def _name(self, key: Key) -> str:
        protocol, user = self._mirror.adapters[key[0]].published(key[1])
        return name_of(protocol, checksummed(user))


def _differing(ours: Position, theirs: Position) -> dict[str, Any]:
    """Return every field that differs, as both have it."""
    if ours == theirs:
        return {}
    left, right = ours.document(), theirs.document()
    return {
        name: {"ours": left[name], "theirs": right[name]}
        for name in left
        if left[name] != right[name]
    }
