"""When garbage is collected: between blocks, and never much of it at once."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Final

from chimera.service import Turn

YOUNG, ALL = 1, 2  # the oldest generation that is collected: after every block, now and then
EVERY: Final = 8  # blocks after which everything that is not frozen is collected in any case
ENOUGH: Final = 0.001  # seconds of young collections after which it is collected earlier
LONG: Final = 0.001  # seconds a collection may take before what it has left is frozen
CHECKED: Final = 4_096  # times that something was frozen, after which the frozen are counted
GROWN: Final = 1.2  # times as many of them as were loaded, and `SPARE` besides, are too many
SPARE: Final = 20_000
MANY: Final = 5_000  # objects more than at the last collection: another one is worth its while
REST: Final = 0.05  # seconds between two looks at how many there are
THRESHOLDS: Final = (25_000, 20, 100)  # a block makes less, so none of it is collected by itself


class Garbage:
    """
    Keeps collections of garbage short, and away from decisions.

    What was loaded is frozen: no collection walks through it. What blocks replace takes its place
    and is walked through by each collection of everything, which takes about as long as the young
    ones that came before and would come now: hence it comes before they add up. What a collection
    has left that took longer than `LONG`, of whichever kind, is frozen as well, and what is old and
    was not looked at with it.

    What is frozen still goes when nobody refers to it any more, as nearly everything does; only a
    cycle of it stays. So the frozen are counted now and then, which takes about 10 ms at 100,000
    accounts: if there are many more than were loaded, all are thawed, collected and frozen again,
    in as long as that takes at a start.
    """

    def __init__(self) -> None:
        self._blocks = self._freezes = self._loaded = 0
        self._young = 0.0  # seconds of young collections since everything was collected
        self._last = 0.0  # seconds of the last collection

    def adopt(self) -> None:
        """Be told that accounts were loaded: what is there now stays."""
        gc.set_threshold(*THRESHOLDS)
        if self._loaded:  # before, what was imported is frozen, and accounts from the file
            gc.unfreeze()
        gc.collect()
        gc.freeze()
        gc.collect()  # nothing is left: else the next full one waits for a quarter of the frozen
        self._blocks = self._freezes = 0
        self._loaded = gc.get_freeze_count()

    def sweep(self) -> None:
        """Collect after a block, when nothing is due."""
        self._blocks += 1
        self._collect()

    async def keep_sweeping(self) -> None:
        """Collect between blocks as well while readers make much, until cancelled."""
        turn = Turn()
        while True:
            await asyncio.sleep(REST)
            if gc.get_count()[0] >= MANY:
                await turn.end()
                self._collect()

    def _collect(self) -> None:
        if self._blocks < EVERY and self._young + self._last < ENOUGH:
            self._last = _collected(YOUNG)
            self._young += self._last
        else:
            self._blocks, self._young = 0, 0.0
            self._last = _collected(ALL)
        if self._last > LONG:
            self._freeze()

    def _freeze(self) -> None:
        gc.freeze()
        self._blocks, self._young, self._last = 0, 0.0, 0.0  # nothing is left to walk through
        self._freezes += 1
        if self._freezes % CHECKED == 0 and gc.get_freeze_count() > GROWN * self._loaded + SPARE:
            self.adopt()


def _collected(generation: int) -> float:
    began = time.thread_time()
    gc.collect(generation)
    return time.thread_time() - began
