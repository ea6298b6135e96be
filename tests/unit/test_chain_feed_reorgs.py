"""The feed when the chain changes its mind: reorgs, shorter chains, repeated heads."""

import asyncio
import random

import pytest

from chimera.domain.block import Block, Rollback
from chimera.errors import Rebuild
from chimera.rpc.announcements import Probed
from tests.fakes_chain import FakeChain
from tests.fakes_feed import Message, Stage, batch, number_of


async def test_a_head_that_repeats_is_ignored() -> None:
    async with Stage(FakeChain(length=3)) as stage:
        await stage.numbers(2)
        stage.heads.announce(*stage.chain.canonical[1:], stage.chain.mine(), stage.chain.tip)

        assert await stage.numbers(1) == [3]
        stage.heads.announce(stage.chain.mine())
        assert await stage.numbers(1) == [4]
        assert stage.reorgs == []


@pytest.mark.parametrize("depth", [1, 3])
async def test_a_reorg_rolls_back_to_the_ancestor_and_follows_the_new_branch(depth: int) -> None:
    async with Stage(FakeChain(length=6)) as stage:
        await stage.numbers(5)
        stage.chain.cut(depth)
        ancestor = stage.chain.tip
        branch = [stage.chain.mine() for _ in range(depth)]
        stage.heads.announce(*branch)

        assert await stage.take() == Rollback(ancestor)
        assert [batch(await stage.take()).block for _ in branch] == branch
        assert stage.reorgs == [depth]


async def test_a_longer_branch_whose_first_blocks_were_never_announced_is_followed() -> None:
    async with Stage(FakeChain(length=6)) as stage:
        await stage.numbers(5)
        stage.chain.cut(2)
        branch = [stage.chain.mine() for _ in range(6)]
        stage.heads.announce(branch[-1])

        assert await stage.take() == Rollback(stage.chain.canonical[3])
        assert [batch(await stage.take()).block for _ in branch] == branch


async def test_a_shorter_chain_is_followed_as_soon_as_it_grows() -> None:
    async with Stage(FakeChain(length=9)) as stage:
        await stage.numbers(8)
        stage.chain.cut(5)
        ancestor = stage.chain.tip
        stage.heads.announce(stage.chain.mine())

        assert await stage.take() == Rollback(ancestor)
        assert await stage.numbers(1) == [4]
        assert stage.feed.head == 4


async def test_a_chain_that_became_shorter_and_stays_so_is_believed_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chimera.chain.heads.SHRUNK_AFTER", 0.05)
    async with Stage(FakeChain(length=9)) as stage:
        stage.feed._lagging = 0.05
        await stage.numbers(8)
        stage.chain.cut(5)
        stage.heads.say(Probed(3))

        assert await stage.take() == Rollback(stage.chain.tip)
        assert stage.feed.head == 3


async def test_a_node_that_lags_for_a_moment_undoes_nothing() -> None:
    async with Stage(FakeChain(length=9)) as stage:
        await stage.numbers(8)
        hidden = stage.chain.cut(2)
        stage.heads.connect()
        await asyncio.sleep(0.05)
        stage.chain.canonical += hidden
        stage.chain.blocks |= {block.hash: block for block in hidden}
        stage.heads.announce(stage.chain.mine())

        assert await stage.numbers(1) == [9]
        assert stage.reorgs == []


async def test_a_node_that_is_behind_the_start_is_waited_for() -> None:
    chain = FakeChain(length=3)
    stage = Stage(chain)
    stage.stream = stage.feed.follow(chain.tip)
    hidden = chain.cut(1)
    async with stage:
        waiting = asyncio.ensure_future(stage.take())
        await asyncio.sleep(0.05)
        chain.canonical += hidden
        stage.heads.announce(chain.mine())

        assert number_of(await waiting) == 3


async def test_a_start_that_the_node_never_had_asks_for_a_rebuild(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chimera.chain.heads.SHRUNK_AFTER", 0.05)
    stage = Stage(FakeChain(length=3))
    stage.feed._lagging = 0.05
    stage.stream = stage.feed.follow(FakeChain(length=9).tip)
    async with stage:
        with pytest.raises(Rebuild):
            await stage.take()


async def test_a_reorg_deeper_than_the_undo_window_asks_for_a_rebuild() -> None:
    async with Stage(FakeChain(length=9), undo_window=3) as stage:
        await stage.numbers(8)
        stage.chain.cut(5)
        stage.heads.announce(*[stage.chain.mine() for _ in range(5)])

        with pytest.raises(Rebuild):
            await stage.take()


async def test_a_reorg_just_inside_the_undo_window_is_undone() -> None:
    async with Stage(FakeChain(length=9), undo_window=5) as stage:
        await stage.numbers(8)
        stage.chain.cut(5)
        ancestor = stage.chain.tip
        stage.heads.announce(*[stage.chain.mine() for _ in range(5)])

        assert await stage.take() == Rollback(ancestor)


async def test_reorgs_at_random_always_lead_to_the_canonical_chain() -> None:
    chance = random.Random(7)  # noqa: S311
    async with Stage(FakeChain(length=20)) as stage:
        await stage.numbers(19)
        mirror = list(stage.chain.canonical)
        for _ in range(60):
            if chance.random() < 0.4:
                stage.chain.cut(chance.randint(1, 8))
            fresh = [stage.chain.mine() for _ in range(chance.randint(1, 9))]
            stage.heads.announce(*chance.sample(fresh[:-1], len(fresh) // 2), fresh[-1])
            while mirror[-1] != stage.chain.tip:
                apply(mirror, await stage.take())
        assert mirror == stage.chain.canonical


def apply(mirror: list[Block], message: Message) -> None:
    if isinstance(message, Rollback):
        del mirror[message.ancestor.number + 1 :]
        assert mirror[-1] == message.ancestor
    else:
        assert message.block.parent_hash == mirror[-1].hash
        mirror.append(message.block)
