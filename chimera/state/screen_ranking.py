"""Who is nearest to the limit: an order that is worked out only as far as somebody reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from chimera.domain.block import Address
from chimera.state.screen_rows import Floats, Slots

PAGE = 1024  # how many are put in order at once


class Ranking:
    """
    Users with a lower bound of their health factor, as a ratio, lowest first.

    The exact factor is never under the bound, which is minus infinity where float32 cannot tell,
    and infinity where no debt counts. To order a hundred thousand would stall the loop, and readers
    rarely go far: what is not yet in order is split around its middle, the lower half again, until
    a page is left. The upper halves wait for whoever reads on, so each is split once.
    """

    def __init__(self, bounds: Floats, users: Sequence[Address]) -> None:
        self._bounds = bounds
        # No list: a collection of garbage would look at each of them.
        self._users = np.fromiter(users, object, len(users))
        self._waiting: list[Slots] = [np.arange(len(bounds))]  # the lowest ones last
        self._pages: list[list[tuple[float, Address]]] = []

    def __iter__(self) -> Iterator[tuple[float, Address]]:
        number = 0
        while number < len(self._pages) or self._waiting:
            if number == len(self._pages):
                self._pages.append(self._page())
            yield from self._pages[number]
            number += 1

    def _page(self) -> list[tuple[float, Address]]:
        slots = self._waiting.pop()
        while len(slots) > PAGE:
            middle = max(PAGE, len(slots) // 4)
            split = np.argpartition(self._bounds[slots], middle - 1)
            self._waiting.append(slots[split[middle:]])
            slots = slots[split[:middle]]
        bounds = self._bounds[slots]
        order = np.argsort(bounds, kind="stable")
        users = self._users[slots[order]].tolist()
        return list(zip(bounds[order].tolist(), users, strict=True))
