"""The cache's face, as operators and other programs use it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.domain.block import Address
from chimera.domain.position import Position
from chimera.state.book import Book
from chimera.state.cache import PositionCache
from chimera.state.engine import StateEngine
from chimera.state.valuation import checksummed
from tests.fakes_state import (
    ALICE,
    BOB,
    USDC,
    WETH,
    FakeAdapter,
    FakeMarket,
    FakeStreaks,
    account,
    first_block,
)

MIXED = Address(bytes.fromhex("52908400098527886e0f7030069857d2e4169ee7"))
STRANGER = checksummed(MIXED)


@pytest.fixture
def engine() -> StateEngine:
    """Alice and Bob are in the book of block 100; nothing is published yet."""
    book = Book()
    accounts = {user: account({WETH: 100}, {USDC: 100_000}) for user in (ALICE, BOB)}
    market = FakeMarket({WETH: 2_000, USDC: 1})
    book.load("fake", market, accounts, complete=True, block=first_block())
    engine = StateEngine({"fake": FakeAdapter()}, book, PositionCache(""), streaks=FakeStreaks())
    engine.adopt()
    return engine


async def sample(engine: StateEngine, user: str = STRANGER, **changes: int) -> Position:
    """Return a position of somebody whom the book does not know."""
    await engine.rebuild_cache_from_blockchain()
    known = await engine.get_position("fake", ALICE)
    assert known is not None
    return replace(known, protocol="other", user=user, **changes)  # type: ignore[arg-type]


async def test_a_missing_position_is_none(engine: StateEngine) -> None:
    assert await engine.get_position("fake", STRANGER) is None
    assert await engine.get_position("fake", "nobody at all") is None
    assert await engine.get_all_positions() == []


@pytest.mark.parametrize("user", [STRANGER, STRANGER.lower(), "0x" + STRANGER[2:].upper(), MIXED])
async def test_users_are_found_in_any_case(engine: StateEngine, user: str | Address) -> None:
    position = await sample(engine, STRANGER.lower())
    assert await engine.update_position(position)

    found = await engine.get_position("other", user)

    assert found == replace(position, user=STRANGER)


async def test_an_update_keeps_the_streak(engine: StateEngine) -> None:
    position = await sample(engine)
    await engine.update_position(position)
    await engine.update_position_health("other", STRANGER, False, 101)  # noqa: FBT003

    assert await engine.update_position(replace(position, block=101, debt_amount=7))

    found = await engine.get_position("other", STRANGER)
    assert found is not None
    assert (found.blocks_unhealthy, found.debt_amount, found.block) == (1, 7, 101)


async def test_an_older_update_is_refused(engine: StateEngine) -> None:
    position = await sample(engine)
    await engine.update_position(position)

    assert not await engine.update_position(replace(position, block=99))


async def test_health_counts_each_block_once_and_starts_again(engine: StateEngine) -> None:
    await engine.update_position(await sample(engine))
    seen = []
    for healthy, block in ((False, 101), (False, 101), (False, 102), (False, 100), (True, 103)):
        changed = await engine.update_position_health("other", STRANGER, healthy, block)
        found = await engine.get_position("other", STRANGER)
        assert found is not None
        seen.append((changed, found.blocks_unhealthy))

    assert seen == [(True, 1), (False, 1), (True, 2), (False, 2), (True, 0)]


async def test_health_of_nobody_changes_nothing(engine: StateEngine) -> None:
    assert not await engine.update_position_health("other", STRANGER, False, 101)  # noqa: FBT003
    assert await engine.get_all_positions() == []


async def test_a_block_that_detection_has_counted_changes_nothing(engine: StateEngine) -> None:
    await engine.rebuild_cache_from_blockchain()

    assert not await engine.update_position_health("fake", ALICE, False, 100)  # noqa: FBT003
    assert await engine.update_position_health("fake", ALICE, False, 101)  # noqa: FBT003


async def test_a_removed_position_is_gone(engine: StateEngine) -> None:
    await engine.rebuild_cache_from_blockchain()

    assert await engine.remove_position("fake", ALICE)
    assert not await engine.remove_position("fake", ALICE)
    assert [entry.user for entry in await engine.get_all_positions()] == [checksummed(BOB)]


async def test_a_rebuild_reads_the_chain_and_publishes_all(engine: StateEngine) -> None:
    asked = []

    async def rebuild() -> None:
        asked.append(engine.book.block.number)

    engine.rebuild = rebuild

    assert await engine.rebuild_cache_from_blockchain() == 2
    assert asked == [100]
    assert len(await engine.get_all_positions()) == 2


async def test_stats_count_by_protocol(engine: StateEngine) -> None:
    await engine.update_position(await sample(engine))

    assert await engine.get_cache_stats() == {
        "total_positions": 3,
        "positions_by_protocol": {"fake": 2, "other": 1},
        "redis_connected": False,
        "current_block": 100,
    }
