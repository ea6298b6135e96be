"""Positions in a real Redis, ranked by health factor in the same write."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from chimera.app import cached_positions
from chimera.cli.filters import Filters
from chimera.domain.position import Position
from chimera.settings import load
from chimera.state.valuation import Finished, checksummed, name_of
from devnet.redis_server import RedisServer
from tests.fakes_state import address
from tests.integration.test_cache_redis import BORROWERS, Room, client_of
from tests.settings_files import with_section

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
        assert 30_000 < await client.pttl(RANKING) <= 60_000  # as long as the keys

        old = await room.engine.get_position("fake", address(1))
        assert old is not None
        first, second = checksummed(address(1)), checksummed(address(2))
        for user, factor, block in ((first, "0.9", 101), (second, None, 101)):
            changed = replace(old, user=user, health_factor=factor, block=block)
            assert await room.cache.write([Finished(changed)]) == 1
        found = await ranked(client)
        assert found[first] == 0.9
        assert found[second] == float("inf")
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


# --- reading only the riskiest -------------------------------------------------------------------

ISOLATED = f"blue.0x{bytes(32).hex()}"
# Some are one and the same float; some have no figure at all.
FACTORS = (
    "0.97",
    "1.000000000000000002",
    "1.000000000000000001",
    "1.2",
    "1.2",
    "7.5",
    "31.0",
    None,
)


async def shuffled(room: Room) -> None:
    """Publish borrowers of two instances with a few different health factors."""
    await room.cache.connect()
    await room.publisher.write_everything()
    old = await room.engine.get_position("fake", address(1))
    assert old is not None
    chance = random.Random(7)  # noqa: S311  (a seed is the point)
    for protocol, count in (("fake", BORROWERS), (ISOLATED, 50)):
        for number in range(1, count + 1):
            factor = chance.choice(FACTORS)
            user = checksummed(address(number))
            changed = replace(old, protocol=protocol, user=user, health_factor=factor)
            await room.cache.write([Finished(changed)])


async def test_the_riskiest_are_those_of_everybody(server: RedisServer) -> None:
    room = Room(server.url)
    await shuffled(room)
    positions = await room.cache.get_all()
    bounds = (None, "0.5", "1", "1.000000000000000001", "1.2", "40")
    for limit, bound, instance in product(
        (1, 30, 100, 349, 350, 999), bounds, (None, "fake", "blue")
    ):
        filters = Filters(instance, None, None, bound)
        everybody = filters.applied(positions, 10**6)

        found = await room.cache.riskiest(**filters.beginning(limit))

        assert found is not None
        assert filters.applied(found.positions, limit) == everybody[:limit]
        if bound is None:
            assert len(found.positions) + found.unread == len(everybody)
        else:
            assert filters.applied(found.positions, 10**6) == everybody
    await room.cache.close()


async def with_a_worst(server: RedisServer) -> tuple[Room, Position]:
    """Write everybody, and one of them as worse off than all others."""
    room = Room(server.url)
    await room.cache.connect()
    await room.publisher.write_everything()
    old = await room.engine.get_position("fake", address(1))
    assert old is not None
    worst = replace(old, health_factor="0.9")
    await room.cache.write([Finished(worst)])
    return room, worst


async def test_only_the_riskiest_are_read(server: RedisServer) -> None:
    room, worst = await with_a_worst(server)

    assert await room.cache.riskiest(1) == ([worst], BORROWERS - 1)
    assert await room.cache.riskiest(1, bound=0.8) == ([], BORROWERS)
    assert await room.cache.riskiest(1, instance="strange") == ([], 0)
    await room.cache.close()


async def test_a_rank_that_outlived_its_key_hides_nobody(server: RedisServer) -> None:
    room = Room(server.url)
    await shuffled(room)
    everybody = Filters().applied(await room.cache.get_all(), 10**6)
    beginning = {(each.protocol, each.health_factor) for each in everybody[:3]}
    assert beginning == {(ISOLATED, "0.97")}  # two of them go
    gone = [name_of(each.protocol, each.user) for each in everybody[:2]]
    async with client_of(server) as client:
        await client.delete(*gone)

    for filters, limit in (
        (Filters("blue"), 1),
        (Filters(), 1),
        (Filters(), 100),
        (Filters(max_health_factor="1.2"), 10**6),
    ):
        found = await room.cache.riskiest(**filters.beginning(limit))
        assert found is not None
        assert filters.applied(found.positions, limit) == filters.applied(everybody[2:], limit)
    await room.cache.close()


async def test_fewer_living_keys_than_asked_for_are_not_taken_for_the_riskiest(
    server: RedisServer,
) -> None:
    room, worst = await with_a_worst(server)
    async with client_of(server) as client:
        await client.delete(name_of("fake", worst.user))

    assert await room.cache.riskiest(1) is None  # the only member at the beginning has no key
    assert await room.cache.riskiest(2) is not None  # the second has, and ties with all the others
    await room.cache.close()


async def test_a_ranking_that_does_not_know_every_key_is_not_believed(server: RedisServer) -> None:
    room = Room(server.url)
    await room.cache.connect()
    await room.publisher.write_everything()
    async with client_of(server) as client:
        await client.zrem(RANKING, checksummed(address(9)))
        assert await room.cache.riskiest(5) is None
        await room.publisher.write_everything()
        assert await room.cache.riskiest(5) is not None

        await client.set("position:stranger", "of no instance")
        assert await room.cache.riskiest(5) is None
        assert await room.cache.riskiest(5, instance="fake") is not None

        await client.set(RANKING, "of another type")
        assert await room.cache.riskiest(5, instance="fake") is None
        assert room.cache.state == "connected"
    await room.cache.close()


async def test_in_memory_there_is_no_ranking() -> None:
    room = Room("")
    await room.publisher.write_everything()

    assert await room.cache.riskiest(5) is None
    await room.cache.close()


async def test_the_command_line_is_given_everything_where_no_ranking_helps(
    server: RedisServer, tmp_path: Path
) -> None:
    room = Room(server.url)
    await room.cache.connect()
    await room.publisher.write_everything()
    file = with_section(tmp_path / "chimera.toml", f'[redis]\nurl = "{server.url}"')
    settings = load(file, kinds={"aave_v3"})

    everything, unread = await cached_positions(settings)
    assert (len(everything), unread) == (BORROWERS, 0)
    await room.cache.write([Finished(replace(everything[0], health_factor="0.9"))])
    assert (await cached_positions(settings, count=1))[1] == BORROWERS - 1
    async with client_of(server) as client:
        await client.delete(RANKING)
    everything, unread = await cached_positions(settings, count=1)
    assert (len(everything), unread) == (BORROWERS, 0)
    await room.cache.close()
