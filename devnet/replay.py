"""
Replay recordings of real contracts through the adapter, the book and the detector.

`python -m devnet.replay FILE.jsonl.gz ...` compares every account at every block with the truth
that the contracts told. The last line is `compared N, mismatches M`. Exit code 1: M is not 0; 2: a
family or version that is not built yet, or a file that cannot be read.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chimera.detection.detector import OpportunityDetector
from chimera.domain.block import Block, BlockBatch, LogQuery
from chimera.domain.call import Answer, Call, Inquiry, T
from chimera.domain.changes import Liquidated
from chimera.domain.health import Health
from chimera.domain.market import EMPTY, Account, Holder, Key, Market
from chimera.domain.opportunity import Observation, Underwater
from chimera.errors import Rebuild, Refuse
from chimera.ports import Adapter
from chimera.registry import build_adapter
from chimera.state.book import Book
from devnet.recorded.judgement import Figures, Judge, named
from devnet.recording import BadRecording, Line, Recording, Unrecorded, address

SHOWN = 10  # mismatches printed in full

Tamper = Callable[[BlockBatch], BlockBatch | None]
"""What a sabotage makes of a batch before it is applied; None loses the block."""

FAMILIES = frozenset({"aave_v3", "compound_v2", "compound_v3", "morpho_blue"})
"""Those that have a module of their own in `devnet.recorded`."""


class NotBuilt(Exception):
    """Nothing here can replay this family or version yet."""


@dataclass(slots=True)
class Comparison:
    """How many figures were compared, and a line for each that differed."""

    compared: int = 0
    mismatches: list[str] = field(default_factory=list)

    def compare(self, what: str, ours: Figures, truth: Figures) -> None:
        """Compare figure by figure; what one side lacks counts as different."""
        for name in dict.fromkeys([*truth, *ours]):
            self.compared += 1
            mine, theirs = ours.get(name), truth.get(name)
            if mine != theirs:
                self.mismatches.append(f"{what} {name}: ours {mine}, the contract's {theirs}")

    def add(self, other: Comparison) -> None:
        """Take in another file's."""
        self.compared += other.compared
        self.mismatches += other.mismatches


def judge_of(family: str) -> Judge:
    """
    Return what compares one family with its recorded truth.

    Raises:
        NotBuilt: Nothing here knows this family.
    """
    if family not in FAMILIES:
        raise NotBuilt(f"{family}: this family is not built yet")
    module = importlib.import_module(f"devnet.recorded.{family}")
    judge: Judge = module.judge
    return judge


# --- the replay ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A market and its accounts, as they are read at one block; `complete` as in the book."""

    market: Market
    accounts: Mapping[Holder, Account]
    complete: bool


