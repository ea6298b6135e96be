"""From blocks to episodes: who is flagged, since when, and how it ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from chimera.detection.episodes import Episode, Outcome, ended, reckoned, underwater
from chimera.detection.streaks import StreakCounter
from chimera.domain.block import Address, Block
from chimera.domain.market import Key, instance_of
from chimera.domain.opportunity import (
    Checkpoint,
    ClosedReason,
    Observation,
    Opportunity,
    Underwater,
)
from chimera.errors import Rebuild

MIN_CONFIRMATION_BLOCKS = 2  # one block under 1 is a price in passing; interfaces forbid less


@dataclass(slots=True)
class _Frame:
    """One remembered block: values of open episodes (and others) at it, and how to undo it."""

    block: Block | None  # None: restored, and no block is known yet
    values: Mapping[Key, Underwater]
    opened: Mapping[Key, Episode] = field(default_factory=dict)
    closed: Mapping[Key, Outcome] = field(default_factory=dict)


class OpportunityDetector:
    """
    Flag every account that is under 1 for `confirmation_blocks` in a row, once per episode.

    Ids are a digest of the chain, the account, the first block and the hash of the flagging block:
    whoever processes the same blocks again, say after a crash, makes the same episodes.

    An episode that a rollback takes away (its flagging block left the chain) closes as "reorged"
    at the next block. A reorged episode is final, unless the very blocks that made it come back:
    then it is open again under its id.

    Args:
        confirmation_blocks: Blocks in a row under 1 that flag an account, 2 or more.
        chain_id: Of the chain whose blocks are observed; part of every id.
        undo_window: How many of the newest blocks can be rolled back.

    Raises:
        ValueError: `confirmation_blocks` is less than 2.
    """

    def __init__(
        self, *, chain_id: int, confirmation_blocks: int = 2, undo_window: int = 64
    ) -> None:
        if confirmation_blocks < MIN_CONFIRMATION_BLOCKS:
            raise ValueError(
                f"confirmation_blocks must be {MIN_CONFIRMATION_BLOCKS} or more,"
                f" not {confirmation_blocks}"
            )
        self.streaks = StreakCounter(undo_window=undo_window)
        self._chain_id = chain_id
        self._confirmation_blocks = confirmation_blocks
        self._frames: deque[_Frame] = deque([_Frame(None, {})], maxlen=undo_window + 1)
        self._open: dict[Key, Episode] = {}
        self._orphaned: dict[str, Opportunity] = {}  # rolled back; they close at the next block
        self._unconfirmed: dict[str, Opportunity] = {}  # stored above the checkpoint
        self._listing: list[Opportunity] | None = None

    @property
    def newest(self) -> Block | None:
        """The newest observed block."""
        return self._frames[-1].block

    def observe(self, observation: Observation) -> list[Opportunity]:
        """Take in the next block as `decide` does, and reckon all that it changes."""
        return [reckoned(changed) for changed in self.decide(observation)]

    def decide(self, observation: Observation) -> list[Outcome | Opportunity]:
        """
        Take in the next block and return the episodes that it closed, then those that it opened.

        The block must be a child of the newest one. A block that was already observed opens and
        closes nothing; if it is the newest, the open episodes take its values (after a restart
        those in memory come from the store). A block further ahead means that blocks in between
        could not be read: streaks start anew, open episodes go on if the account is under 1.

        Raises:
            Rebuild: The block belongs to another chain than the observed ones.
        """
        block = observation.block
        if self._seen(observation):
            return []
        if self.newest is None:
            self._doubt_episodes_from(block)
        closed = self._close(observation)
        self.streaks.observe(block.number, observation.underwater.keys())
        opened = self._flag(observation)
        self._frames.append(_Frame(block, observation.underwater, opened, closed))
        self._listing = None
        changed: list[Outcome | Opportunity] = list(closed.values())
        changed += self._close_reorged(block, {episode.id for episode in opened.values()})
        return changed + [self._outcome(key, episode) for key, episode in opened.items()]

    def rollback(self, ancestor: Block) -> list[Opportunity]:
        """
        Take every block above `ancestor` back out; return the episodes that are open again.

        Those that were flagged above it close at the next block.

        Raises:
            Rebuild: `ancestor` is not among the blocks that are remembered.
        """
        if all(frame.block != ancestor for frame in self._frames):
            raise Rebuild(f"no memory of block {ancestor.number} (0x{ancestor.hash.hex()})")
        last = self._flagged_above(ancestor)
        reopened: set[str] = set()
        while self._frames[-1].block != ancestor:
            frame = self._frames.pop()
            for key, episode in frame.opened.items():
                del self._open[key]
                self._orphaned[episode.id] = last[episode.id]
            for key, closed in frame.closed.items():
                self._open[key] = closed.episode
                last[closed.id] = closed.reckon()
                reopened.add(closed.id)
        self.streaks.rollback(ancestor.number)
        self._listing = None
        again = [key for key, episode in self._open.items() if episode.id in reopened]
        return [self.opportunity(key) for key in again]

    def _flagged_above(self, ancestor: Block) -> dict[str, Opportunity]:
        """Return, by id, the open episodes that go with the blocks above, as they stand now."""
        found: dict[str, Opportunity] = {}
        for frame in reversed(self._frames):
            if frame.block == ancestor:
                break
            for key, episode in frame.opened.items():
                if self._open.get(key) == episode:
                    found[episode.id] = self.opportunity(key)
        return found

    def places(self) -> list[tuple[int, str, Key]]:
        """Return flagging block, id and account of every open episode; none is reckoned for it."""
        return [(its.flagged_block, its.id, key) for key, its in self._open.items()]

    def opportunity(self, key: Key) -> Opportunity:
        """Return the open episode of an account with its values at the newest block."""
        return self._outcome(key, self._open[key]).reckon()

    def open_opportunities(self) -> list[Opportunity]:
        """Return every open episode with its values at the newest block."""
        if self._listing is None:
            self._listing = [self.opportunity(key) for key in self._open]
        return list(self._listing)

    @property
    def open_count(self) -> int:
        """How many episodes are open."""
        return len(self._open)

    def checkpoint(self) -> Checkpoint | None:
        """Return the newest block and the streaks after it, or None before the first block."""
        if self.newest is None:
            return None
        return Checkpoint(self.newest, self.streaks.snapshot())

    def restore(self, opportunities: Iterable[Opportunity], checkpoint: Checkpoint | None) -> None:
        """
        Resume from stored episodes, at a checkpoint that is still on the chain.

        Open episodes go on. What was stored above the checkpoint is about to be processed again:
        episodes closed there are open again, episodes flagged there are expected to be made again
        under the same id; those that are not, once their block has passed, close as "reorged".

        Without a checkpoint the streaks are unknown. An open episode whose account is under 1 at
        the first observed block goes on with its id and its first block, which are on record, while
        `blocks_unhealthy` counts anew from there, because nobody saw the blocks between. Any other
        account closes there, with the values that were stored.
        """
        self._open, self._orphaned, self._unconfirmed = {}, {}, {}
        values: dict[Key, Underwater] = {}
        number = None if checkpoint is None else checkpoint.block.number
        for stored in sorted(opportunities, key=lambda stored: stored.flagged_block):
            if _is_over(stored, number):
                continue
            if number is not None and stored.flagged_block > number:
                self._unconfirmed[stored.id] = stored
                continue
            key = _key(stored)
            values[key] = underwater(stored)
            self._open[key] = Episode(
                stored.id,
                stored.first_unhealthy_block,
                stored.flagged_block,
                stored.blocks_unhealthy,
            )
        self._frames.clear()
        self._frames.append(_Frame(None if checkpoint is None else checkpoint.block, values))
        self.streaks.restore({} if checkpoint is None else checkpoint.streaks, number)
        self._listing = None

    def reconsider(self, observation: Observation) -> list[Opportunity]:
        """
        Observe the newest block once more, because the mirror was wrong there and was mended.

        Its first verdict is taken back as by a rollback. Returns what is different now.
        """
        before = self._frames[-2].block if len(self._frames) > 1 else None
        if self.newest != observation.block or before is None:
            return self.observe(observation)
        return [*self.rollback(before), *self.observe(observation)]

    def unsettled(self) -> list[Opportunity]:
        """Return episodes that may have left the chain; the blocks to come settle them."""
        return [*self._orphaned.values(), *self._unconfirmed.values()]

    def _seen(self, observation: Observation) -> bool:
        """Tell whether the block was observed before; make room for it when it leaves a gap."""
        block, newest = observation.block, self.newest
        if newest is None:
            return False
        if block.number > newest.number + 1:
            self._resume_after_gap()
            return False
        if block.number == newest.number + 1 and block.parent_hash == newest.hash:
            return False
        if all(frame.block != block for frame in self._frames):
            raise Rebuild(
                f"block {block.number} (0x{block.hash.hex()}) does not build on the observed chain"
            )
        if block == newest:
            self._refresh(observation)
        return True

    def _refresh(self, observation: Observation) -> None:
        frame = self._frames[-1]
        fresh, old = observation.underwater, frame.values
        frame.values = {key: fresh[key] if key in fresh else old[key] for key in self._open}
        self._listing = None

    def _resume_after_gap(self) -> None:
        orphaned = self._orphaned
        stored = [o for o in self._unconfirmed.values() if o.state == "open"]
        self.restore([*self.open_opportunities(), *stored], None)
        self._orphaned = orphaned

    def _doubt_episodes_from(self, block: Block) -> None:
        """Set aside what was flagged above `block`, or at its height in another block."""
        for key, episode in list(self._open.items()):
            again = self._identity(key, block, episode.first_block)
            if episode.flagged_block > block.number or (
                episode.flagged_block == block.number and episode.id != again
            ):
                self._unconfirmed[episode.id] = self.opportunity(key)
                del self._open[key]

    def _close(self, observation: Observation) -> dict[Key, Outcome]:
        if not self._open.keys() - observation.underwater.keys():  # nearly every block
            return {}
        closed = {
            key: self._closed(key, episode, observation)
            for key, episode in self._open.items()
            if key not in observation.underwater
        }
        for key in closed:
            del self._open[key]
        return closed

    def _closed(self, key: Key, episode: Episode, observation: Observation) -> Outcome:
        # The last liquidation is in the closing block exactly when there is one in that block.
        reason: ClosedReason = "recovered"
        if key in observation.liquidated:
            reason = "liquidated"
        elif key in observation.unpriced or instance_of(key[0]) in observation.unfollowed:
            reason = "unpriced"
        return self._outcome(key, episode, (observation.block, reason))

    def _flag(self, observation: Observation) -> dict[Key, Episode]:
        if not observation.underwater.keys() - self._open.keys():
            return {}
        opened = {
            key: self._episode(key, observation.block)
            for key in observation.underwater
            if key not in self._open
            and self.streaks.blocks_unhealthy(key) >= self._confirmation_blocks
        }
        self._open.update(opened)
        return opened

    def _episode(self, key: Key, block: Block) -> Episode:
        first = self.streaks.first_block(key) or 0
        return Episode(self._identity(key, block, first), first, block.number)

    def _identity(self, key: Key, flagging: Block, first_block: int) -> str:
        protocol, user = key
        said = f"{self._chain_id}:{protocol}:{user.hex()}:{flagging.hash.hex()}:{first_block}"
        return blake2b(said.encode(), digest_size=10).hexdigest()

    def _close_reorged(self, block: Block, made_again: set[str]) -> list[Opportunity]:
        for identity in made_again:
            self._orphaned.pop(identity, None)
            self._unconfirmed.pop(identity, None)
        due = list(self._orphaned.values())
        due += [o for o in self._unconfirmed.values() if o.flagged_block <= block.number]
        for gone in due:
            self._unconfirmed.pop(gone.id, None)
        self._orphaned = {}
        return [ended(gone, block, "reorged") for gone in due]

    def _outcome(
        self, key: Key, episode: Episode, end: tuple[Block, ClosedReason] | None = None
    ) -> Outcome:
        length = self.streaks.blocks_unhealthy(key) or episode.counted
        return Outcome(key, episode, self._frames[-1].values, length, end)


def _is_over(stored: Opportunity, checkpoint: int | None) -> bool:
    if stored.state == "open":
        return False
    closed = stored.closed_block or 0
    return stored.closed_reason == "reorged" or checkpoint is None or closed <= checkpoint


def _key(opportunity: Opportunity) -> Key:
    return opportunity.protocol, Address(bytes.fromhex(opportunity.user.removeprefix("0x")))
