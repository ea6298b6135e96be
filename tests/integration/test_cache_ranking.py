"""Positions in a real Redis, ranked by health factor in the same write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from chimera.state.valuation import Finished, checksummed, name_of
from devnet.redis_server import RedisServer
from tests.fakes_state import address
from tests.integration.test_cache_redis import BORROWERS, Room, client_of

RANKING = "chimera:risk:fake"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


async def ranked(client: Redis) -> dict[str, float]:
    members: list[Any] = await client.zrange(RANKING, 0, -1, withscores=True)
    return {user.decode(): score for user, score in members}


async def test_every_key_is_ranked_by_its_health_factor(server: RedisServer) -> None:
    room = Room(server.url)
    await room.cache.connect()
    async with client_of(server) as client:
        await room.publisher.write_everything()
        found = await ranked(client)
        assert len(found) == BORROWERS
        assert set(found.values()) == {1.6}
        assert 2_000 < await client.pttl(RANKING) <= 3_000  # as long as the keys

        old = await room.engine.get_position("fake", address(1))
        assert old is not None
        first, second = checksummed(address(1)), checksummed(address(2))
        for user, factor, block in ((first, "0.9", 101), (second, None, 101)):
            changed = replace(old, user=user, health_factor=factor, block=block)
            assert await room.cache.write([Finished(changed)]) == 1
        assert await room.cache.riskiest("fake", 1) == [name_of("fake", first)]
        assert (await room.cache.riskiest("fake", BORROWERS) or [""])[-1] == name_of("fake", second)
        assert (await ranked(client))[second] == float("inf")
    await room.cache.close()


async def test_an_older_block_changes_no_rank(server: RedisServer) -> None:
    room = Room(server.url)
    await room.cache.connect()
    await room.publisher.write_everything()
    old = await room.engine.get_position("fake", address(1))
    assert old is not None
    user = checksummed(address(1))
    async with client_of(server) as client:
        await room.cache.write([Finished(replace(old, health_factor="0.5", block=500))])
        await room.publisher.write_everything()
        assert (await ranked(client))[user] == 0.5
        assert await room.cache.remove([name_of("fake", user)], block=499) == 0
        assert user in await ranked(client)
    await room.cache.close()


async def test_a_rank_goes_with_its_key(server: RedisServer) -> None:
    room = Room(server.url)
    await room.cache.connect()
    await room.publisher.write_everything()
    user = checksummed(address(1))
    async with client_of(server) as client:
        assert await room.cache.remove([name_of("fake", user)]) == 1
        assert user not in await ranked(client)
        assert len(await ranked(client)) == BORROWERS - 1
        await room.publisher.write_everything()
        await client.delete(name_of("fake", user))  # somebody else's doing: the rank has no key
        assert await room.cache.remove([name_of("fake", user)]) == 0
        assert user not in await ranked(client)
    await room.cache.close()


async def test_a_ranking_of_another_type_is_replaced(server: RedisServer) -> None:
    room = Room(server.url)
    await room.cache.connect()
    async with client_of(server) as client:
        await client.set(RANKING, "stranger")
        await room.cache.remove([name_of("fake", checksummed(address(1)))])
        assert await room.publisher.write_everything() == BORROWERS
        assert len(await ranked(client)) == BORROWERS
    await room.cache.close()


async def test_members_of_an_isolated_market_lead_to_their_keys(server: RedisServer) -> None:
    room = Room(server.url)
    await room.cache.connect()
    await room.publisher.write_everything()
    old = await room.engine.get_position("fake", address(1))
    assert old is not None
    market = f"blue.0x{bytes(32).hex()}"
    await room.cache.write([Finished(replace(old, protocol=market))])

    assert await room.cache.riskiest("blue", 9) == [name_of(market, checksummed(address(1)))]
    assert len(await room.cache.riskiest("fake", BORROWERS) or ()) == BORROWERS
    await room.cache.close()
