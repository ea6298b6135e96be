"""The feed: order, gaps, faults, and what it asks of the follower."""

import asyncio

import pytest

from chimera.domain.block import LogQuery, Needs
from chimera.domain.call import Call
from chimera.errors import Rebuild, Retry
from chimera.rpc.announcements import Connected, Disconnected
from chimera.rpc.faults import StateGone, UnknownBlock
from chimera.service import APART, Turn
from tests.fakes_chain import POOL, PRICE, TOKEN, TOPIC, FakeChain
from tests.fakes_feed import Stage, batch, until


async def test_it_fills_the_gap_from_the_start_to_the_head_and_then_follows() -> None:
    async with Stage(FakeChain(length=6)) as stage:
        assert await stage.numbers(5) == [1, 2, 3, 4, 5]

        stage.heads.announce(stage.chain.mine())

        assert await stage.numbers(1) == [6]
        assert stage.feed.head == 6


async def test_a_live_block_costs_one_request_for_logs_and_one_for_readings() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        await stage.take()
        stage.heads.announce(stage.chain.mine())
        await stage.take()
        stage.chain.requests.clear()
        stage.heads.announce(stage.chain.mine())

        await stage.take()

        assert stage.chain.requests == [("logs_of", 3), ("read", (PRICE,))]


async def test_a_reconnect_while_the_head_is_asked_for_asks_once_more() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        reconnects = iter([stage.heads.connect])
        stage.chain.on_request = lambda method: (
            next(reconnects, int)() if method == "head" else None
        )

        await stage.take()
        stage.heads.announce(stage.chain.mine())
        await stage.take()

        assert [method for method, _ in stage.chain.requests].count("head") == 2


async def test_a_batch_has_the_logs_and_readings_of_its_own_block() -> None:
    async with Stage(FakeChain()) as stage:
        block = stage.chain.mine((POOL, b""), (TOKEN, b""))

        sealed = batch(await stage.take())

        assert sealed.block == block
        assert [log.address for log in sealed.logs] == [POOL]
        assert sealed.readings == {PRICE: b"price@" + block.hash[:4]}


async def test_only_a_live_block_has_the_time_of_its_arrival() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        filled = batch(await stage.take())
        stage.heads.announce(stage.chain.mine())
        live = batch(await stage.take())

        assert (filled.arrived_ns, filled.sealed_ns) == (0, 0)
        assert live.arrived_ns == 7_002
        assert live.sealed_ns > 0


async def test_heads_that_were_never_announced_are_filled_in_by_number() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        await stage.take()
        stage.chain.mine()
        stage.chain.mine()
        stage.heads.announce(stage.chain.mine())

        assert await stage.numbers(3) == [2, 3, 4]


async def test_the_newest_head_is_known_while_an_older_block_is_worked_on() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        await stage.take()
        for _ in range(3):
            stage.heads.announce(stage.chain.mine())

        await until(lambda: stage.feed.head == 4)


async def test_a_block_that_vanishes_while_it_is_sealed_is_dropped() -> None:
    async with Stage(FakeChain(length=3)) as stage:
        await stage.numbers(2)
        lost = stage.chain.mine()
        stage.chain.cut(1)
        stage.chain.faults["logs_of"] = [UnknownBlock("unknown block")]
        kept = stage.chain.mine()
        stage.heads.announce(lost, kept)

        assert batch(await stage.take()).block == kept


async def test_a_node_that_fails_is_waited_out_without_losing_a_block() -> None:
    async with Stage(FakeChain(length=4)) as stage:
        for method in ("head", "block_at", "logs_of", "read"):
            stage.chain.faults[method] = [Retry("down"), Retry("still down")]

        assert await stage.numbers(3) == [1, 2, 3]


async def test_a_node_without_the_state_of_a_missed_block_asks_for_a_rebuild() -> None:
    async with Stage(FakeChain(length=4)) as stage:
        stage.chain.faults["read"] = [StateGone("missing trie node")] * 40

        with pytest.raises(Rebuild):
            await stage.take()


async def test_other_faults_do_not_make_a_missing_state_final() -> None:
    async with Stage(FakeChain(length=3)) as stage:
        stage.chain.faults["read"] = [*[Retry("down")] * 3, StateGone("not yet"), Retry("down")]

        assert await stage.numbers(2) == [1, 2]


async def test_a_socket_that_lags_beyond_the_undo_window_is_not_believed() -> None:
    async with Stage(FakeChain(length=8), undo_window=3) as stage:
        assert await stage.numbers(7) == [1, 2, 3, 4, 5, 6, 7]
        assert stage.feed.trouble is None

        stage.heads.announce(stage.chain.canonical[2])
        stage.chain.mine()

        assert await stage.numbers(1) == [8]


async def test_it_tells_what_keeps_news_away() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        stage.chain.faults["logs_of"] = [Retry("connection refused")] * 2
        taking = asyncio.create_task(stage.take())
        await until(lambda: stage.feed.trouble is not None)
        assert stage.feed.trouble == "the node fails: connection refused"

        await taking
        assert stage.feed.trouble is None


