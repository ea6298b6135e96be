"""The path of a block, where a quarantine meets open flags."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from chimera.app import path
from chimera.app.path import BlockPath
from chimera.detection.detector import OpportunityDetector
from chimera.detection.ledger import OpportunityLedger
from chimera.domain.block import Block, BlockBatch, Log, Rollback
from chimera.domain.health import Verdict
from chimera.domain.opportunity import Opportunity
from chimera.state.listing import Listing
from tests.fakes_reconcile import LESS, House, house_with
from tests.fakes_state import ALICE, BOB, ENTRY, PRICE, WETH, child, log


class Stream:
    """Where flags go."""

    def __init__(self) -> None:
        self.published: list[Opportunity] = []
        self.reminded: list[Opportunity] = []

    def remind(self, episodes: Sequence[Opportunity]) -> None:
        self.reminded += episodes

    def publish(self, changed: Sequence[Opportunity]) -> None:
        self.published += changed


class Walk:
    """A block path around a house, with everybody but the store."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.detector = OpportunityDetector(chain_id=1)
        self.stream = Stream()
        rooms: Any = SimpleNamespace(
            settings=SimpleNamespace(chain=SimpleNamespace(name="test")),
            engine=house.engine,
            feed=SimpleNamespace(newest=None),
            book=house.book,
            detector=self.detector,
            ledger=OpportunityLedger(self.detector, keep=10),
            bootstrap=SimpleNamespace(followed_to=lambda number: {"fake": number}),
            writer=SimpleNamespace(submit=lambda *_, **__: None),
            flags=self.stream,
            publisher=house.publisher,
            metrics=house.metrics,
            reconciler=house.reconciler,
            listing=Listing(house.engine),
            snapshots=SimpleNamespace(took=lambda _: None),
        )
        self.path = BlockPath(rooms)
        house.reconciler.look_again = self.path.look_again

    async def block(self, *logs: Log, salt: str = "") -> Block:
        block = child(self.house.book.block, salt)
        await self.path.take(BlockBatch(block, logs, {}, arrived_ns=1))
        return block

    def verdicts(self) -> set[tuple[bool, str | None, bool]]:
        found = self.detector.open_opportunities()
        return {(flag.liquidatable, flag.reason, flag.best is not None) for flag in found}


LIQUIDATABLE, UNVERIFIED = (True, None, True), (False, "unverified", False)


async def flagged() -> Walk:
    """Everybody is flagged, and the next comparison will find two accounts wrong."""
    walk = Walk(house_with({ALICE: LESS, BOB: LESS}))
    walk.house.adapter.prices = {**walk.house.adapter.prices, WETH: 1_000}
    await walk.block(log(PRICE, ENTRY, WETH, 1_000))
    await walk.block()
    assert walk.verdicts() == {LIQUIDATABLE}
    return walk


async def test_open_flags_are_held_back_without_waiting_for_a_block() -> None:
    walk = await flagged()
    before = {flag.id: flag.blocks_unhealthy for flag in walk.detector.open_opportunities()}

    await walk.house.reconciler.compare()

    assert walk.verdicts() == {UNVERIFIED}
    after = {flag.id: flag.blocks_unhealthy for flag in walk.detector.open_opportunities()}
    assert after == before  # the same episodes, and no block counted twice


async def test_they_are_let_go_again_with_the_quarantine() -> None:
    walk = await flagged()
    await walk.house.reconciler.compare()

    await walk.house.reconciler.heal()

    assert walk.verdicts() == {LIQUIDATABLE}


async def test_flags_that_a_rollback_shows_again_heed_the_quarantine() -> None:
    walk = await flagged()
    ancestor = walk.house.book.block
    walk.house.adapter.prices = {**walk.house.adapter.prices, WETH: 2_000}
    await walk.block(log(PRICE, ENTRY, WETH, 2_000))  # everybody recovers: the flags close
    assert walk.verdicts() == set()
    await walk.house.reconciler.compare()
    assert walk.house.trust.quarantined == {"fake"}
    walk.stream.published.clear()

    await walk.path.take(Rollback(ancestor))

    assert walk.verdicts() == {UNVERIFIED}
    assert {flag.reason for flag in walk.stream.published} == {"unverified"}


async def test_everybody_under_1_has_a_turn_when_verdicts_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    walk = await flagged()
    monkeypatch.setattr(path, "VERDICTS", 1)
    paused = Verdict(liquidatable=False, reason="paused")
    monkeypatch.setattr(type(walk.house.adapter), "verdict", lambda *_: paused)

    told = []
    for _ in range(4):
        with capture_logs() as lines:
            await walk.block()
        told.append([line["user"] for line in lines if line["event"] == "underwater_changed"])

    assert [len(users) for users in told] == [1, 1, 1, 0]
    assert {user for users in told for user in users} == {
        flag.user for flag in walk.detector.open_opportunities()
    }


async def test_garbage_is_collected_after_a_block_and_not_while_it_is_decided() -> None:
    """No more of it is around than a block makes: a collection by itself would stop a decision."""
    walk = await flagged()

    await walk.block()

    decided, (young, middle, _) = walk.path.processed, gc.get_count()
    assert decided == walk.house.book.block.number
    assert (young < 700, middle) == (True, 0)


async def test_what_is_complete_begins_where_the_book_was_read_instead_of_followed() -> None:
    walk = await flagged()
    block = walk.house.book.block

    def since() -> tuple[int | None, float]:
        return walk.path.complete_since, walk.house.count("complete_since_block")

    walk.path.begin(block, followed=True)  # a start: what was before is another run's
    assert since() == (block.number, block.number)
    await walk.block()
    walk.path.begin(walk.house.book.block, followed=True)  # read anew where it stood
    assert since() == (block.number, block.number)

    jumped = replace(block, number=block.number + 7_000)
    with capture_logs() as lines:
        walk.path.begin(jumped, followed=False)

    assert since() == (jumped.number, jumped.number)
    assert {"up_to": jumped.number, "since": jumped.number} in [
        {name: line.get(name) for name in ("up_to", "since")} for line in lines
    ]


async def test_what_is_complete_begins_earlier_where_the_book_went_back_further() -> None:
    walk = await flagged()
    block = walk.house.book.block
    walk.path.begin(block, followed=False)

    walk.path.begin(replace(block, number=block.number - 1), followed=True)

    assert walk.path.complete_since == block.number - 1


async def test_what_closed_last_is_reminded_of_though_it_was_flagged_first() -> None:
    walk = await flagged()
    model = walk.detector.open_opportunities()[0]
    stored = [
        replace(
            model,
            id=f"{number:03}",
            state="closed",
            flagged_block=number,
            closed_block=5_000 if number == 0 else 1_000 + number,
        )
        for number in range(2 * path.REMINDED)
    ]

    walk.path.resume(stored[::-1])

    reminded = {episode.id for episode in walk.stream.reminded if episode.state == "closed"}
    assert len(reminded) == path.REMINDED
    assert "000" in reminded
