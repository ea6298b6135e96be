"""A turn at the event loop: it ends by the clock, and others go first then."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

import pytest

from chimera import service
from chimera.service import Turn


async def others_went_first(turn: Turn) -> bool:
    went: list[int] = []
    task = asyncio.create_task(note(went))
    await turn.give_way()
    found = bool(went)
    await task
    return found


async def note(went: list[int]) -> None:
    went.append(1)


async def test_a_turn_is_kept_until_its_end_and_then_given_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [10.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    turn = Turn()

    assert not await others_went_first(turn)
    now[0] += service.LONGEST_TURN
    assert await others_went_first(turn)
    assert not await others_went_first(turn)  # a new one has begun


async def test_long_work_of_many_is_not_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them takes a whole turn whenever it can; there is a pass of the loop between two."""
    now, passes, worked = [10.0], [0], []
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    async def count() -> None:
        while True:
            passes[0] += 1
            await asyncio.sleep(0)

    async def work(name: str) -> None:
        turn = Turn()
        for _ in range(3):
            await turn.give_way()
            worked.append((passes[0], name))
            now[0] += service.LONGEST_TURN

    counting = asyncio.create_task(count())
    await asyncio.gather(*(work(name) for name in "abc"))
    counting.cancel()

    numbers = [number for number, _ in worked]
    assert min(later - number for number, later in pairwise(numbers)) > 1
    assert [name for _, name in worked] == list("aabcabcbc")  # who gives way goes to the end


async def test_who_begins_anew_does_not_go_right_before_those_who_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, passes, worked = [10.0], [0], []
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    async def work() -> None:
        turn = Turn()
        await turn.give_way()
        worked.append(passes[0])
        now[0] += service.LONGEST_TURN
        await turn.end()
        worked.append(passes[0])
        now[0] += service.LONGEST_TURN

    working = []
    for _ in range(8):  # somebody else in each pass
        working.append(asyncio.create_task(work()))
        await asyncio.sleep(0)
        passes[0] += 1
    while not all(task.done() for task in working):
        await asyncio.sleep(0)
        passes[0] += 1

    assert min(later - number for number, later in pairwise(worked)) > 1


async def test_others_go_first_also_when_work_comes_while_the_line_is_moving() -> None:
    """A clock that rings in the pass of the work takes two more until its task goes on."""
    for passes in range(4):
        went: list[str] = []
        moving = asyncio.create_task(Turn().end())
        for _ in range(passes):
            await asyncio.sleep(0)
        rings = asyncio.get_running_loop().create_future()

        async def other(rings: asyncio.Future[None] = rings, went: list[str] = went) -> None:
            await rings
            went.append("other")

        waiting = asyncio.create_task(other())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(rings.set_result, None)
        await Turn(first=True).end()
        assert went == ["other"]
        await asyncio.gather(moving, waiting)


async def test_whoever_comes_first_overtakes_all_who_wait() -> None:
    went = []

    async def wait(name: str, *, first: bool) -> None:
        await Turn(first=first).end()
        went.append(name)

    ordinary = [asyncio.create_task(wait(name, first=False)) for name in "ab"]
    await asyncio.sleep(0)
    await asyncio.gather(wait("urgent", first=True), *ordinary)

    assert went.index("urgent") < went.index("b")


async def test_who_is_cancelled_while_waiting_holds_up_nobody() -> None:
    waiting = [asyncio.create_task(Turn().end()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()

    async with asyncio.timeout(20):
        await waiting[2]


async def test_who_always_goes_first_is_followed_by_another_now_and_then() -> None:
    """As the path of a block does while it fills a gap, and waits for nothing between blocks."""
    firsts, served = 0, []

    async def first() -> None:
        nonlocal firsts
        turn = Turn(first=True)
        for _ in range(100):
            await turn.end()
            firsts += 1

    async def other() -> None:
        turn = Turn()
        for _ in range(5):
            await turn.end()
            served.append(firsts)

    await asyncio.gather(first(), other(), other())

    assert len(served) == 10
    gaps = [later - earlier for earlier, later in pairwise([0, *served])]
    assert service.MOST_OVERTAKEN - 1 <= max(gaps) <= service.MOST_OVERTAKEN + 2


async def test_what_cannot_be_split_does_not_follow_a_turn_before_others_could_go_on() -> None:
    went: list[str] = []

    async def other(rings: asyncio.Future[None]) -> None:
        await rings
        went.append("other")

    async def work() -> None:
        Turn()
        went.append("turn")

    async def block() -> None:
        await Turn.undivided()
        went.append("block")

    rings = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(other(rings))
    await asyncio.sleep(0)
    working, taking = asyncio.create_task(work()), asyncio.create_task(block())
    asyncio.get_running_loop().call_soon(rings.set_result, None)
    await asyncio.gather(waiting, working, taking)

    assert went == ["turn", "other", "block"]


async def test_what_cannot_be_split_waits_for_nobody_else() -> None:
    waiting = [asyncio.create_task(Turn().end()) for _ in range(9)]
    await asyncio.sleep(0)
    taking = asyncio.create_task(Turn.undivided())
    for _ in range(service.APART + 1):
        await asyncio.sleep(0)

    assert taking.done()
    assert not all(task.done() for task in waiting)
    await asyncio.gather(*waiting)


async def test_no_turn_follows_at_once_on_what_cannot_be_split() -> None:
    passes: list[int] = []
    await asyncio.gather(*(Turn().end() for _ in range(2)))
    for _ in range(2 * service.BREATH):
        await asyncio.sleep(0)

    await Turn.undivided()
    turn = Turn()
    counting = asyncio.create_task(count(passes))
    await turn.give_way()

    assert len(passes) > 1
    counting.cancel()


async def count(passes: list[int]) -> None:
    while True:
        passes.append(1)
        await asyncio.sleep(0)
