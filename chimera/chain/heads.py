"""What the node says is its newest block, and what of that to believe."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from chimera.chain.reorg import Trail
from chimera.domain.block import Block, BlockHash, LogQuery
from chimera.errors import Retry
from chimera.ports import ChainReader
from chimera.rpc.announcements import Event

MEMORY = 1024  # announced blocks whose time of arrival is remembered
SHRUNK_AFTER = 2.0  # seconds until a shorter chain on another branch is believed
LAGGING = 10.0  # seconds; a node may stand still behind the one that answered last as long as this


class Heads(Protocol):
    """Where announcements come from: `rpc.websocket.Subscription`, or a fake."""

    def watch(self, query: LogQuery) -> None:
        """Ask for these logs to be announced as well."""

    def listen(self) -> AsyncGenerator[Event, None]:
        """Yield announcements, for ever."""


class Horizon:
    """
    The newest block, from announcements and from asking.

    Announcements of blocks that are already known are repeats. That the chain became shorter is
    believed once the node has said so for a while, or once the socket that had announced the longer
    one says the same. Who names an older block of ours most likely lags behind whom our newest
    blocks came from, for behind one URL there may be many nodes: it is waited for as long as it
    gets ahead, and `lagging` seconds longer.
    """

    def __init__(
        self,
        newest: Block,
        *,
        lagging: float = LAGGING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.newest = newest
        self.doubtful = False  # it was lowered, or could not be confirmed: ask again soon
        self._arrivals: OrderedDict[BlockHash, int] = OrderedDict()
        self._clock, self._lagging = clock, lagging
        self._shorter_since: float | None = None
        self._lowered_to = 0  # the furthest head that was named since then
        self._announced = 0  # newest number announced over the socket that is up
        self._fell_to: int | None = None  # what that socket said later, if that is less

    def connected(self) -> None:
        """Hear that a socket has just begun: it has announced nothing yet."""
        self._announced, self._fell_to = 0, None

    def probed(self, number: int) -> None:
        """Hear after a silence how far the socket's node is."""
        self._fell_to = number if number < self._announced else None

    def announced(self, block: Block, arrived_ns: int, trail: Trail) -> None:
        """Hear of a new head."""
        self._announced, self._fell_to = block.number, None
        known = block.hash in self._arrivals
        self._arrivals.setdefault(block.hash, arrived_ns)
        if len(self._arrivals) > MEMORY:
            self._arrivals.popitem(last=False)
        if trail.find(block.hash) is not None:
            return
        late = known and block.number < self.newest.number
        if not late:
            self.newest, self.doubtful, self._shorter_since = block, False, None

    def arrived_ns(self, block: Block) -> int:
        """Return when this block was announced, 0 when it never was."""
        return self._arrivals.get(block.hash, 0)

    async def ask(self, reader: ChainReader, trail: Trail) -> None:
        """
        Ask the node for its newest block.

        Raises:
            Retry: The node failed, or it claims that the chain is shorter than we know.
        """
        known = self.newest
        block = await reader.head()
        if block.number < known.number:
            there = await reader.block_at(known.number)
            if there is None:
                self._believe_shorter(known, block, trail)
            else:
                block, self.doubtful = there, False
        if self.newest is known:  # nothing was announced meanwhile
            self.newest, self._shorter_since = block, None

    def superseded(self, announced: Block, canonical: Block) -> None:
        """Note that the node has another block now at the height of one that it announced."""
        if announced is self.newest and announced.number == canonical.number:
            self.newest = canonical

    def _believe_shorter(self, known: Block, block: Block, trail: Trail) -> None:
        self.doubtful = True
        lags = self._is_ours(block, trail)
        if self._shorter_since is None or (lags and block.number > self._lowered_to):
            self._shorter_since, self._lowered_to = self._clock(), block.number
        if self._fell_to == block.number:
            return
        wait = max(SHRUNK_AFTER, self._lagging) if lags else SHRUNK_AFTER
        if self._clock() < self._shorter_since + wait:
            raise Retry(f"the node fell back from block {known.number} to {block.number}")

    @staticmethod
    def _is_ours(block: Block, trail: Trail) -> bool:
        """Tell whether we had this block; of what is older than the trail that is assumed."""
        return block.number < trail.oldest.number or trail.find(block.hash) is not None
