"""Holders by the ends of their addresses, for those who read some of them at each block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from chimera.domain.market import Holder

MOST_ENDINGS = 1 << 12
"""In how many ways `Endings` can tell the ends of addresses apart."""


class Endings(Protocol):
    """A set of holders who are found by the last bits of their addresses, a live view."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __contains__(self, holder: Holder) -> bool:
        """Tell whether this one is here."""

    def alike(self, number: int, turns: int) -> Sequence[Holder]:
        """
        Return those whose last bits are those of `number`, in no particular order.

        `turns` is the power of two, up to `MOST_ENDINGS`, that says how many bits count.
        """

    def crowds(self, turns: int) -> Sequence[int]:
        """Return how many end in each of the `turns` ways."""
