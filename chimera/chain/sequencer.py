"""A layer 2's sequencer, as Chainlink's uptime feed tells of it: up, down, or back lately."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from chimera.domain.block import Address, Block, BlockHash, Log, LogQuery, Needs
from chimera.domain.call import Answer, Call, Readings
from chimera.errors import Refuse
from chimera.ports import Follower
from chimera.rpc.wire import WORD_BYTES, hexed

LATEST_ROUND_DATA = bytes.fromhex("feaf968c")
WORDS = 5  # roundId, answer, startedAt, updatedAt, answeredInRound
UP, DOWN = 0, 1  # values of `answer`
MOST_REMEMBERED = 256  # blocks: more than can be undone


@dataclass(frozen=True, slots=True)
class Told:
    """What the feed says: whether the sequencer works, and since when (seconds, 1970)."""

    up: bool
    since: int


def told_by(answer: Answer) -> Told | None:
    """Read an answer to `latestRoundData()`; None where it is not that of an uptime feed."""
    if answer is None or len(answer) != WORDS * WORD_BYTES:
        return None
    words = [answer[at : at + WORD_BYTES] for at in range(0, len(answer), WORD_BYTES)]
    _, status, since, *_ = (int.from_bytes(word, "big") for word in words)
    if status not in {UP, DOWN} or since == 0:  # a round that has not begun says nothing
        return None
    return Told(status == UP, since)


class Sequencer:
    """
    What the feed at `feed` says of the sequencer, at each block.

    `grace` is for how many seconds after its return the sequencer is not called well, for who was
    kept out meanwhile needs that time. Everything follows from answers read at a block's hash and
    from the block's own timestamp. Of a block that the feed was not asked at, as the one that a
    start reads everything at, the newest answer speaks.
    """

    def __init__(self, feed: Address, *, grace: int) -> None:
        self.call = Call(feed, LATEST_ROUND_DATA)
        self._grace = grace
        self._told: OrderedDict[BlockHash, Told | None] = OrderedDict()

    def note(self, block: Block, answer: Answer) -> None:
        """Take the feed's answer at a block."""
        self._told[block.hash] = told_by(answer)
        self._told.move_to_end(block.hash)
        if len(self._told) > MOST_REMEMBERED:
            self._told.popitem(last=False)

    def prove(self, block: Block, answer: Answer) -> None:
        """
        Take the first answer, by which a feed shows that it is one.

        Raises:
            Refuse: There is no contract, it reverts, or it says what no uptime feed says.
        """
        if told_by(answer) is None:
            found = "the call reverts" if answer is None else "no such answer"
            if answer == b"":
                found = "there is no code, or no such function"
            raise Refuse(
                f"chain.sequencer_feed: {hexed(self.call.to)} is no sequencer-uptime feed: {found};"
                " correct it, or take it out"
            )
        self.note(block, answer)

    def up(self, block: Block) -> float:
        """Return 1 while the feed says up, 0 while it says down, NaN while it says neither."""
        told = self._at(block)
        return math.nan if told is None else float(told.up)

    def trouble(self, block: Block) -> str | None:
        """Return what is wrong with the sequencer at a block, as a sentence; None: it is well."""
        told = self._at(block)
        if told is None:
            return "the sequencer's state is unknown: its uptime feed gives no usable answer"
        seconds = max(0, block.timestamp - told.since)
        if not told.up:
            return f"the sequencer is down, for {seconds} s"
        if seconds <= self._grace:
            return f"the sequencer is back for {seconds} s, not yet for more than {self._grace} s"
        return None

    def _at(self, block: Block) -> Told | None:
        if block.hash in self._told:
            return self._told[block.hash]
        return next(reversed(self._told.values()), None)


class AskingSequencer:
    """A follower that has the uptime feed asked within the same multicall at every block."""

    def __init__(self, follower: Follower, sequencer: Sequencer) -> None:
        self._follower, self._sequencer = follower, sequencer

    def interest(self) -> LogQuery:
        """Name the logs to follow."""
        return self._follower.interest()

    def polls(self, block: Block) -> tuple[Call, ...]:
        """Name the calls to make at this block, each once; the feed is the last."""
        return tuple(dict.fromkeys((*self._follower.polls(block), self._sequencer.call)))

    def needs(self, block: Block, logs: Sequence[Log], readings: Readings) -> Needs:
        """Name what the sealed logs still lack."""
        self._sequencer.note(block, readings[self._sequencer.call])
        return self._follower.needs(block, logs, readings)
