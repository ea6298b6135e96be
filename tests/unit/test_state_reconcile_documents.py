"""Cached positions are compared with the book at the block that each of them names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from structlog.testing import capture_logs

from chimera.domain.block import Address, Rollback
from chimera.state.cache import AHEAD, PositionCache
from chimera.state.publisher import write_slice
from chimera.state.valuation import checksummed
from tests.fakes_reconcile import House
from tests.fakes_state import ALICE, BOB, BORROW, CAROL, ENTRY, PRICE, SUPPLY, USDC, WETH, log

TTL = 60.0


class Shelf:
    """A house with a Redis that has every position, after the time in which nothing is compared."""

    def __init__(self) -> None:
        self.server = FakeServer()
        self.redis = FakeAsyncRedis(server=self.server)
        cache = PositionCache(
            "redis://fake", ttl=TTL, client=lambda _: FakeAsyncRedis(server=self.server)
        )
        self.house = House([ALICE, BOB, CAROL], cache=cache)
        cache.head = lambda: self.house.book.block.number

    async def ready(self) -> Shelf:
        assert await self.house.cache.connect()
        for _ in range(4):
            self.house.step(seconds=TTL / 3)
        await self.write()
        return self

    async def write(self, *, over: int = 0) -> None:
        keys = [("fake", user) for user in (ALICE, BOB, CAROL)]
        await write_slice(self.house.cache, self.house.engine.mirror, keys, over=over)

    async def tamper(self, owner: Address, **fields: object) -> None:
        name = f"position:fake:{checksummed(owner)}"
        document = {**json.loads(await self.redis.get(name) or "{}"), **fields}
        await self.redis.set(name, json.dumps(document, separators=(",", ":")), ex=3600)

    async def document(self, user: Address) -> dict[str, object]:
        return json.loads(await self.redis.get(f"position:fake:{checksummed(user)}") or "{}")  # type: ignore[no-any-return]

    async def compare(self) -> list[Any]:
        with capture_logs() as lines:
            await self.house.reconciler.compare()
        return [line for line in lines if line["event"] == "position_diverges"]

    async def mended(self) -> None:
        """Let the publisher do what it has been asked to."""
        await self.house.publisher._write_pending()


async def test_what_the_book_said_at_its_block_is_right_however_the_book_went_on() -> None:
    shelf = await Shelf().ready()
    shelf.house.streaks.lengths[("fake", ALICE)] = 3
    await shelf.write()
    shelf.house.step(log(SUPPLY, ALICE, WETH, -10), log(PRICE, ENTRY, WETH, 2_100))
    shelf.house.adapter.prices = {**shelf.house.adapter.prices, WETH: 2_100}
    shelf.house.adapter.chain[ALICE] = shelf.house.account(ALICE)  # type: ignore[assignment]
    shelf.house.streaks.lengths[("fake", ALICE)] = 4

    assert await shelf.compare() == []
    assert shelf.house.faults == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("health_factor", "1.700000000000000000"),
        ("debt_amount", 7),
        ("liquidation_threshold", "0.81"),
        ("last_update_block", 90),
        ("blocks_unhealthy", 1),
        ("collateral", []),
        ("error", "none"),
        ("base_currency", "EUR"),
        ("version", 2),
    ],
)
async def test_any_field_that_differs_is_told_counted_and_written_again(
    field: str, value: object
) -> None:
    shelf = await Shelf().ready()
    right = await shelf.document(ALICE)
    await shelf.tamper(ALICE, **{field: value})

    [line] = await shelf.compare()

    assert line["key"] == f"position:fake:{checksummed(ALICE)}"
    assert line["fault"] == "different"
    assert list(line["differences"]) == [field]
    assert shelf.house.faults == ["different"]
    await shelf.mended()
    assert await shelf.document(ALICE) == right
    assert await shelf.compare() == []


async def test_a_streak_that_cannot_be_told_any_more_is_not_held_against_a_document() -> None:
    shelf = await Shelf().ready()
    shelf.house.streaks.lengths[("fake", ALICE)] = 3
    await shelf.write()
    shelf.house.step()
    shelf.house.streaks.lengths[("fake", ALICE)] = 0

    assert await shelf.compare() == []


async def test_a_missing_key_of_somebody_with_debt_is_written_again() -> None:
    shelf = await Shelf().ready()
    await shelf.redis.delete(f"position:fake:{checksummed(BOB)}")
    shelf.house.clock.now += 11

    [line] = await shelf.compare()

    assert line["fault"] == "missing"
    await shelf.mended()
    assert (await shelf.document(BOB))["user"] == checksummed(BOB)


async def test_what_is_no_position_is_as_good_as_missing() -> None:
    shelf = await Shelf().ready()
    await shelf.redis.set(f"position:fake:{checksummed(BOB)}", "[]", ex=3600)
    shelf.house.clock.now += 11

    assert [line["fault"] for line in await shelf.compare()] == ["missing"]


async def test_a_borrower_of_a_moment_ago_may_have_no_key_yet() -> None:
    shelf = await Shelf().ready()
    shelf.house.clock.now += 11
    shelf.house.step(log(SUPPLY, CAROL, WETH, -100), log(BORROW, CAROL, USDC, -100_000))
    await shelf.write()
    shelf.house.step(seconds=11)
    shelf.house.step(log(BORROW, CAROL, USDC, 7), log(SUPPLY, CAROL, WETH, 1))
    shelf.house.adapter.chain[CAROL] = shelf.house.account(CAROL)  # type: ignore[assignment]

    assert await shelf.compare() == []

    shelf.house.step(seconds=11)
    assert [line["fault"] for line in await shelf.compare()] == ["missing"]


async def test_a_document_that_nobody_refreshed_is_stale() -> None:
    shelf = await Shelf().ready()
    old = await shelf.document(ALICE)
    for _ in range(4):
        shelf.house.step(seconds=20)
        await shelf.write()
    await shelf.tamper(ALICE, **old)
    shelf.house.step(seconds=1)

    [line] = await shelf.compare()

    assert line["fault"] == "stale"
    await shelf.mended()
    assert (await shelf.document(ALICE))["block"] == shelf.house.book.block.number


async def test_a_document_older_than_the_undo_log_is_stale_if_that_took_long_enough() -> None:
    shelf = await Shelf().ready()
    old = await shelf.document(ALICE)
    for _ in range(70):
        shelf.house.step(seconds=0.1)
    await shelf.write()
    await shelf.tamper(ALICE, **old)
    assert await shelf.compare() == []  # it may be fresh: blocks were quick
    shelf.house.clock.now += TTL

    assert [line["fault"] for line in await shelf.compare()] == ["stale"]


async def test_a_document_of_a_block_to_come_is_replaced_at_once() -> None:
    shelf = await Shelf().ready()
    await shelf.tamper(ALICE, block=10**9)

    [line] = await shelf.compare()

    assert line["fault"] == "ahead"
    await shelf.mended()
    assert (await shelf.document(ALICE))["block"] == shelf.house.book.block.number


async def test_a_document_of_another_daemon_that_is_ahead_is_left_to_it() -> None:
    shelf = await Shelf().ready()
    later = shelf.house.book.block.number + AHEAD
    await shelf.tamper(ALICE, block=later)

    assert await shelf.compare() == []
    assert (await shelf.document(ALICE))["block"] == later

    await shelf.tamper(ALICE, block=later + 1)
    assert [line["fault"] for line in await shelf.compare()] == ["ahead"]
    await shelf.mended()
    assert (await shelf.document(ALICE))["block"] == shelf.house.book.block.number


async def test_what_names_a_block_to_come_is_judged_once_that_block_is_ours() -> None:
    shelf = await Shelf().ready()
    later = shelf.house.book.block.number + 2
    await shelf.tamper(ALICE, block=later, health_factor="9.000000000000000000")
    await shelf.tamper(BOB, block=later)
    wrong = await shelf.document(ALICE)
    for _ in range(2):
        assert await shelf.compare() == []
        await shelf.write()
        assert await shelf.document(ALICE) == wrong
        shelf.house.step()

    [line] = await shelf.compare()

    assert (line["key"], line["fault"]) == (f"position:fake:{checksummed(ALICE)}", "different")
    assert list(line["differences"]) == ["health_factor"]
    await shelf.mended()
    mended = await shelf.document(ALICE)
    assert (mended["block"], mended["health_factor"]) == (later, "1.600000000000000000")


async def test_nothing_is_held_against_documents_while_they_are_written_anew() -> None:
    shelf = await Shelf().ready()
    shelf.house.step()
    await shelf.write()
    ancestor = shelf.house.book.canonical(shelf.house.book.block.number - 1)
    assert ancestor is not None
    shelf.house.engine.rollback(Rollback(ancestor))
    shelf.house.reconciler.begin_anew()

    assert await shelf.compare() == []  # they are of the block that has left the chain

    await shelf.write(over=10**6)
    shelf.house.clock.now += TTL
    assert await shelf.compare() == []
    await shelf.tamper(ALICE, debt_amount=7)
    assert len(await shelf.compare()) == 1


async def test_a_redis_that_is_away_is_passed_over_without_a_word() -> None:
    shelf = await Shelf().ready()
    shelf.server.connected = False
    await shelf.house.cache.connect()
    assert shelf.house.cache.state == "fallback"

    assert await shelf.compare() == []
    assert shelf.house.count("reconciled_accounts_total") == 3


async def test_a_redis_that_goes_away_while_it_is_asked_is_passed_over_too() -> None:
    shelf = await Shelf().ready()
    shelf.server.connected = False

    assert await shelf.compare() == []
    assert shelf.house.cache.state == "fallback"


async def test_many_wrong_documents_do_not_flood_the_log() -> None:
    shelf = await Shelf().ready()
    for user in (ALICE, BOB, CAROL):
        await shelf.tamper(user, debt_amount=7)

    assert len(await shelf.compare()) == 3
    assert shelf.house.faults == ["different"] * 3


async def test_who_repaid_and_borrowed_again_a_moment_ago_may_have_no_key_yet() -> None:
    shelf = await Shelf().ready()
    shelf.house.step(seconds=11)
    shelf.house.step(log(BORROW, CAROL, USDC, -100_000))
    await shelf.write()
    shelf.house.step(log(BORROW, CAROL, USDC, 100_000))
    shelf.house.adapter.chain[CAROL] = shelf.house.account(CAROL)  # type: ignore[assignment]

    assert await shelf.compare() == []

    shelf.house.step(seconds=11)
    assert [line["fault"] for line in await shelf.compare()] == ["missing"]


async def test_a_protocol_that_is_left_out_during_the_question_is_not_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shelf = await Shelf().ready()
    house, ask = shelf.house, shelf.house.cache.stored
    await shelf.tamper(ALICE, debt_amount=7)

    async def stored(names: Sequence[str]) -> object:
        answer = await ask(names)
        house.engine.adapters.pop("fake")  # type: ignore[attr-defined]
        house.engine.leave_out("fake", "upgraded")
        return answer

    monkeypatch.setattr(house.cache, "stored", stored)
    with capture_logs() as lines:
        await house.reconciler._documents.check([("fake", ALICE)])
        await house.reconciler._documents.check([("fake", ALICE)])

    assert [line for line in lines if line["event"] == "position_diverges"] == []
