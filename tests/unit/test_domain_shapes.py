"""Shapes: one object for all accounts with the same legs, for as long as there is one of them."""

from __future__ import annotations

import gc

from chimera.domain import market
from chimera.domain.market import Account
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


def test_a_shape_that_goes_late_takes_no_newer_one_with_it() -> None:
    one = Account({WETH: 1}, mode=78)
    late = market._shapes.pop(((WETH,), (), (), one.enabled, 78))

    newer = Account({WETH: 2}, mode=78)
    assert newer.shape is not one.shape
    market._forget(late)

    assert Account({WETH: 3}, mode=78).shape is newer.shape
