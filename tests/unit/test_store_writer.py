"""Writing in the background."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from chimera.domain.block import Address
from chimera.domain.opportunity import Checkpoint, Opportunity
from chimera.errors import Retry
from chimera.store.history import SqlHistory
from chimera.store.writer import HistoryWriter
from tests.fakes_store import ALICE, BOB, checkpoint, opportunity


class FlakyHistory(SqlHistory):
    """A history whose disk is full for as long as `failing` says."""

    def __init__(self, url: str) -> None:
        super().__init__(url, chain_id=1)
        self.failing = False
        self.hanging = False
        self.calls = 0
        self.called = asyncio.Event()
        self.failed = asyncio.Semaphore(0)
        self.saved = asyncio.Event()

    async def record(
        self,
        *,
        checkpoints: Sequence[Checkpoint] = (),
        opportunities: Iterable[Opportunity] = (),
        users: Mapping[str, Iterable[Address]] | None = None,
        scanned_to: Mapping[str, int] | None = None,
    ) -> None:
        self.calls += 1
        self.called.set()
        if self.hanging:
            await asyncio.sleep(3600)
        if self.failing:
            self.failed.release()
            raise Retry("disk is full")
        await super().record(
            checkpoints=checkpoints,
            opportunities=opportunities,
            users=users,
            scanned_to=scanned_to,
        )
        self.saved.set()


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[FlakyHistory]:
    history = FlakyHistory(f"sqlite+aiosqlite:///{tmp_path / 'chimera.db'}")
    await history.open()
    yield history
    await history.close()


async def soon(occasion: Awaitable[object]) -> None:
    async with asyncio.timeout(20):
        await occasion


async def test_what_is_submitted_is_written_in_the_background(history: FlakyHistory) -> None:
    async with asyncio.TaskGroup() as group:
        writer = HistoryWriter(history, pause=0.01)
        await writer.start(group)

        writer.submit(checkpoint(101), [opportunity()], {"aave": [ALICE]}, {"aave": 101})
        await soon(history.saved.wait())
        await writer.stop()

    assert await history.checkpoints() == [checkpoint(101)]
    assert await history.users("aave") == [ALICE]
    assert await history.scanned_to("aave") == 101


async def test_blocks_that_come_quickly_share_a_transaction(history: FlakyHistory) -> None:
    writer = HistoryWriter(history)
    for number in range(100, 110):
        writer.submit(checkpoint(number), [opportunity(flagged=99, closed=number)])

    assert await writer.flush()

    assert history.calls == 1
    assert [c.block.number for c in await history.checkpoints()] == list(range(109, 99, -1))
    assert await history.opportunities(9) == [opportunity(flagged=99, closed=109)]


async def test_nothing_submitted_is_nothing_written(history: FlakyHistory) -> None:
    writer = HistoryWriter(history)
    writer.submit(users={"aave": []})

    assert await writer.flush()
    assert history.calls == 0


async def test_a_rollback_before_the_write_leaves_only_the_new_chain(
    history: FlakyHistory,
) -> None:
    writer = HistoryWriter(history)
    for number in (100, 101, 102):
        writer.submit(checkpoint(number))
    writer.submit(checkpoint(101, fork=1))

    await writer.flush()

    assert await history.checkpoints() == [checkpoint(101, fork=1), checkpoint(100)]


async def test_what_could_not_be_written_is_written_later(history: FlakyHistory) -> None:
    writer = HistoryWriter(history)
    history.failing = True
    writer.submit(checkpoint(101), [opportunity()], {"aave": [ALICE]})
    assert not await writer.flush()
    assert await history.opportunities(9) == []
    assert writer.pending == 3

    history.failing = False
    writer.submit(checkpoint(102), [opportunity(closed=102)], {"aave": [BOB]})
    assert await writer.flush()

    assert await history.opportunities(9) == [opportunity(closed=102)]
    assert await history.users("aave") == [ALICE, BOB]
    assert [c.block.number for c in await history.checkpoints()] == [102, 101]
    assert (writer.failures, writer.pending) == (1, 0)


async def test_the_background_task_tries_again_by_itself(history: FlakyHistory) -> None:
    async with asyncio.TaskGroup() as group:
        writer = HistoryWriter(history, pause=0.01)
        await writer.start(group)
        history.failing = True
        writer.submit(None, [opportunity()])
        await soon(history.failed.acquire())
        await soon(history.failed.acquire())

        history.failing = False

        await soon(history.saved.wait())
        await writer.stop()

    assert await history.opportunities(9) == [opportunity()]


async def test_a_locked_database_is_waited_for(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'chimera.db'}"
    first, second = SqlHistory(url, chain_id=1), SqlHistory(url, chain_id=1)
    await first.open()
    await second.open()

    await asyncio.gather(
        *(first.save(None, [opportunity(f"a{n}")]) for n in range(20)),
        *(second.save(None, [opportunity(f"b{n}")]) for n in range(20)),
    )

    assert len(await first.opportunities(100)) == 40
    await first.close()
    await second.close()


async def test_stopping_writes_what_is_left(history: FlakyHistory) -> None:
    async with asyncio.TaskGroup() as group:
        writer = HistoryWriter(history, pause=3600)
        await writer.start(group)
        writer.submit(None, [opportunity()])
        await writer.stop()

    assert await history.opportunities(9) == [opportunity()]


async def test_a_cancelled_write_is_made_up_for_at_the_end(history: FlakyHistory) -> None:
    writer = HistoryWriter(history, pause=0)
    history.hanging = True
    task = asyncio.create_task(writer.run())
    writer.submit(None, [opportunity()])
    await soon(history.called.wait())

    history.hanging = False
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert await history.opportunities(9) == [opportunity()]


async def test_a_database_that_hangs_does_not_hold_up_the_end(
    history: FlakyHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chimera.store.writer.CLOSING_SECONDS", 0.05)
    history.hanging = True
    writer = HistoryWriter(history)
    writer.submit(None, [opportunity()])

    async with asyncio.timeout(20):
        await writer.stop()

    assert history.calls == 1


async def test_a_database_that_is_away_for_days_does_not_eat_the_memory(
    history: FlakyHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chimera.store.writer.MAX_EPISODES", 2)
    history.failing = True
    writer = HistoryWriter(history)
    writer.submit(None, [opportunity(f"{n}", flagged=n) for n in range(5)])
    await writer.flush()

    history.failing = False
    await writer.flush()

    assert [o.id for o in await history.opportunities(9)] == ["4", "3"]
    assert writer.dropped == 3


async def test_what_is_not_written_waits_and_failures_are_told(history: FlakyHistory) -> None:
    now, failures = 100.0, 0

    def failed() -> None:
        nonlocal failures
        failures += 1

    writer = HistoryWriter(history, clock=lambda: now, on_failure=failed)
    assert writer.waits == 0
    writer.submit(checkpoint(101))
    now += 10
    history.failing = True
    assert not await writer.flush()
    writer.submit(checkpoint(102))
    now += 10
    assert (writer.waits, failures, writer.failures) == (20, 1, 1)

    history.failing = False
    assert await writer.flush()

    assert writer.waits == 0


async def test_what_comes_while_the_rest_is_written_waits_from_then_on(
    history: FlakyHistory,
) -> None:
    now = 100.0
    writer = HistoryWriter(history, clock=lambda: now)
    writer.submit(checkpoint(101))
    history.hanging = True
    flushing = asyncio.create_task(writer.flush())
    await soon(history.called.wait())
    now += 5
    assert writer.waits == 5  # neither here nor there yet
    writer.submit(checkpoint(102))
    flushing.cancel()
    await asyncio.wait({flushing})

    assert writer.waits == 5
    assert writer.pending == 2
