"""Nothing is asked twice at the same hash, unless somebody doubts what was answered."""

import asyncio

import pytest

from chimera.chain.answers import Answers
from chimera.chain.feed import ChainFeed
from chimera.chain.quorum import Quorum, Witness
from chimera.domain.block import Block, LogQuery
from chimera.domain.call import Call
from chimera.errors import Retry
from chimera.rpc.faults import UnknownBlock
from tests.fakes_chain import POOL, PRICE, TOKEN, TOPIC, FakeChain, FakeFollower, FakeHeads
from tests.fakes_feed import SECONDS, Stage, batch

QUERY = LogQuery(frozenset({POOL}), frozenset({TOPIC}))
WIDER = LogQuery(frozenset({POOL, TOKEN}), frozenset({TOPIC}))
SUPPLY = Call(TOKEN, b"supply")


def asked(chain: FakeChain) -> list[tuple[str, object]]:
    found = list(chain.requests)
    chain.requests.clear()
    return found


async def test_what_was_answered_at_a_hash_is_not_asked_again() -> None:
    chain = FakeChain()
    block, answers = chain.mine((POOL, b"")), Answers(chain)

    first = await answers.logs_of(block, QUERY), await answers.read([PRICE], block)
    asked(chain)

    assert (await answers.logs_of(block, QUERY), await answers.read([PRICE], block)) == first
    assert asked(chain) == []


async def test_only_what_is_lacking_is_asked_for() -> None:
    chain = FakeChain()
    block, answers = chain.mine(), Answers(chain)
    await answers.read([PRICE], block)
    asked(chain)

    both = await answers.read([PRICE, SUPPLY], block)

    assert asked(chain) == [("read", (SUPPLY,))]
    assert both == await chain.read([PRICE, SUPPLY], block)


async def test_another_query_and_another_block_are_asked_for() -> None:
    chain = FakeChain()
    answers = Answers(chain)
    one, other = chain.mine((POOL, b"")), chain.mine((TOKEN, b""))
    for block in (one, other):
        await answers.logs_of(block, QUERY)
        await answers.read([PRICE], block)
    asked(chain)

    assert await answers.logs_of(other, WIDER) == chain.logs[other.hash]
    assert await answers.read([PRICE], one) != await answers.read([PRICE], other)
    assert asked(chain) == [("logs_of", other.number)]


async def test_no_logs_and_a_call_that_reverts_are_answers_too() -> None:
    chain = FakeChain()
    block, answers = chain.mine(), Answers(chain)

    async def reverting(calls: object, _block: Block) -> dict[Call, None]:
        await chain._asked("read", calls)
        return {PRICE: None}

    chain.read = reverting  # type: ignore[method-assign, assignment]
    for _ in range(2):
        assert await answers.logs_of(block, QUERY) == ()
        assert await answers.read([PRICE], block) == {PRICE: None}

    assert len(asked(chain)) == 2


async def test_a_fault_is_no_answer() -> None:
    chain = FakeChain()
    block, answers = chain.mine(), Answers(chain)
    chain.faults["read"].append(Retry("busy"))

    with pytest.raises(Retry):
        await answers.read([PRICE], block)

    assert await answers.read([PRICE], block) == await chain.read([PRICE], block)


async def test_what_is_doubted_is_asked_anew() -> None:
    chain = FakeChain()
    answers = Answers(chain)
    one, other = chain.mine(), chain.mine()
    for block in (one, other):
        await answers.read([PRICE], block)
    asked(chain)

    answers.forget(one)
    await answers.read([PRICE], one)
    await answers.read([PRICE], other)
    assert len(asked(chain)) == 1

    answers.clear()
    await answers.read([PRICE], other)
    assert len(asked(chain)) == 1


async def test_only_the_newest_blocks_are_kept() -> None:
    chain = FakeChain()
    answers = Answers(chain, most_blocks=2)
    blocks = [chain.mine() for _ in range(3)]
    for block in blocks:
        await answers.read([PRICE], block)
    asked(chain)

    for block in reversed(blocks):
        await answers.read([PRICE], block)

    assert len(asked(chain)) == 1


async def test_only_so_many_bytes_are_kept() -> None:
    chain = FakeChain()
    size = len((await chain.read([PRICE], chain.tip))[PRICE] or b"")
    answers = Answers(chain, most_bytes=2 * size)
    blocks = [chain.mine() for _ in range(3)]
    for block in blocks:
        await answers.read([PRICE], block)
    asked(chain)

    for block in reversed(blocks):
        await answers.read([PRICE], block)
    assert len(asked(chain)) == 1

    small = Answers(chain, most_bytes=size - 1)  # not even one
    for _ in range(2):
        await small.read([PRICE], blocks[0])
    assert len(asked(chain)) == 2


async def test_a_block_whose_logs_are_late_does_not_ask_for_its_readings_again() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        assert batch(await stage.take()).block.number == 1
        asked(stage.chain)
        answered = asyncio.Event()

        async def late(block: Block, query: LogQuery) -> tuple[()]:
            await asyncio.sleep(0.02)  # the readings are there by now
            stage.chain.logs_of = honest  # type: ignore[method-assign]
            answered.set()
            raise UnknownBlock(f"no logs of {block.number} yet for {query}")

        honest = stage.chain.logs_of
        stage.chain.logs_of = late  # type: ignore[method-assign]
        block = stage.chain.mine((POOL, b""))
        stage.heads.announce(block)

        sealed = batch(await stage.take())

        assert answered.is_set()
        assert (sealed.block, len(sealed.logs)) == (block, 1)
        methods = [method for method, _ in asked(stage.chain)]
        assert (methods.count("read"), methods.count("logs_of")) == (1, 1)


async def test_a_block_that_another_endpoint_disputes_is_asked_anew() -> None:
    chain, view, third = FakeChain(), FakeChain(), FakeChain()
    block = chain.mine((POOL, b""))
    truth = chain.logs[block.hash]
    chain.logs[block.hash] = ()  # our own endpoint is late with them
    for other in (view, third):
        other.blocks[block.hash] = block
        other.logs[block.hash] = truth
    names = zip(("own", "second", "third"), (chain, view, third), strict=True)
    witnesses = [Witness(name, reader) for name, reader in names]

    def difference(_label: str) -> None:
        chain.logs[block.hash] = truth

    quorum = Quorum(lambda: witnesses, on_difference=difference)
    feed = ChainFeed(chain, FakeHeads(), FakeFollower(), poll=0.02, quorum=quorum)
    stream = feed.follow(chain.canonical[0])
    async with asyncio.timeout(SECONDS):
        sealed = batch(await anext(stream))
    await stream.aclose()

    assert sealed.logs == truth


async def test_whoever_begins_to_follow_anew_asks_anew() -> None:
    chain = FakeChain(length=2)
    heads = FakeHeads()
    feed = ChainFeed(chain, heads, FakeFollower(), poll=0.02)
    for _ in range(2):
        stream = feed.follow(chain.canonical[0])
        async with asyncio.timeout(SECONDS):
            assert batch(await anext(stream)).block == chain.tip
        await stream.aclose()

    assert [method for method, _ in asked(chain)].count("read") == 2
