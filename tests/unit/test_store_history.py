"""What a history remembers, in SQLite files."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from chimera.domain.block import Address
from chimera.domain.market import Key
from chimera.domain.opportunity import Streak
from chimera.errors import Retry
from chimera.store.database import BUSY_SECONDS
from chimera.store.history import SqlHistory
from tests.fakes_store import ALICE, BOB, CAROL, checkpoint, opportunity


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'chimera.db'}"


@pytest.fixture
async def history(url: str) -> AsyncIterator[SqlHistory]:
    history = SqlHistory(url, chain_id=8453, undo_window=4)
    await history.open()
    yield history
    await history.close()


async def reopened(history: SqlHistory) -> SqlHistory:
    await history.close()
    await history.open()
    return history


async def test_a_new_history_remembers_nothing(history: SqlHistory) -> None:
    assert await history.users("aave") == []
    assert await history.scanned_to("aave") is None
    assert await history.checkpoints() == []
    assert await history.opportunities(10) == []


async def test_users_are_recorded_once_and_per_protocol(history: SqlHistory) -> None:
    await history.add_users("aave", [BOB, ALICE])
    await history.add_users("aave", [ALICE, ALICE])
    await history.add_users("moonwell", [CAROL])

    assert await (await reopened(history)).users("aave") == [ALICE, BOB]
    assert await history.users("moonwell") == [CAROL]


async def test_a_scan_records_its_users_with_how_far_it_got(history: SqlHistory) -> None:
    await history.set_scanned_to("aave", 500, [ALICE], scan="aave")
    await history.set_scanned_to("aave", 900, [BOB], scan="aave")

    assert await (await reopened(history)).scanned_to("aave") == 900
    assert await history.users("aave") == [ALICE, BOB]
    assert await history.scanned_to("moonwell") is None


async def test_episodes_survive_a_restart_to_the_last_digit(history: SqlHistory) -> None:
    episode = opportunity()
    await history.save(checkpoint(101, streak=2), [episode])

    await reopened(history)

    assert await history.opportunities(10) == [episode]
    assert await history.checkpoints() == [checkpoint(101, streak=2)]


async def test_an_episode_is_written_over_under_its_id(history: SqlHistory) -> None:
    await history.save(None, [opportunity()])
    await history.save(None, [opportunity(closed=105)])
    assert await history.opportunities(10) == [opportunity(closed=105)]

    await history.save(None, [opportunity()])
    assert await history.opportunities(10) == [opportunity()]


async def test_episodes_come_newest_first_with_all_open_ones(history: SqlHistory) -> None:
    await history.save(
        None,
        [
            opportunity("old", flagged=50),
            opportunity("a", flagged=60, closed=70),
            opportunity("b", flagged=80, closed=90),
            opportunity("new", flagged=95),
        ],
    )

    assert [o.id for o in await history.opportunities(10)] == ["new", "b", "a", "old"]
    assert [o.id for o in await history.opportunities(3)] == ["new", "b", "old"]
    assert [o.id for o in await history.opportunities(1)] == ["new", "old"]


async def test_checkpoints_past_the_undo_window_are_pruned(history: SqlHistory) -> None:
    for number in range(100, 110):
        await history.save(checkpoint(number), [])

    assert await history.checkpoints() == [checkpoint(n) for n in (109, 108, 107, 106)]


async def test_a_batch_longer_than_the_undo_window_keeps_the_newest(history: SqlHistory) -> None:
    await history.record(checkpoints=[checkpoint(n) for n in range(100, 110)])

    assert [c.block.number for c in await history.checkpoints()] == [109, 108, 107, 106]


async def test_checkpoints_above_a_newer_one_left_the_chain(history: SqlHistory) -> None:
    for number in (100, 101, 102):
        await history.save(checkpoint(number), [])

    await history.save(checkpoint(101, fork=1), [])

    assert await history.checkpoints() == [checkpoint(101, fork=1), checkpoint(100)]


async def test_streaks_of_any_protocol_come_back(history: SqlHistory) -> None:
    streaks: dict[Key, Streak] = {
        ("aave", ALICE): Streak(90, 12),
        ("aave", BOB): Streak(101, 1),
        ("morpho_blue.0x9103", ALICE): Streak(100, 2),
    }
    bare = checkpoint(101)
    await history.save(type(bare)(bare.block, streaks), [])

    assert dict((await history.checkpoints())[0].streaks) == streaks


async def test_two_chains_share_a_file_and_see_only_their_own(
    history: SqlHistory, url: str
) -> None:
    other = SqlHistory(url, chain_id=1)
    await other.open()
    await history.record(
        checkpoints=[checkpoint(101)],
        opportunities=[opportunity()],
        users={"aave": [ALICE]},
        scanned_to={"aave": 5},
    )
    await other.record(
        checkpoints=[checkpoint(7)],
        opportunities=[opportunity(closed=110)],
        users={"aave": [BOB]},
        scanned_to={"aave": 6},
    )

    assert await history.checkpoints() == [checkpoint(101)]
    assert await history.opportunities(9) == [opportunity()]
    assert await history.users("aave") == [ALICE]
    assert await history.scanned_to("aave") == 5
    assert await other.checkpoints() == [checkpoint(7)]
    assert await other.opportunities(9) == [opportunity(closed=110)]
    assert await other.users("aave") == [BOB]
    assert await other.scanned_to("aave") == 6
    await other.close()


async def test_a_history_that_is_not_open_asks_to_try_again(url: str) -> None:
    history = SqlHistory(url, chain_id=1)

    with pytest.raises(Retry, match="not open"):
        await history.checkpoints()
    await history.close()


async def test_a_failing_call_writes_nothing_at_all(history: SqlHistory) -> None:
    broken = replace(opportunity(), flagged_block=cast("int", None))

    with pytest.raises(Retry, match="NOT NULL"):
        await history.record(users={"aave": [ALICE]}, opportunities=[broken])

    assert await history.users("aave") == []


async def test_a_database_that_somebody_else_locks_asks_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chimera.store.database.PRAGMAS", ("PRAGMA busy_timeout=20",))
    path = tmp_path / "chimera.db"
    history = SqlHistory(f"sqlite+aiosqlite:///{path}", chain_id=1)
    await history.open()

    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Retry, match="locked"):
            await history.save(None, [opportunity()])
    await history.save(None, [opportunity()])

    assert await history.opportunities(9) == [opportunity()]
    await history.close()


async def test_a_write_that_is_cancelled_leaves_no_lock_behind(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off in the middle, a transaction would keep the next writer waiting for seconds."""
    monkeypatch.setattr("chimera.store.history.FAREWELL_SECONDS", 20.0)  # none is too slow here
    first, second = SqlHistory(url, chain_id=1), SqlHistory(url, chain_id=2)
    await first.open()
    await second.open()
    users = [Address(number.to_bytes(20, "big")) for number in range(2_000)]
    for place in range(40):
        writing = asyncio.create_task(first.add_users(f"p{place}", users))
        await asyncio.sleep(place / 2_000)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        async with asyncio.timeout(BUSY_SECONDS - 1):
            await second.add_users("other", [users[place]])
    await first.close()
    await second.close()
