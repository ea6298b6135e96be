"""The cache: Redis (a fake one) and memory keep the same promises."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis.exceptions import NoPermissionError, OutOfMemoryError

from chimera.domain.position import CollateralView, DebtView, Position
from chimera.state.cache import PositionCache
from chimera.state.valuation import Finished, checksummed
from tests.fakes_state import ALICE, BOB, USDC, WETH, Clock, address

ADDRESS = checksummed(ALICE)
KEY = f"position:aave:{ADDRESS}"


def position(user: str = ADDRESS, *, block: int = 100, protocol: str = "aave") -> Position:
    """Build a position whose amounts no 64-bit number can hold."""
    weth, usdc = checksummed(WETH), checksummed(USDC)
    return Position(
        block=block,
        protocol=protocol,
        user=user,
        health_factor="1.260522236673173840",
        collateral_asset=weth,
        debt_asset=usdc,
        collateral_amount=10**30 + 1,
        debt_amount=2**200,
        liquidation_threshold="0.83",
        last_update_block=99,
        blocks_unhealthy=0,
        collateral=(CollateralView(weth, "WETH", 10**30 + 1, "1.5", "0.83", enabled=True),),
        debt=(DebtView(usdc, "USDC", 2**200, "1.0"),),
        base_currency="USD",
    )


@pytest.fixture(params=["redis", "memory"])
async def cache(request: pytest.FixtureRequest) -> PositionCache:
    if request.param == "memory":
        return PositionCache("")
    cache = PositionCache("redis://fake", client=lambda _: FakeAsyncRedis())
    assert await cache.connect()
    return cache


async def write(cache: PositionCache, *positions: Position, over: int = 0) -> int:
    return await cache.write([Finished(entry) for entry in positions], over=over)


async def raw(redis: FakeAsyncRedis) -> bytes:
    document = await redis.get(KEY)
    assert isinstance(document, bytes)
    return document


async def test_what_is_written_is_read_to_the_last_digit(cache: PositionCache) -> None:
    assert await write(cache, position()) == 1

    assert await cache.get("aave", ADDRESS) == position()
    assert await cache.get_all() == [position()]
    assert await cache.names() == [KEY]
    assert await cache.get("aave", checksummed(BOB)) is None


async def test_an_older_block_never_replaces_a_newer_one(cache: PositionCache) -> None:
    await write(cache, position(block=100))

    assert await write(cache, position(block=99)) == 0
    assert await cache.get("aave", ADDRESS) == position(block=100)
    assert await write(cache, position(block=101)) == 1
    assert await write(cache, position(block=101)) == 1


async def test_a_rollback_may_write_an_older_block(cache: PositionCache) -> None:
    await write(cache, position(block=100))

    assert await write(cache, position(block=98), over=99) == 0
    assert await write(cache, position(block=98), over=100) == 1
    assert await cache.get("aave", ADDRESS) == position(block=98)


async def test_more_than_a_chunk_is_written_and_read(cache: PositionCache) -> None:
    users = [checksummed(address(number)) for number in range(1, 1202)]

    assert await write(cache, *(position(user) for user in users)) == 1201
    assert {entry.user for entry in await cache.get_all()} == set(users)


async def test_others_go_before_a_chunk_is_made_and_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = PositionCache("redis://fake", client=lambda _: FakeAsyncRedis())
    await cache.connect()
    order: list[str] = []

    async def neighbour() -> None:
        order.append("others")

    async def send(**_: Any) -> int:  # noqa: ANN401
        order.append("sent")
        return 1

    class Calling(Finished):
        def position(self) -> Position:
            order.append("made")
            waiting.append(asyncio.create_task(neighbour()))
            return self.content

    waiting = [asyncio.create_task(neighbour())]
    monkeypatch.setattr(cache._redis, "_write", send)
    await cache.write([Calling(position())])

    assert order == ["others", "made", "others", "sent"]
    await asyncio.gather(*waiting)


async def test_removing_tells_how_many_were_there(cache: PositionCache) -> None:
    await write(cache, position())

    assert await cache.remove([KEY, KEY + "0"]) == 1
    assert await cache.remove([KEY]) == 0
    assert await cache.get_all() == []


async def test_an_empty_write_is_no_fault(cache: PositionCache) -> None:
    assert await write(cache) == 0
    assert await cache.remove([]) == 0


async def test_memory_forgets_after_the_time_to_live() -> None:
    clock = Clock()
    cache = PositionCache("", ttl=60, clock=clock)
    await write(cache, position())
    clock.now += 30
    await write(cache, position(checksummed(BOB)), position(block=99))
    clock.now += 29.9
    assert len(await cache.get_all()) == 2

    clock.now += 0.1
    assert await cache.get("aave", ADDRESS) is None
    assert [entry.user for entry in await cache.get_all()] == [checksummed(BOB)]
    assert await write(cache, position(block=1)) == 1  # what has died protects nothing


async def test_every_key_has_its_time_to_live() -> None:
    redis = FakeAsyncRedis()
    cache = PositionCache("redis://fake", ttl=60, client=lambda _: redis)
    await cache.connect()
    await write(cache, position())

    assert 59_000 < await redis.pttl(KEY) <= 60_000
    await redis.pexpire(KEY, 5)
    await write(cache, position())
    assert 59_000 < await redis.pttl(KEY) <= 60_000


async def test_the_document_is_the_published_one() -> None:
    redis = FakeAsyncRedis()
    cache = PositionCache("redis://fake", client=lambda _: redis)
    await cache.connect()
    await write(cache, position())

    document = await raw(redis)
    assert document.startswith(b'{"block":100,"protocol":"aave",')
    assert b'"collateral_amount":1000000000000000000000000000001,' in document
    assert b'"error":null,"version":1}' in document


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b'{"block":"1"}',
        b"\xff\xfe",
        b'{"block":999999}',
        b'{"block":2000000,"protocol":"aave"}',
    ],
)
async def test_what_is_no_position_is_skipped_and_replaced(junk: bytes) -> None:
    redis = FakeAsyncRedis()
    cache = PositionCache("redis://fake", client=lambda _: redis)
    await cache.connect()
    await write(cache, position(checksummed(BOB)))
    await redis.set(KEY, junk)

    assert await cache.get("aave", ADDRESS) is None
    assert [entry.user for entry in await cache.get_all()] == [checksummed(BOB)]
    assert cache.state == "connected"
    assert await write(cache, position(block=10**6)) == 1
    assert await cache.get("aave", ADDRESS) == position(block=10**6)


@pytest.mark.parametrize(
    "text", ["", "-1.5", "1.", ".5", "1e5", "1 5", "1\n5", "1.5\n", "\n", "\u0661"]
)
@pytest.mark.parametrize("place", ["health_factor", "liquidation_threshold", "collateral", "debt"])
async def test_a_document_with_text_in_place_of_a_decimal_is_no_position(
    place: str, text: str
) -> None:
    cache = PositionCache("redis://fake", client=lambda _: FakeAsyncRedis())
    await cache.connect()
    spoiled: Any = text
    if place in {"collateral", "debt"}:
        (leg,) = getattr(position(), place)
        spoiled = (leg, replace(leg, value=text))
    await write(cache, replace(position(), **{place: spoiled}))

    assert await cache.get("aave", ADDRESS) is None


async def test_a_key_of_another_type_is_replaced() -> None:
    redis = FakeAsyncRedis()
    cache = PositionCache("redis://fake", client=lambda _: redis)
    await cache.connect()
    await redis.lpush(KEY, "stranger")

    assert await cache.get("aave", ADDRESS) is None
    assert await cache.get_all() == []
    assert await write(cache, position()) == 1
    assert await cache.get("aave", ADDRESS) == position()


async def test_unknown_fields_of_a_later_version_are_ignored() -> None:
    redis = FakeAsyncRedis()
    cache = PositionCache("redis://fake", client=lambda _: redis)
    await cache.connect()
    await write(cache, position())
    document = await raw(redis)
    await redis.set(KEY, document[:-1] + b',"mood":"calm"}')

    assert await cache.get("aave", ADDRESS) == position()


async def test_a_lost_redis_is_replaced_by_memory_and_its_return_is_told() -> None:
    server, returns = FakeServer(), []
    cache = PositionCache("redis://fake", client=lambda _: FakeAsyncRedis(server=server))
    cache.on_returned = lambda: returns.append(cache.state)
    assert cache.state == "fallback"
    await cache.connect()
    assert (cache.state, returns) == ("connected", ["connected"])
    await write(cache, position())

    server.connected = False
    assert await cache.get("aave", ADDRESS) == position()
    assert cache.state == "fallback"
    assert not await cache.connect()
    assert await write(cache, position(block=101)) == 1
    assert await cache.get_all() == [position(block=101)]

    server.connected = True
    assert await cache.connect()
    assert (cache.state, returns) == ("connected", ["connected", "connected"])
    assert await cache.get("aave", ADDRESS) == position()  # until the publisher has written


class RestartedRedis(FakeAsyncRedis):
    """A Redis whose process can be another one, while its socket seems the same."""

    run_id = "first"

    async def info(self, *_: object, **__: object) -> dict[str, str]:
        return {"run_id": self.run_id}


async def test_a_redis_that_was_restarted_unseen_counts_as_returned() -> None:
    redis, returns = RestartedRedis(), []
    cache = PositionCache("redis://fake", client=lambda _: redis)
    cache.on_returned = lambda: returns.append(1)
    await cache.connect()
    await cache.connect()
    assert len(returns) == 1

    redis.run_id = "second"
    await cache.connect()

    assert len(returns) == 2


async def test_a_redis_that_was_emptied_unseen_counts_as_returned() -> None:
    redis, returns = FakeAsyncRedis(), []
    cache = PositionCache("redis://fake", client=lambda _: redis)
    cache.on_returned = lambda: returns.append(1)
    for _ in range(3):
        assert await cache.connect()
    assert returns == [1]

    await redis.flushall()
    for _ in range(3):
        assert await cache.connect()

    assert returns == [1, 1]


class ForbiddingRedis(FakeAsyncRedis):
    """A Redis that does not let us ask for its facts."""

    async def info(self, *_: object, **__: object) -> dict[str, str]:
        raise NoPermissionError("this user has no permissions to run the 'info' command")


async def test_a_redis_without_info_is_used_all_the_same() -> None:
    cache = PositionCache("redis://fake", client=lambda _: ForbiddingRedis())

    assert await cache.connect()
    assert cache.state == "connected"


class DeafRedis(FakeAsyncRedis):
    """A client that loses a cancellation which comes while it waits."""

    async def mget(self, *_: object, **__: object) -> list[bytes | str | None]:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return [None]
        return []


async def test_a_cancellation_that_the_client_loses_still_stops_us() -> None:
    cache = PositionCache("redis://fake", client=lambda _: DeafRedis())
    await cache.connect()
    reading = asyncio.create_task(cache.get("aave", ADDRESS))
    await asyncio.sleep(0.01)

    reading.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_without_a_url_there_is_only_memory() -> None:
    cache = PositionCache("")

    assert not await cache.connect()
    assert cache.state == "disabled"
    await cache.close()


async def test_a_redis_that_was_never_there_is_no_reason_to_fail() -> None:
    server = FakeServer()
    server.connected = False
    faults: list[str] = []
    cache = PositionCache(
        "redis://fake",
        client=lambda _: FakeAsyncRedis(server=server),
        on_fault=faults.append,
    )

    assert not await cache.connect()
    await write(cache, position())
    assert await cache.get_all() == [position()]
    assert faults == ["ConnectionError"]


class FullRedis(FakeAsyncRedis):
    """A Redis that reads, and has no memory left to write."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        if str(args[0]).startswith("EVAL"):
            raise OutOfMemoryError("OOM command not allowed")
        return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]


async def test_a_full_redis_is_counted_and_not_taken_for_lost() -> None:
    faults: list[str] = []
    cache = PositionCache("redis://fake", client=lambda _: FullRedis(), on_fault=faults.append)
    await cache.connect()

    await write(cache, position())

    assert cache.state == "connected"
    assert faults == ["OutOfMemoryError"]
