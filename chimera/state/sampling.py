"""Whose account is compared with the chain next: everybody in time, the riskiest at every turn."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from itertools import chain, islice
from typing import Final

from chimera.domain.market import Holder, Key
from chimera.state.book import Book
from chimera.state.trust import Trust

LEAST: Final = 25  # accounts of the round per sample: a small market is through in a few blocks
NEAR: Final = 25  # accounts near 1 per sample
MOST_TOUCHED: Final = 500  # changed accounts that are remembered for the next sample
RESERVE: Final = 0.9  # of the time: blocks that cannot be compared must not make anybody late


class Turns:
    """
    Who is compared next, as a queue of four lanes, and what has been compared.

    First who was read anew, then those near 1 in turn, then the round - everybody in the book, in
    the order of the book, so that nobody waits for longer than `within` - and at last whom the
    newest blocks changed. What does not fit into a sample comes with the next round.

    Args:
        book: Whose accounts are compared.
        trust: Knows who was read anew, and who is about to be.
        within: Seconds in which everybody has to be compared.
        clock: Seconds of a monotonic clock.

    Attributes:
        since: When everybody had been compared for the last time, or when this began.
        took: Seconds that the last whole round took; None before its end.
    """

    def __init__(
        self,
        book: Book,
        trust: Trust,
        *,
        within: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.since = clock()
        self.took: float | None = None
        self._book = book
        self._trust = trust
        self._pace = within * RESERVE
        self._clock = clock
        self._touched: dict[Key, None] = {}
        self._seen: dict[Key, int] = {}  # accounts near 1: the turn in which each was compared
        self._turn = 0
        self.restart()

    def restart(self) -> None:
        """Begin a round anew: the book was loaded, or blocks were taken back."""
        self._queue: Iterator[Key] = iter(())
        self._front: list[Key] = []
        self._size = self._done = 0
        self._began: float | None = None
        self._touched.clear()

    def touched(self, keys: Iterable[Key]) -> None:
        """Remember whom a block changed."""
        room = MOST_TOUCHED - len(self._touched)
        self._touched.update(dict.fromkeys(islice(keys, max(0, room))))

    def candidates(self) -> Iterator[Key]:
        """Yield whose turn it is, each once, but for those who are about to be read anew."""
        due = self._due()
        lanes = chain(self._trust.unsettled, self._near(), due, self._touched)
        return (key for key in dict.fromkeys(lanes) if not self._trust.mistrusts(key))

    def compared(self, keys: Iterable[Key]) -> None:
        """Note that these were compared; the others of the same turn come again."""
        self._turn += 1
        done = set(keys)
        near = {(name, holder) for name, holder in done if holder in self._near_of(name)}
        self._seen = {key: at for key, at in self._seen.items() if key[1] in self._near_of(key[0])}
        self._seen |= dict.fromkeys(near, self._turn)
        self._touched.clear()
        before = len(self._front)
        self._front = [key for key in self._front if self._waits(key, done)]
        self._done += before - len(self._front)
        self._finish()

    def _waits(self, key: Key, done: set[Key]) -> bool:
        """Tell whether an account of the round is still to be compared in it."""
        return key not in done and self._book.get(key) is not None

    def _finish(self) -> None:
        """End the round once nobody is left in it."""
        if self._began is not None and not self._front and self._exhausted():
            now = self._clock()
            self.took, self.since = now - self._began, now
            self._began = None

    def _exhausted(self) -> bool:
        self._front += islice(self._queue, 1)
        return not self._front

    def _due(self) -> list[Key]:
        """Return as much of the round as its time has come for, and `LEAST` in any case."""
        now = self._clock()
        if self._began is None:
            self._began, self._done = now, 0
            self._size = sum(len(self._book.keys(name)) for name in self._book.protocols)
            self._queue = self._everybody()
        share = min(1.0, (now - self._began) / self._pace)
        wanted = max(LEAST, math.ceil(self._size * share) - self._done)
        self._front += islice(self._queue, max(0, wanted - len(self._front)))
        return self._front[:wanted]

    def _everybody(self) -> Iterator[Key]:
        for name in self._book.protocols:
            yield from ((name, holder) for holder in list(self._book.keys(name)))

    def _near(self) -> list[Key]:
        """Return those near 1 who were compared longest ago."""
        near = ((n, holder) for n in self._book.protocols for holder in self._near_of(n))
        return heapq.nsmallest(NEAR, near, key=lambda key: (self._seen.get(key, 0), key))

    def _near_of(self, name: str) -> AbstractSet[Holder]:
        return self._book.accounts(name).near
