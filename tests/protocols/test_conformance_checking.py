"""What `chimera check` says of every family's prices, by the feeds that were recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from chimera.app.checking_prices import MOST_OPENED, price_rows
from chimera.app.facts import CheckRow
from chimera.domain.block import Block
from chimera.domain.call import Call, Readings
from chimera.ports import ChainReader
from devnet.recording import Unrecorded
from tests.protocols.conformance import EVERY, Step, Tape

# What must be told apart by what the recorded contracts answer to the getters of each kind.
KINDS = {
    "aave_v3": {"plain feed", "capped ratio", "capped stable"},
    "compound_v2": {"plain feed", "composite", "wrapped"},
    "compound_v3": {"plain feed"},  # the getters of its own feeds were not recorded
    "morpho_blue": {"market oracle", "unknown"},
}


class Recorded:
    """A node that knows what was recorded; anything else reverts."""

    def __init__(self, tape: Tape, step: Step) -> None:
        self._tape = tape
        self._step = step

    async def read(self, calls: Sequence[Call], block: Block) -> Readings:
        assert block == self._step.block
        return {call: self._answer(call) for call in calls}

    def _answer(self, call: Call) -> bytes | None:
        try:
            return self._tape.replay.recording.answer(self._step.line, call)
        except Unrecorded:
            return None


async def rows_at(tape: Tape, step: Step, *, opened: bool = False) -> list[CheckRow]:
    reader = cast("ChainReader", Recorded(tape, step))
    return await price_rows(reader, tape.adapter, step.after.market, step.block, opened=opened)


@EVERY
async def test_every_price_has_a_row_and_only_dead_ones_fail(tape: Tape) -> None:
    kinds: set[str] = set()
    for step in tape.full:
        quotes = tape.adapter.quotes(step.after.market)

        rows = await rows_at(tape, step)

        assert len(rows) == len(quotes)
        assert sum(not row.ok for row in rows) == sum(not price for price in quotes.values())
        for row in rows:
            kinds.add(row.source["kind"])
            assert row.fact.isprintable()
            assert row.subject.startswith(f"{tape.adapter.name} ")
            assert ("dead" in row.fact) or f"answers {row.source['price']} " in row.fact
    assert kinds >= KINDS[tape.family]


@EVERY
async def test_ages_are_those_of_the_last_rounds(tape: Tape) -> None:
    sources: list[Any] = [row.source for row in await rows_at(tape, tape.full[-1])]

    ages = [its["age"] for its in sources if its["age"] is not None]

    assert ages
    assert all(0 <= age < 10**8 for age in ages)


@EVERY
async def test_of_markets_that_anybody_opens_few_prices_are_shown(tape: Tape) -> None:
    step = tape.full[-1]

    rows = await rows_at(tape, step, opened=True)

    assert all(row.ok for row in rows)
    assert sum(bool(row.source) for row in rows) <= MOST_OPENED
