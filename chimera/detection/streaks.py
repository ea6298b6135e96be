"""Blocks in a row under 1, counted so that a reorg takes its blocks back out."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from chimera.domain.market import Key
from chimera.domain.opportunity import Streak
from chimera.errors import Rebuild


@dataclass(frozen=True, slots=True)
class _Undo:
    before: int | None  # the block that was newest
    ended: Mapping[Key, int]  # first blocks of the streaks that this block ended


class StreakCounter:
    """
    Count, for every account, how many blocks in a row up to the newest have it under 1.

    A running streak has no holes, so its first block says everything: the length is the distance
    to the newest block, and a block touches only the streaks that it starts or ends.

    Args:
        undo_window: How many of the newest blocks can be rolled back.
    """

    def __init__(self, *, undo_window: int = 64) -> None:
        self._newest: int | None = None
        self._first: dict[Key, int] = {}
        self._undo: deque[_Undo] = deque(maxlen=undo_window)

    @property
    def newest(self) -> int | None:
        """The newest block that was counted."""
        return self._newest

    def observe(self, block_number: int, unhealthy: AbstractSet[Key]) -> None:
        """
        Count one block: `unhealthy` are all accounts under 1, every other streak ends.

        A block that was already counted changes nothing. A block that does not follow the newest
        one (the blocks between could not be read) ends every streak, and starts them anew.
        """
        if self._newest is not None and block_number <= self._newest:
            return
        follows = self._newest is None or block_number == self._newest + 1
        ended = self._ended(unhealthy if follows else frozenset())
        for key in ended:
            del self._first[key]
        if unhealthy - self._first.keys():
            for key in unhealthy:
                self._first.setdefault(key, block_number)
        self._undo.append(_Undo(self._newest, ended))
        self._newest = block_number

    def _ended(self, survivors: AbstractSet[Key]) -> dict[Key, int]:
        if not self._first.keys() - survivors:  # bad debt may keep thousands under 1 for years
            return {}
        return {key: first for key, first in self._first.items() if key not in survivors}

    def rollback(self, to_block: int) -> None:
        """
        Take every block above `to_block` back out, exactly.

        Raises:
            Rebuild: `to_block` is not among the blocks that are remembered.
        """
        if to_block != self._newest and all(undo.before != to_block for undo in self._undo):
            raise Rebuild(f"streaks do not reach back to block {to_block}: count them anew")
        while self._newest != to_block:
            undo = self._undo.pop()
            self._first.update(undo.ended)
            self._newest = undo.before
        self._first = {key: first for key, first in self._first.items() if first <= to_block}

    def blocks_unhealthy(self, key: Key) -> int:
        """Return the length of the running streak, 0 without one."""
        first = self._first.get(key)
        return 0 if first is None or self._newest is None else self._newest - first + 1

    def first_block(self, key: Key) -> int | None:
        """Return the first block of the running streak, or None without one."""
        return self._first.get(key)

    def snapshot(self) -> Mapping[Key, Streak]:
        """Return every running streak as it stands after the newest block."""
        return {
            key: Streak(first, self.blocks_unhealthy(key)) for key, first in self._first.items()
        }

    def restore(self, streaks: Mapping[Key, Streak], block_number: int | None) -> None:
        """Take over the streaks as they stood after `block_number`, which cannot be undone."""
        self._newest = block_number
        self._first = {key: streak.first_block for key, streak in streaks.items()}
        self._undo.clear()
