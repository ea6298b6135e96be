"""The publisher: every account with debt has its key, as of the newest block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chimera.domain.block import Address, Log, Rollback
from chimera.state.book import Book
from chimera.state.cache import PositionCache
from chimera.state.engine import StateEngine
from chimera.state.publisher import CachePublisher
from chimera.state.valuation import Finished, checksummed
from tests.fakes_state import (
    ALICE,
    BOB,
    BORROW,
    CAROL,
    USDC,
    WETH,
    Clock,
    FakeAdapter,
    FakeMarket,
    FakeStreaks,
    account,
    address,
    batch,
    child,
    first_block,
    log,
)

START = first_block()


class Room:
    """An engine, its cache in memory and its publisher, on a clock of their own."""

    def __init__(self, borrowers: int = 2, ttl: float = 60) -> None:
        users = [ALICE, BOB, *(address(10**6 + number) for number in range(borrowers - 2))]
        accounts = {user: account({WETH: 100}, {USDC: 100_000}) for user in users}
        book = Book()
        market = FakeMarket({WETH: 2_000, USDC: 1})
        book.load("fake", market, accounts, complete=True, block=START)
        self.clock = Clock()
        self.cache = PositionCache("", ttl=ttl, clock=self.clock)
        self.streaks = FakeStreaks()
        self.engine = StateEngine({"fake": FakeAdapter()}, book, self.cache, streaks=self.streaks)
        self.engine.adopt()
        self.latencies: list[float] = []
        self.publisher = CachePublisher(
            self.cache,
            self.engine.mirror,
            on_written=self.latencies.append,
            clock=self.clock,
            tick=0.001,
        )

    def step(self, *logs: Log, salt: str = "") -> None:
        self.engine.apply(batch(child(self.engine.book.block, salt), *logs))

    async def blocks(self) -> dict[str, int]:
        """Return at which block each published user is valued."""
        return {entry.user: entry.block for entry in await self.cache.get_all()}


@asynccontextmanager
async def running(room: Room) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        await room.publisher.start(group)
        yield
        await room.publisher.stop()


async def settle() -> None:
    """Let the publisher come to rest: by turns of the loop, for a stall takes away but one."""
    for _ in range(50):
        await asyncio.sleep(0.001)


def names(*users: Address) -> set[str]:
    return {checksummed(user) for user in users}


async def test_everything_is_written_when_asked() -> None:
    room = Room(borrowers=250)

    room.publisher.publish_everything()
    async with running(room):
        await settle()

    assert len(await room.blocks()) == 250


async def test_a_block_writes_only_its_keys_and_tells_how_long_it_took() -> None:
    room = Room()
    async with running(room):
        room.step(log(BORROW, BOB, USDC, 1))
        arrived = int((room.clock() - 0.25) * 1e9)
        room.publisher.publish_block(room.engine.touched, arrived_ns=arrived)
        await settle()

        assert await room.blocks() == {checksummed(BOB): START.number + 1}
        assert room.latencies == [0.25]

        room.publisher.publish_block(room.engine.touched)  # not live: nothing to measure
        await settle()
        assert room.latencies == [0.25]


async def test_published_positions_have_the_streak_and_every_leg() -> None:
    room = Room()
    room.streaks.lengths["fake", BOB] = 3
    room.publisher.publish_block([("fake", BOB)])
    async with running(room):
        await settle()

    position = await room.cache.get("fake", checksummed(BOB))
    assert position is not None
    assert position.blocks_unhealthy == 3
    assert position.health_factor == "1.600000000000000000"
    assert (position.collateral_amount, position.debt_amount) == (100, 100_000)
    assert position.debt[0].value == "0.00100000"
    assert position.last_update_block == 1


async def test_a_closed_account_loses_its_key() -> None:
    room = Room()
    room.publisher.publish_everything()
    async with running(room):
        await settle()
        room.step(log(BORROW, BOB, USDC, -100_000))
        room.publisher.publish_block(room.engine.touched)
        await settle()

        assert set(await room.blocks()) == names(ALICE)


async def test_every_key_is_refreshed_by_the_clock_without_any_block() -> None:
    room = Room(borrowers=40)
    room.publisher.publish_everything()
    async with running(room):
        for _ in range(100):  # ten minutes
            room.clock.now += 6
            await asyncio.sleep(0.004)
            assert len(await room.blocks()) == 40


async def test_the_refresh_is_spread_over_a_third_of_the_time_to_live() -> None:
    room = Room(borrowers=40)
    room.publisher.publish_everything()
    async with running(room):
        await settle()
        room.clock.now += 20  # the first round is over, the next one begins
        await settle()
        room.step()
        room.clock.now += 5  # a quarter of it
        await settle()

        fresh = [block for block in (await room.blocks()).values() if block > START.number]
        assert len(fresh) == 10


async def test_a_rollback_is_written_over_newer_blocks() -> None:
    room = Room()
    room.publisher.publish_everything()
    async with running(room):
        room.step(log(BORROW, CAROL, USDC, 1))
        room.step(log(BORROW, BOB, USDC, 1))
        room.publisher.publish_block([("fake", user) for user in (ALICE, BOB, CAROL)])
        await settle()
        assert set((await room.blocks()).values()) == {START.number + 2}

        room.engine.rollback(Rollback(START))
        room.publisher.publish_everything(force=True)
        await settle()

        assert await room.blocks() == dict.fromkeys(names(ALICE, BOB), START.number)


async def test_a_second_rollback_during_a_rewrite_is_forced_as_well() -> None:
    room = Room(borrowers=250)  # several slices
    room.publisher.publish_everything()
    async with running(room):
        for _ in range(3):
            room.step(log(BORROW, ALICE, USDC, 1))
        room.publisher.publish_everything()
        await settle()
        room.engine.rollback(Rollback(room.engine.book.canonical(START.number + 2) or START))
        room.publisher.publish_everything(force=True)
        await asyncio.sleep(0)  # the rewrite is under way ...

        room.engine.rollback(Rollback(START))  # ... when the chain goes back further
        room.publisher.publish_everything(force=True)
        await settle()

        assert set((await room.blocks()).values()) == {START.number}


async def test_strays_of_our_protocols_go_and_others_stay() -> None:
    room = Room()
    room.publisher.publish_block([("fake", ALICE)])
    async with running(room):
        await settle()
        known = await room.cache.get("fake", checksummed(ALICE))
        assert known is not None
        for protocol, user in (("fake", CAROL), ("other", CAROL)):
            stray = known.from_document({**known.document(), "protocol": protocol})
            stray = stray.from_document({**stray.document(), "user": checksummed(user)})
            await room.cache.write([Finished(stray)])

        room.publisher.publish_everything()
        await settle()

        protocols = sorted((entry.protocol, entry.user) for entry in await room.cache.get_all())
        assert protocols == sorted(
            [
                ("fake", checksummed(ALICE)),
                ("fake", checksummed(BOB)),
                ("other", checksummed(CAROL)),
            ]
        )


async def test_a_block_that_came_while_a_slice_waited_in_line_can_be_taken_back() -> None:
    room = Room(borrowers=50)
    stays = room.engine.book.block
    async with running(room):
        room.step(log(BORROW, BOB, USDC, 1))
        stays = room.engine.book.block
        room.publisher.publish_block(room.engine.touched)
        while room.publisher.pending:  # noqa: ASYNC110  (a few passes of the loop)
            await asyncio.sleep(0)  # it has them, and waits for its turn
        room.step(log(BORROW, BOB, USDC, 7), salt="left")
        while checksummed(BOB) not in await room.blocks():  # noqa: ASYNC110
            await asyncio.sleep(0)

        room.engine.rollback(Rollback(stays))
        room.publisher.publish_everything(force=True)
        await settle()

        assert set((await room.blocks()).values()) == {stays.number}


async def test_a_protocol_that_is_left_out_with_its_keys_on_their_way_does_no_harm() -> None:
    room = Room()
    room.publisher.publish_block([("fake", ALICE)])
    room.engine.adapters.pop("fake")  # type: ignore[attr-defined]
    room.engine.leave_out("fake", "upgraded")

    await room.publisher._write_pending()

    assert room.publisher.pending == 0
    assert await room.blocks() == {}
