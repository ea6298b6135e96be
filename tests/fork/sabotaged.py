"""
The real daemon with one rule broken: `python tests/fork/sabotaged.py NAME run --config FILE`.

Each break is small and quiet, as a real fault would be. The suite must notice every one of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from chimera.chain.reader import RpcReader
from chimera.chain.reorg import Trail
from chimera.cli import main
from chimera.detection.detector import OpportunityDetector
from chimera.detection.streaks import StreakCounter
from chimera.domain.block import Block, BlockBatch, Log, LogQuery
from chimera.domain.call import Answer, Call, Readings
from chimera.domain.opportunity import Observation
from chimera.protocols.aave_v3 import events
from chimera.state.book import Book, Undo
from chimera.state.engine import StateEngine

MOVES = {events.MINT, events.BURN}
TENTHS = 10


def tamper_with_logs(change: Callable[[list[Log], int], list[Log]]) -> None:
    """Change the logs of the first block in which a balance moves."""
    honest, done = RpcReader.logs_of, set[int]()

    async def logs_of(self: RpcReader, block: Block, query: LogQuery) -> tuple[Log, ...]:
        logs = list(await honest(self, block, query))
        places = [place for place, log in enumerate(logs) if log.topics[0] in MOVES]
        if places and done <= {block.number}:
            done.add(block.number)
            logs = change(logs, places[-1])
        return tuple(logs)

    RpcReader.logs_of = logs_of  # type: ignore[method-assign]


def lose_a_log() -> None:
    """Drop one log."""
    tamper_with_logs(lambda logs, place: logs[:place] + logs[place + 1 :])


def apply_a_log_twice() -> None:
    """Deliver one log twice."""
    tamper_with_logs(lambda logs, place: [*logs[: place + 1], *logs[place:]])


def lose_every_move() -> None:
    """Drop every log that moves a balance, of the first block that has one."""
    tamper_with_logs(lambda logs, _: [log for log in logs if log.topics[0] not in MOVES])


def ignore_parents() -> None:
    """Take every new head for a child of the newest block: in the feed, the book, the detector."""
    Trail.carries = lambda self, block: True  # type: ignore[method-assign]  # noqa: ARG005

    def begin(self: Book, block: Block) -> None:
        self._pending = Undo(block, self.block)

    Book.begin = begin  # type: ignore[method-assign]

    def seen(self: OpportunityDetector, observation: Observation) -> bool:  # noqa: ARG001
        return False

    OpportunityDetector._seen = seen  # type: ignore[method-assign]


def skip_a_price() -> None:
    """Once, when a reading changes, go on with the one from before."""
    honest = RpcReader.read
    before: dict[Call, Answer] = {}
    done: list[Call] = []

    async def read(self: RpcReader, calls: Sequence[Call], block: Block) -> Readings:
        readings: dict[Call, Any] = dict(await honest(self, calls, block))
        moved = [call for call in readings if before.get(call, readings[call]) != readings[call]]
        if moved and not done:
            done.append(moved[0])
            return {**readings, moved[0]: before[moved[0]]}
        before.update(readings)
        return readings

    RpcReader.read = read  # type: ignore[method-assign]


def keep_streaks() -> None:
    """Leave the blocks of a rollback in the count."""
    StreakCounter.rollback = lambda self, to_block: None  # type: ignore[method-assign]  # noqa: ARG005


def spoil_one_debt_each() -> None:
    """After its first block, take a tenth of somebody's debt out of the book, in each protocol."""
    honest, done = StateEngine.apply, set[str]()

    def apply(self: StateEngine, batch: BlockBatch) -> Observation:
        observation = honest(self, batch)
        for name in self.adapters.keys() - done:
            done.add(name)
            shelf = self.book.accounts(name)
            holder = min(key for key in shelf.open if min(shelf.users[key].owed.values()) > TENTHS)
            account = shelf.users[holder]
            less = {asset: owed - owed // TENTHS for asset, owed in account.owed.items()}
            shelf.put(holder, account.but(owed=less))
        return observation

    StateEngine.apply = apply  # type: ignore[method-assign]


def nothing() -> None:
    """Break nothing: the control."""


BREAKS: dict[str, Callable[[], None]] = {
    broken.__name__: broken
    for broken in (
        nothing,
        lose_a_log,
        apply_a_log_twice,
        lose_every_move,
        ignore_parents,
        skip_a_price,
        keep_streaks,
        spoil_one_debt_each,
    )
}


if __name__ == "__main__":
    BREAKS[sys.argv.pop(1)]()
    main()