async def test_while_no_socket_is_up_the_head_is_asked_for() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        await stage.take()
        stage.heads.say(Disconnected())
        stage.chain.mine()

        assert await stage.numbers(1) == [2]


async def test_after_a_reconnect_the_head_is_asked_for() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        await stage.take()
        await asyncio.sleep(0.05)
        stage.chain.mine()
        stage.heads.connect()

        assert await stage.numbers(1) == [2]


async def test_what_the_follower_lacks_rides_in_the_same_batch() -> None:
    async with Stage(FakeChain()) as stage:
        block = stage.chain.mine((POOL, bytes(TOKEN)), (TOKEN, b""))

        sealed = batch(await stage.take())

        assert [log.address for log in sealed.logs] == [POOL, TOKEN]
        assert sealed.readings[Call(TOKEN, b"balance")] == b"balance@" + block.hash[:4]
        assert sealed.readings[PRICE] is not None


async def test_interests_that_grew_with_a_batch_hold_for_the_next_block() -> None:
    async with Stage(FakeChain()) as stage:
        stage.chain.mine()
        for _ in range(4):
            stage.chain.mine((TOKEN, b""))
        await stage.take()
        stage.follower.addresses |= {TOKEN}
        stage.follower.calls += (Call(TOKEN, b"price"),)

        sealed = batch(await stage.take())

        assert [log.address for log in sealed.logs] == [TOKEN]
        assert Call(TOKEN, b"price") in sealed.readings
        assert stage.heads.watched == LogQuery(frozenset({POOL, TOKEN}), frozenset({TOPIC}))


async def test_a_follower_that_is_never_satisfied_asks_for_a_rebuild(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Stage(FakeChain(length=2)) as stage:
        monkeypatch.setattr(stage.follower, "needs", lambda *_: Needs(calls=(PRICE,)))

        with pytest.raises(Rebuild):
            await stage.take()


async def watched_block(stage: Stage, *, announced: int, sealed: int) -> None:
    block = stage.chain.mine(*[(POOL, b"")] * sealed)
    for index in range(announced):
        known = stage.chain.logs[block.hash]
        stage.heads.log(block, known[index] if index < sealed else known[0])
    stage.heads.announce(block, watched=stage.follower.interest())
    await stage.take()


@pytest.mark.parametrize(("announced", "differences"), [(2, 0), (1, 1), (0, 1)])
async def test_announced_logs_are_compared_with_the_sealed_ones(
    announced: int, differences: int
) -> None:
    async with Stage(FakeChain(length=2)) as stage:
        await stage.take()
        await watched_block(stage, announced=announced, sealed=2)
        for _ in range(2):
            stage.heads.announce(stage.chain.mine())
            await stage.take()

        assert stage.differences == differences


async def test_a_difference_is_counted_against_who_announced() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        await stage.take()
        stage.heads.say(Connected("second.example"))
        await watched_block(stage, announced=1, sealed=2)
        for _ in range(2):
            stage.heads.announce(stage.chain.mine())
            await stage.take()

        assert stage.accused == ["second.example"]


async def test_what_a_broken_connection_still_owed_is_no_difference() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        await stage.take()
        await watched_block(stage, announced=0, sealed=2)
        stage.heads.say(Disconnected())
        stage.heads.say(Connected("second.example"))
        for _ in range(3):
            stage.heads.announce(stage.chain.mine())
            await stage.take()

        assert stage.accused == []


async def test_logs_of_blocks_that_were_filled_in_are_not_missed() -> None:
    async with Stage(FakeChain()) as stage:
        for _ in range(5):
            stage.chain.mine((POOL, b""))

        await stage.numbers(5)

        assert stage.differences == 0


async def test_closing_it_ends_all_background_work() -> None:
    async with Stage(FakeChain(length=30)) as stage:
        await stage.take()
        await stage.close()

        assert stage.heads.is_closed
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_source_of_heads_that_dies_is_not_mistaken_for_silence() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        await stage.take()
        stage.heads.fail(ZeroDivisionError())

        with pytest.raises(ZeroDivisionError):
            await stage.take()


@pytest.mark.parametrize("somebody_works", [False, True])
async def test_a_block_keeps_away_from_a_turn_that_others_have_just_had(
    monkeypatch: pytest.MonkeyPatch, *, somebody_works: bool
) -> None:
    """Whoever takes it, or records it, does that in the turn in which it is handed out."""
    waited, undivided = list[int](), Turn.undivided

    async def counting() -> None:
        passes = 0
        if somebody_works:
            Turn()
        waiting = asyncio.ensure_future(undivided())
        while not waiting.done():
            passes += 1
            await asyncio.sleep(0)
        waited.append(passes)

    monkeypatch.setattr(Turn, "undivided", counting)
    async with Stage(FakeChain(length=2)) as stage:
        await stage.take()

    assert waited == [APART if somebody_works else 1]
