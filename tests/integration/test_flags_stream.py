"""The stream of flags, in a real Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from chimera.domain.opportunity import Opportunity
from chimera.publish import fanout
from chimera.publish.fanout import STREAM, FlagStream
from devnet.redis_server import RedisServer
from tests.fakes_store import opportunity

SECONDS = 30.0  # of patience with a slow machine


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    client: Redis = Redis.from_url(server.url, decode_responses=True)
    await answering(client)
    yield client
    await client.aclose()


async def answering(client: Redis) -> None:
    async with asyncio.timeout(SECONDS):
        while not await _answers(client):  # noqa: ASYNC110  (another process)
            await asyncio.sleep(0.02)


async def _answers(client: Redis) -> bool:
    try:
        return bool(await client.ping())
    except (RedisError, OSError):
        return False


async def written(stream: FlagStream) -> None:
    async with asyncio.timeout(SECONDS):
        while stream.pending or stream._work.is_set():  # noqa: ASYNC110  (it has no event for it)
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(url: str, *, bound: int = 100) -> AsyncIterator[FlagStream]:
    async with asyncio.TaskGroup() as group:
        stream = FlagStream(url, chain_id=8453, bound=bound)
        await stream.start(group)
        yield stream
        await stream.stop()


async def entries(redis: Redis) -> list[dict[str, Any]]:
    found: Any = await redis.xrange(STREAM)
    return [fields for _, fields in found]


async def events(redis: Redis) -> list[tuple[str, str]]:
    return [(fields["id"], fields["event"]) for fields in await entries(redis)]


async def test_flagged_and_closed_episodes_stand_in_the_stream(
    redis: Redis, server: RedisServer
) -> None:
    opened, closed = opportunity(), opportunity(closed=105)
    async with running(server.url) as stream:
        stream.publish([opened])
        stream.publish([closed])
        await written(stream)

    first, second = await entries(redis)
    assert (first["id"], first["event"], first["chain_id"]) == (opened.id, "flagged", "8453")
    assert (second["id"], second["event"]) == (opened.id, "closed")
    assert Opportunity.from_document(json.loads(first["document"])) == opened
    assert Opportunity.from_document(json.loads(second["document"])) == closed


async def test_blocks_processed_again_after_a_restart_repeat_nothing(
    redis: Redis, server: RedisServer
) -> None:
    async with running(server.url) as stream:
        stream.publish([opportunity("a"), opportunity("b")])
        await written(stream)

    async with running(server.url) as stream:
        stream.publish([opportunity("a"), opportunity("b"), opportunity("c")])
        await written(stream)

    assert await events(redis) == [("a", "flagged"), ("b", "flagged"), ("c", "flagged")]


async def test_an_episode_that_a_reorg_opens_again_is_flagged_again(
    redis: Redis, server: RedisServer
) -> None:
    async with running(server.url) as stream:
        for episode in (opportunity(), opportunity(closed=105), opportunity()):
            stream.publish([episode])
        await written(stream)

    assert [event for _, event in await events(redis)] == ["flagged", "closed", "flagged"]


async def test_what_comes_while_redis_is_away_is_written_once_it_is_back(
    redis: Redis, server: RedisServer
) -> None:
    async with running(server.url) as stream:
        stream.publish([opportunity("before")])
        await written(stream)
        server.kill()
        stream.publish([opportunity("during")])
        await asyncio.sleep(0.3)
        assert stream.pending == 1

        server.start()
        await answering(redis)
        await written(stream)

    assert await events(redis) == [("during", "flagged")]  # this server keeps nothing on disk


async def test_the_newest_are_kept_when_redis_is_away_for_long(
    redis: Redis, server: RedisServer
) -> None:
    server.kill()
    async with running(server.url, bound=3) as stream:
        stream.publish([opportunity(f"{n}") for n in range(5)])
        assert (stream.pending, stream.dropped) == (3, 2)

        server.start()
        await answering(redis)
        await written(stream)

    assert [identity for identity, _ in await events(redis)] == ["2", "3", "4"]


async def test_stopping_writes_what_is_left(
    redis: Redis, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "CLOSING_SECONDS", SECONDS)
    async with running(server.url, bound=250) as stream:
        stream.publish([opportunity(f"{n}") for n in range(250)])

    assert len(await entries(redis)) == 250


async def test_stopping_does_not_wait_for_a_redis_that_is_away(server: RedisServer) -> None:
    server.kill()
    async with asyncio.timeout(SECONDS), running(server.url) as stream:
        stream.publish([opportunity()])

    assert stream.pending == 1


async def test_the_stream_is_capped(
    redis: Redis, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "MAX_ENTRIES", 20)
    async with running(server.url) as stream:
        stream.publish([opportunity(f"{n}") for n in range(50)])
        await written(stream)

    assert [identity for identity, _ in await events(redis)] == [f"{n}" for n in range(30, 50)]


async def test_a_key_of_another_type_is_waited_out(redis: Redis, server: RedisServer) -> None:
    await redis.set(STREAM, "a letter")
    async with running(server.url) as stream:
        stream.publish([opportunity()])
        await asyncio.sleep(0.2)
        assert stream.pending == 1

        await redis.delete(STREAM)
        await written(stream)

    assert len(await entries(redis)) == 1


async def test_entries_of_others_are_left_alone(redis: Redis, server: RedisServer) -> None:
    await redis.xadd(STREAM, {"note": b"\xff\xfe"})
    async with running(server.url) as stream:
        stream.publish([opportunity()])
        await written(stream)

    assert await redis.xlen(STREAM) == 2


async def test_without_a_url_nothing_is_kept() -> None:
    async with running("") as stream:
        stream.publish([opportunity()])

        assert stream.pending == 0


async def test_a_reminder_is_written_only_where_the_stream_says_otherwise(
    redis: Redis, server: RedisServer
) -> None:
    known, lost, over = (opportunity(name) for name in ("known", "lost", "over"))
    later = replace(known, blocks_unhealthy=known.blocks_unhealthy + 5)
    ended = replace(over, state="closed", closed_block=200, closed_reason="recovered")
    async with running(server.url) as stream:
        stream.publish([known, over])
        await written(stream)

    async with running(server.url) as stream:  # another process, after a crash
        stream.remind([later, lost, ended])
        stream.remind([later, lost, ended])
        await written(stream)

    expected = [("known", "flagged"), ("over", "flagged"), ("lost", "flagged"), ("over", "closed")]
    assert await events(redis) == expected
    assert all("reminder" not in fields for fields in await entries(redis))


async def test_a_stream_that_was_emptied_names_again_what_is_open(
    redis: Redis, server: RedisServer
) -> None:
    flags = [opportunity(f"{n}") for n in range(3)]
    async with running(server.url) as stream:
        stream.publish(flags)
        await written(stream)
        stream.returned(flags)
        await written(stream)
        assert [name for name, _ in await events(redis)] == ["0", "1", "2"]  # it had them still

        await redis.flushall()
        stream.publish([opportunity("3")])
        stream.returned([*flags, opportunity("3")])
        await written(stream)

    assert sorted(await events(redis)) == [(f"{n}", "flagged") for n in range(4)]


async def test_a_long_stream_is_read_to_its_end_before_it_is_reminded(
    redis: Redis, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "REMEMBERED", 10)
    flags = [opportunity(f"{n}") for n in range(95)]
    async with running(server.url) as stream:
        stream.publish(flags)
        await written(stream)
        stream.returned(flags)
        await written(stream)

    assert await redis.xlen(STREAM) == 95


async def test_reminders_push_nothing_out_that_waits(server: RedisServer) -> None:
    server.kill()
    async with running(server.url, bound=3) as stream:
        stream.publish([opportunity(f"{n}") for n in range(2)])
        stream.returned([opportunity(f"{n}") for n in range(2, 9)])

        assert (stream.pending, stream.dropped) == (3, 0)
        stream._queue.clear()
