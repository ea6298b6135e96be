"""
Replay recordings of real contracts through the adapter, the book and the detector.

`python -m devnet.replay FILE.jsonl.gz ...` compares every account at every block with the truth
that the contracts told. The last line is `compared N, mismatches M`. Exit code 1: M is not 0; 2: a
family or version that is not built yet, or a file that cannot be read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eth_utils.address import to_checksum_address

from chimera.detection.detector import OpportunityDetector
from chimera.domain.block import Address, Block, BlockBatch, LogQuery
from chimera.domain.call import Answer, Call, Inquiry, T
from chimera.domain.changes import Liquidated
from chimera.domain.health import Health
from chimera.domain.market import Account, Key
from chimera.domain.numeric import MAX_UINT256, WAD, short_decimal
from chimera.domain.opportunity import Observation, Underwater
from chimera.errors import Rebuild, Refuse
from chimera.ports import Adapter
from chimera.registry import build_adapter
from chimera.state.book import Book
from devnet.recording import BadRecording, Line, Recording, Unrecorded, address

SHOWN = 10  # mismatches printed in full

Tamper = Callable[[BlockBatch], BlockBatch | None]
"""What a sabotage makes of a batch before it is applied; None loses the block."""

Figures = Mapping[str, int | str | None]
"""Name -> figure; just `reverts` where the contract's view reverts."""


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


# --- one family each -----------------------------------------------------------------------------


def _aave_truth(told: Mapping[str, Any] | None) -> Figures:
    if told is None:
        return {"reverts": 1}
    return {
        "total_collateral": int(told["total_collateral"]),
        "total_debt": int(told["total_debt"]),
        "liquidation_threshold": short_decimal(int(told["liquidation_threshold"]), 4),
        "health_factor": int(told["health_factor"]),
    }


def _aave_figures(health: Health) -> Figures:
    if health.error is not None:
        return {"reverts": 1}
    return {
        "total_collateral": health.collateral,
        "total_debt": health.debt,
        "liquidation_threshold": health.threshold,
        "health_factor": MAX_UINT256 if health.factor is None else health.factor,
    }


@dataclass(frozen=True, slots=True)
class Family:
    """How one family's recorded truth is read, and our health in the same figures."""

    truth: Callable[[Mapping[str, Any] | None], Figures]
    figures: Callable[[Health], Figures]


FAMILIES = {"aave_v3": Family(_aave_truth, _aave_figures)}


# --- the replay ----------------------------------------------------------------------------------


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
        self.family = FAMILIES[self.recording.family]
        self.book = Book(debug=True)
        self.detector = OpportunityDetector(chain_id=self.recording.chain_id)
        self.comparison = Comparison()
        self._tamper = tamper
        self._chain: list[tuple[Block, frozenset[Address]]] = []  # with who is under 1 in truth

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
    def accounts(self) -> Mapping[Address, Account]:
        """The accounts of the book."""
        return self.book.accounts(self.adapter.name).users

    def _load(self, line: Line) -> None:
        adapter, block = self.adapter, line.block
        try:
            market = self.ask(adapter.read_market(block), line)
        except (Refuse, Unrecorded) as error:
            raise NotBuilt(f"{self.recording.family} {self.recording.version}: {error}") from error
        query = adapter.discovery(market, suppliers=True)
        users: set[Address] = set()
        for past in (*self.recording.history, line):
            users |= adapter.users_in(past.logs_of(query), suppliers=True)
        accounts = self.ask(adapter.read_accounts(market, sorted(users), block), line)
        self.book.load(adapter.name, market, accounts, complete=True, block=block)

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
                liquidated.add((name, change.user))
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
        readings = self._answers(line, adapter.polls(market))
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
        block = line.block
        healths = {user: self._health(user, block) for user in self.accounts.keys() | line.truth}
        truth = {user: self.family.truth(told) for user, told in line.truth.items()}
        for user, told in truth.items():
            ours = self.family.figures(healths[user])
            self.comparison.compare(f"block {block.number} {_named(user)}", ours, told)
        self.detector.observe(self._observation(block, healths, liquidated))
        self._chain.append((block, frozenset(u for u, told in truth.items() if _under(told))))
        self._judge_flags(block, set(truth))

    def _health(self, user: Address, block: Block) -> Health:
        market = self.book.market(self.adapter.name)
        account = self.accounts.get(user, Account())
        return self.adapter.health(market, account, block.timestamp)

    def _observation(
        self, block: Block, healths: Mapping[Address, Health], liquidated: frozenset[Key]
    ) -> Observation:
        name = self.adapter.name
        under = {u: health for u, health in healths.items() if health.is_unhealthy}
        unpriced = (u for u, health in healths.items() if health.error is not None)
        return Observation(
            block=block,
            underwater={(name, user): self._underwater(user, h) for user, h in under.items()},
            unpriced=frozenset((name, u) for u in unpriced if u in self.accounts),
            liquidated=liquidated,
        )

    def _underwater(self, user: Address, health: Health) -> Underwater:
        assert health.factor is not None  # noqa: S101  (that is what makes it unhealthy)
        return Underwater(
            protocol=self.adapter.name,
            user=_named(user),
            health_factor=health.factor,
            collateral_value=str(health.collateral),
            debt_value=str(health.debt),
            liquidatable=False,
            reason="not asked in a replay",
            best=None,
        )

    def _judge_flags(self, block: Block, users: set[Address]) -> None:
        """Flagged must be who, in truth, is under 1 at this and the previous canonical block."""
        flagged = {opportunity.user for opportunity in self.detector.open_opportunities()}
        expected = frozenset.intersection(*(under for _, under in self._chain[-2:]))
        expected = expected if len(self._chain) > 1 else frozenset()
        ours = {_named(user): int(_named(user) in flagged) for user in users}
        truth = {_named(user): int(user in expected) for user in users}
        self.comparison.compare(f"block {block.number} flagged", ours, truth)


def _under(told: Figures) -> bool:
    factor = told.get("health_factor")
    return isinstance(factor, int) and factor < WAD


def _named(user: Address) -> str:
    return str(to_checksum_address(user))


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