class Replay:
    """
    One recording on its way through the real parts.

    Args:
        path: Of the recording.
        tamper: Changes each batch before it is applied, to prove that a fault is noticed.

    Raises:
        BadRecording: The file cannot be read.
        NotBuilt: The family or version is not built yet.
    """

    def __init__(self, path: Path, *, tamper: Tamper | None = None) -> None:
        self.recording = Recording(path)
        self.adapter = _adapter(self.recording)
        self._judge_family = judge_of(self.recording.family)
        self.book = Book(debug=True)
        self.detector = OpportunityDetector(chain_id=self.recording.chain_id)
        self.comparison = Comparison()
        self._tamper = tamper
        self._chain: list[tuple[Block, frozenset[Key]]] = []  # with who is under 1 in truth

    def run(self) -> Comparison:
        """Replay everything; a mirror that gives up is a mismatch, too."""
        for _ in self.blocks():
            pass
        return self.comparison

    def blocks(self) -> Iterator[Line]:
        """Replay block by block, yielding each once it has been applied and compared."""
        first, *rest = self.recording.followed
        self._load(first)
        self._judge(first, frozenset())
        yield first
        for line in rest:
            try:
                liquidated = self._apply(line)
            except Rebuild as error:
                self.comparison.mismatches.append(f"block {line.block.number}: {error}")
                return
            if liquidated is not None:
                self._judge(line, liquidated)
                yield line

    def ask(self, inquiry: Inquiry[T], line: Line) -> T:
        """Drive an inquiry by the answers recorded at the end of a block."""
        try:
            questions = next(inquiry)
            while True:
                questions = inquiry.send(self._answers(line, questions))
        except StopIteration as done:
            result: T = done.value
            return result

    def _answers(self, line: Line, questions: Sequence[Call]) -> dict[Call, Answer]:
        return {call: self.recording.answer(line, call) for call in questions}

    @property
    def accounts(self) -> Mapping[Holder, Account]:
        """The accounts of the book."""
        return self.book.accounts(self.adapter.name).users

    def snapshot(self, line: Line, seen: Iterable[Line]) -> Snapshot:
        """
        Read what a bootstrap at a full block would, for whom the blocks `seen` until then name.

        Raises:
            Unrecorded: The recording was not asked for something.
        """
        adapter, block = self.adapter, line.block
        market = self.ask(adapter.read_market(block), line)
        query = adapter.discovery(market, suppliers=True)
        users: set[Holder] = set()
        for past in (*self.recording.history, *seen):
            users |= adapter.users_in(past.logs_of(query), suppliers=True)
        market = self.ask(adapter.read_rest(market, users, block), line)
        followed = sorted(user for user in users if self._is_recorded(market, user, line))
        accounts = self.ask(adapter.read_accounts(market, followed, block), line)
        if len(followed) == len(users):
            return Snapshot(market, accounts, complete=True)
        # Lenders without records are not followed; so everybody else is, from the start.
        everybody = (adapter.holder(adapter.name, user) for user in self.recording.people)
        blank = dict.fromkeys((user for user in everybody if user is not None), EMPTY)
        return Snapshot(market, {**blank, **accounts}, complete=False)

    def _is_recorded(self, market: Market, user: Holder, line: Line) -> bool:
        """Tell whether the user's balances can be read; those of accounts with a truth must be."""
        if self.adapter.published(user)[1] in self.recording.people:
            return True
        try:
            self.ask(self.adapter.read_accounts(market, [user], line.block), line)
        except Unrecorded:
            return False
        return True

    def _load(self, line: Line) -> None:
        try:
            found = self.snapshot(line, [line])
        except (Refuse, Unrecorded) as error:
            raise NotBuilt(f"{self.recording.family} {self.recording.version}: {error}") from error
        self.book.load(
            self.adapter.name,
            found.market,
            found.accounts,
            complete=found.complete,
            block=line.block,
        )

    def _apply(self, line: Line) -> frozenset[Key] | None:
        if line.block.parent_hash != self.book.block.hash:
            self._roll_back(line)
        batch = self._seal(line)
        if self._tamper is not None:
            tampered = self._tamper(batch)
            if tampered is None:
                return None
            batch = tampered
        name, liquidated = self.adapter.name, set()
        self.book.begin(batch.block)
        market, accounts = self.book.market(name), self.book.accounts(name)
        for change in self.adapter.fold(market, accounts, batch):
            self.book.apply(name, change)
            if isinstance(change, Liquidated):
                liquidated.add(self.adapter.published(change.user))
        self.book.commit()
        return frozenset(liquidated)

    def _roll_back(self, line: Line) -> None:
        while self._chain and self._chain[-1][0].hash != line.block.parent_hash:
            self._chain.pop()
        if not self._chain:
            raise Rebuild(f"block {line.block.number} builds on nothing that was seen")
        ancestor = self._chain[-1][0]
        self.book.rollback(ancestor.number)
        self.detector.rollback(ancestor)

    def _seal(self, line: Line) -> BlockBatch:
        """Collect logs and readings until the adapter lacks nothing."""
        adapter, name = self.adapter, self.adapter.name
        market, accounts = self.book.market(name), self.book.accounts(name)
        query = adapter.interest(market)
        readings = self._answers(line, adapter.polls(market, accounts, line.block))
        while True:
            logs = line.logs_of(query)
            needs = adapter.needs(market, accounts, line.block, logs, readings)
            calls = [call for call in needs.calls if call not in readings]
            if not calls and needs.addresses <= query.addresses:
                return BlockBatch(line.block, logs, readings)
            readings = {**readings, **self._answers(line, calls)}
            query = LogQuery(query.addresses | needs.addresses, query.topics)

    # --- judging ---------------------------------------------------------------------------------

    def _judge(self, line: Line, liquidated: frozenset[Key]) -> None:
        block, market = line.block, self.book.market(self.adapter.name)
        judged = self._judge_family(self.adapter, market, self.accounts, block, line.truth)
        for what, ours, told in judged.comparisons:
            self.comparison.compare(what, ours, told)
        self.detector.observe(self._observation(block, liquidated))
        self._chain.append((block, judged.under))
        self._judge_flags(block, judged.keys)

    def _observation(self, block: Block, liquidated: frozenset[Key]) -> Observation:
        adapter, market = self.adapter, self.book.market(self.adapter.name)
        under: dict[Key, Underwater] = {}
        unpriced: set[Key] = set()
        for holder, account in self.accounts.items():
            health = adapter.health(market, account, block.timestamp)
            if health.error is not None:
                unpriced.add(adapter.published(holder))
            elif health.is_unhealthy:
                key = adapter.published(holder)
                under[key] = _underwater(key, health)
        return Observation(block, under, frozenset(unpriced), liquidated)

    def _judge_flags(self, block: Block, keys: frozenset[Key]) -> None:
        """Flagged must be who, in truth, is under 1 at this and the previous canonical block."""
        open_now = self.detector.open_opportunities()
        flagged = {(opportunity.protocol, opportunity.user) for opportunity in open_now}
        expected = frozenset.intersection(*(under for _, under in self._chain[-2:]))
        expected = expected if len(self._chain) > 1 else frozenset()
        ours = {str(key): int((key[0], named(key[1])) in flagged) for key in keys}
        truth = {str(key): int(key in expected) for key in keys}
        self.comparison.compare(f"block {block.number} flagged", ours, truth)


