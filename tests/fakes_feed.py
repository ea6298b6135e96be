"""A feed between fakes, ready to be told stories."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Self

from chimera.chain.feed import ChainFeed
from chimera.domain.block import BlockBatch, Rollback
from tests.fakes_chain import FakeChain, FakeFollower, FakeHeads

Message = BlockBatch | Rollback
SECONDS = 20.0  # of patience with a slow machine


class Stage:
    """A feed between fakes, and the stream that a test takes messages from."""

    def __init__(
        self, chain: FakeChain, *, undo_window: int = 64, most_behind: int = 5_000
    ) -> None:
        self.chain, self.heads, self.follower = chain, FakeHeads(), FakeFollower()
        self.reorgs: list[int] = []
        self.differences = 0
        self.accused: list[str] = []
        self.feed = ChainFeed(
            chain,
            self.heads,
            self.follower,
            undo_window=undo_window,
            most_behind=most_behind,
            poll=0.02,
            on_reorg=self.reorgs.append,
            on_log_difference=self._differ,
        )
        self.stream: AsyncGenerator[Message, None] = self.feed.follow(chain.canonical[0])

    def _differ(self, endpoint: str) -> None:
        self.accused.append(endpoint)
        self.differences += 1

    async def take(self) -> Message:
        async with asyncio.timeout(SECONDS):
            return await anext(self.stream)

    async def numbers(self, count: int) -> list[int]:
        return [number_of(await self.take()) for _ in range(count)]

    async def close(self) -> None:
        await self.stream.aclose()

    async def __aenter__(self) -> Self:
        self.heads.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        async with asyncio.timeout(SECONDS):
            await self.close()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what has no event of its own."""
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def number_of(message: Message) -> int:
    return message.block.number if isinstance(message, BlockBatch) else -message.ancestor.number


def batch(message: Message) -> BlockBatch:
    assert isinstance(message, BlockBatch)
    return message
