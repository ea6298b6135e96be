"""The screen: nobody under the limit is missed, and few others are looked at."""

from __future__ import annotations

import random
from collections.abc import Mapping

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from chimera.domain.block import Address
from chimera.domain.market import Account
from chimera.domain.numeric import WAD
from chimera.state import screen as module
from chimera.state.screen import Screen
from tests.fakes_state import (
    ALICE,
    BOB,
    CAROL,
    USDC,
    WETH,
    FakeAdapter,
    FakeMarket,
    account,
    address,
)

MARKET = FakeMarket({WETH: 2_000, USDC: 1})


@pytest.fixture(params=["matrix", "lists of legs"], autouse=True)
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything here holds for either layout."""
    if request.param == "lists of legs":
        monkeypatch.setattr(module, "DENSE_ROWS", 0)


def screen_of(accounts: Mapping[Address, Account], adapter: FakeAdapter | None = None) -> Screen:
    screen = Screen(adapter or FakeAdapter())
    screen.load(accounts)
    return screen


def candidates(screen: Screen, market: FakeMarket = MARKET, limit: float = 1.0) -> set[Address]:
    return set(screen.candidates(screen.weigh(market, 0), limit))


def owing(supplied: int, owed: int) -> Account:
    return account({WETH: supplied}, {USDC: owed})


def test_only_accounts_that_may_be_under_water_are_candidates() -> None:
    screen = screen_of({ALICE: owing(1_000, 1_700_000), BOB: owing(1_000, 1_500_000)})

    assert candidates(screen) == {ALICE}
    assert candidates(screen, limit=1.1) == {ALICE, BOB}


def test_accounts_without_debt_have_no_slot() -> None:
    screen = screen_of({ALICE: account({WETH: 1}), BOB: owing(0, 5)})

    assert list(screen.users) == [BOB]
    assert len(screen) == 1


def test_a_closed_account_leaves_and_the_last_one_takes_its_slot() -> None:
    screen = screen_of({ALICE: owing(0, 5), BOB: owing(1, 900_000), CAROL: owing(1_000, 1)})

    screen.update(ALICE, None)
    screen.update(BOB, account({WETH: 1}))
    assert list(screen.users) == [CAROL]
    assert candidates(screen) == set()

    screen.update(ALICE, owing(0, 7))
    screen.update(CAROL, owing(0, 7))
    assert candidates(screen) == {ALICE, CAROL}


def test_an_account_of_a_dead_price_is_a_candidate_and_nobody_else() -> None:
    screen = screen_of({ALICE: account({WETH: 10}, {USDC: 1}), BOB: account({USDC: 90}, {USDC: 1})})

    assert candidates(screen, FakeMarket({WETH: 0, USDC: 1})) == {ALICE}


def test_an_amount_that_a_float_cannot_hold_is_a_candidate() -> None:
    screen = screen_of({ALICE: account({WETH: 10**39}, {USDC: 10})})

    assert candidates(screen) == {ALICE}


def test_a_weight_that_a_float_cannot_hold_makes_candidates() -> None:
    huge = FakeMarket({WETH: 10**39, USDC: 1})
    screen = screen_of({ALICE: owing(1, 1), BOB: account({USDC: 90}, {USDC: 1})})

    assert candidates(screen, huge) == {ALICE}


def test_a_sum_that_overflows_makes_candidates() -> None:
    market = FakeMarket({WETH: 10**20, USDC: 1})

    assert candidates(screen_of({ALICE: owing(10**20, 1)}), market) == {ALICE}


def test_old_weights_do_not_fit_a_new_column() -> None:
    screen = screen_of({ALICE: owing(1, 1)})
    weights = screen.weigh(MARKET, 0)
    screen.update(BOB, account({USDC: 3}, {WETH: 1}))

    try:
        screen.candidates(weights)
    except ValueError as error:
        assert "weigh again" in str(error)  # noqa: PT017  (both branches are the point)
    else:
        raise AssertionError("a column without a weight was passed over")


def test_the_screen_grows_with_accounts_and_columns() -> None:
    rng = random.Random(5)  # noqa: S311
    assets = [address(number) for number in range(1000, 1040)]
    market = FakeMarket(dict.fromkeys(assets, 100) | {USDC: 1})
    screen = screen_of({})
    expected = set()
    for number in range(1, 3001):
        held = account({rng.choice(assets): 1_000}, {USDC: rng.choice([70_000, 90_000])})
        screen.update(address(number), held)
        if held.owed[USDC] > 80_000:
            expected.add(address(number))

    assert len(screen) == 3000
    assert candidates(screen, market) == expected


LEGS = st.dictionaries(
    st.sampled_from([address(number) for number in range(1, 13)]),
    st.integers(min_value=1, max_value=10**27),
    min_size=1,
    max_size=6,
)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # it is the same for all examples
)
@given(
    supplied=LEGS,
    owed=LEGS,
    prices=st.lists(st.integers(min_value=1, max_value=10**12), min_size=12, max_size=12),
    nudge=st.integers(min_value=-3, max_value=3),
    churn=st.booleans(),
)
def test_nobody_near_one_is_missed(
    supplied: dict[Address, int],
    owed: dict[Address, int],
    prices: list[int],
    nudge: int,
    churn: bool,  # noqa: FBT001  (hypothesis passes it)
) -> None:
    """Debt is set so that the factor is within a few units of 1, on either side."""
    market = FakeMarket({address(number + 1): price for number, price in enumerate(prices)})
    market = FakeMarket({**market.prices, USDC: 1})
    worth = sum(amount * market.prices[asset] for asset, amount in supplied.items())
    other = sum(amount * market.prices[asset] for asset, amount in owed.items())
    missing = worth * 8 // 10 - other
    if missing > 0:
        owed = {**owed, USDC: max(1, missing + nudge)}
    adapter = FakeAdapter()
    held = account(supplied, owed)
    screen = screen_of({ALICE: held, BOB: owing(1, 1)} if churn else {ALICE: held}, adapter)
    if churn:
        screen.update(ALICE, None)
        screen.update(ALICE, held)
    market = FakeMarket({**market.prices, WETH: 1})

    factor = adapter.health(market, held, 0).factor
    assert factor is not None
    weights = screen.weigh(market, 0)
    if factor < WAD:
        assert ALICE in screen.candidates(weights)
    bounds = {user: bound for bound, user in screen.ranking(weights)}
    assert bounds[ALICE] * WAD <= factor + 1  # the factor itself is rounded down


def test_the_ranking_is_in_order_and_keeps_its_block() -> None:
    screen = screen_of({ALICE: owing(9, 9_000), BOB: owing(5, 9_000), CAROL: owing(7, 9_000)})

    ranking = screen.ranking(screen.weigh(MARKET, 0))
    screen.update(BOB, None)

    assert [user for _, user in ranking] == [BOB, CAROL, ALICE]


def test_healthy_accounts_far_from_the_limit_stay_out_of_the_exact_pass() -> None:
    rng = random.Random(7)  # noqa: S311
    accounts = {
        address(number): owing(10**6, rng.randrange(10**9, 158 * 10**7))
        for number in range(1, 2001)
    }

    assert candidates(screen_of(accounts)) == set()
