"""A family of isolated markets: one account per market and user, each under a name of its own."""

from __future__ import annotations

from collections.abc import Awaitable

from chimera.domain.block import Address, Rollback
from chimera.domain.market import Holder
from chimera.state.book import Book
from chimera.state.cache import PositionCache
from chimera.state.engine import StateEngine
from chimera.state.listing import Listing
from chimera.state.publisher import CachePublisher
from chimera.state.valuation import Finished, checksummed, key_of
from tests.fakes_state import (
    ALICE,
    BOB,
    CAROL,
    PRICE,
    USDC,
    WETH,
    FakeAdapter,
    FakeMarket,
    FakeStreaks,
    account,
    batch,
    child,
    first_block,
    log,
)

ONE, TWO = b"\x01" * 32, b"\x02" * 32
START = first_block()


class Isolated(FakeAdapter):
    """Markets are 32 bytes before the user."""

    def published(self, holder: Holder) -> tuple[str, Address]:
        return f"{self.name}.0x{holder[:32].hex()}", Address(holder[32:])

    def holder(self, protocol: str, user: Address) -> Holder | None:
        name, _, market = protocol.partition(".0x")
        if name != self.name or len(market) != 64:
            return None
        return Holder(bytes.fromhex(market) + user)


def named(market: bytes) -> str:
    return f"blue.0x{market.hex()}"


def held(market: bytes, user: Address) -> Holder:
    return Holder(market + user)


class Room:
    """Alice in two markets, Bob in one, and another protocol beside them."""

    def __init__(self) -> None:
        book = Book()
        accounts = {
            held(ONE, ALICE): account({WETH: 100}, {USDC: 100_000}),
            held(TWO, ALICE): account({WETH: 100}, {USDC: 180_000}),
            held(TWO, BOB): account({WETH: 200}, {USDC: 100_000}),
        }
        market = FakeMarket({WETH: 2_000, USDC: 1})
        plain = {ALICE: account({WETH: 100}, {USDC: 90_000})}
        book.load("blue", market, accounts, complete=True, block=START)
        book.load("pool", market, plain, complete=True, block=START)
        self.adapters = {"blue": Isolated("blue"), "pool": FakeAdapter("pool")}
        self.cache = PositionCache("")
        self.streaks = FakeStreaks()
        self.engine = StateEngine(self.adapters, book, self.cache, streaks=self.streaks)
        self.listing = Listing(self.engine)


def test_who_is_under_one_is_known_by_the_names_of_the_outside() -> None:
    room = Room()

    seen = room.engine.adopt()

    assert set(seen.underwater) == {(named(TWO), ALICE)}
    assert seen.underwater[named(TWO), ALICE].protocol == named(TWO)


def test_a_dead_price_is_told_by_those_names_too() -> None:
    room = Room()
    room.engine.adopt()

    block = child(START)
    gone = room.engine.apply(batch(block, log(PRICE, USDC, WETH, 0)))

    assert set(gone.unpriced) >= {(named(ONE), ALICE), (named(TWO), BOB), ("pool", ALICE)}
    assert {key[0] for key in room.engine.near} == {"blue", "pool"}
    back = room.engine.rollback(Rollback(START))
    assert set(back.underwater) == {(named(TWO), ALICE)}


async def test_listings_find_accounts_by_market_by_instance_and_by_user() -> None:
    room = Room()
    room.engine.adopt()

    async def found(**filters: object) -> list[tuple[str, str]]:
        _, items, _ = await room.listing.page(**filters)  # type: ignore[arg-type]
        return [(item.protocol, item.user) for item in items]

    alice, bob = checksummed(ALICE), checksummed(BOB)
    blue = [(named(TWO), alice), (named(ONE), alice), (named(TWO), bob)]
    assert await found(protocol="blue") == blue
    assert await found(protocol=named(TWO)) == [blue[0], blue[2]]
    assert await found(protocol=named(b"\x03" * 32)) == []
    assert await found(user=BOB) == [blue[2]]
    assert len(await found()) == 4
    assert await found(protocol="blue", user=CAROL) == []


async def test_one_account_is_found_by_its_published_name_only() -> None:
    room = Room()
    room.engine.adopt()
    room.streaks.lengths[named(TWO), ALICE] = 5

    position = room.listing.position(named(TWO), ALICE)

    assert position is not None
    assert (position.protocol, position.user) == (named(TWO), checksummed(ALICE))
    assert position.blocks_unhealthy == 5
    assert room.listing.position("blue", ALICE) is None
    assert room.listing.position(named(ONE), BOB) is None
    assert room.listing.position("unheard-of", BOB) is None
    assert room.listing.explain(named(ONE), ALICE)
    assert key_of(room.adapters, named(ONE)[:-1], ALICE) is None


async def test_every_market_has_its_key_and_strays_of_the_instance_go() -> None:
    room = Room()
    room.engine.adopt()
    publisher = CachePublisher(room.cache, room.engine.mirror)
    foreign = "position:blue-two:0x000000000000000000000000000000000000000A"

    async def put(protocol: str) -> None:
        position = room.listing.position(named(ONE), ALICE)
        assert position is not None
        copy = type(position).from_document({**position.document(), "protocol": protocol})
        await room.cache.write([Finished(copy)])

    await put(named(b"\x03" * 32))
    await put("blue-two")

    assert await publisher.write_everything() == 4

    alice, bob = checksummed(ALICE), checksummed(BOB)
    expected = {(named(ONE), alice), (named(TWO), alice), (named(TWO), bob), ("pool", alice)}
    names = {f"position:{protocol}:{user}" for protocol, user in expected}
    assert set(await room.cache.names()) == {*names, foreign}


async def test_the_face_counts_no_block_twice_that_detection_has_counted() -> None:
    room = Room()
    room.engine.adopt()
    await CachePublisher(room.cache, room.engine.mirror).write_everything()
    alice = checksummed(ALICE)

    def count(number: int) -> Awaitable[bool]:
        return room.engine.update_position_health(
            named(ONE), alice, is_healthy=False, block_number=number
        )

    assert not await count(START.number)
    assert await count(START.number + 1)


def test_why_tells_that_a_market_is_in_quarantine() -> None:
    room = Room()
    room.engine.adopt()
    for user in (ALICE, BOB):
        room.engine.trust.diverged(("blue", held(TWO, user)), named(TWO), now=0.0)

    def verdict(market: bytes) -> str:
        steps = room.listing.explain(named(market), ALICE)
        assert steps is not None
        return steps[-1].value

    assert verdict(TWO) == "not liquidatable: unverified"
    assert "unverified" not in verdict(ONE)
