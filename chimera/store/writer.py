"""Writing off the hot path: blocks hand their facts over, one task writes them in batches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import structlog

from chimera.domain.block import Address
from chimera.domain.opportunity import Checkpoint, Opportunity
from chimera.errors import Retry
from chimera.service import Service
from chimera.store.crowd import Crowd
from chimera.store.history import SqlHistory

log = structlog.get_logger()

MAX_PAUSE = 30.0  # seconds between attempts while the database fails
CLOSING_SECONDS = 2.0  # of the five in which the daemon has to stop
MAX_EPISODES = 50_000  # pending ones; a database that is away for days must not eat the memory


@dataclass(slots=True)
class _Batch:
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)
    opportunities: dict[str, Opportunity] = field(default_factory=dict)
    users: dict[str, set[Address]] = field(default_factory=dict)
    scanned_to: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.checkpoints or self.opportunities or self.users or self.scanned_to)

    def add_checkpoint(self, checkpoint: Checkpoint, window: int) -> None:
        """Add the newest one; those above it left the chain, those past the window are over."""
        newest = checkpoint.block.number
        for number in [n for n in self.checkpoints if n >= newest or n <= newest - window]:
            del self.checkpoints[number]
        self.checkpoints[newest] = checkpoint

    def add_opportunities(self, opportunities: Iterable[Opportunity]) -> None:
        for opportunity in opportunities:
            self.opportunities.pop(opportunity.id, None)
            self.opportunities[opportunity.id] = opportunity

    def add_users(self, users: Mapping[str, Iterable[Address]]) -> None:
        for protocol, addresses in users.items():
            if new := set(addresses):
                self.users.setdefault(protocol, set()).update(new)


class HistoryWriter(Service):
    """
    Take what blocks produce without waiting, and write it to the history in the background.

    What cannot be written is kept and written later: newest version of every episode, the
    checkpoints of the undo window, every user. Nothing here ever raises into the path of a block.

    Whoever searches for users does so through this (`ports.Users`): what the history knew at the
    first question is remembered, so that a mirror can be read anew while the history is away.

    Args:
        history: Where it is written; must be open.
        pause: Seconds between two batches.
        undo_window: How many of the newest checkpoints are worth writing.
        clock: Seconds of a monotonic clock.
        on_failure: Told of every attempt that failed.
        on_dropped: Told how many episodes were dropped because too many waited.
    """

    def __init__(
        self,
        history: SqlHistory,
        *,
        pause: float = 0.25,
        undo_window: int = 64,
        clock: Callable[[], float] = time.monotonic,
        on_failure: Callable[[], object] = lambda: None,
        on_dropped: Callable[[int], object] = lambda _count: None,
    ) -> None:
        super().__init__()
        self._history = history
        self._pause = pause
        self._undo_window = undo_window
        self._clock, self._on_failure, self._on_dropped = clock, on_failure, on_dropped
        self._pending = _Batch()
        self._since: float | None = None  # when the oldest of what is not written was handed over
        self._work = asyncio.Event()
        self._writing = asyncio.Lock()
        self._crowds: dict[str, Crowd] = {}
        self._whole: set[str] = set()  # protocols whose crowd has all that the history knows
        self._scanned: dict[str, int] = {}
        self.failures = 0
        self.dropped = 0

    @property
    def pending(self) -> int:
        """How many facts wait to be written."""
        batch = self._pending
        users = sum(map(len, batch.users.values()))
        return len(batch.checkpoints) + len(batch.opportunities) + users + len(batch.scanned_to)

    @property
    def waits(self) -> float:
        """For how many seconds the oldest fact has waited to be written."""
        return 0.0 if self._since is None else self._clock() - self._since

    def submit(
        self,
        checkpoint: Checkpoint | None = None,
        opportunities: Sequence[Opportunity] = (),
        users: Mapping[str, Iterable[Address]] | None = None,
        scanned_to: Mapping[str, int] | None = None,
    ) -> None:
        """
        Hand facts over and return at once; facts of one call are written in one transaction.

        Args:
            checkpoint: The newest processed block; after a rollback it may be an older one.
            opportunities: Episodes that are new or changed.
            users: Per protocol, accounts seen for the first time.
            scanned_to: Per protocol, the last block whose users have all been handed over.
        """
        if checkpoint is not None:
            self._pending.add_checkpoint(checkpoint, self._undo_window)
        self._pending.add_opportunities(opportunities)
        self._pending.add_users(users or {})
        self._pending.scanned_to.update(scanned_to or {})
        for protocol, addresses in (users or {}).items():
            self._crowd(protocol).add(addresses)
        self._scanned.update(scanned_to or {})
        if self._since is None and self._pending:
            self._since = self._clock()
        self._work.set()

    # --- for those who search --------------------------------------------------------------------

    async def users(self, protocol: str) -> list[Address]:
        """
        Return every user that was ever handed over, to us or to those before us.

        Raises:
            Retry: The history has not been asked yet, and fails.
        """
        crowd = self._crowd(protocol)
        if protocol not in self._whole:
            crowd.add(await self._history.users(protocol))
            self._whole.add(protocol)
        return crowd.all()

    async def scanned_to(self, scan: str) -> int | None:
        """
        Return the last block that this scan has covered, or None.

        Raises:
            Retry: The history has not been asked yet, and fails.
        """
        if scan not in self._scanned:
            stored = await self._history.scanned_to(scan)
            if stored is not None:
                self._scanned.setdefault(scan, stored)
        return self._scanned.get(scan)

    async def set_scanned_to(
        self, protocol: str, block_number: int, users: Iterable[Address], *, scan: str
    ) -> None:
        """Hand over users of a protocol, and how far the scan for them got."""
        self.submit(users={protocol: list(users)}, scanned_to={scan: block_number})

    # --- writing ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write what is submitted, batch by batch, and what is left when cancelled."""
        self.ready.set()
        try:
            pause = self._pause
            while True:
                await self._work.wait()
                await asyncio.sleep(pause)
                written = await self.flush()
                pause = self._pause if written else min(2 * pause + self._pause, MAX_PAUSE)
        finally:
            await self._finish()

    async def stop(self) -> None:
        """Write what is left, then end."""
        await self._finish()
        await super().stop()

    async def flush(self) -> bool:
        """Write everything now; tell whether that worked. What did not work stays pending."""
        async with self._writing:
            batch, self._pending = self._pending, _Batch()
            began = self._clock()
            self._work.clear()
            if not batch:
                return True
            written = False
            try:
                written = await self._write(batch)
            finally:
                if not written:
                    self._keep(batch)
            if written:
                self._since = began if self._pending else None
            return written

    def _crowd(self, protocol: str) -> Crowd:
        return self._crowds.setdefault(protocol, Crowd())

    async def _write(self, batch: _Batch) -> bool:
        try:
            await self._history.record(
                checkpoints=list(batch.checkpoints.values()),
                opportunities=batch.opportunities.values(),
                users=batch.users,
                scanned_to=batch.scanned_to,
            )
        except Retry as error:
            self.failures += 1
            self._on_failure()
            log.warning("history_not_written", error=str(error), episodes=len(batch.opportunities))
            return False
        return True

    def _keep(self, batch: _Batch) -> None:
        newer, self._pending = self._pending, batch
        for checkpoint in newer.checkpoints.values():
            batch.add_checkpoint(checkpoint, self._undo_window)
        batch.add_opportunities(newer.opportunities.values())
        batch.add_users(newer.users)
        batch.scanned_to.update(newer.scanned_to)
        excess = len(batch.opportunities) - MAX_EPISODES
        for identity in list(islice(batch.opportunities, max(0, excess))):
            del batch.opportunities[identity]
            self.dropped += 1
        if excess > 0:
            self._on_dropped(excess)
            log.error("history_episodes_dropped", dropped=excess)
        self._work.set()

    async def _finish(self) -> None:
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                await self.flush()
        except TimeoutError:
            log.warning("history_not_flushed", episodes=len(self._pending.opportunities))
