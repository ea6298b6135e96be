"""Past logs in adaptive ranges: complete, in order, whatever the node allows."""

import asyncio
import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.chain.backfill import CALM, FORGET, MOST_IN_FLIGHT, Allowance, scan
from chimera.domain.block import Log, LogQuery
from chimera.errors import RangeTooWide, Retry
from chimera.rpc.faults import AskedToWait
from tests.fakes_chain import POOL, TOPIC, FakeChain

QUERY = LogQuery(frozenset({POOL}), frozenset({TOPIC}))


class PickyChain(FakeChain):
    """A chain that gives at most so many blocks at once."""

    def __init__(self, *, length: int, most: int) -> None:
        super().__init__()
        self.most = most
        for _ in range(length):
            self.mine((POOL, b""))

    async def logs_between(self, first: int, last: int, query: LogQuery) -> tuple[Log, ...]:
        if last - first + 1 > self.most:
            raise RangeTooWide("query exceeds max block range")
        return await super().logs_between(first, last, query)


async def scanned(
    chain: FakeChain, first: int, last: int, *, initial_range: int
) -> tuple[list[int], list[int]]:
    done, blocks = [], []
    async for last_done, logs in scan(chain, QUERY, first, last, initial_range=initial_range):
        done.append(last_done)
        blocks += [log.block_number for log in logs]
    return done, blocks


@settings(deadline=None, max_examples=50)
@given(
    length=st.integers(1, 60),
    most=st.integers(1, 20),
    initial=st.integers(1, 40),
    first=st.integers(0, 20),
)
def test_every_log_comes_once_and_in_order(
    length: int, most: int, initial: int, first: int
) -> None:
    chain = PickyChain(length=length, most=most)

    done, blocks = asyncio.run(scanned(chain, first, length, initial_range=initial))

    assert blocks == list(range(max(first, 1), length + 1))
    assert done == sorted(set(done))
    assert done[-1:] == ([length] if first <= length else [])


async def test_ranges_shrink_at_a_refusal_and_grow_again() -> None:
    chain = PickyChain(length=2_000, most=16)
    widths, before = [], 0
    async for last_done, _ in scan(chain, QUERY, 1, 2_000, initial_range=64):
        widths.append(last_done - before)
        before = last_done
        if last_done >= 150:
            chain.most = 1_000

    assert max(widths[:5]) <= 16
    assert widths[-2] == 64
    assert sum(1 for width in widths if width == 64) < len(widths) / 2


async def test_a_node_that_fails_is_waited_out() -> None:
    chain = PickyChain(length=10, most=100)
    chain.faults["logs_between"] = [Retry("down"), Retry("down")]

    done, blocks = await scanned(chain, 1, 10, initial_range=5)

    assert (done, blocks) == ([5, 10], list(range(1, 11)))


async def test_a_single_block_that_is_refused_is_an_error() -> None:
    with pytest.raises(RangeTooWide):
        await scanned(PickyChain(length=10, most=0), 1, 10, initial_range=5)


async def test_an_empty_range_asks_nothing() -> None:
    chain = PickyChain(length=3, most=10)

    assert await scanned(chain, 3, 2, initial_range=5) == ([], [])
    assert chain.requests == []


async def test_leaving_early_ends_the_requests_in_flight() -> None:
    chain = PickyChain(length=100, most=100)
    windows = scan(chain, QUERY, 1, 100, initial_range=5)
    await anext(windows)

    await windows.aclose()

    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_endpoint_that_asks_for_a_pause_gets_it() -> None:
    chain = PickyChain(length=10, most=100)
    chain.faults["logs_between"] = [AskedToWait("HTTP 429", 0.4)]
    began = time.monotonic()

    await scanned(chain, 1, 10, initial_range=10)

    assert time.monotonic() - began >= 0.4


def test_requests_at_a_time_are_halved_by_a_fault_and_come_back_one_by_one() -> None:
    allowance = Allowance(100, in_flight=4)
    counts = []
    for _ in range(3):
        allowance.failed()
        counts.append(allowance.in_flight)
    for _ in range(10 * CALM):
        allowance.answered(100)
        counts.append(allowance.in_flight)

    assert counts[:3] == [2, 1, 1]
    assert counts[3::CALM][:4] == [1, 2, 3, 4]
    assert counts[-1] == MOST_IN_FLIGHT


def test_a_width_that_is_refused_again_and_again_is_tried_less_and_less_often() -> None:
    allowance = Allowance(1_000)
    tried = []
    for number in range(2_000):
        if allowance.blocks <= 300:
            allowance.answered(allowance.blocks)
        else:
            tried.append(number)
            allowance.refused(allowance.blocks)

    gaps = [after - before for before, after in itertools.pairwise(tried) if after - before > 8]
    assert gaps == sorted(gaps)
    assert gaps[-1] > 10 * FORGET
    assert allowance.blocks > 250
