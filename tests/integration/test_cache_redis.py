"""The cache with a real Redis: kept fresh by the clock, lost, and back."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from chimera.domain.block import Rollback
from chimera.state.book import Book
from chimera.state.cache import AHEAD, PositionCache
from chimera.state.engine import StateEngine
from chimera.state.publisher import CachePublisher
from chimera.state.valuation import Finished, checksummed, name_of
from devnet.redis_server import RedisServer
from tests.fakes_state import (
    USDC,
    WETH,
    FakeAdapter,
    FakeMarket,
    FakeStreaks,
    account,
    address,
    batch,
    child,
    first_block,
)

BORROWERS = 300


@asynccontextmanager
async def client_of(server: RedisServer) -> AsyncIterator[Redis]:
    client: Redis = Redis.from_url(server.url)
    yield client
    await client.aclose()


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 30) -> float:
    """Wait until `holds`; return how long that took."""
    began = time.monotonic()
    while not await holds():
        assert time.monotonic() - began < seconds, "it never came to hold"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


class Room:
    """A book of borrowers, published to a Redis."""

    def __init__(self, url: str, ttl: float = 60) -> None:
        book = Book()
        accounts = {
            address(number): account({WETH: 100}, {USDC: 100_000})
            for number in range(1, BORROWERS + 1)
        }
        market = FakeMarket({WETH: 2_000, USDC: 1})
        book.load("fake", market, accounts, complete=True, block=first_block())
        self.cache = PositionCache(url, ttl=ttl, beat=0.2)
        adapters = {"fake": FakeAdapter()}
        self.engine = StateEngine(adapters, book, self.cache, streaks=FakeStreaks())
        self.engine.adopt()
        self.publisher = CachePublisher(self.cache, self.engine.mirror)

    def step(self) -> None:
        self.engine.apply(batch(child(self.engine.book.block)))

    async def lost(self) -> bool:
        return self.cache.state == "fallback"

    async def found(self) -> bool:
        return self.cache.state == "connected"


@asynccontextmanager
async def running(room: Room) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        await room.cache.start(group)
        await room.publisher.start(group)
        room.publisher.publish_everything()
        yield
        await room.publisher.stop()
        await room.cache.stop()


async def keys_in(client: Redis) -> int:
    return len(await client.keys("position:*"))


async def lives_of(client: Redis) -> list[int]:
    """Return the milliseconds that each key has left, a negative number where it has gone."""
    async with client.pipeline(transaction=False) as pipe:
        for key in await client.keys("position:*"):
            pipe.pttl(key)
        return list(await pipe.execute())


async def test_every_key_lives_and_is_refreshed_without_any_block(server: RedisServer) -> None:
    room = Room(server.url, ttl=5)  # a refresh may be three seconds late
    async with client_of(server) as client, running(room):

        async def all_there() -> bool:
            return await keys_in(client) == BORROWERS

        await until(all_there)
        lowest, began = 5_000, time.monotonic()
        while time.monotonic() - began < 7:  # well over the time to live
            await asyncio.sleep(0.2)
            lives = await lives_of(client)
            assert len(lives) == BORROWERS
            assert 0 < min(lives) <= max(lives) <= 5_000
            lowest = min(lowest, *lives)
        assert lowest < 4_500  # they do run down between two refreshes


async def test_the_keys_die_with_the_daemon(server: RedisServer) -> None:
    room = Room(server.url, ttl=1)
    async with client_of(server) as client:
        async with running(room):

            async def all_there() -> bool:
                return await keys_in(client) == BORROWERS

            await until(all_there)

        async def all_gone() -> bool:
            return await keys_in(client) == 0

        assert max(await lives_of(client), default=0) <= 1_000
        await until(all_gone)


async def test_a_killed_redis_is_noticed_and_gets_every_key_when_it_returns(
    server: RedisServer,
) -> None:
    room = Room(server.url, ttl=60)
    async with running(room):
        await until(room.found)
        await room.publisher.write_everything()

        server.kill()
        await until(room.lost)
        assert len(await room.engine.get_all_positions()) == BORROWERS
        room.step()
        room.publisher.publish_block([("fake", address(1))])

        server.start()
        async with client_of(server) as client:

            async def all_back() -> bool:
                return await keys_in(client) == BORROWERS

            await until(all_back, seconds=15)  # by the clock alone it would take twenty
        found = await room.engine.get_position("fake", checksummed(address(1)))
        assert found is not None
        assert found.block == first_block().number + 1


async def test_a_redis_that_was_restarted_between_two_beats_is_filled_again(
    server: RedisServer,
) -> None:
    room = Room(server.url, ttl=60)
    async with running(room):
        await until(room.found)
        await room.publisher.write_everything()
        server.kill()
        server.start()

        async with client_of(server) as client:

            async def all_back() -> bool:
                return await keys_in(client) == BORROWERS

            await until(all_back, seconds=15)


async def test_a_redis_that_hangs_is_noticed_within_ten_seconds(server: RedisServer) -> None:
    room = Room(server.url, ttl=60)
    async with running(room):
        await until(room.found)
        server.signal(signal.SIGSTOP)
        try:
            assert await until(room.lost) < 9
            assert await room.engine.get_position("fake", address(1)) is not None
        finally:
            server.signal(signal.SIGCONT)
        assert await until(room.found) < 9


async def test_a_start_without_redis_works_in_memory_until_it_comes(server: RedisServer) -> None:
    server.kill()
    room = Room(server.url)
    async with running(room):
        assert room.cache.state == "fallback"

        async def in_memory() -> bool:
            return len(await room.engine.get_all_positions()) == BORROWERS

        await until(in_memory)
        server.start()
        await until(room.found)
        async with client_of(server) as client:

            async def all_there() -> bool:
                return await keys_in(client) == BORROWERS

            await until(all_there)


async def test_an_older_block_never_replaces_a_newer_one(server: RedisServer) -> None:
    room = Room(server.url)
    await room.cache.connect()
    await room.publisher.write_everything()
    old = await room.engine.get_position("fake", address(1))
    assert old is not None

    assert await room.engine.update_position(replace(old, block=500))
    assert not await room.engine.update_position(old)
    await room.publisher.write_everything()
    new = await room.engine.get_position("fake", address(1))
    assert new is not None
    assert new.block == 500

    assert await room.cache.write([Finished(old)], over=500) == 1
    assert await room.engine.get_position("fake", address(1)) == old
    await room.cache.close()


async def test_of_two_writers_the_one_behind_replaces_and_removes_nothing(
    server: RedisServer,
) -> None:
    """Two daemons, each with connections and a book of its own; one is two blocks ahead."""
    behind, ahead = Room(server.url), Room(server.url)
    for room in (behind, ahead):
        await room.cache.connect()
    for _ in range(2):
        ahead.step()
    newest = ahead.engine.book.block.number
    await ahead.publisher.write_everything()
    gone = name_of("fake", checksummed(address(1)))

    async with client_of(server) as client:
        behind.publisher.publish_everything(force=True)  # as after a start
        assert await behind.publisher.write_everything() == 0
        assert await behind.cache.remove([gone], block=first_block().number) == 0
        assert {entry.block for entry in await ahead.cache.get_all()} == {newest}

        await asyncio.gather(*(each.publisher.write_everything() for each in (ahead, behind) * 5))
        assert {entry.block for entry in await ahead.cache.get_all()} == {newest}
        assert await keys_in(client) == BORROWERS

        for _ in range(3):
            behind.step()
        assert await behind.publisher.write_everything() == BORROWERS
        behind.engine.rollback(Rollback(first_block()))  # what it wrote itself it may take back
        behind.publisher.publish_everything(force=True)
        assert await behind.publisher.write_everything() == BORROWERS
        assert await behind.cache.remove([gone], block=newest) == 1
    for room in (behind, ahead):
        await room.cache.close()


async def test_what_names_a_block_that_cannot_be_is_replaced(server: RedisServer) -> None:
    room = Room(server.url)
    await room.cache.connect()
    room.cache.head = lambda: first_block().number
    await room.publisher.write_everything()
    old = await room.engine.get_position("fake", address(1))
    assert old is not None
    for ahead, replaced in ((AHEAD, BORROWERS - 1), (AHEAD + 1, BORROWERS)):
        spoilt = Finished(replace(old, block=old.block + ahead))
        await room.cache.write([spoilt], over=2 * spoilt.block)
        assert await room.publisher.write_everything() == replaced
    await room.cache.close()


async def test_a_redis_that_is_emptied_while_connected_is_filled_again(
    server: RedisServer,
) -> None:
    room = Room(server.url, ttl=60)
    async with running(room), client_of(server) as client:
        await until(room.found)
        await room.publisher.write_everything()
        await client.set("chimera:halt", "1")
        await client.flushall()
        await client.set("chimera:halt", "1")

        async def all_back() -> bool:
            return await keys_in(client) == BORROWERS

        await until(all_back, seconds=15)  # by the clock alone it would take twenty
        assert await client.get("chimera:halt") == b"1"
        assert await client.ttl("chimera:halt") == -1


async def test_corrupt_values_are_skipped_and_replaced(server: RedisServer) -> None:
    room = Room(server.url)
    await room.cache.connect()
    await room.publisher.write_everything()
    async with client_of(server) as client:
        name = f"position:fake:{checksummed(address(1))}"
        for junk in (b"{", b"\xff", b'{"block":900000}'):
            await client.set(name, junk)
            assert await room.engine.get_position("fake", address(1)) is None
            assert len(await room.engine.get_all_positions()) == BORROWERS - 1
            assert await room.publisher.write_everything() == BORROWERS
        await client.delete(name)
        await client.lpush(name, "stranger")
        assert await room.engine.get_position("fake", address(1)) is None
        assert await room.publisher.write_everything() == BORROWERS
        assert len(await room.engine.get_all_positions()) == BORROWERS
    await room.cache.close()


async def test_a_full_redis_refuses_writes_and_is_not_lost(server: RedisServer) -> None:
    room = Room(server.url)
    await room.cache.connect()
    async with client_of(server) as client:
        await client.config_set("maxmemory", "1")
        await room.publisher.write_everything()
        assert room.cache.state == "connected"
        assert await keys_in(client) == 0

        await client.config_set("maxmemory", "0")
        assert await room.publisher.write_everything() == BORROWERS
    await room.cache.close()


async def test_the_face_tells_what_is_published(server: RedisServer) -> None:
    room = Room(server.url)
    await room.cache.connect()

    assert await room.engine.rebuild_cache_from_blockchain() == BORROWERS
    assert await room.engine.get_cache_stats() == {
        "total_positions": BORROWERS,
        "positions_by_protocol": {"fake": BORROWERS},
        "redis_connected": True,
        "current_block": first_block().number,
    }
    assert await room.engine.remove_position("fake", checksummed(address(1)).lower())
    assert not await room.engine.remove_position("fake", address(1))
    await room.cache.close()
