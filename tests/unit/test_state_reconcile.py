"""Comparing while it runs: what differs is told, counted, read anew, and kept from being used."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from chimera.domain.block import Address, Block, BlockBatch, Rollback
from chimera.domain.call import Call, Readings
from chimera.domain.market import Account
from chimera.errors import Rebuild, Retry
from chimera.state.valuation import checksummed
from tests.fakes_reconcile import LESS, RIGHT, START, House, Roomy, house_with, people
from tests.fakes_state import (
    ALICE,
    BOB,
    CAROL,
    ENTRY,
    SUPPLY,
    WETH,
    FakeMarket,
    child,
    log,
)

ALICES = ("fake", ALICE)


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


async def test_a_node_that_has_left_the_block_accuses_nobody() -> None:
    house = house_with({ALICE: LESS})
    house.step()
    house.chain.blocks[house.book.block.number] = child(START, "another branch")

    await house.reconciler.compare()

    assert house.trust.mismatches == {}
    assert house.count("reconcile_skipped_total") == 1


async def test_a_divergence_that_does_not_show_again_is_none() -> None:
    """A node that mines may answer from the next block's state."""
    house = house_with({ALICE: LESS})
    house.step()

    def mined() -> None:
        house.adapter.chain[ALICE] = LESS if not house.chain.views else RIGHT

    house.chain.meanwhile = mined
    await house.reconciler.compare()

    assert len(house.chain.calls) == 2
    assert house.trust.mismatches == {}
    assert house.count("reconcile_skipped_total") == 0


async def test_who_differs_is_asked_about_again_only_after_a_moment() -> None:
    """A node may mine for longer than it takes to answer twice."""
    house = house_with({ALICE: LESS}, settled=0.05)
    house.step()
    until: list[float] = []

    def mining() -> None:
        now = time.monotonic()
        until.append(now + 0.02)
        house.adapter.chain[ALICE] = LESS if now < until[0] else RIGHT

    house.chain.meanwhile = mining
    await house.reconciler.compare()

    assert len(house.chain.calls) == 2
    assert house.trust.mismatches == {}


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


async def turns(count: int) -> None:
    """Leave the loop to others so often: no stall of the machine makes that less."""
    for _ in range(count):
        await asyncio.sleep(0.001)


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
            await turns(10)
        assert asked == [101]
        gate.set()
        await turns(50)
        assert asked == [101, 104]
        await house.reconciler.stop()


async def test_a_block_that_came_late_is_not_compared() -> None:
    house = house_with({})
    house.engine.apply(BlockBatch(child(house.book.block), (), {}))
    async with asyncio.TaskGroup() as group:
        await house.reconciler.start(group)
        house.reconciler.decided(house.book.block, (), live=False)
        await turns(10)
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


async def test_a_block_reads_few_accounts_anew_however_many_are_wrong() -> None:
    house = House(people(25))
    house.adapter.chain = dict.fromkeys(people(25), LESS)
    house.step()
    await house.reconciler.compare()

    reads = []
    for _ in range(3):
        reads.append(len(house.engine.needs(child(house.book.block), (), {}).calls))
        house.step()

    assert reads == [10, 10, 5]
