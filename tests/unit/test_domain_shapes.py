"""Shapes: one object for all accounts with the same legs, for as long as there is one of them."""

from __future__ import annotations

import gc

from chimera.domain import market
from chimera.domain.block import Address
from chimera.domain.market import Account, Shape, Shapes
from tests.fakes_state import USDC, WETH


def test_accounts_with_the_same_legs_share_a_shape() -> None:
    one = Account({WETH: 1, USDC: 2}, {USDC: 3}, frozenset({WETH}), 4, 90)
    other = Account({USDC: 5, WETH: 6}, {USDC: 7}, frozenset({WETH}), 4)

    assert one.shape is other.shape
    assert one.shape is not other.but(mode=5).shape
    assert one.shape is not other.but(enabled=frozenset()).shape
    assert one.shape is not other.but(marks={WETH: 1}).shape


def test_a_shape_goes_with_its_last_account_and_comes_back() -> None:
    gc.collect()
    before = len(market._shapes)
    for _ in range(2):
        one = Account({WETH: 1}, {WETH: 1}, mode=77)
        other = Account({WETH: 2}, {WETH: 2}, mode=77)
        assert one.shape is other.shape
        assert len(market._shapes) == before + 1
        del one, other
        assert len(market._shapes) == before


def test_news_of_a_shape_that_come_late_take_no_newer_one_away() -> None:
    shapes, content = Shapes(), ((WETH,), (), (), frozenset[Address](), 78)
    older, newer = Shape(*content), Shape(*content)
    shapes[content] = older
    late = shapes._kept[content]
    shapes[content] = newer

    del older
    shapes._forget(late)

    assert shapes.get(content) is newer
    del newer
    assert shapes.get(content) is None
    assert len(shapes) == 0
