from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.pricing.turning import HIGHEST, Turn, turning


def under(limit: int) -> Callable[[int], bool | None]:
    return lambda price: price < limit


def over(limit: int) -> Callable[[int], bool | None]:
    return lambda price: price > limit


@pytest.mark.parametrize("price", [1, 2, 99, 100, 101, 5000, 10**20])
def test_a_collateral_turns_at_its_last_healthy_price(price: int) -> None:
    assert turning(under(100), price) == Turn(100, "below")


@pytest.mark.parametrize("price", [1, 2, 99, 100, 101, 5000, 10**20])
def test_a_debt_turns_at_its_last_healthy_price(price: int) -> None:
    assert turning(over(100), price) == Turn(100, "above")


@given(price=st.integers(1, 2**120), limit=st.integers(2, 2**120))
def test_one_unit_beyond_the_price_is_always_on_the_other_side(price: int, limit: int) -> None:
    for judge in (under(limit), over(limit)):
        turn = turning(judge, price)

        assert turn is not None
        beyond = turn.price + (1 if turn.under == "above" else -1)
        assert (judge(turn.price), judge(beyond)) == (False, True)


@pytest.mark.parametrize("always", [True, False])
def test_what_no_price_turns_never_turns(always: bool) -> None:  # noqa: FBT001  (parametrized)
    assert turning(lambda _: always, 100) is None


def test_an_account_without_a_health_factor_does_not_turn() -> None:
    assert turning(lambda _: None, 100) is None


def test_the_search_ends_where_the_contract_overflows() -> None:
    asked: list[int] = []

    def judge(price: int) -> bool | None:
        asked.append(price)
        return None if price > 1000 else False

    assert turning(judge, 100) is None
    assert max(asked) < 2000


def test_a_price_that_no_oracle_answers_is_not_looked_at() -> None:
    assert turning(over(HIGHEST), 100) is None


def test_of_two_crossings_the_nearer_is_named() -> None:
    assert turning(lambda price: price < 40 or price > 110, 100) == Turn(110, "above")
    assert turning(lambda price: price < 95 or price > 180, 100) == Turn(95, "below")
