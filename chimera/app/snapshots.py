"""When the book is written to its file, and when the file is believed."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from secrets import SystemRandom

import structlog

from chimera import __version__
from chimera.domain.block import Address, Block
from chimera.domain.market import Holder
from chimera.domain.opportunity import Checkpoint
from chimera.errors import Skip
from chimera.ports import ChainReader
from chimera.service import Service, Turn
from chimera.settings import Settings
from chimera.state.book import UNDO_WINDOW
from chimera.state.engine import StateEngine
from chimera.state.rebuild import Bootstrap
from chimera.state.resuming import resume_point
from chimera.store.snapshot_file import (
    Draft,
    Identity,
    Instance,
    Snapshot,
    block_of,
    place_of,
    read_content,
    read_header,
    read_snapshot,
)

log = structlog.get_logger()

EVERY = UNDO_WINDOW // 2  # blocks: the history forgets its checkpoints after the undo window
REST = 20  # times as long as it took, before the next is written
CLOSING_SECONDS = 2.0  # of the five in which the daemon has to stop
RISKIEST, RANDOM = 25, 25  # accounts of each protocol that are read to see whether it is right
BLOCK_IN_ACCOUNTS = 50  # so many accounts are read while one missed block is followed


def identity_of(settings: Settings, complete: AbstractSet[str]) -> Identity:
    """Say whose accounts the file has; of the protocols in `complete` it has every holder."""
    instances = tuple(
        Instance(
            its.name,
            its.kind,
            its.address_bytes,
            None if its.market_ids is None else tuple(sorted(its.market_ids)),
            its.name in complete,
        )
        for its in settings.protocols
    )
    return Identity(__version__, settings.chain.id, instances)


class Snapshots(Service):
    """
    Writes every account to a file now and then, and at the end, so that a start need not read them.

    It has a file only where the history is one. The file is never trusted: it has to be whole, of
    the same chain and protocols, of a block that the history remembers and the chain still has,
    and what it says of the riskiest accounts and of some others has to be what the node says.

    Args:
        history_url: Of the history, beside which the file stands.
        identity: Whose accounts these are.
        engine: The mirror.
        bootstrap: Loads it, and compares it with the chain.
        most_behind: How many blocks behind the head a checkpoint is still worth going back to.
    """

    def __init__(
        self,
        history_url: str,
        identity: Identity,
        engine: StateEngine,
        bootstrap: Bootstrap,
        *,
        most_behind: int,
    ) -> None:
        super().__init__()
        self._history_url = history_url
        self._identity = identity
        self._engine = engine
        self._bootstrap = bootstrap
        self._most_behind = most_behind
        self._due = asyncio.Event()
        self._saving: asyncio.Future[None] | None = None
        self._newest: Block | None = None  # that the book reflects; None while that is in doubt
        self._written: Block | None = None
        self._mismatches = 0
        self._forgotten = 0  # how often

    @property
    def path(self) -> Path | None:
        """Where the file stands; None where there is no place for one."""
        return place_of(self._history_url, self._identity.chain_id)

    # --- reading ---------------------------------------------------------------------------------

    async def recall(
        self, reader: ChainReader, at: Checkpoint, checkpoints: Iterable[Checkpoint]
    ) -> tuple[Checkpoint, Snapshot] | None:
        """
        Read the file, if it spares work; return it with the checkpoint that it belongs to.

        Args:
            reader: The chain.
            at: Where the daemon would go on without it.
            checkpoints: Those that the history remembers.

        Raises:
            Retry: The node failed.
        """
        path = self.path
        if path is None or not await asyncio.to_thread(path.exists):
            return None
        try:
            found = await self._recalled(path, reader, at, checkpoints)
        except Skip as reason:
            log.warning(
                "snapshot_not_used",
                reason=str(reason),
                done="every account is read from the node",
            )
            return None
        self._written = found[1].block
        return found

    async def _recalled(
        self, path: Path, reader: ChainReader, at: Checkpoint, checkpoints: Iterable[Checkpoint]
    ) -> tuple[Checkpoint, Snapshot]:
        content = await asyncio.to_thread(read_content, path)
        header = read_header(content, self._identity)
        block = block_of(header)
        behind = at.block.number - block.number
        own = next((its for its in checkpoints if its.block == block), None)
        if own is None or behind < 0:
            raise Skip(f"its block {block.number} is not among those to go on from")
        if behind * BLOCK_IN_ACCOUNTS > sum(part.accounts for part in header.parts):
            raise Skip(f"following {behind} blocks takes longer than reading its accounts")
        if behind:
            adapters = self._engine.adapters
            _, own = await resume_point(reader, [own], adapters, most_behind=self._most_behind)
            if own is None:
                raise Skip(f"the node does not have its block {block.number}")
        return own, read_snapshot(content, header)

    async def agrees(self) -> bool:
        """
        Tell whether a sample of the loaded accounts is what the node says at their block.

        Raises:
            Retry: The node failed.
        """
        for name in self._engine.book.protocols:
            wrong = await self._bootstrap.verify(name, self._sample(name))
            if wrong:
                log.warning(
                    "snapshot_disagrees",
                    protocol=name,
                    accounts=[f"0x{holder.hex()}" for _, holder in wrong],
                    done="every account is read from the node",
                )
                self.forget()
                return False
        return True

    def _sample(self, protocol: str) -> set[Holder]:
        """Choose the riskiest accounts, and others by chance among all who are known."""
        riskiest = heapq.nsmallest(RISKIEST, self._near(protocol))
        known = list(self._engine.book.accounts(protocol).users)
        size, vacant = len(next(iter(known), b"?")), self._bootstrap.vacant.get(protocol, b"")
        known += [Address(vacant[at : at + size]) for at in range(0, len(vacant), size)]
        others = SystemRandom().sample(known, min(RANDOM, len(known)))
        return {*others, *(holder for _, holder in riskiest)}

    def _near(self, protocol: str) -> Iterator[tuple[int, Holder]]:
        """Yield those near 1 with their health factors, 0 where the contract has none."""
        adapter, book = self._engine.adapters[protocol], self._engine.book
        market, accounts = book.market(protocol), book.accounts(protocol).users
        for name, holder in self._engine.near:
            if name == protocol:
                try:
                    factor = adapter.factor(market, accounts[holder], book.block.timestamp)
                except Skip:
                    factor = None
                yield factor or 0, holder

    # --- writing ---------------------------------------------------------------------------------

    def took(self, block: Block) -> None:
        """Note that the book reflects a block, and nobody has found it wrong."""
        self._newest = block
        mismatches = self._engine.trust.mismatches.total()
        if mismatches != self._mismatches:
            self._mismatches = mismatches
            self.forget()
            self._newest = block
        written = self._written
        if written is None or not written.number <= block.number < written.number + EVERY:
            self._due.set()

    def forget(self) -> None:
        """Remove the file: its accounts, or those of the book, have turned out to be wrong."""
        self._newest = self._written = None
        self._forgotten += 1
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    async def run(self) -> None:
        """Write the file when it is due, and once more when cancelled."""
        self.ready.set()
        try:
            while True:
                await self._due.wait()
                self._due.clear()
                began = time.monotonic()
                await self.write()
                await asyncio.sleep(REST * (time.monotonic() - began))
        finally:
            await self._finish()

    async def write(self) -> None:
        """Write the file, unless something in the book is known to be wrong; never raises."""
        book, path, forgotten = self._engine.book, self.path, self._forgotten
        if path is None or self._newest is None or self._newest == self._written:
            return
        names = [instance.name for instance in self._identity.instances]
        if book.block != self._newest or not self._engine.trust.settled:
            return
        if set(book.protocols) != set(names):
            return  # one was left out while running: a start follows it again
        draft = Draft(self._identity, book.block)
        turn, everybody = Turn(), [book.still(name) for name in names]  # all as of one block
        for name, accounts in zip(names, everybody, strict=True):
            for _ in draft.add(accounts.items(), self._bootstrap.vacant.get(name, b"")):
                await turn.end()
        if book.canonical(draft.block.number) == draft.block:  # else no start would believe it
            await self._save(draft, path)
        if self._forgotten != forgotten:
            path.unlink(missing_ok=True)

    async def _save(self, draft: Draft, path: Path) -> None:
        self._saving = asyncio.ensure_future(asyncio.to_thread(draft.save, path))
        try:
            await asyncio.shield(self._saving)  # a thread cannot be stopped in the middle
        except OSError as error:
            log.warning("snapshot_not_written", reason=error.strerror or str(error))
        else:
            self._written = draft.block

    async def _finish(self) -> None:
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                if self._saving is not None:
                    await asyncio.wait({self._saving})
                await self.write()
        except TimeoutError:
            log.warning("snapshot_not_written", reason="there was no time left")
