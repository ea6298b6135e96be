"""The path of a block: book and detector at once, then whoever wants to know, turn by turn."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from heapq import nlargest

import structlog

from chimera.app.build import Rooms
from chimera.app.garbage import Garbage
from chimera.detection.episodes import Outcome, reckoned
from chimera.domain.block import Address, Block, BlockBatch, Rollback
from chimera.domain.market import Key, instance_of
from chimera.domain.opportunity import Checkpoint, Observation, Opportunity
from chimera.observability.logging import about_block
from chimera.service import Turn
from chimera.state.book import UNDO_WINDOW

log = structlog.get_logger()

BILLION = 1_000_000_000
VERDICTS = 8  # reckoned per block, a tenth of a millisecond each, only to tell of a change
REMINDED = 100  # last closed episodes that a start makes sure the stream knows

Standing = tuple[bool, str | None]  # liquidatable, and the contract's reason if not
Newcomers = Mapping[str, AbstractSet[Address]]


class BlockPath:
    """
    Takes the feed's messages one by one.

    A block is applied and decided in one turn of the event loop, so that readers see all of it or
    nothing. What follows from the decision comes in later turns, before the next message: figures
    of those who were flagged are reckoned, and cache, store and stream are told; no block waits for
    what they do with it.

    Attributes:
        garbage: Collected in the last of these turns.
        processed: Number of the block that book, flags and streaks reflect.
        complete_since: Block from which on every block up to `processed` was applied.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self.garbage = Garbage()
        self.processed = 0
        self.complete_since: int | None = None
        self._checkpoints: OrderedDict[int, Checkpoint] = OrderedDict()
        self._troubles: Counter[tuple[str, str]] = Counter()  # accounts by (protocol, error)
        self._standing: dict[Key, Standing] = {}
        self._near: AbstractSet[Key] = frozenset()  # as they were published last

    def checkpoints(self) -> list[Checkpoint]:
        """Return the newest blocks with their streaks, newest first, as far as can be undone."""
        return list(reversed(self._checkpoints.values()))

    async def take(self, message: BlockBatch | Rollback) -> None:
        """Apply one message of the feed, decide, and hand the outcome on."""
        block = message.block if isinstance(message, BlockBatch) else message.ancestor
        with about_block(chain=self._rooms.settings.chain.name, block=block.number):
            if isinstance(message, Rollback):
                self._undo(message)
                self.note(block)
                await _in_turns(self.garbage.sweep)
            else:
                await self._do(message)

    async def _do(self, batch: BlockBatch) -> None:
        rooms = self._rooms
        observation = rooms.engine.apply(batch)
        changed = rooms.detector.decide(observation)
        rooms.ledger.record(changed)
        checkpoint, newcomers = rooms.detector.checkpoint(), rooms.engine.new_users
        self._measure(batch)
        self.note(batch.block)
        live = batch.arrived_ns > 0 or rooms.feed.newest == batch.block
        await _in_turns(
            lambda: self._hand_on(changed, checkpoint, newcomers),
            rooms.engine.find_near,
            self._publish_former,
            lambda: self._publish(batch),
            lambda: self._compare(batch, live=live),
            lambda: self._tell(rooms.engine.observation or observation),
            rooms.listing.sweep,
            self.garbage.sweep,
        )

    def _publish_former(self) -> None:
        """Publish those who are not near any more; with the others, the block is published."""
        were_near, self._near = self._near, self._rooms.engine.near
        self._rooms.publisher.publish_block(were_near - self._near)

    def _publish(self, batch: BlockBatch) -> None:
        engine, publisher = self._rooms.engine, self._rooms.publisher
        publisher.publish_block(engine.touched | engine.near, arrived_ns=batch.arrived_ns)

    def _compare(self, batch: BlockBatch, *, live: bool) -> None:
        rooms = self._rooms
        if rooms.reconciler is not None:
            rooms.reconciler.decided(batch.block, rooms.engine.touched, live=live)

    def _undo(self, message: Rollback) -> None:
        rooms = self._rooms
        rooms.metrics.reorg_depth.set(self.processed - message.ancestor.number)
        observation = rooms.engine.rollback(message)
        reopened = rooms.detector.rollback(message.ancestor)
        if rooms.engine.trust.quarantined:  # the values there are from before the quarantine
            rooms.detector.decide(observation)
            flags = {flag.id: flag for flag in rooms.detector.open_opportunities()}
            reopened = [flags[flag.id] for flag in reopened]
        self.record(reopened)
        rooms.publisher.publish_everything(force=True)
        if rooms.reconciler is not None:
            rooms.reconciler.begin_anew()

    async def look_again(self) -> None:
        """Make open flags heed a quarantine that began or ended since the newest block."""
        observation = self._rooms.engine.look_again()
        self._rooms.detector.decide(observation)  # nothing changes; its flags may still be untold
        self._tell(observation)

    def decide(self, observation: Observation) -> None:
        """Let detection see a block, and hand on what it makes of it."""
        self.record(self._rooms.detector.decide(observation))

    def _tell(self, observation: Observation) -> None:
        """Say what else is new: accounts without a price, verdicts, how many are under 1."""
        rooms = self._rooms
        self._tell_troubles(Counter((key[0], why) for key, why in rooms.engine.errors.items()))
        self._tell_standing(observation)
        under = Counter(instance_of(key[0]) for key in observation.underwater)
        for name in rooms.book.protocols:
            rooms.metrics.unhealthy_accounts.labels(name).set(under[name])

    def _tell_troubles(self, troubles: Counter[tuple[str, str]]) -> None:
        """Say once when accounts lose their health factor, and once when they have it again."""
        for protocol, why in troubles.keys() - self._troubles.keys():
            log.warning(
                "health_unknown",
                protocol=protocol,
                reason=why,
                accounts=troubles[protocol, why],
                done="their streaks end, everybody else goes on",
            )
        for protocol, why in self._troubles.keys() - troubles.keys():
            log.info("health_known_again", protocol=protocol, reason=why)
        self._troubles = troubles

    def _tell_standing(self, observation: Observation) -> None:
        """
        Say when the contract begins or ceases to allow the liquidation of somebody under 1.

        Bad debt may keep thousands under 1 for years, so a block looks at some, in turn.
        """
        under = observation.underwater
        self._standing = {key: was for key, was in self._standing.items() if key in under}
        newcomers = [key for key in under if key not in self._standing]
        for key in [*newcomers, *self._standing][:VERDICTS]:
            seen = under[key]
            now = seen.liquidatable, seen.reason
            if self._standing.pop(key, now) != now:
                log.info(
                    "underwater_changed",
                    protocol=key[0],
                    user=seen.user,
                    liquidatable=now[0],
                    reason=now[1],
                )
            self._standing[key] = now  # at the end: whoever waits longest comes first

    def record(self, changed: Sequence[Outcome | Opportunity]) -> None:
        """Hand what changed to memory, store and stream at once."""
        self._rooms.ledger.record(changed)
        for _ in self._hand_on(changed, self._rooms.detector.checkpoint()):
            pass

    def _hand_on(
        self,
        changed: Sequence[Outcome | Opportunity],
        checkpoint: Checkpoint | None,
        newcomers: Newcomers | None = None,
    ) -> Iterator[None]:
        """Reckon what changed and tell everybody, one by one; what belongs together at once."""
        rooms, flags = self._rooms, list[Opportunity]()
        for one in changed:
            flags.append(reckoned(one))
            yield
        rooms.ledger.record(flags)
        if checkpoint is not None:
            self._remember(checkpoint)
            scanned = rooms.bootstrap.followed_to(checkpoint.block.number)
            rooms.writer.submit(checkpoint, flags, newcomers, scanned_to=scanned)
        if flags:
            rooms.flags.publish(flags)
        for flag in flags:
            yield
            self._say(flag)

    def _say(self, flag: Opportunity) -> None:
        self._rooms.metrics.flags.labels(instance_of(flag.protocol), flag.state).inc()
        log.info(
            "opportunity_flagged" if flag.state == "open" else "opportunity_closed",
            id=flag.id,
            protocol=flag.protocol,
            user=flag.user,
            health_factor=flag.health_factor,
            liquidatable=flag.liquidatable,
            reason=flag.closed_reason or flag.reason,
        )

    def resume(self, episodes: Sequence[Opportunity]) -> None:
        """
        Tell store and stream what a crash or a branch that left may have kept from them.

        Args:
            episodes: As they were stored, newest first; detection has just taken them over.
        """
        rooms = self._rooms
        ended = {episode.id for episode in episodes if episode.state == "closed"}
        going_on = rooms.detector.open_opportunities()
        self.record([flag for flag in going_on if flag.id in ended])
        over = ended - {flag.id for flag in going_on}
        closed = (episode for episode in episodes if episode.id in over)
        newest = nlargest(REMINDED, closed, key=lambda episode: episode.closed_block or 0)
        rooms.flags.remind([*newest, *going_on])

    def _remember(self, checkpoint: Checkpoint) -> None:
        number = checkpoint.block.number
        for above in [n for n in self._checkpoints if n >= number]:
            del self._checkpoints[above]
        self._checkpoints[number] = checkpoint
        if len(self._checkpoints) > UNDO_WINDOW:
            self._checkpoints.popitem(last=False)

    def _measure(self, batch: BlockBatch) -> None:
        now, metrics = time.monotonic_ns(), self._rooms.metrics
        if batch.sealed_ns:
            metrics.block_to_decision.observe((now - batch.sealed_ns) / BILLION)
        if batch.arrived_ns:
            metrics.head_to_decision.observe((now - batch.arrived_ns) / BILLION)
        else:
            metrics.gap_blocks.inc()
        metrics.blocks.inc()
        metrics.sealed()
        metrics.logs.inc(len(batch.logs))

    def begin(self, block: Block, *, followed: bool) -> None:
        """
        Note that the book was loaded at a block.

        `followed`: it is one that was applied before; else the blocks in between never will be.
        """
        since = self.complete_since
        if since is None or not followed or block.number < since:
            self.complete_since = block.number
        self._near = self._rooms.engine.near
        self.note(block)

    def note(self, block: Block) -> None:
        """Make `processed_block` true: the book, the flags and the streaks reflect this block."""
        rooms = self._rooms
        self.processed = block.number
        rooms.snapshots.took(block)
        rooms.metrics.processed_block.set(block.number)
        rooms.metrics.complete_up_to_block.set(block.number)
        rooms.metrics.complete_since_block.set(self.complete_since or 0)
        log.debug("complete", up_to=block.number, since=self.complete_since)
        rooms.metrics.opportunities_open.set(rooms.detector.open_count)
        for name in rooms.book.protocols:
            rooms.metrics.accounts.labels(name).set(len(rooms.book.keys(name)))
            rooms.metrics.borrowers.labels(name).set(len(rooms.book.open_keys(name)))


async def _in_turns(*steps: Callable[[], object]) -> None:
    """
    Take each step in a turn of its own, one that makes an iterator in as many as that takes.

    Who is cancelled meanwhile takes what is left at once.
    """
    turn, work = Turn(first=True), _pieces(steps)
    try:
        for begins in work:
            await (turn.end() if begins else turn.give_way())
    except asyncio.CancelledError:
        for _ in work:
            pass
        raise


def _pieces(steps: Iterable[Callable[[], object]]) -> Iterator[bool]:
    """Take the steps piece by piece; tell before each whether a step begins with it."""
    for step in steps:
        yield True
        made = step()
        if isinstance(made, Iterator):
            for _ in made:
                yield False
