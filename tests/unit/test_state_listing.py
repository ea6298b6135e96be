"""The listing: sorted, filtered, and one block for all pages."""

from __future__ import annotations

import base64
import random

import pytest

from chimera.domain.block import Address, Log
from chimera.domain.market import Account
from chimera.domain.numeric import WAD
from chimera.domain.position import Position
from chimera.errors import BadCursor, StaleCursor
from chimera.state import snapshot
from chimera.state.book import Book
from chimera.state.cache import PositionCache
from chimera.state.engine import StateEngine
from chimera.state.listing import KEPT, SECONDS, Listing
from chimera.state.valuation import checksummed
from tests.fakes_state import (
    ALICE,
    BOB,
    BORROW,
    CAROL,
    PRICE,
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

DAI, DEAD = address(0xDA1), address(0xDEAD)
PRICES = {WETH: 2_000, USDC: 1, DAI: 1, DEAD: 0}


class Room:
    """Two protocols with random borrowers, a few suppliers and one dead price."""

    def __init__(self, borrowers: int = 300) -> None:
        rng = random.Random(11)  # noqa: S311
        book = Book()
        for name in ("one", "two"):
            accounts = {
                address(1_000 + number): account(
                    {rng.choice([WETH, DAI]): rng.randrange(1, 10**9)},
                    {rng.choice([USDC, WETH]): rng.randrange(1, 10**9)},
                )
                for number in range(borrowers)
            }
            accounts[ALICE] = account({DEAD: 5}, {USDC: 3})
            accounts[BOB] = account({WETH: 5})
            book.load(name, FakeMarket(PRICES), accounts, complete=True, block=first_block())
        adapters = {name: FakeAdapter(name) for name in ("one", "two")}
        self.streaks = FakeStreaks()
        self.engine = StateEngine(adapters, book, PositionCache(""), streaks=self.streaks)
        self.engine.adopt()
        self.clock = Clock()
        self.listing = Listing(self.engine, clock=self.clock)

    def step(self, *logs: Log) -> None:
        self.engine.apply(batch(child(self.engine.book.block), *logs))

    def exact(self, name: str, held: Account) -> int | None:
        market = self.engine.book.market(name)
        assert isinstance(market, FakeMarket)
        return FakeAdapter(name).health(market, held, 0).factor

    async def everything(self, **filters: object) -> list[Position]:
        limit = 7
        block, items, cursor = await self.listing.page(limit=limit, **filters)  # type: ignore[arg-type]
        while cursor is not None:
            assert len(items) % limit == 0
            number, more, cursor = await self.listing.page(limit=limit, cursor=cursor, **filters)  # type: ignore[arg-type]
            assert number == block
            assert more
            items += more
        return items


def keys(items: list[Position]) -> list[tuple[str, str]]:
    return [(item.protocol, item.user) for item in items]


async def test_all_pages_together_are_the_book_in_exact_order() -> None:
    room = Room()
    ranked = sorted(
        (factor, name, user)
        for name in ("one", "two")
        for user, held in room.engine.book.accounts(name).users.items()
        if (factor := room.exact(name, held)) is not None
    )
    expected = [(name, checksummed(user)) for _, name, user in ranked]
    expected += [(name, checksummed(user)) for user in (ALICE, BOB) for name in ("one", "two")]

    assert keys(await room.everything()) == expected


async def test_an_unpriced_account_says_why_and_an_idle_one_has_no_factor() -> None:
    items = await Room(borrowers=0).everything()

    assert keys(items) == [
        (name, checksummed(user)) for user in (ALICE, BOB) for name in ("one", "two")
    ]
    assert [item.error for item in items] == ["a price is dead"] * 2 + [None] * 2
    assert {item.health_factor for item in items} == {None}


async def test_those_without_debt_are_last_and_in_order_however_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshot, "RUN", 2)
    room, book = Room(borrowers=0), Book()
    for name in ("one", "two"):
        idle = {address(n): account({WETH: 5}) for n in (9, 3, 7, 5, 4, 8)}
        book.load(name, FakeMarket(PRICES), idle, complete=True, block=first_block())
    room.engine.book = book
    room.engine.adopt()

    expected = [
        (name, checksummed(address(n))) for name in ("one", "two") for n in (3, 4, 5, 7, 8, 9)
    ]
    assert keys(await room.everything()) == expected


