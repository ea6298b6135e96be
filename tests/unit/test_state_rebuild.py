"""From nothing to a loaded book."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from chimera.domain.block import Block
from chimera.domain.call import Call, Readings
from chimera.domain.health import Difference
from chimera.domain.opportunity import Checkpoint
from chimera.errors import Rebuild, Refuse, Retry
from chimera.state import rebuild
from chimera.state.book import Book
from chimera.state.rebuild import (
    OVERLAP,
    Bootstrap,
    Mismatch,
    compare_views,
    drive,
    scan_name,
)
from chimera.state.resuming import resume_point
from tests.fakes_rebuild import FakeHistory, FakeReader, FakeScan
from tests.fakes_state import (
    ALICE,
    BOB,
    BORROW,
    CAROL,
    SUPPLY,
    USDC,
    WETH,
    FakeAdapter,
    account,
    child,
    first_block,
    log,
)

HEAD = first_block(200)
OLDER = replace(first_block(150), hash=child(HEAD, "older").hash)
LOGS = {
    20: [log(BORROW, ALICE, USDC, 1)],
    120: [log(SUPPLY, CAROL, USDC, 1)],
    199: [log(BORROW, BOB, USDC, 1)],
}
ACCOUNTS = {
    ALICE: account({WETH: 1}, {USDC: 2}),
    BOB: account({}, {USDC: 2}),
    CAROL: account({USDC: 1}),
}


class Room:
    """A chain of two borrowers and one supplier, and an empty book."""

    def __init__(self, *, suppliers: bool = False) -> None:
        self.reader = FakeReader(OLDER, HEAD)
        self.history = FakeHistory()
        self.adapter = FakeAdapter(chain=dict(ACCOUNTS), prices={WETH: 10, USDC: 1})
        self.book = Book()
        self.scan = FakeScan(LOGS)
        self.told: list[tuple[str, str, int, int]] = []
        self.bootstrap = Bootstrap(
            self.reader,
            self.history,
            {"fake": self.adapter},
            self.book,
            scan=self.scan,
            suppliers={"fake"} if suppliers else set(),
            progress=lambda *step: self.told.append(step),
            pauses=(0, 0),
        )


async def test_a_book_is_loaded_with_everybody_who_ever_borrowed() -> None:
    room = Room()

    assert await room.bootstrap.load(HEAD) == 2

    assert dict(room.book.accounts("fake").users) == {ALICE: ACCOUNTS[ALICE], BOB: ACCOUNTS[BOB]}
    assert not room.book.accounts("fake").complete
    assert room.book.block == HEAD
    assert {block for _, block in room.reader.asked} == {HEAD}
    assert room.history.scanned == {"fake": 200}
    assert room.told[0] == ("fake", "blocks", 10, 200)
    assert room.told[-1] == ("fake", "accounts", 2, 2)


async def test_a_complete_book_has_the_suppliers_as_well() -> None:
    room = Room(suppliers=True)

    assert await room.bootstrap.load(HEAD) == 3
    assert room.book.accounts("fake").complete


async def test_discovery_resumes_where_it_stopped() -> None:
    room = Room()
    room.scan.fails_after = 100
    with pytest.raises(Rebuild):
        await room.bootstrap.load(HEAD)
    assert room.history.scanned == {"fake": 100}
    assert not room.book.loaded

    room.scan.fails_after = None
    await room.bootstrap.load(HEAD)

    assert room.scan.asked == [(1, 200), (101 - OVERLAP, 200)]
    assert room.book.keys("fake") == {ALICE, BOB}


async def test_an_earlier_start_can_be_asked_for_but_no_gap() -> None:
    room = Room()
    await room.history.set_scanned_to("fake", 190, [ALICE], scan="fake")

    await room.bootstrap.load(HEAD, from_block=15)
    await room.bootstrap.load(HEAD, from_block=195)

    assert room.scan.asked == [(15, 200), (201 - OVERLAP, 200)]


async def test_a_history_of_later_blocks_than_the_node_has_is_not_believed() -> None:
    room = Room()
    await room.history.set_scanned_to("fake", 200 + OVERLAP, [ALICE], scan="fake")
    await room.bootstrap.load(HEAD)
    await room.history.set_scanned_to("fake", 201 + OVERLAP, [ALICE], scan="fake")

    with pytest.raises(Retry, match="a node that lags, or remove a history of another chain"):
        await room.bootstrap.load(HEAD)


async def test_a_snapshot_of_a_running_book_replaces_it() -> None:
    room = Room()
    await room.bootstrap.load(HEAD)
    room.adapter.chain[BOB] = account({WETH: 5}, {USDC: 2})

    await room.bootstrap.load(HEAD, protocols=["fake"])

    assert room.book.get(("fake", BOB)) == room.adapter.chain[BOB]


async def test_a_failure_while_reading_leaves_the_book_alone() -> None:
    room = Room()
    await room.bootstrap.load(HEAD)
    room.reader.fails_at[HEAD.number] = Retry("lost socket")

    with pytest.raises(Retry):
        await room.bootstrap.load(HEAD)
    assert room.book.keys("fake") == {ALICE, BOB}


async def test_a_fault_in_the_middle_costs_one_part_and_not_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rebuild, "CHUNK", 1)
    room = Room()
    faults = [Retry("too many requests"), Retry("again")]
    read, asked = room.reader.read, []

    async def busy(calls: Sequence[Call], block: Block) -> Readings:
        asked.append([call.data for call in calls])
        if asked[-1] == [BOB] and faults:
            raise faults.pop()
        return await read(calls, block)

    monkeypatch.setattr(room.reader, "read", busy)
    assert await room.bootstrap.load(HEAD) == 2

    assert asked[-4:] == [[ALICE], [BOB], [BOB], [BOB]]


async def test_a_wrong_contract_is_refused_before_anything_starts() -> None:
    room = Room()
    await room.bootstrap.prove()

    room.reader.fails_at[HEAD.number] = Refuse("another contract")
    with pytest.raises(Refuse):
        await room.bootstrap.prove()


async def test_verify_finds_what_differs_from_the_chain() -> None:
    room = Room()
    await room.bootstrap.load(HEAD)
    room.adapter.chain[ALICE] = ACCOUNTS[ALICE].but(updated_block=7)
    assert await room.bootstrap.verify("fake") == []

    room.adapter.chain[ALICE] = account({WETH: 1}, {USDC: 3})
    del room.adapter.chain[BOB]
    assert set(await room.bootstrap.verify("fake")) == {("fake", ALICE), ("fake", BOB)}


@pytest.mark.parametrize("suppliers", [False, True], ids=["borrowers", "everybody"])
async def test_verify_misses_a_supplier_only_where_everybody_is_followed(
    suppliers: bool,  # noqa: FBT001
) -> None:
    """Somebody who borrowed on a branch that has left is known, and need not be in the book."""
    room = Room(suppliers=suppliers)
    await room.bootstrap.load(HEAD)
    await room.history.set_scanned_to("fake", HEAD.number, [CAROL], scan="fake")
    room.adapter.chain[CAROL] = account({WETH: 1})
    assert await room.bootstrap.verify("fake") == [("fake", CAROL)] * suppliers

    room.adapter.chain[CAROL] = account({WETH: 1}, {USDC: 3})
    assert await room.bootstrap.verify("fake") == [("fake", CAROL)]


async def test_views_are_compared_for_every_account_with_debt() -> None:
    room = Room(suppliers=True)
    await room.bootstrap.load(HEAD)
    room.reader.answers = {b"view" + ALICE: b"4000000000000000000", b"view" + BOB: b"0"}
    args = room.reader, {"fake": room.adapter}, room.book
    assert await compare_views(*args, protocol="fake") == (2, [])

    room.reader.answers[b"view" + BOB] = None
    compared, mismatches = await compare_views(*args, protocol="fake")

    assert compared == 2
    difference = Difference("factor", "0", "reverts")
    assert mismatches == [Mismatch(("fake", BOB), (difference,))]


async def test_views_are_compared_of_whoever_is_named_and_of_suppliers_that_matter() -> None:
    room = Room(suppliers=True)
    await room.bootstrap.load(HEAD)
    shelf = room.book.accounts("fake")
    free = next(user for user in shelf.users if user not in shelf.open)
    args = room.reader, {"fake": room.adapter}, room.book

    compared, _ = await compare_views(*args, protocol="fake", also=[("fake", free), ("x", free)])
    assert compared == len(shelf.open) + 1
    room.adapter.needs_suppliers = True
    compared, _ = await compare_views(*args, protocol="fake")
    assert compared == len(shelf.users)


async def resume(reader: FakeReader, *blocks: Block) -> tuple[int, bool]:
    checkpoints = [Checkpoint(block, {}) for block in blocks]
    block, checkpoint = await resume_point(
        reader, checkpoints, {"fake": FakeAdapter()}, most_behind=50
    )
    assert checkpoint is None or checkpoint.block == block
    return block.number, checkpoint is not None


async def test_a_restart_resumes_at_the_newest_canonical_checkpoint() -> None:
    reader = FakeReader(OLDER, HEAD)
    gone = child(HEAD, "gone")

    assert await resume(reader, HEAD, OLDER) == (200, True)
    assert await resume(reader, gone, replace(HEAD, hash=gone.hash), OLDER) == (150, True)
    assert await resume(reader, gone) == (200, False)
    assert await resume(reader) == (200, False)


async def test_after_a_long_outage_the_state_is_read_at_the_head() -> None:
    just = replace(OLDER, number=150)
    long_ago = replace(OLDER, number=149)

    assert await resume(FakeReader(just, HEAD), just) == (150, True)
    with capture_logs() as lines:
        assert await resume(FakeReader(long_ago, HEAD), long_ago) == (200, False)

    [line] = lines
    assert (line["event"], line["last_block"], line["head"]) == ("outage_too_long", 149, 200)
    assert "streaks begin anew" in line["done"]


async def test_a_checkpoint_whose_state_is_gone_is_passed_over() -> None:
    reader = FakeReader(OLDER, HEAD)
    reader.fails_at[OLDER.number] = Rebuild("missing trie node")

    assert await resume(reader, OLDER) == (200, False)


async def test_a_node_that_fails_says_nothing_about_a_checkpoint() -> None:
    reader = FakeReader(OLDER, HEAD)
    reader.fails_at[OLDER.number] = Retry("timed out")

    with pytest.raises(Retry):
        await resume(reader, OLDER)


async def test_who_looked_for_borrowers_has_not_seen_the_suppliers() -> None:
    room = Room()
    await room.bootstrap.load(HEAD)
    room.bootstrap._suppliers = frozenset({"fake"})

    await room.bootstrap.load(HEAD)

    assert room.scan.asked == [(1, 200), (1, 200)]
    assert room.bootstrap.followed_to(300) == {"fake+suppliers": 300}


async def test_an_inquiry_without_calls_asks_nothing() -> None:
    reader = FakeReader(HEAD)
    room = Room()

    assert await drive(room.adapter.read_accounts(None, [], HEAD), reader, HEAD) == {}  # type: ignore[arg-type]
    assert reader.asked == []


async def test_who_looked_in_some_markets_has_not_seen_the_others() -> None:
    room = Room()
    await room.bootstrap.load(HEAD)
    for chosen in ([b"one"], [b"two", b"one"], [b"one", b"two"]):
        room.bootstrap._chosen = {"fake": chosen}
        await room.bootstrap.load(HEAD)

    assert room.scan.asked == [(1, 200), (1, 200), (1, 200), (201 - OVERLAP, 200)]
    assert room.bootstrap.followed_to(7) == {
        scan_name("fake", suppliers=False, markets=[b"two", b"one"]): 7
    }


async def test_a_search_reads_no_accounts_and_what_it_finds_is_kept() -> None:
    room = Room()

    await room.bootstrap.search(HEAD)

    assert room.history.known == {"fake": {ALICE, BOB}}
    assert room.history.scanned == {"fake": 200}
    assert not room.book.loaded
    assert all(what == "blocks" for _, what, _, _ in room.told)
