"""A block is decided in one turn of the loop, and what follows comes in later ones."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chimera import service
from chimera.detection import episodes
from chimera.domain.market import Key
from chimera.domain.opportunity import Opportunity
from tests.fakes_reconcile import LESS, house_with
from tests.fakes_state import ALICE, BOB, ENTRY, PRICE, WETH, log
from tests.unit.test_app_path import Walk, flagged


class Passes:
    """Looks at a walk in each pass of the loop, until a block has been taken."""

    def __init__(self, walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[int, int, int]] = []
        self.swept = 0
        self._walk = walk
        monkeypatch.setattr(walk.path.garbage, "sweep", self._sweep)

    def _sweep(self) -> None:
        self.swept += 1

    async def look(self, taking: asyncio.Task[Any]) -> None:
        while not taking.done():
            await asyncio.sleep(0)
            waiting = self._walk.house.publisher.pending
            self.seen.append((self._walk.path.processed, waiting, self.swept))


async def begun(monkeypatch: pytest.MonkeyPatch) -> tuple[Walk, Passes]:
    """Have somebody flagged, and nothing left to publish."""
    walk = await flagged()
    walk.house.publisher._pending.clear()
    passes = Passes(walk, monkeypatch)
    return walk, passes


async def test_readers_see_the_whole_block_before_what_follows_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    walk, passes = await begun(monkeypatch)
    before = walk.house.book.block.number

    taking = asyncio.create_task(walk.block(log(PRICE, ENTRY, WETH, 900)))
    await passes.look(taking)

    assert passes.seen[0] == (before + 1, 0, 0)  # decided, and nothing else
    states = list(dict.fromkeys(passes.seen))
    assert [state[2] for state in states] == sorted(state[2] for state in states)
    assert {waiting > 0 for _, waiting, swept in states if swept} == {True}  # swept last of all
    assert states[-1][2] == 1


async def test_whoever_stops_the_path_in_between_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    walk, passes = await begun(monkeypatch)
    taking = asyncio.create_task(walk.block(log(PRICE, ENTRY, WETH, 900)))
    await asyncio.sleep(0)
    assert (walk.house.publisher.pending, passes.swept) == (0, 0)

    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking

    assert ("fake", ALICE) in walk.house.publisher._pending
    assert passes.swept == 1


async def test_who_was_near_is_published_too_and_the_block_counts_once_with_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    walk = await flagged()
    near, told = walk.house.engine.near, list[tuple[set[Key], int]]()
    monkeypatch.setattr(
        walk.house.publisher,
        "publish_block",
        lambda keys, arrived_ns=0: told.append((set(keys), arrived_ns)),
    )

    await walk.block(log(PRICE, ENTRY, WETH, 1_000_000))

    assert near
    assert not walk.house.engine.near
    assert set().union(*(keys for keys, _ in told)) == near | walk.house.engine.touched
    assert [arrived for _, arrived in told] == [0, 1]


async def test_the_next_block_comes_after_all_that_follows_from_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    walk = await flagged()
    passes = Passes(walk, monkeypatch)

    swept = [(await walk.block(), passes.swept)[1] for _ in range(3)]

    assert swept == [1, 2, 3]


async def about_to_be_flagged() -> Walk:
    """Everybody is under 1, and the next block flags them."""
    walk = Walk(house_with({ALICE: LESS, BOB: LESS}))
    walk.house.adapter.prices = {**walk.house.adapter.prices, WETH: 1_000}
    await walk.block(log(PRICE, ENTRY, WETH, 1_000))
    return walk


def listed(walk: Walk) -> int:
    return len(walk.path._rooms.ledger.page(state="open", protocol=None, limit=9, cursor=None)[1])


async def test_all_who_are_flagged_are_listed_at_once_and_reckoned_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    walk = await about_to_be_flagged()
    monkeypatch.setattr(service, "LONGEST_TURN", 0.0)  # nobody does two things in a turn
    reckoned, reckon = list[str](), episodes.Outcome.reckon

    def noting(outcome: episodes.Outcome) -> Opportunity:
        reckoned.append(outcome.id)
        return reckon(outcome)

    monkeypatch.setattr(episodes.Outcome, "reckon", noting)
    taking, seen = asyncio.create_task(walk.block()), list[int]()
    while not walk.stream.published:
        await asyncio.sleep(0)
        seen.append(len(reckoned))

    assert listed(walk) == len(walk.stream.published) >= 2
    assert seen[0] == 0  # they are decided
    assert {1, 2} <= set(seen)  # others had a turn in between
    await taking


async def test_whoever_stops_the_path_among_many_flags_loses_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    walk = await about_to_be_flagged()
    monkeypatch.setattr(service, "LONGEST_TURN", 0.0)
    taking = asyncio.create_task(walk.block())
    await asyncio.sleep(0)
    assert listed(walk) >= 2
    assert walk.stream.published == []

    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking

    assert {flag.id for flag in walk.stream.published} == {
        flag.id for flag in walk.detector.open_opportunities()
    }


async def test_who_recovers_is_listed_as_closed_before_it_is_reckoned() -> None:
    walk = await flagged()
    flags = {flag.id for flag in walk.detector.open_opportunities()}
    taking = asyncio.create_task(walk.block(log(PRICE, ENTRY, WETH, 1_000_000)))
    await asyncio.sleep(0)

    rooms = walk.path._rooms
    _, closed, _ = rooms.ledger.page(state="closed", protocol=None, limit=9, cursor=None)
    assert {episode.id for episode in closed} == flags
    assert {flag.state for flag in walk.stream.published} == {"open"}  # not told yet
    await taking
    told = [flag for flag in walk.stream.published if flag.state == "closed"]
    assert {flag.id: flag for flag in told} == {flag.id: flag for flag in closed}
    assert {flag.id: flag for flag in rooms.ledger.episodes()} == {flag.id: flag for flag in told}


async def test_a_look_in_between_tells_no_store_that_the_block_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A checkpoint without the flags of its block would make a start forget them."""
    walk, told = await about_to_be_flagged(), list[tuple[int, int]]()
    monkeypatch.setattr(
        walk.path._rooms.writer,
        "submit",
        lambda checkpoint, flags, *_, **__: told.append((checkpoint.block.number, len(flags))),
    )
    taking = asyncio.create_task(walk.block())
    await asyncio.sleep(0)
    assert listed(walk) >= 2

    await walk.path.look_again()
    await taking

    assert told == [(walk.path.processed, listed(walk))]
