"""The second opinion: when a block passes, when it is read anew, who is counted."""

import asyncio
import functools

import pytest

from chimera.chain import quorum
from chimera.chain.feed import ChainFeed
from chimera.chain.quorum import MOST_TRIES, REST, Quorum, Witness
from chimera.domain.block import Block, Log, LogQuery
from chimera.errors import Retry
from chimera.rpc.breaker import LONGEST_REST
from chimera.rpc.faults import AskedToWait
from tests.fakes_chain import POOL, TOPIC, FakeChain, FakeFollower, FakeHeads
from tests.fakes_feed import batch
from tests.fakes_state import Clock

QUERY = LogQuery(frozenset({POOL}), frozenset({TOPIC}))
NAMES = ("own.example", "second.example", "third.example", "fourth.example")

LITTLE = 0.3  # seconds of patience: a slow machine must not make an honest witness late


class Court:
    """A quorum between one chain and the views that others have of it."""

    def __init__(self, *views: FakeChain) -> None:
        self.chain = FakeChain()
        self.accused: list[str] = []
        self.unchecked = 0
        self.avoided: dict[str, str] = {}
        self.witnesses = [
            Witness(label, view, functools.partial(self.avoided.__setitem__, label))
            for label, view in zip(NAMES, (self.chain, *views), strict=False)
        ]
        self.clock = Clock()
        self.quorum = Quorum(
            lambda: self.witnesses,
            on_difference=self.accused.append,
            on_unchecked=self._passed,
            clock=self.clock,
        )

    def _passed(self) -> None:
        self.unchecked += 1

    async def confirm(self, block: Block) -> None:
        await self.quorum.confirm(block, QUERY, self.chain.logs[block.hash])


def told(view: FakeChain, block: Block, *logs: Log) -> None:
    view.blocks[block.hash] = block
    view.logs[block.hash] = logs


async def test_a_block_passes_that_another_endpoint_tells_alike() -> None:
    view = FakeChain()
    court = Court(view)
    block = court.chain.mine((POOL, b""))
    told(view, block, *court.chain.logs[block.hash])

    await court.confirm(block)

    assert (court.accused, court.unchecked, court.quorum.dispute) == ([], 0, None)


async def test_a_disagreement_is_read_anew_and_then_said() -> None:
    view = FakeChain()
    court = Court(view)
    block = court.chain.mine((POOL, b""))
    told(view, block)

    for _ in range(MOST_TRIES - 1):
        with pytest.raises(Retry, match="other logs"):
            await court.confirm(block)
        assert court.quorum.dispute is None
    await court.confirm(block)

    assert court.accused == ["second.example"] * MOST_TRIES
    assert court.quorum.dispute is not None
    following = court.chain.mine()
    told(view, following)
    await court.confirm(following)
    assert court.quorum.dispute is None


async def test_another_header_under_the_same_hash_is_a_disagreement() -> None:
    view = FakeChain()
    court = Court(view)
    block = court.chain.mine()
    view.blocks[block.hash] = Block(block.number, block.hash, block.parent_hash, 1)

    with pytest.raises(Retry):
        await court.confirm(block)


async def test_who_lags_or_fails_is_no_witness_and_the_next_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quorum, "PATIENCE", LITTLE)
    lagging, failing, good = FakeChain(), FakeChain(), FakeChain()
    court = Court(lagging, failing, good)
    failing.faults["block_of"].append(Retry("down"))
    block = court.chain.mine()
    told(good, block)

    await court.confirm(block)

    assert good.requests
    assert (court.accused, court.unchecked) == ([], 0)


async def test_who_has_the_block_a_moment_later_is_waited_for() -> None:
    court = Court(view := FakeChain())
    block = court.chain.mine()
    asyncio.get_running_loop().call_later(0.2, told, view, block)

    await court.confirm(block)

    assert (court.accused, court.unchecked) == ([], 0)


async def test_a_witness_that_never_answers_holds_no_block_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quorum, "PATIENCE", LITTLE)
    view = FakeChain()
    monkeypatch.setattr(view, "block_of", lambda _hash: asyncio.sleep(60))
    court = Court(view)

    await court.confirm(court.chain.mine())

    assert court.unchecked == 1


async def test_with_nobody_else_the_block_passes_and_the_lack_is_said() -> None:
    court = Court()
    await court.confirm(court.chain.mine())

    assert court.unchecked == 1
    assert "no second endpoint" in str(court.quorum.dispute)


async def test_a_second_endpoint_that_the_third_contradicts_is_outvoted_at_once() -> None:
    liar, honest = FakeChain(), FakeChain()
    court = Court(liar, honest)
    block = court.chain.mine((POOL, b""))
    told(liar, block)
    told(honest, block, *court.chain.logs[block.hash])

    await court.confirm(block)

    assert court.accused == list(court.avoided) == ["second.example"]
    assert "block 1" in court.avoided["second.example"]
    assert (court.unchecked, court.quorum.dispute) == (0, None)


async def test_an_endpoint_in_use_that_two_others_contradict_is_outvoted_and_read_anew() -> None:
    court = Court(second := FakeChain(), third := FakeChain())
    block = court.chain.mine((POOL, b""))
    told(second, block)
    told(third, block)

    for _ in range(MOST_TRIES + 1):  # however often it is tried, the minority never passes
        with pytest.raises(Retry, match="two other endpoints"):
            await court.confirm(block)
    assert set(court.accused) == set(court.avoided) == {"own.example"}
    assert court.quorum.dispute is None

    court.witnesses = court.witnesses[1:]  # as the pool goes on
    await court.quorum.confirm(block, QUERY, ())
    assert court.quorum.dispute is None


