"""Many addresses in little memory: 20 to 52 bytes for each that was there from the beginning."""

from __future__ import annotations

from collections.abc import Iterable

from chimera.domain.block import Address

MOST_FRESH = 20_000  # loose addresses, before they are packed with the others


class Crowd:
    """A set of addresses of accounts that only grows."""

    def __init__(self) -> None:
        self._packed: dict[int, bytes] = {}  # sorted addresses in a row, by their length
        self._fresh: set[Address] = set()

    def add(self, addresses: Iterable[Address]) -> None:
        """Add addresses; known ones stay as they are."""
        self._fresh.update(addresses)
        if len(self._fresh) > MOST_FRESH:
            self._pack()

    def all(self) -> list[Address]:
        """Return every address, in order."""
        self._pack()
        return sorted(
            Address(row[at : at + size])
            for size, row in self._packed.items()
            for at in range(0, len(row), size)
        )

    def _pack(self) -> None:
        for size in {len(address) for address in self._fresh}:
            row = self._packed.get(size, b"")
            known = {row[at : at + size] for at in range(0, len(row), size)}
            known.update(address for address in self._fresh if len(address) == size)
            self._packed[size] = b"".join(sorted(known))
        self._fresh.clear()
