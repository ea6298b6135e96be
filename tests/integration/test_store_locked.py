"""A SQLite file that is locked or has no room: readers go on, writers wait, a start fails."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chimera.domain.block import Address
from chimera.errors import Retry, Unreachable
from chimera.store import crowd
from chimera.store.database import BUSY_SECONDS
from chimera.store.history import SqlHistory
from chimera.store.writer import HistoryWriter
from devnet.chaos_disk import locked
from tests.fakes_store import ALICE, BOB, CAROL, checkpoint, opportunity

START = """
import asyncio, resource, sys
from chimera.errors import Unreachable
from chimera.store.history import SqlHistory

resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))  # as a full disk: no file grows past it
try:
    asyncio.run(SqlHistory(sys.argv[1], chain_id=1).open())
except Unreachable as error:
    print(error)
"""
AT_ONCE = BUSY_SECONDS - 1.0  # a reader that waited for the lock would need all of them


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "chimera.db"


@pytest.fixture
async def history(database: Path) -> AsyncIterator[SqlHistory]:
    history = SqlHistory(f"sqlite+aiosqlite:///{database}", chain_id=1)
    await history.open()
    await history.record(
        checkpoints=[checkpoint(100)],
        opportunities=[opportunity("a")],
        users={"aave": [ALICE]},
        scanned_to={"aave": 100},
    )
    yield history
    await history.close()


async def test_everything_can_be_read(history: SqlHistory, database: Path) -> None:
    with locked(database):
        began = time.monotonic()

        assert await history.users("aave") == [ALICE]
        assert await history.scanned_to("aave") == 100
        assert await history.checkpoints() == [checkpoint(100)]
        assert await history.opportunities(9) == [opportunity("a")]

        assert time.monotonic() - began < AT_ONCE


async def test_a_search_goes_on_and_is_written_afterwards(
    history: SqlHistory, database: Path
) -> None:
    async with asyncio.TaskGroup() as group:
        writer = HistoryWriter(history, pause=0.05)
        await writer.start(group)
        with locked(database):
            began = time.monotonic()
            for number in range(101, 201):
                await writer.set_scanned_to("aave", number, [BOB], scan="aave")
                writer.submit(checkpoint(number), [opportunity("b", flagged=150)])
            assert await writer.users("aave") == [ALICE, BOB]
            assert await writer.scanned_to("aave") == 200
            assert time.monotonic() - began < AT_ONCE
            assert await history.users("aave") == [ALICE]
            assert writer.pending <= 64 + 3  # checkpoints of the window, episode, user, scan
        async with asyncio.timeout(60):
            while writer.pending or await history.scanned_to("aave") != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await writer.stop()

    assert await history.users("aave") == [ALICE, BOB]
    assert await history.checkpoints() == [checkpoint(n) for n in range(200, 136, -1)]


async def test_what_was_known_once_needs_no_history_any_more(history: SqlHistory) -> None:
    writer = HistoryWriter(history)
    assert await writer.users("aave") == [ALICE]
    assert await writer.scanned_to("aave") == 100
    await history.close()

    writer.submit(users={"aave": [CAROL]}, scanned_to={"aave": 101})

    assert await writer.users("aave") == [ALICE, CAROL]
    assert await writer.scanned_to("aave") == 101
    with pytest.raises(Retry):
        await writer.users("never asked about")


async def test_holders_of_any_length_are_remembered_in_order(
    history: SqlHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowd, "MOST_FRESH", 3)
    holders = [Address(bytes([n]) * size) for n in range(9, 0, -1) for size in (20, 52)]
    writer = HistoryWriter(history)
    for holder in [*holders, *holders[:5]]:
        writer.submit(users={"aave": [holder]})

    assert await writer.users("aave") == sorted({ALICE, *holders})


def test_a_start_on_a_full_disk_is_refused(database: Path) -> None:
    words = ["-c", START, f"sqlite+aiosqlite:///{database}"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)

    assert "cannot be opened: disk" in done.stdout


@pytest.mark.usefixtures("history")
async def test_a_start_beside_a_lock_is_refused(database: Path) -> None:
    other = SqlHistory(f"sqlite+aiosqlite:///{database}", chain_id=1)
    with locked(database), pytest.raises(Unreachable, match="cannot be opened: database is locked"):
        await other.open()

    await other.open()
    await other.close()
