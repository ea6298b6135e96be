"""The recording through the real parts, and a singleton made up word by word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from chimera import registry
from chimera.domain.block import ZERO_ADDRESS, Address
from chimera.domain.call import Answer, Call
from chimera.domain.market import Account, Holder
from chimera.protocols.morpho_blue.adapter import MorphoBlue
from chimera.protocols.morpho_blue.market import MorphoMarket
from devnet.recording import Line, address
from devnet.replay import Replay

RECORDING = Path(__file__).parent / "recordings" / "morpho_blue-1.0.0-11.jsonl.gz"


registry.BUILT_IN.setdefault("morpho_blue", MorphoBlue)


def balances(account: Account | None) -> list[dict[Address, int]]:
    """What must agree of an account, whenever it was read."""
    found = account or Account()
    return [dict(side) for side in (found.supplied, found.owed, found.marks)]


class MorphoReplay(Replay):
    """The replay, which reads the markets that its holders are in before the accounts."""

    adapter: MorphoBlue

    def audit(self) -> list[str]:
        """Replay all, and at full blocks hold the book against a fresh snapshot: what differs."""
        found = []
        for line in self.blocks():
            if line.is_full:
                found += [f"block {line.block.number} {name}" for name in self.strays(line)]
        return [*self.comparison.mismatches, *found]

    def strays(self, line: Line) -> Iterator[str]:
        """Name what a fresh snapshot has otherwise."""
        holders = sorted({*self.holders(line), *self.accounts})
        market, accounts = self.snapshot(line, holders)
        ours = self.market
        for name in ("fee_recipient", "curves", "irms", "live", "quotes", "rates"):
            if getattr(ours, name) != getattr(market, name):
                yield name
        for where, terms in market.terms.items():
            for name in ("terms", "totals", "targets"):
                if getattr(ours, name).get(where) != getattr(market, name).get(where):
                    yield f"{name} of 0x{where.hex()}"
            assert ours.terms[where] == terms
        for holder in sorted({*accounts, *self.accounts}):
            if balances(self.accounts.get(holder)) != balances(accounts.get(holder)):
                yield f"account 0x{holder.hex()}"

    @property
    def market(self) -> MorphoMarket:
        found = self.book.market(self.adapter.name)
        assert isinstance(found, MorphoMarket)
        return found

    def holders(self, upto: Line) -> list[Holder]:
        """Everybody whom the logs up to this block name."""
        nothing = MorphoMarket(self.adapter.address, None, ZERO_ADDRESS)
        query = self.adapter.discovery(nothing, suppliers=True)
        found: set[Holder] = set()
        for line in self.recording.lines:
            if line.block.number <= upto.block.number:
                found |= self.adapter.users_in(line.logs_of(query), suppliers=True)
        return sorted(found)

    def snapshot(
        self, line: Line, holders: list[Holder]
    ) -> tuple[MorphoMarket, dict[Holder, Account]]:
        """What somebody would read who starts at this block."""
        market = self.ask(self.adapter.read_market(line.block), line)
        market = self.ask(self.adapter.read_rest(market, holders, line.block), line)
        return market, self.ask(self.adapter.read_accounts(market, holders, line.block), line)

    def _answers(self, line: Line, questions: Sequence[Call]) -> dict[Call, Answer]:
        """The people of the recording have no code, so that whoever calls one gets nothing."""
        people = {address(user) for user in self.recording.header["accounts"]}
        asked = [call for call in questions if call.to not in people]
        return {**super()._answers(line, asked), **{c: b"" for c in questions if c.to in people}}

    def _load(self, line: Line) -> None:
        market, accounts = self.snapshot(line, self.holders(line))
        self.book.load(self.adapter.name, market, accounts, complete=True, block=line.block)
