"""The published positions in memory: what stands in for Redis while it is away."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from chimera.domain.position import Position
from chimera.state.valuation import Publishable


@dataclass(slots=True)
class _Entry:
    expires: float
    content: Publishable
    valued: Position | None = None  # once somebody has read it

    def position(self) -> Position:
        if self.valued is None:
            self.valued = self.content.position()
        return self.valued


class MemoryPositions:
    """
    Keys with a time to live, as Redis keeps them. Drafts are valued only when they are read.

    Args:
        ttl: Seconds that an entry lives after it was written.
        clock: Seconds of a monotonic clock.
    """

    def __init__(self, *, ttl: float, clock: Callable[[], float]) -> None:
        self._ttl = ttl
        self._clock = clock
        self._entries: dict[str, _Entry] = {}  # in the order of writing, hence of expiry

    def write(self, contents: Iterable[Publishable], *, over: int = 0) -> int:
        """
        Write all, but for those older than what stands there; count them.

        Blocks up to `over` may have left the chain: what is of one of them is always replaced.
        """
        self._sweep()
        expires, written = self._clock() + self._ttl, 0
        for content in contents:
            name = content.name
            old = self._entries.get(name)
            if old is not None and old.content.block > max(content.block, over):
                continue
            self._entries.pop(name, None)
            self._entries[name] = _Entry(expires, content)
            written += 1
        return written

    def read(self, name: str) -> Position | None:
        """Return what stands under the key, or None."""
        entry = self._entries.get(name)
        return None if entry is None or self._is_dead(entry) else entry.position()

    def read_all(self) -> list[Position]:
        """Return everything that is alive."""
        self._sweep()
        return [entry.position() for entry in self._entries.values()]

    def names(self) -> list[str]:
        """Return every living key."""
        self._sweep()
        return list(self._entries)

    def remove(self, names: Iterable[str]) -> int:
        """Remove keys; count those that were there."""
        return sum(self._entries.pop(name, None) is not None for name in names)

    def _sweep(self) -> None:
        for name in list(self._expired()):
            del self._entries[name]

    def _expired(self) -> Iterator[str]:
        for name, entry in self._entries.items():
            if not self._is_dead(entry):
                return
            yield name

    def _is_dead(self, entry: _Entry) -> bool:
        return self._clock() >= entry.expires
