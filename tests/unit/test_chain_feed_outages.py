"""The feed after an outage: how far behind the head it goes block by block."""

from dataclasses import replace

import pytest

from chimera.domain.block import BlockHash
from chimera.errors import Rebuild
from tests.fakes_chain import FakeChain
from tests.fakes_feed import Stage


async def test_what_is_near_enough_is_read_block_by_block() -> None:
    async with Stage(FakeChain(length=6), most_behind=5) as stage:
        assert await stage.numbers(5) == [1, 2, 3, 4, 5]


async def test_too_far_behind_at_the_start_is_left_to_a_rebuild() -> None:
    async with Stage(FakeChain(length=7), most_behind=5) as stage:
        with pytest.raises(Rebuild, match=r"6 blocks behind the head.*\(5\).*streaks begin anew"):
            await stage.take()

        assert [method for method, _ in stage.chain.requests] == ["head", "head"]


async def test_too_far_behind_after_a_lost_connection_is_left_to_a_rebuild() -> None:
    async with Stage(FakeChain(length=3), most_behind=5) as stage:
        assert await stage.numbers(2) == [1, 2]
        for _ in range(6):
            block = stage.chain.mine()
        stage.heads.announce(block)

        with pytest.raises(Rebuild, match="6 blocks behind the head"):
            await stage.take()


async def test_a_socket_that_announces_a_block_far_ahead_is_not_believed() -> None:
    async with Stage(FakeChain(length=3), most_behind=5) as stage:
        assert await stage.numbers(2) == [1, 2]
        far = replace(stage.chain.mine(), number=9_999, hash=BlockHash(b"\x09" * 32))
        stage.heads.announce(far)

        assert await stage.numbers(1) == [3]

        stage.heads.announce(stage.chain.mine())
        assert await stage.numbers(1) == [4]
