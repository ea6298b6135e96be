"""How the daemon conducts itself: begin, follow, decide, publish, stop."""

from __future__ import annotations

import asyncio
import functools
import gc
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from typing import TypeVar

import structlog
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    wait_exponential_jitter,
)

from chimera.app.build import Rooms, prove_node
from chimera.domain.block import Address, Block, BlockBatch, Rollback
from chimera.domain.market import Key
from chimera.domain.notices import ProtocolStatus, RebuildReport, Status
from chimera.domain.opportunity import Checkpoint, Observation, Opportunity
from chimera.errors import Rebuild, Retry, Skip
from chimera.observability.logging import about_block
from chimera.state.rebuild import compare_views, resume_point

log = structlog.get_logger()

BILLION = 1_000_000_000
STALE_AFTER = 20  # seconds by which the newest block may be older than the clock

Newcomers = Mapping[str, AbstractSet[Address]]
T = TypeVar("T")


class Daemon:
    """
    Follow the chain until told to stop.

    One awaited chain of calls takes a block through the book and the detector; everything else
    (cache, store, stream of flags, HTTP) hangs off its side. Implements `ports.Operator`.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._exclusive = asyncio.Lock()  # a block or a rebuild, never both
        self._processed = 0
        self._rebuilding = False

    # --- running ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """
        Work until SIGTERM or SIGINT.

        Raises:
            Refuse: The node or a contract is not what the configuration says.
            Unreachable: No node answers, or the history cannot be opened.
        """
        rooms = self._rooms
        work = asyncio.create_task(self._work(), name="chimera")
        loop = asyncio.get_running_loop()
        stopping = False

        def stop() -> None:
            nonlocal stopping
            stopping = True
            work.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        try:
            await work
        except asyncio.CancelledError:
            if not stopping:
                raise
            log.info("stopped", processed_block=self._processed)
        except BaseExceptionGroup as faults:
            raise _first(faults) from None
        finally:
            await rooms.close()

    async def _work(self) -> None:
        rooms = self._rooms
        await rooms.history.open()
        async with asyncio.TaskGroup() as group:
            for service in rooms.serve(self):
                await service.start(group)
            await prove_node(rooms.chain)
            await self._patiently(rooms.bootstrap.prove)
            await self._follow()

    async def _follow(self) -> None:
        """Follow for ever; a mirror that no longer fits is read anew at the newest block."""
        rooms = self._rooms
        resume = True
        while True:
            start = await self._patiently(functools.partial(self._begin, resume=resume))
            try:
                async with aclosing(rooms.feed.follow(start)) as messages:
                    async for message in messages:
                        async with self._exclusive:
                            await self._take(message)
            except Rebuild as fault:
                log.warning("mirror_is_read_anew", reason=str(fault))
                rooms.metrics.rebuilds.labels("fault").inc()
                resume = False

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do what needs the node until it works; discovery resumes where it was."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type((Retry, Rebuild)),
            wait=wait_exponential_jitter(initial=0.5, max=15.0),
            before_sleep=_waiting,
        ):
            with attempt:
                return await work()
        raise AssertionError("unreachable: the retrying above never gives up")

    # --- beginning -------------------------------------------------------------------------------

    async def _begin(self, *, resume: bool) -> Block:
        """Load the book at the last checkpoint if the node still has it, else at the head."""
        rooms = self._rooms
        async with self._exclusive:
            block, checkpoint = await self._starting_point(resume=resume)
            await rooms.bootstrap.load(block)
            if resume:
                stored = await rooms.history.opportunities(rooms.episodes_kept)
                rooms.detector.restore(stored, checkpoint)
                rooms.ledger.restore(stored)
            else:
                await self._record(rooms.detector.rejoin(block))
            await self._decide(rooms.engine.adopt())
            await rooms.writer.flush()  # from here on a crash finds a checkpoint to resume from
            rooms.publisher.publish_everything(force=True)
            self._note(block)
        gc.unfreeze()
        gc.collect()
        gc.freeze()  # what was just loaded stays; no later collection needs to walk through it
        log.info(
            "following",
            block=block.number,
            streaks="resumed" if checkpoint else "begin here",
            accounts={name: len(rooms.book.keys(name)) for name in rooms.book.protocols},
        )
        return block

    async def _starting_point(self, *, resume: bool) -> tuple[Block, Checkpoint | None]:
        rooms = self._rooms
        if not resume:
            return await rooms.chain.reader.head(), None
        return await resume_point(rooms.chain.reader, rooms.history, rooms.chain.adapters)

    # --- the block path --------------------------------------------------------------------------

    async def _take(self, message: BlockBatch | Rollback) -> None:
        block = message.block if isinstance(message, BlockBatch) else message.ancestor
        with about_block(chain=self._rooms.settings.chain.name, block=block.number):
            if isinstance(message, Rollback):
                await self._undo(message)
            else:
                await self._do(message)
            self._note(block)

    async def _do(self, batch: BlockBatch) -> None:
        rooms = self._rooms
        were_near = rooms.engine.near
        await self._decide(rooms.engine.apply(batch), rooms.engine.new_users)
        self._measure(batch)
        keys = rooms.engine.touched | rooms.engine.near | were_near
        rooms.publisher.publish_block(keys, arrived_ns=batch.arrived_ns)
        rooms.metrics.blocks.inc()
        rooms.metrics.logs.inc(len(batch.logs))
        if not batch.arrived_ns:
            rooms.metrics.gap_blocks.inc()

    async def _undo(self, message: Rollback) -> None:
        rooms = self._rooms
        rooms.metrics.reorg_depth.set(self._processed - message.ancestor.number)
        rooms.engine.rollback(message)
        await self._record(rooms.detector.rollback(message.ancestor))
        rooms.publisher.publish_everything(force=True)

    async def _decide(self, observation: Observation, newcomers: Newcomers | None = None) -> None:
        rooms = self._rooms
        await self._record(rooms.detector.observe(observation), newcomers)
        for name in rooms.book.protocols:
            under = sum(key[0] == name for key in observation.underwater)
            rooms.metrics.unhealthy_accounts.labels(name).set(under)

    async def _record(
        self, changed: Sequence[Opportunity], newcomers: Newcomers | None = None
    ) -> None:
        """Hand what changed to memory, store and stream; none of them makes the block wait."""
        rooms = self._rooms
        rooms.ledger.record(changed)
        checkpoint = rooms.detector.checkpoint()
        followed = (
            {}
            if checkpoint is None
            else dict.fromkeys(rooms.book.protocols, checkpoint.block.number)
        )
        rooms.writer.submit(checkpoint, changed, newcomers, scanned_to=followed)
        if changed:
            await rooms.flags.publish(changed)
        for flag in changed:
            rooms.metrics.flags.labels(flag.protocol, flag.state).inc()
            event = "opportunity_flagged" if flag.state == "open" else "opportunity_closed"
            log.info(
                event,
                id=flag.id,
                protocol=flag.protocol,
                user=flag.user,
                health_factor=flag.health_factor,
                liquidatable=flag.liquidatable,
                reason=flag.closed_reason or flag.reason,
            )

    def _measure(self, batch: BlockBatch) -> None:
        now, metrics = time.monotonic_ns(), self._rooms.metrics
        if batch.sealed_ns:
            metrics.block_to_decision.observe((now - batch.sealed_ns) / BILLION)
        if batch.arrived_ns:
            metrics.head_to_decision.observe((now - batch.arrived_ns) / BILLION)

    def _note(self, block: Block) -> None:
        """Make `processed_block` true: the book, the flags and the streaks reflect this block."""
        rooms = self._rooms
        self._processed = block.number
        rooms.metrics.processed_block.set(block.number)
        rooms.metrics.complete_up_to_block.set(block.number)
        rooms.metrics.opportunities_open.set(rooms.detector.open_count)
        for name in rooms.book.protocols:
            rooms.metrics.accounts.labels(name).set(len(rooms.book.keys(name)))
            rooms.metrics.borrowers.labels(name).set(len(rooms.book.open_keys(name)))

    # --- for operators ---------------------------------------------------------------------------

    def status(self) -> Status:
        """Return what /readyz says."""
        rooms = self._rooms
        head = rooms.feed.head
        return Status(
            ready=self._is_ready(),
            chain_id=rooms.settings.chain.id,
            head=head,
            processed_block=self._processed,
            lag_blocks=max(0, head - self._processed),
            redis=rooms.cache.state,
            breaker="closed",
            reasons=tuple(self._reasons(head)),
            protocols={
                name: ProtocolStatus(len(rooms.book.keys(name)), len(rooms.book.open_keys(name)))
                for name in rooms.book.protocols
            },
        )

    def _is_ready(self) -> bool:
        """Tell whether the book stands at the newest head that the node has told us of."""
        rooms = self._rooms
        if not rooms.book.loaded or self._rebuilding or rooms.feed.newest is None:
            return False
        return rooms.book.block == rooms.feed.newest

    def _reasons(self, head: int) -> list[str]:
        rooms = self._rooms
        found = []
        if not rooms.book.loaded:
            return ["reading the markets and accounts for the first time"]
        if head > self._processed:
            found.append(f"{head - self._processed} blocks behind the head")
        if rooms.cache.state == "fallback":
            found.append("Redis does not answer: positions are kept in memory")
        age = int(time.time()) - rooms.book.block.timestamp
        if age > STALE_AFTER:
            found.append(f"the newest block is {age} s old")
        return found

    async def rebuild(self, *, protocol: str | None, from_block: int | None) -> RebuildReport:
        """
        Read the book anew at the newest processed block, and publish all of it again.

        Raises:
            Skip: The first bootstrap is still running, or there is no such protocol.
        """
        rooms = self._rooms
        if not rooms.book.loaded:
            raise Skip("the first bootstrap is still running")
        if protocol is not None and protocol not in rooms.book.protocols:
            raise Skip(f"no protocol {protocol!r} is followed")
        self._rebuilding = True
        began = time.monotonic_ns()
        try:
            async with self._exclusive:
                names = rooms.book.protocols if protocol is None else (protocol,)
                wrong = {key for name in names for key in await self._differing(name)}
                block = rooms.book.block
                accounts = await rooms.bootstrap.load(block, protocols=names, from_block=from_block)
                await self._decide(rooms.engine.adopt())
                rooms.publisher.publish_everything(force=True)
        finally:
            self._rebuilding = False
        rooms.metrics.rebuilds.labels("operator").inc()
        return RebuildReport(accounts, len(wrong), (time.monotonic_ns() - began) // 1_000_000)

    async def _differing(self, protocol: str) -> set[Key]:
        """Compare the book with the chain: stored balances, and the contract's own view."""
        rooms = self._rooms
        stored = await rooms.bootstrap.verify(protocol)
        _, viewed = await compare_views(
            rooms.chain.reader.labelled("verify"),
            rooms.chain.adapters,
            rooms.book,
            protocol=protocol,
            progress=rooms.labour.of_protocol,
        )
        return {*stored, *(mismatch.key for mismatch in viewed)}


def _waiting(state: RetryCallState) -> None:
    fault = state.outcome.exception() if state.outcome else None
    log.warning("start_delayed", reason=str(fault), attempt=state.attempt_number)


def _first(faults: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first plain error of a group: the one that took the others down."""
    fault = faults.exceptions[0]
    return _first(fault) if isinstance(fault, BaseExceptionGroup) else fault
