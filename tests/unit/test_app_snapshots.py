"""When the file of accounts is written, and when a start believes it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from chimera.app.loading import load_mirror
from chimera.app.snapshots import BLOCK_IN_ACCOUNTS, EVERY, RANDOM, RISKIEST, Snapshots
from chimera.domain.market import Account
from chimera.domain.opportunity import Checkpoint
from chimera.errors import Rebuild, Retry
from chimera.service import Turn
from chimera.store import snapshot_codec
from tests.fakes_snapshots import PEOPLE, RISKIEST_USERS, RISKY, SAFE, START, VACANT, House
from tests.fakes_state import USDC, WETH, account, address, child


@pytest.fixture
async def house(tmp_path: Path) -> House:
    """A daemon that has read everything, followed some blocks, and written its file."""
    house = House(tmp_path)
    await house.begin()
    assert set(house.reader.people) == {*PEOPLE, *VACANT}
    for _ in range(3):
        await house.block()
    await house.snapshots.write()
    return house


async def believed(house: House) -> None:
    """Start, and read no more than a sample."""
    before, chain = house.accounts, dict(house.adapter.chain)
    house.crash()

    loaded = await house.begin()

    assert loaded.checkpoint == house.history.kept[0]
    assert house.accounts == before == chain
    assert len(set(house.reader.people)) <= RISKIEST + RANDOM


async def refused(house: House, because: str = "") -> dict[str, Any]:
    """Start, and read everybody."""
    house.crash()
    with capture_logs() as lines:
        await house.begin()
    assert {*PEOPLE, *VACANT} <= set(house.reader.people)
    assert house.accounts == house.adapter.chain
    told: list[dict[str, Any]] = [
        dict(line) for line in lines if line["event"].startswith("snapshot")
    ]
    assert because in str([line.get("reason") for line in told])
    return told[0] if told else {}


async def test_a_start_takes_the_accounts_from_the_file(house: House) -> None:
    await believed(house)


async def test_it_compares_the_riskiest_with_the_node(house: House) -> None:
    house.crash()
    await house.begin()

    assert set(house.reader.people) >= set(RISKIEST_USERS)


async def test_whoever_is_new_in_the_history_is_read(house: House) -> None:
    new = address(5_000)
    house.history.known["fake"].add(new)
    house.adapter.chain[new] = SAFE
    house.crash()
    await house.begin()

    assert house.accounts == house.adapter.chain
    assert len(set(house.reader.people)) <= RISKIEST + RANDOM + 1


async def test_it_goes_on_from_an_older_block_if_that_spares_work(house: House) -> None:
    at = house.book.block
    for _ in range(len(PEOPLE) // BLOCK_IN_ACCOUNTS):
        await house.block()
    house.adapter.chain[PEOPLE[-1]] = house.book.at(("fake", PEOPLE[-1]), at.number)[2]  # type: ignore[index,assignment]
    house.crash()

    loaded = await house.begin()

    assert loaded.block == at
    assert loaded.checkpoint == Checkpoint(at, {})
    assert house.accounts == house.adapter.chain
    assert len(set(house.reader.people)) <= RISKIEST + RANDOM


async def test_following_many_blocks_takes_longer_than_reading(house: House) -> None:
    for _ in range(len(PEOPLE) // BLOCK_IN_ACCOUNTS + 1):
        await house.block()

    await refused(house, "takes longer than reading")


async def test_a_block_that_left_the_chain_is_refused(house: House) -> None:
    gone, before = house.history.kept[0].block, house.history.kept[1].block
    house.reader.blocks[gone.number] = child(before, "another")
    house.adapter.chain[PEOPLE[-1]] = house.book.at(("fake", PEOPLE[-1]), before.number)[2]  # type: ignore[index,assignment]

    await refused(house, f"its block {gone.number} is not among those to go on from")


async def test_a_block_that_left_below_the_checkpoint_is_refused(house: House) -> None:
    of_file = house.book.block
    await house.block()
    house.reader.blocks[of_file.number] = child(START, "another")

    await refused(house, f"the node does not have its block {of_file.number}")


async def test_a_block_whose_state_is_gone_is_refused(house: House) -> None:
    of_file = house.book.block
    await house.block()
    house.reader.fails_at[of_file.number] = Rebuild("missing trie node")

    await refused(house, f"the node does not have its block {of_file.number}")


async def test_a_block_that_the_history_does_not_remember_is_refused(house: House) -> None:
    block = house.history.kept.pop(0).block
    del house.reader.blocks[block.number]
    before = house.history.kept[0].block
    house.adapter.chain[PEOPLE[-1]] = house.book.at(("fake", PEOPLE[-1]), before.number)[2]  # type: ignore[index,assignment]

    await refused(house, "not among those to go on from")


async def test_a_damaged_file_is_refused(house: House) -> None:
    house.file.write_bytes(house.file.read_bytes()[:-1])

    await refused(house, "it is damaged")


async def test_a_file_with_strangers_is_refused(house: House) -> None:
    house.history.known["fake"].discard(PEOPLE[5])
    house.crash()
    with capture_logs() as lines:
        await house.begin()

    assert "the history does not know 1 of its users" in [line.get("reason") for line in lines]
    assert set(house.reader.people) >= {*PEOPLE, *VACANT} - {PEOPLE[5]}
    assert house.accounts == {u: a for u, a in house.adapter.chain.items() if u != PEOPLE[5]}


@pytest.mark.parametrize("wrong", [RISKY.but(supplied={WETH: 101}), None])
async def test_a_file_that_lies_about_the_riskiest_is_found_out(
    house: House, wrong: Account | None
) -> None:
    liar = RISKIEST_USERS[7]
    if wrong is None:
        del house.adapter.chain[liar]
    else:
        house.adapter.chain[liar] = wrong

    told = await refused(house)

    assert (told["event"], told["accounts"]) == ("snapshot_disagrees", [f"0x{liar.hex()}"])
    assert not house.file.exists()


async def test_a_file_that_lies_about_most_is_found_out(house: House) -> None:
    for user in PEOPLE[RISKIEST:]:
        house.adapter.chain[user] = account({WETH: 99}, {USDC: 100})

    assert (await refused(house))["event"] == "snapshot_disagrees"


async def test_a_node_that_fails_says_nothing_about_the_file(house: House) -> None:
    house.crash()
    house.reader.fails_at[house.history.kept[0].block.number] = Retry("timed out")
    with pytest.raises(Retry):
        await house.begin()
    house.reader.fails_at.clear()

    await house.begin()
    assert len(set(house.reader.people)) <= 2 * (RISKIEST + RANDOM)


async def test_a_mirror_that_failed_takes_nothing_from_the_file(house: House) -> None:
    house.reader.people.clear()
    await house.begin(recall=False)
    assert set(house.reader.people) == {*PEOPLE, *VACANT}

    house.snapshots.forget()
    assert not house.file.exists()
    await house.snapshots.write()
    assert not house.file.exists(), "nobody has said that the book is right again"


async def test_no_file_while_something_is_known_to_be_wrong(house: House) -> None:
    key = ("fake", PEOPLE[3])
    house.engine.trust.diverged(key, "fake", now=0.0)
    await house.block()
    assert not house.file.exists()
    await house.snapshots.write()
    assert not house.file.exists()

    house.engine.trust.read_anew([key], house.book.block.number)
    await house.block()
    await house.snapshots.write()
    await believed(house)


async def test_what_is_found_wrong_while_the_file_is_written_removes_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.block()

    async def meanwhile(*_: object) -> None:
        house.snapshots.forget()

    monkeypatch.setattr(Turn, "end", meanwhile)
    await house.snapshots.write()

    assert not house.file.exists()


async def test_blocks_that_come_while_it_is_written_are_not_in_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, before = await house.block(), house.accounts
    users = [PEOPLE[0], PEOPLE[-1], PEOPLE[100], PEOPLE[-1]]  # the first is in the first page

    async def meanwhile(*_: object) -> None:
        if users:
            await house.block(users.pop(0))

    with monkeypatch.context() as patched:
        patched.setattr(snapshot_codec, "PAGE", 32)
        patched.setattr(Turn, "end", meanwhile)
        await house.snapshots.write()
    assert not users
    house.adapter.chain = dict(before)
    house.crash()

    assert (await house.begin()).block == at
    assert house.accounts == before


async def test_a_block_that_leaves_while_it_is_written_is_not_in_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = house.file.read_bytes()
    await house.block()

    async def meanwhile(*_: object) -> None:
        if house.book.block != START:
            house.book.rollback(START.number)

    with monkeypatch.context() as patched:
        patched.setattr(snapshot_codec, "PAGE", 32)
        patched.setattr(Turn, "end", meanwhile)
        await house.snapshots.write()

    assert house.file.read_bytes() == written


async def soon(happened: Callable[[], bool]) -> None:
    for _ in range(500):
        if happened():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it has not happened within five seconds")


@contextlib.asynccontextmanager
async def at_work(snapshots: Snapshots) -> Any:  # noqa: ANN401  (a context)
    group = asyncio.TaskGroup()
    async with group:
        await snapshots.start(group)
        yield
        await snapshots.stop()


async def test_it_writes_when_due_and_at_the_end(house: House) -> None:
    house.crash()
    await house.begin()
    async with at_work(house.snapshots):
        for _ in range(EVERY - 1):
            await house.block()
            await asyncio.sleep(0)
        written = house.file.stat().st_mtime_ns
        await house.block()
        await soon(lambda: house.file.stat().st_mtime_ns != written)
        await house.block()
    await believed(house)


async def test_a_first_start_writes_at_once(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with at_work(house.snapshots):
        await house.begin()
        await soon(house.file.exists)


async def test_a_book_that_nobody_vouches_for_is_not_written(tmp_path: Path) -> None:
    house = House(tmp_path)
    await load_mirror(house.rooms, house.history.kept, recall=True)
    async with at_work(house.snapshots):
        pass
    assert not house.file.exists()


async def test_a_disk_that_fails_is_told_and_no_more(house: House, tmp_path: Path) -> None:
    (tmp_path / f"{house.file.name}.part").mkdir()
    await house.block()
    with capture_logs() as lines:
        await house.snapshots.write()

    assert [line["event"] for line in lines] == ["snapshot_not_written"]


async def test_a_history_without_a_file_has_none_beside_it(house: House) -> None:
    house.url = "postgresql+asyncpg://nobody@localhost/none"

    await refused(house)
    await house.snapshots.write()
    house.snapshots.forget()


async def test_a_protocol_that_was_left_out_is_not_missing_in_the_file(house: House) -> None:
    before = house.file.read_bytes()
    await house.block()
    house.book.load("other", house.book.market("fake"), {}, complete=True, block=house.book.block)

    await house.snapshots.write()

    assert house.file.read_bytes() == before
