"""Recordings played once and kept, so that every test of the suite looks at the same states."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest

from chimera.domain.block import Block, BlockBatch, Log
from chimera.domain.call import Answer, Call, Inquiry, T
from chimera.domain.changes import Change
from chimera.domain.market import EMPTY, Account, Holder, Market
from chimera.ports import Adapter
from chimera.registry import BUILT_IN
from chimera.state.book import Book
from devnet.recording import Line, Unrecorded
from devnet.replay import Comparison, Replay

RECORDINGS = sorted((Path(__file__).parents[1] / "recordings").glob("*.jsonl.gz"))


def family_of(path: Path) -> str:
    """The family is the first part of a recording's name."""
    return path.name.partition("-")[0]


BUILT = [path for path in RECORDINGS if family_of(path) in BUILT_IN]
NAMES = [path.name.removesuffix(".jsonl.gz") for path in BUILT]
EVERY = pytest.mark.parametrize("tape", BUILT, ids=NAMES, indirect=True)

# Blocks with a listing that the mirror sees and the recording was not asked about.
UNASKED = {
    "aave_v3-3.0.2-15": {264, 303},
    "aave_v3-3.6.0-14": {250, 289},
    "aave_v3-3.7-16": {236},
}

# What a snapshot cannot know, by family and field of the market, and why.
UNKNOWABLE: dict[str, dict[str, str]] = {
    "aave_v3": {
        "dropped": "the pool forgets whose bit it was, only logs tell",
        "heirs": "the same, once the bit is another asset's",
    },
    "morpho_blue": {
        "strangers": "whom the mirror has asked whether it is a pre-liquidation, and that said no",
    },
}

# Whose flags were not recorded: of lenders and liquidators there are only balances.
BALANCES_ONLY = {"aave_v3"}


@dataclass(frozen=True)
class State:
    """A market and its accounts; both are values, so this stays what it was."""

    market: Market
    accounts: Mapping[Holder, Account]


@dataclass(frozen=True)
class Step:
    """One block that was applied: what it found, what it was sealed with, and what it left."""

    line: Line
    before: State
    batch: BlockBatch
    after: State

    @property
    def block(self) -> Block:
        return self.line.block


class Tape:
    """
    One recording as the replay went through it, replaced blocks included.

    The first step is the bootstrap: it has no batch to speak of.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name.removesuffix(".jsonl.gz")
        self._found: list[tuple[State, BlockBatch]] = []
        self.replay = Replay(path, tamper=self._seen)
        self.steps: list[Step] = []
        for line in self.replay.blocks():
            after = self._state()
            sealed = self._found.pop() if self._found else (after, BlockBatch(line.block, (), {}))
            self.steps.append(Step(line, sealed[0], sealed[1], after))

    def _seen(self, batch: BlockBatch) -> BlockBatch:
        self._found.append((self._state(), batch))
        return batch

    def _state(self) -> State:
        return State(self.replay.book.market(self.adapter.name), dict(self.replay.accounts))

    @property
    def adapter(self) -> Adapter[Any]:
        return self.replay.adapter

    @property
    def family(self) -> str:
        return self.replay.recording.family

    @property
    def complete(self) -> bool:
        """Whether the replay follows every holder."""
        return self.replay.book.accounts(self.adapter.name).complete

    @property
    def comparison(self) -> Comparison:
        return self.replay.comparison

    @cached_property
    def canonical(self) -> list[Step]:
        """The steps of the chain that survived."""
        by_hash = {step.block.hash: step for step in self.steps}
        chain = [self.steps[-1]]
        while chain[-1] is not self.steps[0]:
            chain.append(by_hash[chain[-1].block.parent_hash])
        return chain[::-1]

    @cached_property
    def full(self) -> list[Step]:
        """Canonical steps at which a snapshot can be taken."""
        unasked = UNASKED.get(self.name, set())
        return [
            step
            for step in self.canonical
            if step.line.is_full and step.block.number not in unasked
        ]

    @cached_property
    def donors(self) -> dict[bytes, Log]:
        """A real log of each topic that is followed and recorded."""
        query = self.adapter.interest(self.steps[-1].after.market)
        followed = (*self.replay.recording.history, *(step.line for step in self.steps))
        return {log.topics[0]: log for line in followed for log in line.logs_of(query)}

    def others(self, step: Step) -> set[Holder]:
        """Holders of whom only balances were recorded."""
        if self.family not in BALANCES_ONLY:
            return set()
        return {holder for holder in step.after.accounts if holder not in step.line.truth}

    def answers(self, step: Step, calls: Iterable[Call]) -> dict[Call, Answer]:
        """What the recording has for these calls; KeyError's kin where it has nothing."""
        return {call: self.replay.recording.answer(step.line, call) for call in calls}

    def ask(self, inquiry: Inquiry[T], step: Step) -> T:
        return self.replay.ask(inquiry, step.line)

    def snapshot(self, step: Step) -> State:
        """What a bootstrap at this block finds: logs up to it name whom it reads."""
        found = self.replay.snapshot(step.line, self._lines_up_to(step))
        return State(found.market, found.accounts)

    def followed(self, state: State) -> State:
        """Without those whom the replay does not follow, for want of records about them."""
        if self.complete:
            return state
        users = self.steps[0].after.accounts.keys()
        kept = {holder: its for holder, its in state.accounts.items() if holder in users}
        return State(state.market, kept)

    def _lines_up_to(self, step: Step) -> Iterator[Line]:
        return (one.line for one in self.canonical[: self.canonical.index(step) + 1])


