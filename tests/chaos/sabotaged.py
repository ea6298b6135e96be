"""
The real daemon with one rule of survival broken: `python tests/chaos/sabotaged.py NAME run ...`.

A rule that is guarded in several places is broken in all of them; `feed_ignores_parents` and its
likes break one of three guards each, and the others have to hold.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing

from chimera.chain.feed import ChainFeed
from chimera.chain.reorg import Trail
from chimera.cli import main
from chimera.detection.detector import OpportunityDetector
from chimera.detection.streaks import StreakCounter
from chimera.domain.block import Block, BlockBatch, Rollback
from chimera.domain.opportunity import Observation, Opportunity
from chimera.protocols.aave_v3 import events
from chimera.publish.fanout import FlagStream
from chimera.rpc.breaker import Breaker
from chimera.state.book import Book, Undo
from chimera.state.cache_redis import RedisPositions
from chimera.state.valuation import Publishable

NINTH = 9  # write: by then the scene is under way


def feed_ignores_parents() -> None:
    """Take every block of the next number for a child of the newest: in the feed."""
    Trail.carries = lambda self, block: block.number == self.tip.number + 1  # type: ignore[method-assign]


def book_ignores_parents() -> None:
    """Apply whatever block comes: in the book."""

    def begin(self: Book, block: Block) -> None:
        self._pending = Undo(block, self.block)

    Book.begin = begin  # type: ignore[method-assign]


def detector_ignores_parents() -> None:
    """Observe whatever block comes: in the detector."""

    def seen(self: OpportunityDetector, observation: Observation) -> bool:  # noqa: ARG001
        return False

    OpportunityDetector._seen = seen  # type: ignore[method-assign]


def nobody_looks_at_parents() -> None:
    """Ignore parentHash in the feed, the book and the detector."""
    feed_ignores_parents()
    book_ignores_parents()
    detector_ignores_parents()


def gaps_stay_open() -> None:
    """Go on with the head, whatever is missing below it; the book does not mind either."""
    Trail.carries = lambda self, block: block.number > self.tip.number  # type: ignore[method-assign]
    book_ignores_parents()


def feed_fills_no_gaps() -> None:
    """Go on with the head, whatever is missing below it: in the feed alone."""
    Trail.carries = lambda self, block: block.number > self.tip.number  # type: ignore[method-assign]


def feed_repeats_a_batch() -> None:
    """Hand on one batch twice: the feed alone. In it, balances grow and none shrinks."""
    honest, done = ChainFeed.follow, list[Block]()

    async def follow(self: ChainFeed, start: Block) -> AsyncGenerator[BlockBatch | Rollback, None]:
        async with aclosing(honest(self, start)) as messages:
            async for message in messages:
                yield message
                if isinstance(message, BlockBatch) and not done and _only_grows(message):
                    done.append(message.block)
                    yield message

    ChainFeed.follow = follow  # type: ignore[method-assign]


def _only_grows(batch: BlockBatch) -> bool:
    topics = {log.topics[0] for log in batch.logs}
    return events.MINT in topics and events.BURN not in topics


def a_batch_is_applied_twice() -> None:
    """Hand on one batch twice to a book and a detector that do not mind."""
    feed_repeats_a_batch()
    book_ignores_parents()
    detector_ignores_parents()


def a_position_is_lost() -> None:
    """Leave one account under 1 out of one write to Redis; nobody is told."""
    honest, writes = RedisPositions.write, [0]

    async def write(self: RedisPositions, contents: Iterable[Publishable], **bounds: int) -> int:
        kept = list(contents)
        under = [content for content in kept if content.position().blocks_unhealthy]
        writes[0] += bool(under)
        if under and writes[0] == NINTH:
            kept.remove(under[-1])
        return await honest(self, kept, **bounds)

    RedisPositions.write = write  # type: ignore[method-assign]


def a_flag_is_lost() -> None:
    """Leave one episode out of what is handed to the stream."""
    honest, done = FlagStream.publish, list[str]()

    def publish(self: FlagStream, opportunities: Sequence[Opportunity]) -> None:
        if opportunities and not done:
            done.append(opportunities[0].id)
            opportunities = opportunities[1:]
        honest(self, opportunities)

    FlagStream.publish = publish  # type: ignore[method-assign]


def streaks_stay_at_a_reorg() -> None:
    """Leave the blocks of a rollback in the count."""
    StreakCounter.rollback = lambda self, to_block: None  # type: ignore[method-assign]  # noqa: ARG005


def breakers_never_open() -> None:
    """Ask an endpoint again and again, however often it fails."""

    def failed(self: Breaker, why: str, *, pause: float = 0.0) -> None:
        """Forget it."""

    Breaker.failed = failed  # type: ignore[method-assign]


def nothing() -> None:
    """Break nothing: the control."""


BREAKS: dict[str, Callable[[], None]] = {
    broken.__name__: broken
    for broken in (
        nothing,
        feed_ignores_parents,
        book_ignores_parents,
        detector_ignores_parents,
        nobody_looks_at_parents,
        gaps_stay_open,
        feed_fills_no_gaps,
        feed_repeats_a_batch,
        a_batch_is_applied_twice,
        a_position_is_lost,
        a_flag_is_lost,
        streaks_stay_at_a_reorg,
        breakers_never_open,
    )
}


if __name__ == "__main__":
    BREAKS[sys.argv.pop(1)]()
    main()
