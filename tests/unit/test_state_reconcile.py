"""Comparing while it runs: what differs is told, counted, read anew, and kept from being used."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from chimera.domain.block import Address, Block, BlockBatch, Rollback
from chimera.domain.call import Call, Readings
from chimera.domain.market import Account
from chimera.errors import Rebuild, Retry
from chimera.state.valuation import checksummed
from tests.fakes_reconcile import LESS, RIGHT, WITHIN, House, Roomy, people
from tests.fakes_state import (
    ALICE,
    BOB,
    CAROL,
    ENTRY,
    PRICE,
    SUPPLY,
    WETH,
    FakeMarket,
    address,
    child,
    log,
)

ALICES = ("fake", ALICE)


def house_with(wrong: dict[Address, Account]) -> House:
    """Alice, Bob and Carol; `wrong` is what the chain has of them, unlike the book."""
    house = House([ALICE, BOB, CAROL])
    house.adapter.chain |= wrong
    return house


async def test_accounts_that_agree_are_counted_and_nothing_is_said() -> None:
    house = house_with({})
    house.step()

    with capture_logs() as lines:
        await house.reconciler.compare()

    assert lines == []
    assert house.chain.views == [{ALICE, BOB, CAROL}]
    assert house.count("reconciled_accounts_total") == 3
    assert house.reconciler.last_blocks == {"fake": 101}
    assert house.count("reconciled_block") == 101
    assert house.count("mirror_mismatches_total") == 0


async def test_a_divergence_is_told_with_both_figures_and_counted() -> None:
    house = house_with({ALICE: LESS})
    house.step()

    with capture_logs() as lines:
        await house.reconciler.compare()

    ours, theirs = "1600000000000000000", "1440000000000000000"
    assert lines == [
        {
            "event": "account_diverges",
            "log_level": "error",
            "protocol": "fake",
            "user": checksummed(ALICE),
            "block": 101,
            "differences": {"factor": {"ours": ours, "theirs": theirs}},
        }
    ]
    assert house.count("mirror_mismatches_total") == 1
    assert house.trust.mismatches == {"fake": 1}


async def test_a_divergent_account_is_read_within_the_next_block_and_compared_again() -> None:
    house = house_with({ALICE: LESS})
    house.step()
    await house.reconciler.compare()

    needs = house.engine.needs(child(house.book.block), (), {})
    house.step()

    assert needs.calls == (Call(ENTRY, ALICE),)
    mended = house.account(ALICE)
    assert mended is not None
    assert (mended.supplied, mended.updated_block) == (LESS.supplied, 102)
    assert not house.engine.needs(child(house.book.block), (), {})
    with capture_logs() as lines:
        await house.reconciler.compare()
    assert [line["event"] for line in lines] == ["account_mended"]
    assert house.count("mirror_mismatches_total") == 1


async def test_reading_comes_after_the_logs_of_its_block() -> None:
    house = house_with({ALICE: LESS})
    house.step()
    await house.reconciler.compare()

    house.step(log(SUPPLY, ALICE, WETH, 5))  # the chain's answer has it already

    mended = house.account(ALICE)
    assert mended is not None
    assert mended.supplied == LESS.supplied


async def test_an_account_that_the_chain_does_not_know_becomes_empty() -> None:
    house = house_with({})
    del house.adapter.chain[ALICE]
    house.step()
    await house.reconciler.compare()
    house.step()

    assert house.account(ALICE) == Account(updated_block=102)
    assert ALICE not in house.book.open_keys("fake")


async def test_who_is_mistrusted_after_the_sealing_waits_for_the_next_block() -> None:
    house = house_with({ALICE: LESS})
    house.step()
    await house.reconciler.compare()

    house.apply(BlockBatch(child(house.book.block), (), {}))  # sealed before the comparison

    assert house.account(ALICE) == RIGHT
    await house.reconciler.compare()
    assert house.chain.views[-1] == {BOB, CAROL}  # nobody asks again about what is known
    house.step()
    assert house.account(ALICE) != RIGHT
    assert house.trust.quarantined == set()


async def test_a_block_that_mended_and_left_the_chain_is_followed_by_one_that_mends_again() -> None:
    house = house_with({ALICE: LESS})
    house.step()
    ancestor = house.book.block
    await house.reconciler.compare()
    house.step()

    house.engine.rollback(Rollback(ancestor))
    house.reconciler.begin_anew()

    assert house.account(ALICE) == RIGHT
    house.step(salt="another")
    assert house.account(ALICE) != RIGHT
    await house.reconciler.compare()
    assert house.count("mirror_mismatches_total") == 1


async def test_a_block_that_fails_mends_nobody() -> None:
    house = house_with({ALICE: LESS})
    house.step()
    await house.reconciler.compare()

    with pytest.raises(Rebuild):
        house.step(log(SUPPLY, BOB, WETH, -1000))

    assert house.trust.mistrusts(ALICES)
    assert house.account(ALICE) == RIGHT


# --- quarantine ----------------------------------------------------------------------------------


async def test_two_divergences_in_a_market_hold_its_flags_back() -> None:
    house = house_with({ALICE: LESS, BOB: LESS})
    house.step(log(PRICE, ENTRY, WETH, 1_000))  # everybody is under 1
    house.adapter.prices = {**house.adapter.prices, WETH: 1_000}
    before = house.engine.observation
    assert before is not None
    assert all(seen.liquidatable and seen.best for seen in before.underwater.values())

    await house.reconciler.compare()

    assert house.trust.quarantined == {"fake"}
    after = house.engine.observation
    assert after is not None
    assert after.underwater.keys() == before.underwater.keys()
    for key, seen in after.underwater.items():
        assert (seen.liquidatable, seen.reason, seen.best) == (False, "unverified", None)
        assert seen.health_factor == before.underwater[key].health_factor
    assert house.count("markets_unverified") == 1


async def test_one_divergence_does_not() -> None:
    house = house_with({ALICE: LESS})
    house.step()
    await house.reconciler.compare()
    await house.reconciler.heal()

    assert house.trust.quarantined == set()
    assert house.rebuilt == []


async def test_divergences_further_apart_than_the_window_do_not() -> None:
    house = house_with({ALICE: LESS})
    house.step()
    await house.reconciler.compare()
    house.step()
    await house.reconciler.compare()
    house.adapter.chain[BOB] = LESS
    house.step(seconds=WITHIN)

    await house.reconciler.compare()

    assert house.count("mirror_mismatches_total") == 2
    assert house.trust.quarantined == set()


async def test_divergences_of_two_markets_do_not() -> None:
    here, there = address(1 << 152), address(2 << 152)
    house = House([here, there], adapter=Roomy())
    house.adapter.chain |= {here: LESS, there: LESS}
    house.step()

    await house.reconciler.compare()

    assert house.count("mirror_mismatches_total") == 2
    assert house.trust.quarantined == set()


async def test_only_the_market_that_diverged_is_held_back() -> None:
    here, too, there = address(1 << 152), address((1 << 152) + 1), address(2 << 152)
    house = House([here, too, there], adapter=Roomy())
    house.adapter.chain |= {here: LESS, too: LESS}
    house.step()

    await house.reconciler.compare()

    assert house.trust.quarantined == {"fake.1"}


async def test_an_account_that_reading_did_not_help_counts_again_and_is_not_read_for_ever() -> None:
    house = house_with({})
    house.chain.adapter = Roomy(chain={**house.adapter.chain, ALICE: LESS})  # the view's own truth
    house.chain.adapter.prices = house.adapter.prices
    house.step()
    await house.reconciler.compare()
    house.step()

    await house.reconciler.compare()

    assert house.count("mirror_mismatches_total") == 2
    assert house.trust.quarantined == {"fake"}
    assert not house.engine.needs(child(house.book.block), (), {})


async def test_what_a_family_allows_for_some_blocks_is_mended_and_holds_nothing_back() -> None:
    family = Roomy()
    family.within = 7
    house = House(people(3), adapter=family)
    house.adapter.chain |= dict.fromkeys(people(3), LESS)
    house.step()
    await house.reconciler.compare()

    assert house.count("mirror_mismatches_total") == 3
    assert house.trust.quarantined == set()
    house.step()
    await house.reconciler.compare()
    assert {house.account(user).supplied[WETH] for user in people(3)} == {90}  # type: ignore[union-attr]


async def test_a_quarantine_ends_once_the_market_was_rebuilt_and_compared_clean() -> None:
    house = house_with({ALICE: LESS, BOB: LESS})
    house.step()
    await house.reconciler.compare()

    with capture_logs() as lines:
        await house.reconciler.heal()

    assert house.rebuilt == ["fake"]
    assert house.chain.views[-1] == {ALICE, BOB, CAROL}
    assert house.trust.quarantined == set()
    assert [line["event"] for line in lines] == ["market_verified"]
    assert house.count("markets_unverified") == 0
    house.adapter.chain[CAROL] = LESS  # what was before does not count any more
    house.step()
    await house.reconciler.compare()
    assert house.trust.quarantined == set()


async def test_a_market_that_stays_wrong_stays_and_is_tried_again_later_and_later() -> None:
    house = house_with({ALICE: LESS, BOB: LESS})
    house.chain.adapter = Roomy(chain=dict(house.adapter.chain), prices=house.adapter.prices)
    house.adapter.chain[ALICE] = RIGHT  # what can be read is not what the view says
    house.step()
    await house.reconciler.compare()
    attempts = []
    for _ in range(200):
        before = len(house.rebuilt)
        await house.reconciler.heal()
        if len(house.rebuilt) > before:
            attempts.append(house.clock.now)
        house.clock.now += 1

    pauses = [round(later - sooner) for sooner, later in pairwise(attempts)]
    assert pauses == [15, 30, 60]
    assert house.trust.quarantined == {"fake"}
    house.chain.adapter.chain[ALICE] = RIGHT
    house.clock.now += 120
    await house.reconciler.heal()
    assert house.trust.quarantined == set()


async def test_a_rebuild_that_fails_is_tried_again() -> None:
    house = house_with({ALICE: LESS, BOB: LESS})
    house.step()
    await house.reconciler.compare()
    house.chain.fault = Retry("the node is away")
    await house.reconciler.heal()
    assert house.trust.quarantined == {"fake"}

    house.chain.fault = None
    house.clock.now += 15
    await house.reconciler.heal()

    assert house.trust.quarantined == set()


# --- what cannot be compared ---------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Retry("away"), Rebuild("the state of this block is gone")])
async def test_what_could_not_be_asked_is_asked_at_the_next_block(fault: Exception) -> None:
    house = house_with({ALICE: LESS})
    house.step()
    house.chain.fault = fault
    await house.reconciler.compare()
    assert house.count("reconcile_skipped_total") == 1
    assert house.reconciler.last_blocks == {}

    house.chain.fault = None
    house.step()
    await house.reconciler.compare()

    assert house.count("mirror_mismatches_total") == 1
    assert house.reconciler.last_blocks == {"fake": 102}


async def test_a_block_that_left_the_chain_meanwhile_is_no_divergence() -> None:
    house = house_with({ALICE: LESS})
    house.step()
    house.step()
    ancestor = house.book.canonical(101)
    assert ancestor is not None

    def leave() -> None:
        house.engine.rollback(Rollback(ancestor))

    house.chain.meanwhile = leave

    await house.reconciler.compare()

    assert house.count("mirror_mismatches_total") == 0
    assert house.count("reconcile_skipped_total") == 1


async def test_a_book_that_was_loaded_meanwhile_is_no_divergence() -> None:
    house = house_with({ALICE: LESS})
    house.step()

    def load() -> None:
        house.load(house.adapter.chain, house.book.block)
        house.engine.adopt()

    house.chain.meanwhile = load

    await house.reconciler.compare()

    assert house.count("mirror_mismatches_total") == 0
    assert not house.trust.mistrusts(ALICES)


async def test_one_comparison_runs_at_a_time_and_the_newest_block_comes_next() -> None:
    house = house_with({})
    gate, asked = asyncio.Event(), []
    honest = house.chain.read

    async def read(calls: Sequence[Call], block: Block) -> Readings:
        asked.append(block.number)
        await gate.wait()
        return await honest(calls, block)

    house.chain.read = read  # type: ignore[method-assign]
    async with asyncio.TaskGroup() as group:
        await house.reconciler.start(group)
        for _ in range(4):
            house.step()
            await asyncio.sleep(0.01)
        assert asked == [101]
        gate.set()
        await asyncio.sleep(0.05)
        assert asked == [101, 104]
        await house.reconciler.stop()


async def test_a_block_that_came_late_is_not_compared() -> None:
    house = house_with({})
    house.engine.apply(BlockBatch(child(house.book.block), (), {}))
    async with asyncio.TaskGroup() as group:
        await house.reconciler.start(group)
        house.reconciler.decided(house.book.block, (), live=False)
        await asyncio.sleep(0.01)
        assert house.chain.calls == []
        await house.reconciler.stop()


async def test_a_sample_has_as_many_calls_as_allowed_and_asks_shared_ones_once() -> None:
    class Shared(Roomy):
        def proof(self, market: FakeMarket, holder: Address) -> tuple[Call, ...]:
            return (Call(ENTRY, b"shared"), *super().proof(market, holder))

    house = House(people(40), adapter=Shared(), most_calls=10)
    house.step()

    await house.reconciler.compare()

    assert len(house.chain.calls[0]) == len(set(house.chain.calls[0])) == 10
    assert len(house.chain.views[0]) == 9


async def test_an_account_whose_views_are_more_than_a_sample_is_compared_alone() -> None:
    class Talkative(Roomy):
        def proof(self, market: FakeMarket, holder: Address) -> tuple[Call, ...]:
            more = tuple(Call(holder, bytes([number])) for number in range(20))
            return (*more, *super().proof(market, holder))

    house = House(people(3), adapter=Talkative(), most_calls=10)
    seen = set()
    for _ in range(3):
        house.step()
        await house.reconciler.compare()
        assert len(house.chain.views[-1]) == 1
        seen |= house.chain.views[-1]

    assert seen == set(people(3))
