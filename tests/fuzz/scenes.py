"""States of real lives to fuzz from: books, batches and donors of logs, from the recordings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from chimera.domain.block import Block, BlockBatch, Log
from chimera.domain.call import Answer, Call
from chimera.domain.market import Account, Holder, Market
from chimera.ports import Adapter
from chimera.state.book import Book
from devnet.recording import Line, Unrecorded
from devnet.replay import Replay
from tests.fuzz.fuzzing import SECONDS

RECORDINGS = Path(__file__).parents[1] / "recordings"
BLOCKS = 40 if SECONDS < 60 else 10_000  # of each life; playing them takes its time, too


@dataclass(frozen=True)
class Scene:
    """One block of a life: what stood before it, and what it was sealed with."""

    life: Life
    line: Line
    block: Block  # the one before
    market: Market
    accounts: Mapping[Holder, Account]
    batch: BlockBatch

    def book(self) -> Book:
        """A book that stands before the block."""
        book, name = Book(debug=True), self.life.adapter.name
        complete = self.life.complete
        book.load(name, self.market, self.accounts, complete=complete, block=self.block)
        return book

    def answer(self, call: Call) -> Answer:
        """The recorded answer; what was not recorded reverts."""
        try:
            return self.life.replay.recording.answer(self.line, call)
        except Unrecorded:
            return None


class Life:
    """A recording, played for some blocks."""

    def __init__(self, path: Path) -> None:
        self.replay = Replay(path, tamper=self._seen)
        self._sealed: list[BlockBatch] = []
        self.scenes: list[Scene] = []
        self._before: tuple[Block, Market, dict[Holder, Account]] | None = None
        for _, line in zip(range(BLOCKS), self.replay.blocks(), strict=False):
            if self._before is not None and self._sealed:
                self.scenes.append(Scene(self, line, *self._before, self._sealed.pop()))
        self.full = [scene for scene in self.scenes if scene.line.is_full]
        query = self.adapter.interest(self.scenes[-1].market)
        self.emitters = sorted(query.addresses)
        logs = (log for line in self.replay.recording.lines for log in line.logs_of(query))
        self.donors: dict[bytes, Log] = {log.topics[0]: log for log in logs}
        for log in self.donors.values():
            assert log.topics[0] in self.adapter.topics

    def _seen(self, batch: BlockBatch) -> BlockBatch:
        book, name = self.replay.book, self.adapter.name
        self._before = (book.block, book.market(name), dict(book.accounts(name).users))
        self._sealed.append(batch)
        return batch

    @property
    def adapter(self) -> Adapter[Any]:
        return self.replay.adapter

    @property
    def complete(self) -> bool:
        return self.replay.book.accounts(self.adapter.name).complete


@cache
def lives_of(family: str) -> list[Life]:
    """Every recorded life of a family."""
    return [Life(path) for path in sorted(RECORDINGS.glob(f"{family}-*.jsonl.gz"))]
