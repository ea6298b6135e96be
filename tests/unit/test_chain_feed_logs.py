"""Announced logs come before or after their head, twice, or never: blocks do not depend on them."""

from collections.abc import Callable

import pytest
from msgspec import structs

from chimera.chain.audit import MOST_OF_BLOCK
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


def logs_asked(stage: Stage) -> int:
    return [method for method, _ in stage.chain.requests].count("logs_of")


async def test_a_block_that_lacks_announced_logs_is_read_once_more_before_it_is_applied() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        await stage.take()
        block = stage.chain.mine((POOL, b""), (POOL, b""))
        logs = stage.chain.logs[block.hash]
        stage.chain.logs[block.hash] = logs[:1]
        asked = logs_asked(stage)

        def have_them_after_once(method: str) -> None:
            if method == "logs_of" and logs_asked(stage) == asked + 2:
                stage.chain.logs[block.hash] = logs

        stage.chain.on_request = have_them_after_once
        before(stage, block, logs)

        assert batch(await stage.take()).logs == logs
        assert logs_asked(stage) == asked + 2


async def test_a_node_that_leaves_it_out_again_is_believed_and_who_announced_it_counted() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        await stage.take()
        for number in range(2, 6):
            block = stage.chain.mine((POOL, b""), (POOL, b""))
            logs, asked = stage.chain.logs[block.hash], logs_asked(stage)
            stage.chain.logs[block.hash] = logs[:1]
            before(stage, block, logs)
            sealed = batch(await stage.take())
            assert (sealed.block.number, sealed.logs) == (number, logs[:1])
            assert logs_asked(stage) == asked + 2
        assert stage.accused == [ENDPOINT] * 2  # of four, two are not due yet


async def test_announced_logs_that_are_all_there_are_no_reason_to_read_anything_twice() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        await stage.take()
        asked = logs_asked(stage)
        block = stage.chain.mine((POOL, b""), (POOL, b""))
        others = structs.replace(stage.chain.logs[block.hash][0], log_index=7, topics=(b"?" * 32,))
        before(stage, block, (*stage.chain.logs[block.hash], others))
        await stage.take()

        assert logs_asked(stage) == asked + 1


async def test_a_socket_that_announces_logs_without_end_is_accused() -> None:
    async with Stage(FakeChain(length=2)) as stage:
        await stage.take()
        block = stage.chain.mine((POOL, b""))
        [log] = stage.chain.logs[block.hash]
        for index in range(MOST_OF_BLOCK + 5):
            stage.heads.log(block, structs.replace(log, log_index=1_000 + index))
        stage.heads.announce(block)  # while nobody had subscribed to logs: it is never judged
        await stage.take()

        assert stage.accused == [ENDPOINT]


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
