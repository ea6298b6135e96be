"""Blocks that are taken back: what every family has to leave behind, which is nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Generic, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.domain.block import Block, BlockBatch
from chimera.errors import Rebuild
from chimera.ports import Adapter
from chimera.state.book import Book

A = TypeVar("A")  # something that somebody does, before it is known what log that makes


class Life(ABC, Generic[A]):
    """A book that an adapter writes, and the chain that both follow."""

    adapter: Adapter[Any]
    book: Book

    @abstractmethod
    def next_block(self, acts: Sequence[A]) -> BlockBatch:
        """Return the next block, in which this happens."""

    def photo(self) -> object:
        """Everything that the book holds, as text that nobody can change afterwards."""
        shelf = self.book.accounts(self.adapter.name)
        users = sorted((user, repr(account)) for user, account in shelf.users.items())
        return self.book.block, users, sorted(shelf.open), words_of(shelf.market)

    def take(self, batch: BlockBatch, *, stop_after: int | None = None) -> bool:
        """Apply the batch, or give up in the middle of it; tell which."""
        name = self.adapter.name
        self.book.begin(batch.block)
        try:
            changes = self.adapter.fold(self.book.market(name), self.book.accounts(name), batch)
            for count, change in enumerate(changes):
                if count == stop_after:
                    self.book.abort()
                    return False
                self.book.apply(name, change)
        except Rebuild:
            self.book.abort()
            return False
        self.book.commit()
        return True


def words_of(value: Any) -> list[tuple[str, str]]:  # noqa: ANN401  (any dataclass)
    """Every field that counts, as text that does not tell how it came to be."""
    parts = {part.name: getattr(value, part.name) for part in fields(value) if part.compare}
    return [(name, repr(_in_order(part))) for name, part in parts.items()]


def _in_order(value: object) -> object:
    match value:
        case Mapping():
            return sorted(value.items())
        case frozenset():
            return sorted(value)
    return value


def check_rollback(life: Life[A], blocks: Sequence[Sequence[A]], data: st.DataObject) -> None:
    """Go back to any block: the book is as it was then, and the same blocks make the same book."""
    photos = {life.book.block: life.photo()}
    batches: dict[Block, BlockBatch] = {}
    for acts in blocks:
        batch = life.next_block(acts)
        if life.take(batch):
            batches[batch.block] = batch
            photos[batch.block] = life.photo()
    past = data.draw(st.sampled_from(sorted(photos, key=lambda block: block.number)))

    life.book.rollback(past.number)

    assert life.photo() == photos[past]
    for block, batch in batches.items():
        if block.number > past.number:
            assert life.take(batch)
            assert life.photo() == photos[block]


def check_giving_up(life: Life[A], blocks: Sequence[Sequence[A]], stop_after: int) -> None:
    """Give up every block after so many changes: nothing of it is left behind."""
    for acts in blocks:
        batch, before = life.next_block(acts), life.photo()
        if not life.take(batch, stop_after=stop_after):
            life.book.verify_indexes()
            assert life.photo() == before
        before = life.photo()
        if batch.block != life.book.block and not life.take(batch):
            assert life.photo() == before


def searched(
    make: Callable[..., Life[A]], blocks: st.SearchStrategy[list[list[A]]], *, examples: int
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return both checks as tests: of a rollback, and of a block that is given up."""
    search = settings(max_examples=examples, deadline=None, derandomize=True)

    @search
    @given(acts=blocks, complete=st.booleans(), data=st.data())
    def rolled_back(acts: list[list[A]], *, complete: bool, data: st.DataObject) -> None:
        check_rollback(make(complete=complete), acts, data)

    @search
    @given(acts=blocks, complete=st.booleans(), stop_after=st.integers(0, 6))
    def given_up(acts: list[list[A]], *, complete: bool, stop_after: int) -> None:
        check_giving_up(make(complete=complete), acts, stop_after)

    return rolled_back, given_up
