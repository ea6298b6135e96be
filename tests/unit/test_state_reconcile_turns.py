"""Whose turn it is: everybody in time, those near 1 and those just changed sooner."""

from __future__ import annotations

import math

import pytest
from structlog.testing import capture_logs

from chimera.domain.block import Address
from chimera.errors import Retry
from tests.fakes_reconcile import LESS, House, people
from tests.fakes_state import BORROW, SUPPLY, USDC, WETH, account, log

BLOCK = 2  # seconds


async def compare(house: House, *, seconds: float = BLOCK) -> set[Address]:
    house.step(seconds=seconds)
    await house.reconciler.compare()
    return house.chain.views[-1]


@pytest.mark.parametrize("within", [60.0, 600.0])
async def test_everybody_is_compared_within_the_time_again_and_again(within: float) -> None:
    house = House(people(3000), within=within)
    last = dict.fromkeys(people(3000), house.clock.now)
    longest = 0.0
    for _ in range(round(3 * within / BLOCK)):
        for user in await compare(house):
            longest = max(longest, house.clock.now - last[user])
            last[user] = house.clock.now

    longest = max(longest, *(house.clock.now - at for at in last.values()))
    assert longest <= within
    assert house.reconciler.age <= within


async def test_the_load_is_spread_over_the_blocks() -> None:
    house = House(people(3000))
    sizes = [len(await compare(house)) for _ in range(300)]

    assert max(sizes) <= max(25, math.ceil(3000 / (0.9 * 600 / BLOCK)) + 1)


async def test_a_small_market_is_through_in_a_few_blocks() -> None:
    house = House(people(60))

    seen = [await compare(house) for _ in range(3)]

    assert set.union(*seen) == set(people(60))
    assert house.reconciler.age == 0


async def test_blocks_that_could_not_be_compared_are_made_up_for() -> None:
    house = House(people(3000))
    everybody = set(people(3000))
    for number in range(300):
        house.chain.fault = Retry("away") if number % 2 else None
        house.step()
        await house.reconciler.compare()

    assert set.union(*house.chain.views) == everybody
    assert house.count("reconcile_skipped_total") == 150


async def test_those_near_one_are_compared_at_every_turn() -> None:
    house = House(people(300))
    near = set(people(300)[-20:])
    for user in near:
        house.adapter.chain[user] = account({WETH: 100}, {USDC: 150_000})
    house.load(house.adapter.chain, house.book.block)
    house.engine.adopt()

    for _ in range(5):
        assert near <= await compare(house)


async def test_more_of_those_near_one_than_fit_take_turns() -> None:
    risky = people(1000)[-60:]
    house = House(people(1000))
    for user in risky:
        house.adapter.chain[user] = account({WETH: 100}, {USDC: 150_000})
    house.load(house.adapter.chain, house.book.block)
    house.engine.adopt()

    seen = [await compare(house) for _ in range(6)]

    for first in range(4):
        assert set.union(*seen[first : first + 3]) >= set(risky)


async def test_whom_a_block_changed_is_compared_at_once() -> None:
    house = House(people(1000))
    one, other = people(1000)[-1], people(1000)[-2]
    house.step(log(SUPPLY, one, WETH, 1))
    house.step(log(BORROW, other, USDC, 1))
    house.adapter.chain |= {one: LESS, other: LESS}

    await house.reconciler.compare()

    assert {one, other} <= house.chain.views[-1]
    assert house.count("mirror_mismatches_total") == 2


async def test_who_was_read_anew_comes_first() -> None:
    house = House(people(100), most_calls=10)
    house.adapter.chain[people(100)[0]] = LESS
    await compare(house)
    assert house.count("mirror_mismatches_total") == 1

    first = (await compare(house), house.chain.calls[-1][0].data[4:])

    assert first[1] == people(100)[0]


async def test_newcomers_and_leavers_do_not_stop_the_round() -> None:
    house = House(people(50), most_calls=10)
    await compare(house)
    newcomer = people(51)[-1]
    house.adapter.chain[newcomer] = LESS
    house.load({newcomer: LESS, **dict.fromkeys(people(20), LESS)}, house.book.block)
    house.adapter.chain = {newcomer: LESS, **dict.fromkeys(people(20), LESS)}
    house.engine.adopt()
    house.reconciler.begin_anew()

    seen = [await compare(house) for _ in range(4)]

    assert set.union(*seen) == {newcomer, *people(20)}


async def test_who_leaves_in_the_middle_of_a_round_does_not_keep_it_open() -> None:
    house = House(people(30), most_calls=10)
    market, leaver = house.book.market("fake"), people(30)[20]
    accounts = house.adapter.chain
    house.book.load("fake", market, accounts, complete=True, block=house.book.block)
    house.engine.adopt()
    await compare(house)  # the first ten; others wait in line
    del house.adapter.chain[leaver]
    house.step(log(SUPPLY, leaver, WETH, -100), log(BORROW, leaver, USDC, -100_000))
    assert house.account(leaver) is None

    seen = set.union(*[await compare(house) for _ in range(2)])

    assert leaver not in seen
    assert house.reconciler.age == 0


async def test_a_round_that_takes_too_long_is_told() -> None:
    house = House(people(400), most_calls=10, within=60)
    with capture_logs() as lines:
        for _ in range(100):
            await compare(house)

    late = [line for line in lines if line["event"] == "reconcile_late"]
    assert late
    assert late[0]["within"] == 60
    assert late[0]["seconds"] > 60


async def test_nobody_to_compare_is_no_work() -> None:
    house = House([])
    house.step(seconds=100)
    await house.reconciler.compare()

    assert house.chain.calls == []
    assert house.reconciler.age == 0