async def test_only_a_page_is_worked_out_exactly() -> None:
    room = Room(borrowers=2_000)
    asked = []

    class Counting(FakeAdapter):
        def health(self, market: FakeMarket, account: Account, timestamp: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
            asked.append(1)
            return FakeAdapter.health(self, market, account, timestamp)

    room.engine.adapters = {name: Counting(name) for name in ("one", "two")}
    await room.listing.page(limit=10)

    assert len(asked) < 100


async def test_filters_narrow_the_list() -> None:
    room = Room()
    everything = await room.everything()

    async def kept(**filters: object) -> list[tuple[str, str]]:
        return keys(await room.everything(**filters))

    some = Address(address(1_007))
    assert await kept(protocol="two") == [key for key in keys(everything) if key[0] == "two"]
    assert await kept(protocol="three") == []
    assert await kept(user=some) == [key for key in keys(everything) if key[1] == checksummed(some)]
    weth = checksummed(WETH)
    with_weth = [item for item in everything if weth in _assets(item)]
    assert 0 < len(with_weth) < len(everything)
    assert await kept(asset=WETH) == keys(with_weth)


async def test_a_factor_at_the_maximum_is_in_and_one_wei_over_it_is_out() -> None:
    room = Room()
    third = (await room.everything())[2].health_factor
    assert third is not None
    limit = int(third.replace(".", ""))

    assert len(await room.everything(max_health_factor=limit)) == 3
    assert len(await room.everything(max_health_factor=limit - 1)) == 2
    everybody = await room.everything(max_health_factor=10**40 * WAD)
    assert len(everybody) == 600  # a number: neither the unpriced nor the idle


async def test_a_cursor_stays_at_its_block_while_blocks_go_on() -> None:
    room = Room()
    expected = await room.everything()
    block, items, cursor = await room.listing.page(limit=5)

    for _ in range(3):
        room.step(log(PRICE, ALICE, WETH, 1), log(BORROW, CAROL, USDC, 9))
    number, rest, end = await room.listing.page(limit=1_000, cursor=cursor)

    assert (number, end) == (block, None)
    assert items + rest == expected
    assert (await room.listing.page(limit=1))[0] == block + 3


async def test_streaks_are_those_of_the_block() -> None:
    room = Room(borrowers=0)
    room.step(log(BORROW, CAROL, USDC, 9))
    room.streaks.lengths["one", CAROL] = 2
    _, items, cursor = await room.listing.page(limit=1)
    room.streaks.lengths["one", CAROL] = 3
    assert items[0].blocks_unhealthy == 2
    assert cursor is not None

    room.step()
    assert (await room.listing.page(limit=1))[1][0].blocks_unhealthy == 3


async def test_a_block_leaves_memory_with_time_and_with_newer_ones() -> None:
    room = Room()
    cursor = (await room.listing.page(limit=5))[2]
    room.clock.now += SECONDS - 1
    assert (await room.listing.page(limit=5, cursor=cursor))[1]
    room.clock.now += SECONDS - 1  # every use keeps it
    assert (await room.listing.page(limit=5, cursor=cursor))[1]
    room.clock.now += SECONDS
    with pytest.raises(StaleCursor):
        await room.listing.page(limit=5, cursor=cursor)

    cursor = (await room.listing.page(limit=5))[2]
    for _ in range(KEPT):
        room.step()
        await room.listing.page(limit=5)
    with pytest.raises(StaleCursor):
        await room.listing.page(limit=5, cursor=cursor)


async def test_what_nobody_reads_any_more_takes_no_room_until_somebody_reads_again() -> None:
    room = Room()
    await room.listing.page(limit=5)
    room.clock.now += SECONDS - 1
    room.listing.sweep()
    assert len(room.listing._snapshots) == 1

    room.clock.now += 1
    room.listing.sweep()

    assert len(room.listing._snapshots) == 0


async def test_a_page_is_the_same_whether_or_not_blocks_were_taken_in_meanwhile() -> None:
    found = []
    for swept in (True, False):
        room = Room()
        _, items, cursor = await room.listing.page(limit=5)
        for _ in range(3):
            room.step(log(PRICE, ALICE, WETH, 1), log(BORROW, CAROL, USDC, 9))
            if swept:
                room.listing.sweep()
        found.append(items + (await room.listing.page(limit=1_000, cursor=cursor))[1])

    assert found[0] == found[1]


@pytest.mark.parametrize(
    "cursor", ["", "x", "ä", "====", base64.urlsafe_b64encode(bytes(10)).decode()]
)
async def test_a_cursor_that_is_not_ours_is_refused(cursor: str) -> None:
    with pytest.raises(BadCursor):
        await Room(borrowers=0).listing.page(cursor=cursor)


async def test_a_cursor_belongs_to_its_filters() -> None:
    room = Room()
    cursor = (await room.listing.page(limit=5, protocol="one"))[2]

    with pytest.raises(BadCursor, match="other filters"):
        await room.listing.page(limit=5, protocol="two", cursor=cursor)


def test_one_position_and_its_arithmetic() -> None:
    room = Room(borrowers=0)

    idle = room.listing.position("one", BOB)
    assert idle is not None
    assert (idle.health_factor, idle.debt_asset, idle.debt_amount) == (None, None, 0)
    assert room.listing.position("one", CAROL) is None
    assert room.listing.position("none", BOB) is None
    assert room.listing.explain("one", CAROL) is None
    steps = room.listing.explain("one", BOB)
    assert steps is not None
    assert steps[0].name == "health_factor"


async def test_a_book_that_was_read_anew_is_listed_at_once() -> None:
    room = Room(borrowers=0)
    await room.listing.page()
    book = room.engine.book
    people = {CAROL: account({WETH: 5}, {USDC: 1})}
    book.load("one", book.market("one"), people, complete=True, block=book.block)
    room.engine.adopt()

    assert keys((await room.listing.page())[1])[0] == ("one", checksummed(CAROL))


async def test_a_book_that_is_not_loaded_lists_nothing() -> None:
    engine = StateEngine({}, Book(), PositionCache(""), streaks=FakeStreaks())

    assert await Listing(engine).page() == (0, [], None)


def _assets(item: Position) -> set[str]:
    return {leg.asset for leg in item.collateral} | {leg.asset for leg in item.debt}


async def test_only_the_lists_asked_for_last_are_kept() -> None:
    held = snapshot.Snapshot(Room(borrowers=20).engine)

    def asked(limit: int) -> snapshot.Filters:
        return snapshot.Filters(None, None, None, max_health_factor=limit * WAD)

    first = held.listed(asked(1))
    rows = await first.slice(0, 50)
    for limit in range(2, 1 + snapshot.MOST_LISTS):
        held.listed(asked(limit))
    assert held.listed(asked(1)) is first  # it was asked for again: the next oldest goes
    for limit in range(100, 99 + snapshot.MOST_LISTS):
        held.listed(asked(limit))
    assert held.listed(asked(1)) is first
    for limit in range(200, 200 + snapshot.MOST_LISTS):
        held.listed(asked(limit))

    again = held.listed(asked(1))
    assert again is not first
    assert rows == await again.slice(0, 50) != []
    assert len(held._lists) == snapshot.MOST_LISTS
