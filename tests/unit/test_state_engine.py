"""The engine: blocks in, observations out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given

from chimera.domain.block import Block, BlockBatch, Log, Needs, Rollback
from chimera.domain.call import Call, Readings
from chimera.domain.changes import Change
from chimera.domain.numeric import WAD
from chimera.domain.opportunity import BestPair, Observation
from chimera.errors import Rebuild, Refuse, Unfit
from chimera.ports import Accounts
from chimera.state.book import Book
from chimera.state.cache import PositionCache
from chimera.state.engine import StateEngine
from chimera.state.screen import SPARE, Screen
from chimera.state.valuation import checksummed
from tests.fakes_state import (
    ALICE,
    BOB,
    BORROW,
    CAROL,
    ENTRY,
    LIQUIDATION,
    PRICE,
    SUPPLY,
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

START = first_block()
SLIGHTLY = SPARE**2 * 1.0001  # where nobody changes, who is near is over the limit by no more
ALICES, BOBS = ("fake", ALICE), ("fake", BOB)


def engine_of(watch_below: float = 1.1) -> StateEngine:
    """Alice stands at 1.6, Bob at 1.066, Carol has no debt."""
    book = Book(debug=True)
    accounts = {
        ALICE: account({WETH: 100}, {USDC: 100_000}),
        BOB: account({WETH: 100}, {USDC: 150_000}),
        CAROL: account({WETH: 100}),
    }
    market = FakeMarket({WETH: 2_000, USDC: 1})
    book.load("fake", market, accounts, complete=True, block=START)
    cache, adapters = PositionCache(""), {"fake": FakeAdapter()}
    return StateEngine(adapters, book, cache, streaks=FakeStreaks(), watch_below=watch_below)


def ready(watch_below: float = 1.1) -> StateEngine:
    engine = engine_of(watch_below)
    engine.adopt()
    return engine


def step(engine: StateEngine, *logs: Log, salt: str = "") -> Observation:
    return engine.apply(batch(child(engine.book.block, salt), *logs))


def test_a_loaded_book_is_observed_at_its_block() -> None:
    observation = engine_of().adopt()

    assert observation == Observation(START, {})


def test_accounts_under_one_are_described_with_exact_integers() -> None:
    engine = ready()

    observation = step(engine, log(PRICE, ALICE, WETH, 1_800))

    assert set(observation.underwater) == {BOBS}
    assert observation.block == engine.book.block
    bob = observation.underwater[BOBS]
    assert (bob.protocol, bob.user) == ("fake", checksummed(BOB))
    assert bob.health_factor == 144_000 * WAD // 150_000
    assert (bob.collateral_value, bob.debt_value) == ("0.00180000", "0.00150000")
    assert bob.liquidatable
    assert bob.best == BestPair(checksummed(WETH), checksummed(USDC), 75_000, 7, "1.23456789")


def test_an_account_that_nobody_can_liquidate_says_why() -> None:
    engine = ready()

    observation = step(engine, log(SUPPLY, BOB, WETH, -100))

    assert not observation.underwater[BOBS].liquidatable
    assert observation.underwater[BOBS].reason == "no collateral is left"


def test_an_account_at_exactly_one_is_not_under_water() -> None:
    engine = ready()

    assert not step(engine, log(BORROW, BOB, USDC, 10_000)).underwater
    assert set(step(engine, log(BORROW, BOB, USDC, 1)).underwater) == {BOBS}


def test_a_dead_price_makes_accounts_with_debt_unpriced() -> None:
    engine = ready()

    observation = step(engine, log(PRICE, ALICE, WETH, 0))

    assert observation.unpriced == {ALICES, BOBS}
    assert not observation.underwater


def test_liquidations_of_the_block_are_passed_on() -> None:
    engine = ready()

    assert step(engine, log(LIQUIDATION, BOB)).liquidated == {BOBS}
    assert step(engine).liquidated == frozenset()


def test_what_is_touched_new_or_near_is_known_after_a_block() -> None:
    engine = ready(watch_below=1.1)
    assert engine.near == {BOBS}

    step(engine, log(BORROW, CAROL, USDC, 1), log(BORROW, USDC, USDC, 1))

    assert engine.touched == {("fake", CAROL), ("fake", USDC)}
    assert engine.new_users == {"fake": {USDC}}
    assert engine.near == {BOBS, ("fake", USDC)}


@given(prices=st.lists(st.sampled_from([0, 1_000, 1_900, 1_995, 2_000, 2_004, 3_000]), max_size=8))
def test_who_is_near_follows_the_prices_however_rarely_somebody_asks(prices: list[int]) -> None:
    engine = ready(watch_below=1.1)

    for number, price in enumerate([*prices, 2_000]):
        step(engine, log(PRICE, ALICE, WETH, price), salt=str(number))
        if price != 1_000:
            market, users = engine.book.market("fake"), engine.book.accounts("fake").users
            fresh = Screen(engine.adapters["fake"])
            fresh.load(users)
            weights = fresh.weigh(market, engine.book.block.timestamp)
            near, over = fresh.candidates(weights, 1.1), fresh.candidates(weights, 1.1 * SLIGHTLY)
            assert {("fake", holder) for holder in near} <= engine.near
            assert engine.near <= {("fake", holder) for holder in over}
            assert {("fake", h) for h in engine.book.accounts("fake").near} == engine.near


def test_a_rollback_gives_the_past_back_to_the_screen() -> None:
    engine = ready()
    before = dict(engine.book.accounts("fake").users)
    step(engine, log(BORROW, ALICE, USDC, 100_000), log(BORROW, CAROL, USDC, 1))
    assert set(step(engine, log(PRICE, ALICE, WETH, 1)).underwater) == {ALICES, BOBS}

    observation = engine.rollback(Rollback(START))

    assert observation == Observation(START, {})
    assert engine.book.accounts("fake").users == before
    assert set(engine.screens["fake"].users) == {ALICE, BOB}
    assert engine.touched == {ALICES, ("fake", CAROL)}
    assert set(step(engine, log(BORROW, BOB, USDC, 10_001), salt="fork").underwater) == {BOBS}


def test_an_unknown_ancestor_wants_a_rebuild() -> None:
    engine = ready()
    step(engine)
    stranger = Block(START.number, child(START, "x").hash, START.parent_hash, 1)

    for ancestor in (stranger, child(engine.book.block)):
        with pytest.raises(Rebuild, match="no way back"):
            engine.rollback(Rollback(ancestor))
    assert engine.book.block.number == START.number + 1


def test_a_block_that_fails_half_way_leaves_the_book_alone() -> None:
    engine = ready()

    with pytest.raises(Rebuild, match="would be -900000"):
        step(engine, log(BORROW, BOB, USDC, 1), log(BORROW, ALICE, USDC, -1_000_000))
    assert engine.book.block == START
    assert engine.book.get(BOBS) == account({WETH: 100}, {USDC: 150_000})

    with pytest.raises(KeyError):  # a fault of the adapter: AccountRead of nobody
        step(engine, log(BORROW, BOB, USDC, 1), log(4, BOB))
    assert engine.book.get(BOBS) == account({WETH: 100}, {USDC: 150_000})
    assert step(engine).block == engine.book.block


def test_a_block_applied_twice_is_refused() -> None:
    engine = ready()
    once = batch(child(START), log(BORROW, BOB, USDC, 1))
    engine.apply(once)

    with pytest.raises(Rebuild, match="does not build on"):
        engine.apply(once)
    account_of_bob = engine.book.get(BOBS)
    assert account_of_bob is not None
    assert account_of_bob.owed == {USDC: 150_001}


def test_the_feed_hears_what_all_protocols_want() -> None:
    engine = ready()

    assert engine.interest().addresses == {ENTRY}
    assert engine.polls(child(START)) == (Call(WETH, b"price"), Call(USDC, b"price"))
    logs = (log(BORROW, USDC, USDC, 1), log(BORROW, BOB, USDC, 1))
    needs = engine.needs(child(START), logs, {})
    assert needs.calls == (Call(ENTRY, USDC),)
    assert not engine.needs(child(START), logs, {Call(ENTRY, USDC): b""})


def test_two_protocols_share_the_block_and_ask_each_call_once() -> None:
    book = Book()
    market = FakeMarket({WETH: 2_000, USDC: 1})
    for name in ("one", "two"):
        book.load(name, market, {BOB: account({}, {USDC: 1})}, complete=True, block=START)
    adapters = {name: FakeAdapter(name) for name in ("one", "two")}
    engine = StateEngine(adapters, book, PositionCache(""), streaks=FakeStreaks())

    assert set(engine.adopt().underwater) == {("one", BOB), ("two", BOB)}
    assert engine.polls(child(START)) == (Call(WETH, b"price"), Call(USDC, b"price"))
    assert set(step(engine, log(BORROW, BOB, USDC, 1)).underwater) == {("one", BOB), ("two", BOB)}


# --- a protocol that becomes unfit ----------------------------------------------------------------


class Refusing(FakeAdapter):
    """Refuses the block after the first, in `needs` or in `fold`."""

    at = "fold"

    def fold(self, market: FakeMarket, accounts: Accounts, batch: BlockBatch) -> Iterator[Change]:
        if self.at == "fold":
            raise Refuse("this revision is not supported")
        return FakeAdapter.fold(self, market, accounts, batch)

    def needs(
        self,
        market: FakeMarket,
        accounts: Accounts,
        block: Block,
        logs: Sequence[Log],
        readings: Readings,
    ) -> Needs:
        if self.at == "needs":
            raise Refuse("this revision is not supported")
        return FakeAdapter.needs(self, market, accounts, block, logs, readings)


def two(second: FakeAdapter) -> StateEngine:
    book = Book()
    market = FakeMarket({WETH: 2_000, USDC: 1})
    for name in ("one", "two"):
        book.load(name, market, {BOB: account({}, {USDC: 1})}, complete=True, block=START)
    adapters = {"one": FakeAdapter("one"), "two": second}
    engine = StateEngine(adapters, book, PositionCache(""), streaks=FakeStreaks())
    engine.adopt()
    return engine


@pytest.mark.parametrize("at", ["fold", "needs"])
def test_what_a_start_would_refuse_names_its_protocol_and_changes_nothing(at: str) -> None:
    refusing = Refusing("two")
    refusing.at = at
    engine = two(refusing)
    block = child(START)

    def take() -> None:
        engine.needs(block, (), {})
        engine.apply(batch(block, log(BORROW, BOB, USDC, 1)))

    with pytest.raises(Unfit, match="two: this revision") as unfit:
        take()

    assert unfit.value.protocol == "two"
    assert engine.book.block == START
    bob = engine.book.get(("one", BOB))
    assert bob is not None
    assert bob.owed == {USDC: 1}


def test_what_is_left_out_is_forgotten_and_told_as_unfollowed() -> None:
    adapters = {"one": FakeAdapter("one"), "two": FakeAdapter("two")}
    engine = two(adapters["two"])
    engine.adapters = adapters
    del adapters["two"]

    engine.leave_out("two", "why")
    seen = engine.adopt()

    assert engine.book.protocols == ("one",)
    assert set(seen.underwater) == {("one", BOB)}
    assert seen.unfollowed == {"two"}
    assert {name for name, _ in engine.near} == {"one"}
    assert step(engine, log(BORROW, BOB, USDC, 1)).unfollowed == {"two"}
