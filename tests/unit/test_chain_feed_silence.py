"""The feed beside a socket that says nothing: it asks for itself, and undoes nothing by mistake."""

import asyncio
from functools import partial

import pytest

from chimera.domain.block import Rollback
from chimera.errors import Retry
from chimera.rpc.announcements import Connected, Disconnected, Probed, Silent
from tests.fakes_chain import FakeChain
from tests.fakes_feed import Stage, until

FOREVER = 1_000.0  # seconds until a shorter chain is believed by itself


def heads_asked(stage: Stage) -> int:
    return [method for method, _ in stage.chain.requests].count("head")


def has_asked(stage: Stage, count: int) -> bool:
    return heads_asked(stage) >= count


async def following(stage: Stage) -> None:
    """Let the feed take block 2 from the socket, and come to rest."""
    await stage.numbers(1)
    stage.heads.announce(stage.chain.mine())
    await stage.numbers(1)


async def test_the_head_is_asked_for_as_soon_as_the_socket_is_silent() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        await following(stage)
        stage.chain.mine()
        stage.heads.say(Silent())

        assert await stage.numbers(1) == [3]
        assert stage.feed.trouble == (
            "the WebSocket endpoint is silent: the node is asked for its head"
        )


async def test_it_goes_on_asking_until_the_socket_announces_a_head() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        await following(stage)
        stage.heads.say(Silent())
        for number in (3, 4, 5):
            stage.chain.mine()
            assert await stage.numbers(1) == [number]

        stage.heads.announce(stage.chain.mine())
        assert await stage.numbers(1) == [6]
        assert stage.feed.trouble is None
        asked = heads_asked(stage)
        taking = asyncio.create_task(stage.take())
        await asyncio.sleep(0.2)  # ten times the time between two questions
        assert heads_asked(stage) == asked
        stage.heads.announce(stage.chain.mine())
        await taking


async def test_a_silent_socket_that_was_left_and_came_back_has_to_announce_a_head_first() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        await following(stage)
        for event in (Silent(), Disconnected(), Connected()):
            stage.heads.say(event)
        for number in (3, 4):
            await asyncio.sleep(0.05)
            stage.chain.mine()
            assert await stage.numbers(1) == [number]


async def test_a_quiet_chain_is_not_asked_again_and_again() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        await following(stage)
        taking = asyncio.create_task(stage.take())
        asked = heads_asked(stage)
        for number in (1, 2, 3):
            stage.heads.say(Silent())
            stage.heads.say(Probed(2))
            await until(partial(has_asked, stage, asked + number))
            await asyncio.sleep(0.1)  # five times the time between two questions

        assert heads_asked(stage) == asked + 3
        assert stage.feed.trouble is None
        stage.heads.announce(stage.chain.mine())
        await taking


async def test_a_stuck_socket_does_not_keep_blocks_away() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        await following(stage)
        for event in (Silent(), Probed(2)):
            stage.heads.say(event)
        await asyncio.sleep(0.05)
        stage.chain.mine()
        stage.heads.say(Silent())
        assert await stage.numbers(1) == [3]
        stage.heads.say(Probed(2))
        stage.chain.mine()
        assert await stage.numbers(1) == [4]
        assert "silent" in str(stage.feed.trouble)


async def test_a_lost_socket_is_a_reason_to_ask_at_once() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        stage.feed._poll = FOREVER
        await following(stage)
        stage.chain.mine()
        stage.heads.say(Disconnected())

        assert await stage.numbers(1) == [3]


async def test_attempts_that_fail_are_no_reason_to_ask_each_time() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        stage.feed._poll = FOREVER
        await following(stage)
        taking = asyncio.create_task(stage.take())
        asked = heads_asked(stage)
        for _ in range(5):
            stage.heads.say(Disconnected())
            await asyncio.sleep(0.01)

        await until(partial(has_asked, stage, asked + 1))
        assert heads_asked(stage) == asked + 1
        stage.heads.announce(stage.chain.mine())
        await taking


async def test_a_socket_that_is_back_ends_the_pause_of_a_node_that_failed() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        await following(stage)
        stage.feed._patience._first = stage.feed._patience._longest = FOREVER
        stage.chain.mine()
        stage.chain.faults["head"] = [Retry("connection refused")]
        stage.heads.say(Disconnected())
        taking = asyncio.create_task(stage.take())
        await until(lambda: stage.feed.trouble == "the node fails: connection refused")
        stage.heads.connect()

        assert (await taking).block.number == 3  # type: ignore[union-attr]


async def test_answers_are_passed_on() -> None:
    async with Stage(FakeChain(length=4)) as stage:
        told: list[int] = []
        stage.feed._on_answer = told.append
        await stage.numbers(3)
        stage.chain.mine()
        stage.heads.say(Silent())
        await stage.numbers(1)

        assert set(told) == {3, 4}


async def test_a_chain_set_back_is_believed_at_once_if_the_socket_says_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chimera.chain.heads.SHRUNK_AFTER", FOREVER)
    async with Stage(FakeChain(length=9)) as stage:
        await stage.numbers(8)
        stage.heads.announce(stage.chain.mine())
        await stage.numbers(1)
        stage.chain.cut(5)
        stage.heads.say(Silent())
        stage.heads.say(Probed(4))

        assert await stage.take() == Rollback(stage.chain.tip)
        assert stage.feed.head == 4


STORIES = {
    "who never announced it": (False, 7),
    "who names another height": (True, 8),
    "who still has it": (True, 9),
}


@pytest.mark.parametrize("story", STORIES)
async def test_a_shorter_chain_is_not_believed_because_of_a_socket(
    story: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chimera.chain.heads.SHRUNK_AFTER", FOREVER)
    announced, probed = STORIES[story]
    async with Stage(FakeChain(length=9)) as stage:
        await stage.numbers(8)
        block = stage.chain.mine()
        if announced:
            stage.heads.announce(block)
        else:
            stage.heads.say(Silent())
        await stage.numbers(1)
        hidden = stage.chain.cut(2)  # the node that is asked lags behind
        stage.heads.say(Silent())
        stage.heads.say(Probed(probed))
        taking = asyncio.create_task(stage.take())
        await asyncio.sleep(0.3)
        assert not taking.done()

        stage.chain.canonical += hidden
        stage.chain.blocks |= {block.hash: block for block in hidden}
        stage.heads.announce(stage.chain.mine())
        assert (await taking).block.number == 10  # type: ignore[union-attr]
        assert stage.reorgs == []


async def test_what_a_socket_said_does_not_hold_for_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chimera.chain.heads.SHRUNK_AFTER", FOREVER)
    async with Stage(FakeChain(length=9)) as stage:
        await stage.numbers(8)
        stage.heads.announce(stage.chain.mine())
        await stage.numbers(1)
        stage.chain.cut(2)
        for event in (Disconnected(), Connected(), Silent(), Probed(7)):
            stage.heads.say(event)
        taking = asyncio.create_task(stage.take())
        await asyncio.sleep(0.3)

        assert not taking.done()
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)


async def test_attempts_that_fail_do_not_put_the_next_question_off() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        stage.feed._poll = 0.05
        await following(stage)
        taking = asyncio.create_task(stage.take())
        asked = heads_asked(stage)
        for _ in range(30):  # more often than it is asked, for six times as long
            stage.heads.say(Disconnected())
            await asyncio.sleep(0.01)

        assert heads_asked(stage) >= asked + 3
        stage.heads.announce(stage.chain.mine())
        await taking
