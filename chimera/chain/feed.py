"""The one way in: announcements become ordered, gapless, sealed blocks and rollbacks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import structlog

from chimera.chain.audit import LogAudit
from chimera.chain.heads import LAGGING, Heads, Horizon
from chimera.chain.patience import Patience
from chimera.chain.quorum import Quorum
from chimera.chain.reorg import Trail
from chimera.chain.seal import Draft, Lookahead, Sealer
from chimera.domain.block import Block, BlockBatch, Rollback
from chimera.errors import Rebuild, Retry
from chimera.ports import ChainReader, Follower
from chimera.rpc.announcements import (
    Connected,
    Disconnected,
    Event,
    NewHead,
    NewLogs,
    Probed,
    Silent,
)
from chimera.rpc.faults import StateGone, UnknownBlock
from chimera.service import Turn

UNDO_WINDOW = 64  # blocks
PREFETCH = 4  # blocks drafted ahead while a gap is filled
POLL = 2.0  # seconds between questions for the head while no socket is up
LONGEST_PAUSE = 0.75  # seconds between tries while the node fails
MOST_BEHIND = 5_000  # blocks that are read one by one
MOST_TRIES_FOR_STATE = 3  # a node may need a moment to have the state of a fresh block


class ChainFeed:
    """
    Implements `ports.Feed`.

    `heads` announces; `reader` answers; `follower` says what belongs to a block. The consumer must
    have applied a message before it asks for the next one, for only then does the follower know
    what the next block needs. Close the generator of `follow` to end all background work.

    `most_behind` is how many blocks it may be behind the head: further back, reading one block
    after the other takes longer than to read the state at the head. `on_answer` is told the number
    of every head that the reader names. `lagging`: see `Horizon`.
    """

    def __init__(
        self,
        reader: ChainReader,
        heads: Heads,
        follower: Follower,
        *,
        undo_window: int = UNDO_WINDOW,
        prefetch: int = PREFETCH,
        most_behind: int = MOST_BEHIND,
        poll: float = POLL,
        lagging: float = LAGGING,
        quorum: Quorum | None = None,
        on_answer: Callable[[int], None] = lambda _number: None,
        on_reorg: Callable[[int], None] = lambda _depth: None,
        on_log_difference: Callable[[str], None] = lambda _endpoint: None,
    ) -> None:
        self.head = 0
        self._reader, self._heads = reader, heads
        self._sealer = Sealer(reader, follower)
        self._lookahead = Lookahead(reader, self._sealer, depth=prefetch)
        self._undo_window, self._poll = undo_window, poll
        self._most_behind, self._quorum = most_behind, quorum
        self._lagging, self._on_answer = lagging, on_answer
        self._on_reorg, self._on_log_difference = on_reorg, on_log_difference
        self._log = structlog.get_logger()
        self._patience = Patience("feed", longest=LONGEST_PAUSE)
        self._news = asyncio.Event()
        self._told = False  # whether the node has named a head since `follow` began
        self._horizon: Horizon  # from here on made anew by each `follow`
        self._audit: LogAudit
        self._connected, self._must_ask = False, True
        self._asked_at = 0.0  # when the reader was last asked for its head, seconds of the loop
        self._silent = False  # until the socket announces a head again
        self._probed: int | None = None  # how far its node said it is, since it fell silent

    @property
    def newest(self) -> Block | None:
        """The newest block that the node has told us of since `follow` began; None before."""
        return self._horizon.newest if self._told else None

    @property
    def trouble(self) -> str | None:
        """What keeps the node's news away at the moment, as a sentence; None while all is well."""
        if self._patience.failures:
            return f"the node fails: {self._patience.fault}"
        if self._told and not self._connected:
            return "no WebSocket endpoint is connected: the node is asked for its head"
        if self._told and self._is_blind:
            return "the WebSocket endpoint is silent: the node is asked for its head"
        return None

    @property
    def _is_blind(self) -> bool:
        """Tell whether the socket keeps heads to itself, or may do so."""
        if not self._silent:
            return False
        return self._probed is None or self._probed < self._horizon.newest.number

    async def follow(self, start: Block) -> AsyncGenerator[BlockBatch | Rollback, None]:
        """
        Yield everything after `start`, for ever. One at a time.

        Raises:
            Rebuild: The chain left a branch longer ago than can be undone, the node no longer has
                the state of a block that was missed, or the head is too far away.
        """
        trail = Trail(start, window=self._undo_window)
        self._sealer.answers.clear()  # whoever begins anew may do so because a node misled him
        self._told = False
        self._horizon = Horizon(start, lagging=self._lagging)
        self._audit = LogAudit()
        self._connected, self._must_ask, self._silent = False, True, False
        listener = asyncio.create_task(self._listen(trail), name="heads")
        listener.add_done_callback(lambda _: self._news.set())
        try:
            while True:
                self._news.clear()
                message = await self._patiently(trail)
                if message is not None:
                    await Turn.undivided()  # here: from the recorder on, a block is one turn
                    yield message
                elif not listener.done():
                    await self._rest()
                else:
                    listener.result()
                    return
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)
            await self._lookahead.drop()

    async def _listen(self, trail: Trail) -> None:
        async with aclosing(self._heads.listen()) as events:
            async for event in events:
                self._hear(event, trail)

    def _hear(self, event: Event, trail: Trail) -> None:
        match event:
            case NewLogs():
                for log in event.logs:
                    self._audit.announced(event.block_hash, log, removed=event.removed)
                return
            case NewHead():
                self._audit.head(event.block.hash, event.watched)
                self._horizon.announced(event.block, event.arrived_ns, trail)
                self._told, self._silent = True, False
            case Connected():
                self._audit.begun(event.endpoint)
                self._horizon.connected()
                self._patience.encourage()
                self._connected = self._must_ask = True
            case Disconnected():
                self._audit.interrupted()
                self._must_ask |= self._connected
                self._connected = False
            case Silent():
                self._silent, self._probed, self._must_ask = True, None, True
            case Probed():
                self._probed = event.number
                self._horizon.probed(event.number)
                self._must_ask |= event.number != self.head
        self._update_head()
        self._news.set()

    def _update_head(self) -> None:
        self.head = self._horizon.newest.number

    async def _rest(self) -> None:
        sure = self._connected and not self._horizon.doubtful and not self._is_blind
        due = self._asked_at + self._poll  # whatever else happens meanwhile
        try:
            async with asyncio.timeout_at(None if sure else due):
                await self._news.wait()
        except TimeoutError:
            self._must_ask = True

    async def _patiently(self, trail: Trail) -> BlockBatch | Rollback | None:
        """Take the next step. A node that fails is waited out: all state is in the trail."""
        gone = 0  # times in a row that the state was not there
        while True:
            try:
                message = await self._step(trail)
            except (Retry, StateGone) as fault:
                gone = gone + 1 if isinstance(fault, StateGone) else 0
                if gone > MOST_TRIES_FOR_STATE:
                    raise
                await self._lookahead.drop()
                self._must_ask = True
                await self._patience.pause(fault)
            else:
                self._patience.over()
                return message

    async def _step(self, trail: Trail) -> BlockBatch | Rollback | None:
        if self._must_ask:
            self._must_ask = False  # before asking: a reconnect meanwhile asks once more
            self._asked_at = asyncio.get_running_loop().time()
            await self._horizon.ask(self._reader, trail)
            self._told = True
            self._update_head()
            self._on_answer(self.head)
        target = self._horizon.newest
        if target.hash == trail.tip.hash:
            return None
        if known := trail.find(target.hash):  # the chain became shorter
            return await self._roll_back(trail, known)
        if trail.carries(target):
            return await self._seal(trail, await self._sealer.draft(target))
        if target.number <= trail.tip.number + 1:
            return await self._leave_branch(trail, target)
        return await self._fill_gap(trail, target)

    async def _fill_gap(self, trail: Trail, target: Block) -> BlockBatch | Rollback:
        if target.number - trail.tip.number > self._most_behind:
            await self._doubt_distance(trail, target)
        number = trail.tip.number + 1
        draft = await self._lookahead.draft(number, up_to=target.number)
        if draft is None:
            raise UnknownBlock(f"the node announced {target.number}, but has no block {number}")
        if not trail.carries(draft.block):
            return await self._leave_branch(trail, draft.block)
        self._horizon.superseded(target, draft.block)
        return await self._seal(trail, draft)

    async def _doubt_distance(self, trail: Trail, target: Block) -> None:
        """A socket may announce anything: believe the node we ask that the head is so far away."""
        head = await self._reader.head()
        behind = head.number - trail.tip.number
        if behind > self._most_behind:
            raise Rebuild(
                f"{behind} blocks behind the head, more than are read one by one"
                f" ({self._most_behind}): the state is read at the head, streaks begin anew"
            )
        self._horizon.newest = head
        raise Retry(f"the socket announced block {target.number}, the node's head is {head.number}")

    async def _leave_branch(self, trail: Trail, block: Block) -> Rollback:
        while (ancestor := trail.find(block.parent_hash)) is None:
            if block.number <= trail.oldest.number + 1:
                await self._doubt_branch(trail)
                raise Rebuild(f"the chain left our branch below block {trail.oldest.number}")
            parent = await self._reader.block_of(block.parent_hash)
            if parent is None:
                raise UnknownBlock(f"the parent of block {block.number} is not to be had")
            if parent.number != block.number - 1:
                raise Retry(f"the parent of block {block.number} has number {parent.number}")
            block = parent
        if block.number != ancestor.number + 1:
            raise Retry(f"the child of block {ancestor.number} has number {block.number}")
        return await self._roll_back(trail, ancestor)

    async def _doubt_branch(self, trail: Trail) -> None:
        """A socket that lags far behind announces old heads: believe the node we ask, not it."""
        there = await self._reader.block_at(trail.tip.number)
        if there is not None and there.hash == trail.tip.hash:
            self._horizon.newest = trail.tip
            raise Retry(f"the socket's node lags more than {self._undo_window} blocks behind")

    async def _roll_back(self, trail: Trail, ancestor: Block) -> Rollback:
        await self._lookahead.drop()
        depth = trail.rewind(ancestor)
        self._audit.rolled_back(ancestor)
        self._on_reorg(depth)
        self._log.warning("reorg", depth=depth, ancestor=ancestor.number)
        return Rollback(ancestor)

    async def _agree(self, sealed: Draft, quorum: Quorum) -> None:
        try:
            await quorum.confirm(sealed.block, sealed.query, sealed.logs)
        except Retry:
            self._sealer.answers.forget(sealed.block)  # perhaps what was answered is not true
            raise

    async def _finished(self, draft: Draft) -> Draft:
        """Finish a draft; read it once more if the node left out logs that were announced."""
        sealed = await self._sealer.finish(draft)
        block = sealed.block
        if not self._audit.knows_more(block, sealed.query, sealed.logs):
            return sealed
        self._log.info("announced_logs_missing", block=block.number)
        self._sealer.answers.forget(block)
        return await self._sealer.finish(await self._sealer.draft(block))

    async def _seal(self, trail: Trail, draft: Draft) -> BlockBatch:
        sealed = await self._finished(draft)
        block = sealed.block
        if self._quorum is not None:
            await self._agree(sealed, self._quorum)
        self._heads.watch(sealed.query)
        for difference in self._audit.sealed(block, sealed.query, sealed.logs):
            self._on_log_difference(difference.endpoint)
            self._log.warning(
                "logs_differ",
                block=difference.block.number,
                endpoint=difference.endpoint,
                missing=difference.missing,
                extra=difference.extra,
            )
        trail.extend(block)
        arrived_ns = self._horizon.arrived_ns(block)
        sealed_ns = time.monotonic_ns() if arrived_ns else 0
        return BlockBatch(block, sealed.logs, sealed.readings, arrived_ns, sealed_ns)
