"""The sequencer: its state from answers, by the time of the block, asked in the same multicall."""

import math

import pytest

from chimera.chain.feed import ChainFeed
from chimera.chain.sequencer import MOST_REMEMBERED, AskingSequencer, Sequencer, Told, told_by
from chimera.domain.block import Address, Block, BlockHash
from chimera.domain.call import Answer
from chimera.errors import Refuse
from tests.fakes_chain import POOL, PRICE, FakeChain, FakeFollower, FakeHeads
from tests.fakes_feed import batch

FEED = Address(b"\x0f" * 20)
GRACE = 3_600
SINCE = 10_000


def said(status: int, since: int = SINCE) -> bytes:
    return b"".join(word.to_bytes(32, "big") for word in (2**64 + 7, status, since, since, 7))


def block(seconds: int, number: int = 7) -> Block:
    return Block(number, BlockHash(number.to_bytes(32, "big")), BlockHash(bytes(32)), seconds)


def seen(answer: Answer, seconds: int) -> Sequencer:
    sequencer = Sequencer(FEED, grace=GRACE)
    sequencer.note(block(seconds), answer)
    return sequencer


def test_zero_is_up_and_one_is_down_since_the_round_began() -> None:
    assert told_by(said(0)) == Told(up=True, since=SINCE)
    assert told_by(said(1)) == Told(up=False, since=SINCE)


@pytest.mark.parametrize(
    "answer",
    [None, b"", bytes(32), said(2), said(2**256 - 1), said(0, 0), said(1) + bytes(32), bytes(160)],
    ids=["reverts", "no-code", "a-word", "two", "minus-one", "no-round", "too-long", "zeros"],
)
def test_what_no_uptime_feed_says_is_unknown_and_refused_at_the_start(answer: Answer) -> None:
    now = block(SINCE + GRACE + 1)
    sequencer = seen(answer, now.timestamp)
    assert "unknown" in str(sequencer.trouble(now))
    assert math.isnan(sequencer.up(now))

    with pytest.raises(Refuse, match=r"chain\.sequencer_feed: 0x0f0f.* is no sequencer-uptime"):
        Sequencer(FEED, grace=GRACE).prove(now, answer)


def test_a_sequencer_that_is_down_is_no_reason_not_to_start() -> None:
    sequencer, now = Sequencer(FEED, grace=GRACE), block(SINCE + 60)
    sequencer.prove(now, said(1))

    assert sequencer.trouble(now) == "the sequencer is down, for 60 s"
    assert sequencer.up(now) == 0


def test_after_its_return_there_is_a_grace_period_by_the_blocks_own_time() -> None:
    for seconds, trouble in [(0, True), (GRACE, True), (GRACE + 1, False)]:
        now = block(SINCE + seconds)
        sequencer = seen(said(0), now.timestamp)
        assert (sequencer.trouble(now) is not None) is trouble
        assert sequencer.up(now) == 1
    early = block(SINCE - 5)  # the feed's clock is that of layer 1
    assert "is back for 0 s" in str(seen(said(0), early.timestamp).trouble(early))


def test_each_block_has_its_own_answer_so_that_a_rollback_takes_the_state_back() -> None:
    sequencer = Sequencer(FEED, grace=GRACE)
    good, bad = block(SINCE + 9_000, 1), block(SINCE + 9_002, 2)
    sequencer.note(good, said(0))
    sequencer.note(bad, said(1, SINCE + 9_001))

    assert (sequencer.up(bad), sequencer.up(good)) == (0, 1)
    assert sequencer.trouble(good) is None
    assert sequencer.up(block(SINCE + 9_004, 3)) == 0  # not asked: the newest answer


def test_before_the_first_answer_nothing_is_known() -> None:
    assert math.isnan(Sequencer(FEED, grace=GRACE).up(block(1)))


def test_what_is_remembered_is_bounded() -> None:
    sequencer = Sequencer(FEED, grace=GRACE)
    for number in range(3 * MOST_REMEMBERED):
        sequencer.note(block(SINCE, number), said(number % 2))

    assert len(sequencer._told) == MOST_REMEMBERED


async def test_the_feed_is_asked_with_the_polls_of_every_block_and_with_no_request_more() -> None:
    chain, heads = FakeChain(), FakeHeads()
    heads.connect()
    sequencer = Sequencer(FEED, grace=GRACE)
    follower = AskingSequencer(FakeFollower(), sequencer)
    block = chain.mine((POOL, b""))
    stream = ChainFeed(chain, heads, follower, poll=0.02).follow(chain.canonical[0])
    sealed = batch(await anext(stream))
    await stream.aclose()

    reads = [asked for method, asked in chain.requests if method == "read"]
    assert len(reads) == 1
    assert set(sealed.readings) == {PRICE, sequencer.call}
    assert "unknown" in str(sequencer.trouble(block))  # as the fake chain answers
