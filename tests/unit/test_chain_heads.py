"""Which shorter chain is believed, and when: a node may have lost blocks, or lag behind another."""

from __future__ import annotations

import asyncio

import pytest

from chimera.chain.heads import SHRUNK_AFTER, Horizon
from chimera.chain.reorg import Trail
from chimera.domain.block import Block
from chimera.errors import Retry
from tests.fakes_chain import FakeChain
from tests.fakes_feed import Stage, batch, until
from tests.fakes_state import Clock

LAGGING = 10.0
LENGTH = 9


class Scene:
    """Blocks 0 to 8 are ours; what the node answers, and its socket says, is up to a test."""

    def __init__(self, *, window: int = 64) -> None:
        self.chain, self.clock = FakeChain(length=LENGTH), Clock()
        start, *blocks = self.chain.canonical
        self.trail = Trail(start, window=window)
        self.horizon = Horizon(start, lagging=LAGGING, clock=self.clock)
        for block in blocks:
            self.trail.extend(block)
            self.horizon.announced(block, 0, self.trail)
        self.horizon.newest = self.trail.tip

    async def believed_after(self, seconds: float) -> bool:
        """Ask again after so many seconds, and tell whether the shorter chain is believed."""
        self.clock.now += seconds
        try:
            await self.horizon.ask(self.chain, self.trail)
        except Retry:
            assert self.horizon.newest == self.trail.tip
            return False
        assert self.horizon.newest == self.chain.tip
        return True

    def show(self, *blocks: Block) -> None:
        """Let the node that answers have these blocks as well."""
        self.chain.canonical += blocks
        self.chain.blocks |= {block.hash: block for block in blocks}


@pytest.mark.parametrize("window", [64, 3], ids=["within the trail", "below the trail"])
async def test_a_node_that_names_an_older_block_of_ours_is_waited_for(window: int) -> None:
    """Behind one URL there may be many nodes, and one of them be behind the others."""
    scene = Scene(window=window)
    scene.chain.cut(5)

    assert not await scene.believed_after(0)
    assert not await scene.believed_after(LAGGING - 0.1)
    assert await scene.believed_after(0.2)


async def test_a_node_whose_socket_had_announced_the_longer_chain_is_believed_at_once() -> None:
    scene = Scene()
    scene.chain.cut(5)
    scene.horizon.probed(scene.chain.tip.number)

    assert await scene.believed_after(0)


async def test_as_long_as_it_gets_ahead_it_is_not_given_up() -> None:
    scene = Scene()
    hidden = scene.chain.cut(5)
    assert not await scene.believed_after(0)
    for block in hidden[:-1]:
        scene.show(block)
        assert not await scene.believed_after(LAGGING - 0.1)

    assert not await scene.believed_after(LAGGING - 0.1)
    assert await scene.believed_after(0.2)


async def test_two_nodes_that_are_behind_by_turns_do_not_get_ahead() -> None:
    scene = Scene()
    further, *_ = scene.chain.cut(5)
    assert not await scene.believed_after(0)
    scene.show(further)
    assert not await scene.believed_after(1)
    scene.chain.cut(1)
    assert not await scene.believed_after(LAGGING - 1)
    scene.show(further)

    assert await scene.believed_after(1.1)


async def test_once_it_has_them_too_nothing_has_happened() -> None:
    scene = Scene()
    hidden = scene.chain.cut(5)
    assert not await scene.believed_after(0)
    scene.show(*hidden)

    assert await scene.believed_after(1)
    assert scene.horizon.newest == hidden[-1]


async def test_a_node_on_another_branch_does_not_lag() -> None:
    scene = Scene()
    scene.chain.cut(5)
    scene.chain.mine()

    assert not await scene.believed_after(0)
    assert not await scene.believed_after(SHRUNK_AFTER - 0.1)
    assert await scene.believed_after(0.2)


async def test_the_feed_takes_nothing_back_while_the_node_lags(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chimera.chain.heads.SHRUNK_AFTER", 0.0)
    async with Stage(FakeChain(length=LENGTH)) as stage:
        await stage.numbers(LENGTH - 1)
        hidden = stage.chain.cut(5)
        stage.heads.connect()
        taking = asyncio.create_task(stage.take())
        await until(lambda: "fell back" in str(stage.feed.trouble))

        stage.chain.canonical += hidden
        stage.chain.blocks |= {block.hash: block for block in hidden}
        stage.heads.announce(stage.chain.mine())
        assert batch(await taking).block.number == LENGTH
        assert stage.reorgs == []