def _underwater(key: Key, health: Health) -> Underwater:
    assert health.factor is not None  # noqa: S101  (that is what makes it unhealthy)
    return Underwater(
        protocol=key[0],
        user=named(key[1]),
        health_factor=health.factor,
        collateral_value=str(health.collateral),
        debt_value=str(health.debt),
        liquidatable=False,
        reason="not asked in a replay",
        best=None,
    )


def _adapter(recording: Recording) -> Adapter[Any]:
    label = f"{recording.family} {recording.version}"
    if recording.family not in FAMILIES:
        raise NotBuilt(f"{label}: this family is not built yet")
    try:
        return build_adapter(
            kind=recording.family,
            name=recording.family,
            address=address(recording.config["address"]),
            from_block=recording.from_block,
        )
    except KeyError as error:
        raise NotBuilt(f"{label}: this family is not built yet") from error


def replay(path: Path, *, tamper: Tamper | None = None) -> Comparison:
    """
    Replay one recording.

    Raises:
        BadRecording: The file cannot be read.
        NotBuilt: The family or version is not built yet.
    """
    return Replay(path, tamper=tamper).run()


def main(arguments: Sequence[str]) -> int:
    """Replay every file; return the exit code."""
    if not arguments:
        print("usage: python -m devnet.replay FILE.jsonl.gz ...", file=sys.stderr)
        return 2
    total, left_out = Comparison(), False
    for name in arguments:
        try:
            total.add(replay(Path(name)))
        except BadRecording as error:
            print(error, file=sys.stderr)
            left_out = True
        except NotBuilt as error:
            print(f"{name}: {error}", file=sys.stderr)
            left_out = True
    for line in total.mismatches[:SHOWN]:
        print(line)
    print(f"compared {total.compared}, mismatches {len(total.mismatches)}")
    return 1 if total.mismatches else 2 * left_out


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
