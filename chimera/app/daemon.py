"""How the daemon conducts itself: begin, follow, recover, rebuild, stop."""

from __future__ import annotations

import asyncio
import functools
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, TypeVar

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type

from chimera.app.build import Rooms
from chimera.app.condition import Condition, breaker, keep_looking
from chimera.app.loading import load_mirror
from chimera.app.path import BlockPath
from chimera.app.proving import prove_node
from chimera.app.status import facts_of, look, protocols_of
from chimera.app.tasks import ended, first_of, waiting
from chimera.domain.block import Block, BlockBatch
from chimera.domain.market import Key
from chimera.domain.notices import RebuildReport, Status
from chimera.domain.opportunity import Checkpoint, Opportunity
from chimera.errors import ChimeraError, Rebuild, Refuse, Retry, Skip, Unfit
from chimera.rpc.pauses import Pauses
from chimera.state.rebuild import compare_views

log = structlog.get_logger()

FIRST_PAUSE, LONGEST_PAUSE = 0.4, 1.6  # seconds between tries; a node that is back is noticed soon

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job:
    """
    A rebuild that somebody has asked for.

    An operator is told how many accounts were wrong, so they are compared with the chain first; the
    reconciler knows that some are, and wants them right.
    """

    protocol: str | None
    from_block: int | None
    answer: asyncio.Future[RebuildReport]
    cause: Literal["operator", "reconcile", "fault"] = "operator"


