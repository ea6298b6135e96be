"""Sealing: one block, all its logs that matter and all values read at its hash."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from chimera.chain.answers import Answers
from chimera.domain.block import Address, Block, Log, LogQuery
from chimera.domain.call import Call, Readings
from chimera.errors import Rebuild
from chimera.ports import ChainReader, Follower

A = TypeVar("A")
B = TypeVar("B")

MOST_ROUNDS = 32  # of `needs`: a market listed together with first borrowers takes about ten


@dataclass(frozen=True, slots=True)
class Draft:
    """A block with what the follower asked for when it was drafted."""

    block: Block
    query: LogQuery
    logs: tuple[Log, ...]
    readings: Readings


class Sealer:
    """
    Seals blocks for one follower.

    What was answered at a block's hash is in `answers`: a block that is drafted anew, because one
    of its requests failed, asks for the others no more.
    """

    def __init__(self, reader: ChainReader, follower: Follower) -> None:
        self.answers = Answers(reader)
        self._follower = follower

    async def draft(self, block: Block) -> Draft:
        """Fetch logs and polls, as two requests in parallel."""
        query, polls = self._follower.interest(), self._follower.polls(block)
        logs, readings = await both(
            self.answers.logs_of(block, query), self.answers.read(polls, block)
        )
        return Draft(block, query, logs, readings)

    async def finish(self, draft: Draft) -> Draft:
        """
        Fetch what the follower still lacks.

        It must have applied the block before this one: a draft that was made for other logs is made
        anew, and polls that it lacks are made now.

        Raises:
            Rebuild: The follower is never satisfied.
        """
        if draft.query != self._follower.interest():
            draft = await self.draft(draft.block)
        elif late := _missing(draft, self._follower.polls(draft.block)):
            draft = await self._widen(draft, late, frozenset())
        for _ in range(MOST_ROUNDS):
            needs = self._follower.needs(draft.block, draft.logs, draft.readings)
            if not needs:
                return draft
            draft = await self._widen(draft, needs.calls, needs.addresses - draft.query.addresses)
        raise Rebuild(f"block {draft.block.number}: what it needs never ends")

    async def _widen(
        self, draft: Draft, calls: tuple[Call, ...], addresses: frozenset[Address]
    ) -> Draft:
        calls = _missing(draft, calls)
        if not calls and not addresses:
            raise Rebuild(f"block {draft.block.number}: what it needs is there already")
        query = LogQuery(draft.query.addresses | addresses, draft.query.topics)
        logs, readings = await both(
            self.answers.logs_of(draft.block, query) if addresses else _ready(draft.logs),
            self.answers.read(calls, draft.block),
        )
        return Draft(draft.block, query, logs, {**draft.readings, **readings})


def _missing(draft: Draft, calls: Iterable[Call]) -> tuple[Call, ...]:
    return tuple(call for call in dict.fromkeys(calls) if call not in draft.readings)


class Lookahead:
    """Drafts of the next canonical blocks, fetched while the consumer is at work on this one."""

    def __init__(self, reader: ChainReader, sealer: Sealer, *, depth: int) -> None:
        self._reader = reader
        self._sealer = sealer
        self._depth = depth
        self._ahead: deque[tuple[int, asyncio.Task[Draft | None]]] = deque()

    async def draft(self, number: int, *, up_to: int) -> Draft | None:
        """Return the draft of block `number`, None when the node has no such block."""
        if self._ahead and self._ahead[0][0] != number:
            await self.drop()
        following = self._ahead[-1][0] + 1 if self._ahead else number
        for height in range(following, min(number + self._depth, up_to) + 1):
            self._ahead.append((height, asyncio.create_task(self._fetch(height))))
        return await self._ahead.popleft()[1]

    async def drop(self) -> None:
        """Forget all drafts and end their requests."""
        tasks = [task for _, task in self._ahead]
        self._ahead.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, number: int) -> Draft | None:
        block = await self._reader.block_at(number)
        return None if block is None else await self._sealer.draft(block)


async def both(one: Coroutine[Any, Any, A], other: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """Run two requests in parallel; the first fault ends the other and is raised as it is."""
    tasks: tuple[asyncio.Task[A], asyncio.Task[B]]
    tasks = (asyncio.ensure_future(one), asyncio.ensure_future(other))
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ready(value: A) -> A:
    return value
