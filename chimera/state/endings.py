"""Holders by the last bits of their addresses, so that some of them are found without a walk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from chimera.domain.endings import MOST_ENDINGS
from chimera.domain.market import Holder


class Endings:
    """
    A set of holders that knows who ends alike, and how many do, in any number of bits.

    A bucket for each way in which `MOST_ENDINGS` tells addresses apart, and a count for each way in
    which fewer bits do: both change with each holder that comes or goes, no holder is looked at
    twice.
    """

    __slots__ = ("_buckets", "_counts")

    def __init__(self, holders: Iterable[Holder]) -> None:
        self._buckets: list[set[Holder]] = [set() for _ in range(MOST_ENDINGS)]
        for holder in holders:
            self._buckets[_ending(holder)].add(holder)
        counts = [[len(bucket) for bucket in self._buckets]]
        while half := len(counts[0]) // 2:
            pairs = zip(counts[0][:half], counts[0][half:], strict=True)
            counts.insert(0, [low + high for low, high in pairs])
        self._counts = counts  # by the number of bits, then by the ending

    def __len__(self) -> int:
        return self._counts[0][0]

    def __contains__(self, holder: Holder) -> bool:
        return holder in self._buckets[_ending(holder)]

    def add(self, holder: Holder) -> None:
        """Take in one holder who is not here yet."""
        self._buckets[_ending(holder)].add(holder)
        self._count(holder, 1)

    def remove(self, holder: Holder) -> None:
        """Let go of one holder. Raises KeyError for one who is not here."""
        self._buckets[_ending(holder)].remove(holder)
        self._count(holder, -1)

    def _count(self, holder: Holder, delta: int) -> None:
        ending = _ending(holder)
        for counts in self._counts:
            counts[ending & (len(counts) - 1)] += delta

    def alike(self, number: int, turns: int) -> list[Holder]:
        """Return those who end like `number`, see `ports.Endings`."""
        return list(chain.from_iterable(self._buckets[number % turns :: turns]))

    def crowds(self, turns: int) -> Sequence[int]:
        """Return how many end in each way, see `ports.Endings`."""
        return self._counts[turns.bit_length() - 1]

    def content(self) -> tuple[list[set[Holder]], list[list[int]]]:
        """Return all that is kept, to be compared with what it must be."""
        return self._buckets, self._counts


def _ending(holder: Holder) -> int:
    return (holder[-2] << 8 | holder[-1]) & (MOST_ENDINGS - 1)