@cache
def tape_of(path: Path) -> Tape:
    return Tape(path)


# --- books ---------------------------------------------------------------------------------------


def book_of(tape: Tape, state: State, block: Block) -> Book:
    """A book that stands at this state."""
    book, name = Book(debug=True), tape.adapter.name
    book.load(name, state.market, state.accounts, complete=tape.complete, block=block)
    return book


def state_of(adapter: Adapter[Any], book: Book) -> State:
    return State(book.market(adapter.name), dict(book.accounts(adapter.name).users))


def everything(adapter: Adapter[Any], book: Book) -> Any:  # noqa: ANN401  (only to be compared)
    """The whole book of one protocol: block, market, accounts and what is derived of them."""
    shelf = book.accounts(adapter.name)
    return book.block, shelf.market, dict(shelf.users), set(shelf.open), shelf.complete


def play(adapter: Adapter[Any], book: Book, batch: BlockBatch) -> list[Change]:
    """Apply one block as the engine does; what is raised leaves the book as it was."""
    changes = []
    book.begin(batch.block)
    try:
        for change in adapter.fold(book.market(adapter.name), book.accounts(adapter.name), batch):
            book.apply(adapter.name, change)
            changes.append(change)
    except BaseException:
        book.abort()
        raise
    book.commit()
    return changes


def parent_of(step: Step) -> Block:
    """The block that the step builds on, as far as a book looks at it."""
    block = step.block
    return replace(block, number=block.number - 1, hash=block.parent_hash)


def with_logs(batch: BlockBatch, logs: Sequence[Log]) -> BlockBatch:
    return replace(batch, logs=tuple(logs))


def sealed(tape: Tape, book: Book, step: Step, logs: Sequence[Log]) -> BlockBatch:
    """Seal these logs: what they need beyond the recording answers as a revert does."""
    adapter, batch = tape.adapter, with_logs(step.batch, logs)
    market, accounts = book.market(adapter.name), book.accounts(adapter.name)
    readings = dict(batch.readings)
    while True:
        needs = adapter.needs(market, accounts, batch.block, batch.logs, readings)
        missing = [call for call in needs.calls if call not in readings]
        if not missing:
            return replace(batch, readings=readings)
        readings |= {call: _answer(tape, step, call) for call in missing}


def _answer(tape: Tape, step: Step, call: Call) -> Answer:
    try:
        return tape.replay.recording.answer(step.line, call)
    except Unrecorded:
        return None


# --- comparing -----------------------------------------------------------------------------------


def known(tape: Tape, market: Market) -> dict[str, Any]:
    """Every field of a market that a snapshot can know."""
    unknowable = UNKNOWABLE.get(tape.family, {})
    every = [its for its in fields(market) if its.compare]  # type: ignore[arg-type]
    assert unknowable.keys() <= {its.name for its in every}
    return {its.name: getattr(market, its.name) for its in every if its.name not in unknowable}


def noted(market: Market) -> dict[str, Any]:
    """What a market remembers of its block beside its state, such as corrections by readings."""
    its_own = [its.name for its in fields(market) if not its.compare]  # type: ignore[arg-type]
    return {name: getattr(market, name) for name in its_own if not name.startswith("_")}


def contents(
    accounts: Mapping[Holder, Account], *, balances_only: Iterable[Holder] = ()
) -> dict[Holder, Account]:
    """What accounts hold, whenever that was last changed; blank ones are left out."""
    flagless, found = set(balances_only), {}
    for holder, account in accounts.items():
        timeless = account.but(updated_block=0)
        if holder in flagless:
            timeless = timeless.but(enabled=frozenset(), mode=0)
        if timeless != EMPTY:
            found[holder] = timeless
    return found