class Daemon:
    """
    Follow the chain until told to stop.

    One awaited chain of calls takes a block through the book and the detector; everything else
    (cache, store, stream of flags, HTTP) hangs off its side. Implements `ports.Operator`.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._path = BlockPath(rooms)
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()
        self._rebuilding = False
        self._fell_at: int | None = None  # block after which the mirror last failed to fit
        self._condition = Condition(
            block_time=rooms.settings.chain.block_time,
            on_alert=lambda name: rooms.metrics.alerts.labels(name).inc(),
        )
        rooms.metrics.ready.set_function(self._is_ready)
        if rooms.reconciler is not None:
            rooms.reconciler.rebuild = self._mend
            rooms.reconciler.look_again = self._path.look_again

    # --- running ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """
        Work until SIGTERM or SIGINT.

        Raises:
            Refuse: The node or a contract is not what the configuration says, or another daemon
                works with the same history.
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
            log.info("stopped", processed_block=self._path.processed)
        except BaseExceptionGroup as faults:
            raise first_of(faults) from None
        finally:
            await rooms.close()

    async def _work(self) -> None:
        rooms = self._rooms
        structlog.contextvars.bind_contextvars(chain=rooms.settings.chain.name)
        await rooms.history.claim_first()  # a rival is named before its port is found taken
        async with asyncio.TaskGroup() as group:
            for service in rooms.serve(self):
                await service.start(group)
            await prove_node(rooms.chain)
            await self._patiently(rooms.bootstrap.prove)
            await rooms.history.open()  # only now: a refused start leaves no file behind
            await rooms.history.claim()
            group.create_task(
                keep_looking(functools.partial(look, rooms, self._condition)), name="condition"
            )
            group.create_task(self._path.garbage.keep_sweeping(), name="garbage")
            await self._follow()

    async def _follow(self) -> None:
        """Follow for ever: a mirror that no longer fits is read anew, operators' wishes are met."""
        start = await self._patiently(self._resume)
        while True:
            try:
                job = await self._follow_until_asked(start)
            except Rebuild as fault:
                start = await self._recover(fault)
            else:
                start = await self._meet(job)

    async def _follow_until_asked(self, start: Block) -> Job:
        """
        Follow from `start`; end with the first wish of an operator.

        No block is being sealed when this returns: what the feed asked the old book about a block
        must not be applied to a new one.
        """
        following = asyncio.create_task(self._follow_from(start), name="follow")
        asked = asyncio.create_task(self._jobs.get(), name="asked")
        try:
            await asyncio.wait({following, asked}, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                following.result()
            return asked.result()
        finally:
            if asked.done() and following.done() and not following.cancelled():
                self._jobs.put_nowait(asked.result())  # the chain comes first
            asked.cancel()
            await ended(following)

    async def _follow_from(self, start: Block) -> None:
        async with aclosing(self._rooms.feed.follow(start)) as messages:
            async for message in messages:
                head = self._rooms.feed.head
                await self._path.take(message)
                if isinstance(message, BlockBatch):
                    behind = head - message.block.number
                    self._condition.took(live=message.arrived_ns > 0, behind=behind)

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do what needs the node until it works; discovery resumes where it was."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type((Retry, Rebuild)),
            wait=Pauses(FIRST_PAUSE, LONGEST_PAUSE),
            before_sleep=waiting,
        ):
            with attempt:
                return await work()
        raise AssertionError("unreachable: the retrying above never gives up")

    # --- beginning -------------------------------------------------------------------------------

    async def _resume(self) -> Block:
        """Begin where the last run stopped."""
        history = self._rooms.history
        checkpoints = await history.checkpoints()
        episodes = await history.opportunities(self._rooms.episodes_kept)
        block = await self._begin(checkpoints, episodes, recall=True)
        await self._rooms.writer.flush()  # from here on a crash finds a checkpoint to resume from
        return block

    async def _recover(self, fault: Rebuild) -> Block:
        """
        Read the mirror anew, at a block that still fits if there is one, so that no streak breaks.

        A second failure after the same block means that reading it again does not help: begin at
        the head then.
        """
        rooms, path = self._rooms, self._path
        if isinstance(fault, Unfit):
            self._leave_out(fault.protocol, fault.reason)
        log.warning("mirror_is_read_anew", reason=str(fault), after_block=path.processed)
        rooms.snapshots.forget()
        again, self._fell_at = self._fell_at == path.processed, path.processed
        if not again and await self._recovered_alone(fault):
            return rooms.book.block
        rooms.metrics.rebuilds.labels("fault").inc()
        checkpoints = [] if again else path.checkpoints()
        episodes = [*rooms.ledger.episodes(), *rooms.detector.unsettled()]
        while True:
            try:
                return await self._patiently(functools.partial(self._begin, checkpoints, episodes))
            except Refuse as refusal:
                if refusal.protocol is None:
                    raise
                self._leave_out(refusal.protocol, str(refusal))

    async def _recovered_alone(self, fault: Rebuild) -> bool:
        """Read the one protocol anew that does not fit, beside others that do, if that works."""
        protocol, others = fault.protocol, self._rooms.book.protocols
        if isinstance(fault, Unfit) or protocol not in others or len(others) == 1:
            return False
        answer = asyncio.get_running_loop().create_future()
        try:
            await self._read_anew(Job(protocol, None, answer, "fault"))
        except ChimeraError as error:
            log.warning("rebuild_failed", protocol=protocol, reason=str(error))
            return False
        return True

    def _leave_out(self, protocol: str, reason: str) -> None:
        """
        Follow a protocol no more, rather than end for all of them.

        Raises:
            Refuse: It was the last one.
        """
        rooms = self._rooms
        log.error("protocol_left_out", protocol=protocol, reason=reason, done="the others go on")
        rooms.chain.adapters.pop(protocol, None)
        if not rooms.chain.adapters:
            raise Refuse(reason)
        rooms.engine.leave_out(protocol, reason)

    async def _begin(
        self,
        checkpoints: Iterable[Checkpoint],
        episodes: Sequence[Opportunity],
        *,
        recall: bool = False,
    ) -> Block:
        """Load the book at the newest checkpoint that the node still knows, else at the head."""
        rooms, checkpoints = self._rooms, list(checkpoints)
        block, checkpoint, observation = await load_mirror(rooms, checkpoints, recall=recall)
        # Nothing is awaited from here to `note`: readers see the old state or the new one.
        rooms.detector.restore(episodes, checkpoint)
        rooms.ledger.restore(episodes)
        self._path.resume(episodes)
        self._path.decide(observation)
        if checkpoint is None or checkpoint != checkpoints[0]:  # newer ones have left the chain
            rooms.publisher.wrote_up_to(max((c.block.number for c in checkpoints), default=0))
        self._write_anew()
        self._path.begin(block, followed=checkpoint is not None)
        self._condition.took(live=True)  # however long reading it took
        self._path.garbage.adopt()
        log.info(
            "following",
            block=block.number,
            complete_since=self._path.complete_since,
            streaks="resumed" if checkpoint else "begin here",
            accounts={name: len(rooms.book.keys(name)) for name in rooms.book.protocols},
        )
        return block

    def _write_anew(self) -> None:
        self._rooms.publisher.publish_everything(force=True)
        if self._rooms.reconciler is not None:
            self._rooms.reconciler.begin_anew()

    # --- for operators ---------------------------------------------------------------------------

    def status(self) -> Status:
        """Return what /readyz says."""
        rooms = self._rooms
        head, facts = rooms.feed.head, facts_of(rooms)
        return Status(
            ready=self._is_ready(),
            chain_id=rooms.settings.chain.id,
            head=head,
            processed_block=self._path.processed,
            lag_blocks=max(0, head - self._path.processed),
            redis=rooms.cache.state,
            breaker=breaker(facts.doors),
            reasons=tuple(self._condition.reasons(facts)),
            protocols=protocols_of(rooms),
            degraded=bool(self._condition.degraded(facts)),
            complete_up_to=self._path.processed,
            complete_since=self._path.complete_since or 0,
            faults=tuple(self._condition.alerts.faults),
        )

    def _is_ready(self) -> bool:
        """Tell whether the book stands at the newest head that the node has told us of."""
        rooms = self._rooms
        if not rooms.book.loaded or self._rebuilding or rooms.feed.newest is None:
            return False
        return rooms.book.block == rooms.feed.newest

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
        job = Job(protocol, from_block, asyncio.get_running_loop().create_future())
        self._jobs.put_nowait(job)
        return await job.answer

    async def _mend(self, protocol: str) -> None:
        """Read one protocol anew, for the reconciler."""
        answer = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait(Job(protocol, None, answer, "reconcile"))
        await answer

    async def _meet(self, job: Job) -> Block:
        """Do a job between two blocks; return the block to go on from."""
        self._rebuilding = True
        try:
            report = await self._read_anew(job)
        except ChimeraError as fault:
            log.warning("rebuild_failed", reason=str(fault))
            if not job.answer.done():
                job.answer.set_exception(fault)
        else:
            if not job.answer.done():
                job.answer.set_result(report)
        finally:
            self._rebuilding = False
        return self._rooms.book.block

    async def _read_anew(self, job: Job) -> RebuildReport:
        rooms, began = self._rooms, time.monotonic_ns()
        block = rooms.book.block
        names = rooms.book.protocols if job.protocol is None else (job.protocol,)
        wrong: set[Key] = set()
        if job.cause == "operator":
            wrong = {key for name in names for key in await self._differing(name)}
        accounts = await rooms.bootstrap.load(block, protocols=names, from_block=job.from_block)
        observation = rooms.engine.adopt()
        self._path.record(rooms.detector.reconsider(observation))
        self._write_anew()
        self._path.garbage.adopt()
        rooms.metrics.rebuilds.labels(job.cause).inc()
        for protocol, _ in wrong:
            rooms.engine.trust.mismatches[protocol] += 1
            rooms.metrics.mirror_mismatches.labels(protocol).inc()
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
