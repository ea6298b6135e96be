"""Which shorter chain is believed, and when: a node may have lost blocks, or lag behind another."""

from __future__ import annotations

import asyncio

import pytest

from chimera.chain.heads import SHRUNK_AFTER, Horizon
from chimera.chain.reorg import Trail
from chimera.errors import Retry
from tests.fakes_chain import FakeChain
from tests.fakes_feed import Stage, batch
from tests.fakes_state import Clock

LAGGING = 10.0
LENGTH = 9


class Scene:
    """Blocks 0 to 8 are ours and came from "first"; who answers now, and what, is up to a test."""

    def __init__(self, *, window: int = 64) -> None:
        self.chain, self.clock = FakeChain(length=LENGTH), Clock()
        self.who: str | None = "first"
        start, *blocks = self.chain.canonical
        self.trail = Trail(start, window=window)
        self.horizon = Horizon(start, lagging=LAGGING, in_use=lambda: self.who, clock=self.clock)
        for block in blocks:
            self.trail.extend(block)
            self.horizon.announced(block, 0, self.trail)
            self.horizon.sealed()
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


@pytest.mark.parametrize("who", ["first", None])
async def test_the_endpoint_that_told_of_the_blocks_is_believed_soon(who: str | None) -> None:
    scene = Scene()
    scene.chain.cut(5)
    scene.who = who

    assert not await scene.believed_after(0)
    assert not await scene.believed_after(SHRUNK_AFTER - 0.1)
    assert await scene.believed_after(0.2)


@pytest.mark.parametrize("window", [64, 3], ids=["within the trail", "below the trail"])
async def test_another_endpoint_that_is_behind_is_waited_for(window: int) -> None:
    scene = Scene(window=window)
    scene.chain.cut(5)
    scene.who = "second"

    assert not await scene.believed_after(0)
    assert not await scene.believed_after(LAGGING - 0.1)
    assert await scene.believed_after(0.2)


async def test_as_long_as_it_gets_ahead_it_is_not_given_up() -> None:
    scene = Scene()
    hidden = scene.chain.cut(5)
    scene.who = "second"
    assert not await scene.believed_after(0)
    for block in hidden[:-1]:
        scene.chain.canonical.append(block)
        scene.chain.blocks[block.hash] = block
        assert not await scene.believed_after(LAGGING - 0.1)

    assert not await scene.believed_after(LAGGING - 0.1)
    assert await scene.believed_after(0.2)


async def test_once_it_has_them_too_nothing_has_happened() -> None:
    scene = Scene()
    hidden = scene.chain.cut(5)
    scene.who = "second"
    assert not await scene.believed_after(0)
    scene.chain.canonical += hidden
    scene.chain.blocks |= {block.hash: block for block in hidden}

    assert await scene.believed_after(1)
    assert scene.horizon.newest == hidden[-1]


async def test_another_endpoint_on_another_branch_does_not_lag() -> None:
    scene = Scene()
    scene.chain.cut(5)
    scene.chain.mine()
    scene.who = "second"

    assert not await scene.believed_after(0)
    assert await scene.believed_after(SHRUNK_AFTER + 0.1)


async def test_blocks_that_another_endpoint_sealed_are_its_own() -> None:
    scene = Scene()
    scene.who = "second"
    block = scene.chain.mine()
    scene.horizon.announced(block, 0, scene.trail)
    scene.trail.extend(block)
    scene.horizon.sealed()
    scene.chain.cut(2)

    assert not await scene.believed_after(0)
    assert await scene.believed_after(SHRUNK_AFTER + 0.1)


async def test_that_nobody_works_while_a_block_is_sealed_does_not_make_a_stranger() -> None:
    scene = Scene()
    scene.who = None
    scene.horizon.sealed()
    scene.who = "first"
    scene.chain.cut(2)

    assert not await scene.believed_after(0)
    assert await scene.believed_after(SHRUNK_AFTER + 0.1)


async def test_the_feed_takes_nothing_back_while_the_next_endpoint_lags(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chimera.chain.heads.SHRUNK_AFTER", 0.0)
    who = ["second"]
    async with Stage(FakeChain(length=LENGTH)) as stage:
        stage.feed._in_use = lambda: who[0]
        await stage.numbers(LENGTH - 2)
        who[0] = "first"
        await stage.numbers(1)
        hidden = stage.chain.cut(5)
        who[0] = "second"
        stage.heads.connect()
        taking = asyncio.create_task(stage.take())
        async with asyncio.timeout(5.0):
            while "fell back" not in str(stage.feed.trouble):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

        stage.chain.canonical += hidden
        stage.chain.blocks |= {block.hash: block for block in hidden}
        stage.heads.announce(stage.chain.mine())
        assert batch(await taking).block.number == LENGTH
        assert stage.reorgs == []
