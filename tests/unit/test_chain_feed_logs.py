"""Announced logs come before or after their head, twice, or never: blocks do not depend on them."""

from collections.abc import Callable

import pytest
from msgspec import structs

from chimera.domain.block import Block, Log
from tests.fakes_chain import POOL, FakeChain
from tests.fakes_feed import Stage, batch

Tell = Callable[[Stage, Block, tuple[Log, ...]], None]
ENDPOINT = "subscription"


def head(stage: Stage, block: Block) -> None:
    stage.heads.announce(block, watched=stage.follower.interest())


def before(stage: Stage, block: Block, logs: tuple[Log, ...]) -> None:
    for log in logs:
        stage.heads.log(block, log)
    head(stage, block)


def after(stage: Stage, block: Block, logs: tuple[Log, ...]) -> None:
    head(stage, block)
    for log in logs:
        stage.heads.log(block, log)


def twice(stage: Stage, block: Block, logs: tuple[Log, ...]) -> None:
    before(stage, block, logs)
    after(stage, block, logs)


def never(stage: Stage, block: Block, logs: tuple[Log, ...]) -> None:  # noqa: ARG001
    head(stage, block)


def invented(stage: Stage, block: Block, logs: tuple[Log, ...]) -> None:
    before(stage, block, (*logs, structs.replace(logs[0], log_index=9)))


def altered(stage: Stage, block: Block, logs: tuple[Log, ...]) -> None:
    before(stage, block, (logs[0], structs.replace(logs[1], data=b"another")))


def withdrawn(stage: Stage, block: Block, logs: tuple[Log, ...]) -> None:
    before(stage, block, logs)
    stage.heads.log(block, logs[1], removed=True)


def of_another_block(stage: Stage, block: Block, logs: tuple[Log, ...]) -> None:
    for log in logs:
        stage.heads.log(stage.chain.canonical[-2], log)
    head(stage, block)


STORIES: dict[Tell, list[str]] = {
    before: [],
    after: [],
    twice: [],
    never: [ENDPOINT],
    invented: [ENDPOINT],
    altered: [ENDPOINT],
    withdrawn: [ENDPOINT],
    of_another_block: [ENDPOINT],
}


@pytest.mark.parametrize("tell", STORIES, ids=lambda tell: tell.__name__)
async def test_the_block_has_its_own_logs_whatever_was_announced(tell: Tell) -> None:
    async with Stage(FakeChain(length=2)) as stage:
        await stage.take()
        block = stage.chain.mine((POOL, b""), (POOL, b""))
        tell(stage, block, stage.chain.logs[block.hash])

        sealed = batch(await stage.take())

        assert (sealed.block, sealed.logs) == (block, stage.chain.logs[block.hash])
        for number in (3, 4):
            head(stage, stage.chain.mine())
            assert batch(await stage.take()).block.number == number
        assert stage.accused == STORIES[tell]
        assert stage.reorgs == []


async def test_logs_that_come_long_after_their_head_are_waited_for() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        await stage.take()
        block = stage.chain.mine((POOL, b""))
        head(stage, block)
        await stage.take()
        head(stage, stage.chain.mine())
        await stage.take()
        stage.heads.log(block, stage.chain.logs[block.hash][0])
        for _ in range(3):
            head(stage, stage.chain.mine())
            await stage.take()

        assert stage.accused == []
