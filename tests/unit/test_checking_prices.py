"""The rows of `check` about prices: bounded, however many there are."""

from __future__ import annotations

from typing import Any

import pytest

from chimera.app import checking_prices
from chimera.app.checking_prices import price_rows
from chimera.domain.block import Block, Log, LogQuery
from chimera.domain.call import BoundedCall, Call, Readings
from chimera.errors import RangeTooWide
from tests.fakes_state import USDC, WETH, FakeAdapter, FakeMarket, address, first_block

HEAD = first_block(5_000)


class Silent:
    """A node at which every price source reverts; it gives the logs of few blocks at once."""

    def __init__(self, *, widest: int = 10_000) -> None:
        self.asked: list[Call] = []
        self.ranges: list[int] = []
        self._widest = widest

    async def read(self, calls: tuple[Call, ...], block: Block) -> Readings:
        assert block == HEAD
        self.asked += calls
        return dict.fromkeys(calls)

    async def logs_between(self, first: int, last: int, query: LogQuery) -> tuple[Log, ...]:
        assert query.addresses
        self.ranges.append(last - first + 1)
        if last - first + 1 > self._widest:
            raise RangeTooWide("too many blocks")
        return ()


def many(count: int, *, dead: int = 0) -> FakeMarket:
    """A market with so many prices, and those of WETH, USDC and some more dead."""
    alive = {address(1_000 + n): 100_000_000 for n in range(count)}
    return FakeMarket({**alive, WETH: 0, USDC: 0, **{address(2_000 + n): 0 for n in range(dead)}})


async def rows_of(market: FakeMarket, *, opened: bool) -> tuple[list[Any], Silent]:
    node = Silent()
    found = await price_rows(node, FakeAdapter(), market, HEAD, opened=opened)  # type: ignore[arg-type]
    return found, node


async def test_every_source_of_a_protocol_that_lists_its_own_has_a_row_and_dead_ones_fail() -> None:
    rows, node = await rows_of(many(20), opened=False)

    assert len(rows) == 22
    assert [row.subject for row in rows if not row.ok] == ["fake T225", "fake T193"]
    assert {type(call) for call in node.asked} == {Call}


async def test_where_anybody_opens_markets_few_are_shown_dead_ones_first_and_none_fails() -> None:
    rows, node = await rows_of(many(500), opened=True)

    assert len(rows) == checking_prices.MOST_OPENED + 1
    assert all(row.ok for row in rows)
    assert ["answers no price" in row.fact for row in rows[:3]] == [True, True, False]
    assert rows[-1].fact == "490 more prices, 0 of them dead"
    assert {type(call) for call in node.asked} == {BoundedCall}


async def test_dead_prices_past_what_is_shown_are_a_fault_of_a_protocol_that_lists_them() -> None:
    rows, _ = await rows_of(many(0, dead=100), opened=False)

    assert len(rows) == checking_prices.MOST_SOURCES + 1
    assert (rows[-1].fact, rows[-1].ok) == ("42 more prices, 42 of them dead", False)


@pytest.mark.parametrize(("widest", "asked"), [(10_000, [2000]), (600, [2000, 1000, 500])])
async def test_as_many_blocks_as_the_node_gives_are_searched(widest: int, asked: list[int]) -> None:
    node = Silent(widest=widest)
    query = LogQuery(frozenset({WETH}), frozenset({bytes(32)}))

    first, logs = await checking_prices._newest(node, query, HEAD, 2000)  # type: ignore[arg-type]

    assert (first, logs) == (5_001 - asked[-1], ())
    assert node.ranges == asked


async def test_a_node_that_gives_no_block_at_all_ends_the_search() -> None:
    query = LogQuery(frozenset({WETH}), frozenset({bytes(32)}))

    with pytest.raises(RangeTooWide):
        await checking_prices._newest(Silent(widest=0), query, HEAD, 8)  # type: ignore[arg-type]
