"""
The published positions, read and written: 1,000 and 100,000, in a real Redis and in memory.

Next to it, in the same Redis, what bots usually do: `KEYS` and one `GET` after the other with the
standard library's JSON, and one awaited `SET` per position. Ours does more for it: writes compare
blocks in the server, reads return typed positions. 1,000 accounts that are written again and again
stay at hand in the processor; 100,000, which are one round of the refresh, do not.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import Redis

from benchmarks.measuring import AsyncTurn, Goal, Row, in_turns_async, row_of, worked
from benchmarks.synthetic import PROTOCOL, Mirror, make_mirror
from chimera.domain.position import Position
from chimera.state.cache import PositionCache
from chimera.state.publisher import SLICE, put
from chimera.state.valuation import Draft, Finished
from devnet.redis_server import RedisServer

COUNT = 1_000
ROUNDS = 8
SINGLE_READS = 250  # a round
WORKED = 20  # times that the processor's clock is read
ALL, ALL_ROUNDS = 100_000, 4
PUBLISHED = Goal(2.0)  # seconds for all of them
TTL = 60


def measure() -> list[Row]:
    """Measure Redis, then the fallback."""
    with RedisServer() as redis:
        return asyncio.run(_measure(redis.url))


async def _measure(url: str) -> list[Row]:
    cache = PositionCache(url)
    if not await cache.connect():
        raise RuntimeError("the cache does not reach its Redis")
    client = Redis.from_url(url)
    try:
        mirror = make_mirror(COUNT, cache=cache)
        rows = await _reads_and_writes(mirror, client) + await _everybody(cache)
    finally:
        await client.aclose()
        await cache.close()
    return rows + await _in_memory()


async def _reads_and_writes(mirror: Mirror, client: Redis) -> list[Row]:
    engine, cache = mirror.engine, mirror.engine.cache
    drafts = _drafts(mirror)
    finished = [Finished(draft.position()) for draft in drafts]
    documents = {one.name: one.content.document() for one in finished}
    await cache.write(finished)
    if len(await engine.get_all_positions()) != COUNT:
        raise RuntimeError("not every position is in Redis")
    users = [one.content.user for one in finished]
    found = await in_turns_async(
        [
            AsyncTurn(lambda: _keys_and_gets(client), 2),
            AsyncTurn(engine.get_all_positions, 10),
            AsyncTurn(lambda: _sets(client, documents), 2),
            AsyncTurn(lambda: cache.write(finished), 5),
            AsyncTurn(lambda: cache.write(drafts), 5),
            AsyncTurn(_singly(engine.get_position, users), SINGLE_READS),
        ],
        rounds=ROUNDS,
    )
    gets, reads, sets, writes, values, singles = found
    work = [await worked(lambda: cache.write(drafts)) for _ in range(WORKED)]
    naive_read = row_of(f"KEYS and {COUNT:,} GETs, one by one", gets)
    naive_write = row_of(f"{COUNT:,} SETs, one by one, of documents that are there", sets)
    return [
        row_of("get_position", singles, goals=[Goal(0.001), Goal(0.001, "p99")]),
        naive_read,
        row_of(f"get_all_positions of {COUNT:,}", reads, against=naive_read, goals=[Goal(0.010)]),
        naive_write,
        row_of(f"write {COUNT:,} positions", writes, against=naive_write),
        row_of(f"value {COUNT:,} accounts and write them", values, against=naive_write),
        row_of("the same, our processor time per position", work, per=COUNT),
    ]


async def _everybody(cache: PositionCache) -> list[Row]:
    """Write a book in slices, as a round of the refresh does; the first time nothing is known."""
    mirror = make_mirror(ALL, cache=cache)
    gc.collect()
    gc.freeze()  # as the daemon does after a loading
    first, *others = [await worked(lambda: _round(mirror, cache)) for _ in range(1 + ALL_ROUNDS)]
    gc.unfreeze()
    what = f"{ALL:,}: value all and write them, our processor time"
    return [row_of(f"{what}, the first time", [first]), row_of(what, others, goals=[PUBLISHED])]


async def _round(mirror: Mirror, cache: PositionCache) -> None:
    its = mirror.engine.mirror
    roll = its.roll()
    for place in range(0, ALL, SLICE):
        await put(cache, its, roll.between(place, place + SLICE))


async def _in_memory() -> list[Row]:
    cache = PositionCache("")
    mirror = make_mirror(COUNT, cache=cache)
    engine, drafts = mirror.engine, _drafts(mirror)
    finished = [Finished(draft.position()) for draft in drafts]
    users = [one.content.user for one in finished]
    await cache.write(drafts)
    found = await in_turns_async(
        [
            AsyncTurn(_singly(engine.get_position, users), SINGLE_READS),
            AsyncTurn(engine.get_all_positions, 10),
            AsyncTurn(lambda: cache.write(drafts), 10),
        ],
        rounds=ROUNDS,
    )
    singles, reads, writes = found
    return [
        row_of(
            "in memory: get_position, valued when it is read", singles, goals=[Goal(0.001, "p99")]
        ),
        row_of(
            f"in memory: get_all_positions of {COUNT:,}, all valued", reads, goals=[Goal(0.010)]
        ),
        row_of(f"in memory: write {COUNT:,} accounts", writes),
    ]


def _drafts(mirror: Mirror) -> Sequence[Draft]:
    its = mirror.engine.mirror
    drafts = [its.draft(key) for key in its.roll().between(0, COUNT)]
    return [draft for draft in drafts if draft is not None]


def _singly(
    get: Callable[[str, str], Awaitable[Position | None]], users: Sequence[str]
) -> Callable[[], Awaitable[object]]:
    place = 0

    async def read() -> None:
        nonlocal place
        place = (place + 1) % len(users)
        if await get(PROTOCOL, users[place]) is None:
            raise RuntimeError(f"{users[place]} is gone")

    return read


async def _keys_and_gets(client: Redis) -> list[dict[str, Any]]:
    return [json.loads(await client.get(key) or "null") for key in await client.keys("position:*")]


async def _sets(client: Redis, documents: dict[str, dict[str, Any]]) -> None:
    for name, document in documents.items():
        await client.set(name, json.dumps(document, separators=(",", ":")), ex=TTL)