async def test_who_came_into_use_after_the_block_was_read_is_not_blamed_for_it() -> None:
    court = Court(second := FakeChain(), third := FakeChain())
    block = court.chain.mine((POOL, b""))
    lied, court.chain.logs[block.hash] = court.chain.logs[block.hash], ()
    told(second, block)
    told(third, block)

    with pytest.raises(Retry, match="two other endpoints"):
        await court.quorum.confirm(block, QUERY, lied)

    assert (court.accused, court.avoided) == ([], {})


async def test_three_that_tell_three_things_settle_nothing() -> None:
    court = Court(second := FakeChain(), third := FakeChain())
    block = court.chain.mine((POOL, b""), (POOL, b"1"))
    told(second, block)
    told(third, block, court.chain.logs[block.hash][0])

    for _ in range(MOST_TRIES - 1):
        with pytest.raises(Retry, match="other logs"):
            await court.confirm(block)
    await court.confirm(block)

    assert court.accused == ["second.example"] * MOST_TRIES
    assert court.avoided == {}
    assert "second.example" in str(court.quorum.dispute)


async def test_a_fourth_endpoint_settles_what_three_could_not() -> None:
    court = Court(second := FakeChain(), third := FakeChain(), fourth := FakeChain())
    block = court.chain.mine((POOL, b""), (POOL, b"1"))
    told(second, block)
    told(third, block, court.chain.logs[block.hash][0])
    told(fourth, block, *court.chain.logs[block.hash])

    await court.confirm(block)

    assert court.accused == ["second.example", "third.example"]
    assert court.quorum.dispute is None


async def test_a_disagreement_stays_open_while_the_third_cannot_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quorum, "PATIENCE", LITTLE)
    court = Court(second := FakeChain(), FakeChain())
    block = court.chain.mine((POOL, b""))
    told(second, block)

    with pytest.raises(Retry, match="other logs"):
        await court.confirm(block)

    assert (court.accused, court.avoided) == (["second.example"], {})


async def test_who_was_late_with_a_block_is_asked_last_about_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quorum, "PATIENCE", LITTLE)
    views = second, third = FakeChain(), FakeChain()
    court = Court(second, third)
    unasked = []
    for has_it in (third, third, second, second, third, third):
        before = [len(view.requests) for view in views]
        told(has_it, block := court.chain.mine())
        court.clock.now += LONGEST_REST * 2
        await court.confirm(block)
        after = [len(view.requests) for view in views]
        unasked += [{view for view, *n in zip(views, before, after, strict=True) if len({*n}) == 1}]

    assert unasked == [set(), {second}, set(), {third}, set(), {second}]
    assert (court.accused, court.unchecked) == ([], 0)


async def test_who_is_slow_is_left_unasked_for_a_while_and_longer_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quorum, "PATIENCE", LITTLE)
    court = Court(slow := FakeChain())
    asked_at = []
    for second in range(55):  # a block each second, none of which it has
        court.clock.now = float(second)
        before = len(slow.requests)
        await court.confirm(court.chain.mine())
        if len(slow.requests) > before:
            asked_at.append(second)

    assert court.unchecked == 55
    assert len(asked_at) == 3
    first, then, last = asked_at
    assert (first, 8 <= then <= 13, 16 <= last - then <= 25) == (0, True, True)


async def test_who_answers_after_its_rest_is_asked_about_every_block_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quorum, "PATIENCE", LITTLE)
    court = Court(view := FakeChain())
    await court.confirm(court.chain.mine())
    court.clock.now += 2 * REST
    for _ in range(3):
        told(view, block := court.chain.mine())
        await court.confirm(block)

    assert court.unchecked == 1
    assert court.quorum.dispute is None


async def test_who_asks_for_a_pause_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quorum, "PATIENCE", LITTLE)
    court = Court(view := FakeChain())
    view.faults["block_of"].append(AskedToWait("HTTP 429", 60.0))
    for _ in range(5):
        told(view, block := court.chain.mine())
        await court.confirm(block)
        court.clock.now += 11.9

    assert court.unchecked == 5
    court.clock.now += 2 * REST
    told(view, block := court.chain.mine())
    await court.confirm(block)
    assert court.unchecked == 5


async def test_the_feed_reads_a_disputed_block_anew_before_it_is_applied() -> None:
    """The endpoint in use first leaves out a log; nothing of that reaches the book."""
    court = Court(view := FakeChain())
    block = court.chain.mine((POOL, b""))
    honest = court.chain.logs[block.hash]
    told(view, block, *honest)
    court.chain.logs[block.hash] = ()
    heads = FakeHeads()
    heads.connect()
    feed = ChainFeed(court.chain, heads, FakeFollower(), quorum=court.quorum, poll=0.02)
    view.on_request = lambda method: (
        court.chain.logs.update({block.hash: honest}) if method == "logs_of" else None
    )
    stream = feed.follow(court.chain.canonical[0])
    async with asyncio.timeout(20.0):
        sealed = batch(await anext(stream))
    await stream.aclose()

    assert sealed.logs == honest
    assert court.accused == ["second.example"]
