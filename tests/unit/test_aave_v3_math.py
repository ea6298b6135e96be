"""The index and rounding vectors that were taken from deployed v3.0.2 pools."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.numeric import RAY, WAD, Ray, Wad
from chimera.protocols.aave_v3.math import (
    V3_0,
    Rates,
    Seizure,
    Side,
    binomial_interest,
    half_or_all,
    health_of_average,
    linear_interest,
    minted_half_up,
    normalized_debt,
    normalized_income,
    percent_div,
    ray_div,
    ray_mul,
)

INDEXES = [  # lr, vr, li, vi, stored at, asked at, income, debt
    (
        (80026610402099812477056, 1715271055604578796901888),
        (1000000000012137885049912865, 1000000000291379759083339267),
        (1800100022, 1803988039),
        (1000009866349710802272981333, 1000211495350404939158818717),
    ),
    (
        (3482608401740727792710, 387921485725607002474714),
        (1000000000000443942568456222, 1000000000049326647568246394),
        (1800100014, 1803988039),
        (1000000429365884429123642885, 1000047827437119721190645059),
    ),
    (
        (79917872659700308401152, 1714105330216675226307021),
        (1000020170073904722552266003, 1000432424342649864510267420),
        (1808048801, 1808135201),
        (1000020389031396802273259872, 1000437122563410556387690754),
    ),
]


@pytest.mark.parametrize(("yearly", "stored", "times", "expected"), INDEXES)
def test_indexes_grow_as_the_deployed_pool_has_them(
    yearly: tuple[int, int], stored: tuple[int, int], times: tuple[int, int], expected: object
) -> None:
    rates = Rates(Ray(stored[0]), Ray(stored[1]), Ray(yearly[0]), Ray(yearly[1]), times[0])

    asked = times[1]

    assert (normalized_income(rates, asked), normalized_debt(V3_0, rates, asked)) == expected


def test_in_the_second_of_an_update_the_stored_indexes_stand_as_they_are() -> None:
    income, debt = 1000000883928925322813228825, 1000098648513981775482819870
    rates = Rates(Ray(income), Ray(debt), Ray(3 * 10**21), Ray(4 * 10**23), 1808135201)

    assert normalized_income(rates, 1808135201) == income
    assert normalized_debt(V3_0, rates, 1808135201) == debt


@pytest.mark.parametrize(
    ("rate", "seconds", "compounded", "linear"),
    [
        (5 * 10**25, 1, 1000000001585489599188229325, 1000000001585489599188229325),
        (5 * 10**25, 2, 1000000003170979200890235919, 1000000003170979198376458650),
        (5 * 10**25, 3, 1000000004756468805106019785, 1000000004756468797564687975),
        (5 * 10**25, 3600, 1000005707778841852838170176, 1000005707762557077625570776),
        (5 * 10**25, 31536000, 1051265681539063650421944000, 1050000000000000000000000000),
        (365 * 10**24, 3888000, 1046027682784660452526432000, 1045000000000000000000000000),
        (4 * 10**27, 17280000, 7348581861266883721463202191, 3191780821917808219178082191),
    ],
)
def test_growth_factors_equal_the_contracts(
    rate: int, seconds: int, compounded: int, linear: int
) -> None:
    assert binomial_interest(rate, seconds) == compounded
    assert linear_interest(rate, seconds) == linear


def test_no_time_means_no_interest() -> None:
    assert binomial_interest(5 * 10**25, 0) == RAY


def test_scaled_amounts_are_recovered_from_the_logs_of_the_reference_run() -> None:
    supplied, owed = 10123456789012345678, 20000123456

    owed -= V3_0.burned(1232654751, 1913139, 1000095656361829456138116079)
    supplied += V3_0.minted(777977539474658096, 199761696880319, 1000019732557864733874644757)
    supplied += V3_0.minted(2384784335334, 2384784335334, 1000019951320948688490182592)
    supplied -= 1111088943418998419  # BalanceTransfer: already scaled
    supplied -= V3_0.burned(222220080602284360, 2141619937862, 1000020170073904722552266003)
    owed += V3_0.minted(100056151, 56150, 1000098648513981775482819870)

    assert (supplied, owed) == (9567912536054977487, 18865663786)


@given(
    scaled=st.integers(1, 2**100),
    index=st.integers(RAY, 100 * RAY),
    growth=st.integers(1, RAY // 10),
    data=st.data(),
)
def test_a_burn_logged_as_mint_takes_away_what_the_token_burned(
    scaled: int, index: int, growth: int, data: st.DataObject
) -> None:
    now = index + growth
    increase = ray_mul(scaled, now) - ray_mul(scaled, index)
    burned = data.draw(st.integers(0, increase))

    delta = minted_half_up(increase - burned, increase, now)

    assert delta == -ray_div(burned, now)


@given(scaled=st.integers(0, 2**120), index=st.integers(RAY, 1000 * RAY))
def test_a_whole_balance_scales_back_to_itself(scaled: int, index: int) -> None:
    assert ray_div(ray_mul(scaled, index), index) == scaled


def test_the_average_threshold_is_truncated_before_it_counts() -> None:
    assert health_of_average(3, 7800 + 7800 + 8300, 2) == Wad(WAD)  # 7966.67 bps counts as 7966
    assert health_of_average(10**12, 10**12 * 7966 + 10**11, 10**12) == Wad(7966 * WAD // 10**4)


def test_without_debt_there_is_no_factor_and_without_collateral_it_is_zero() -> None:
    assert health_of_average(1, 8300, 0) is None
    assert health_of_average(0, 0, 1) == 0


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(95 * WAD // 100 + 1, 501), (95 * WAD // 100, 1001), (WAD - 1, 501)],
)
def test_all_of_a_debt_may_be_closed_at_exactly_95_percent(factor: int, expected: int) -> None:
    assert half_or_all(1001, Wad(factor)) == expected


def test_a_seizure_of_dust_is_what_the_pool_would_move() -> None:
    """AV-7: 9,000 USDC asked for, under the close factor; v3.0.2 has no dust rule."""
    moved = V3_0.seize(
        repay=9000000000,
        balance=ray_mul(5262042161676111791, 1000020617264816075543669726),
        bonus=10500,
        fee=1000,
        collateral=Side(190012345678, 10**18),
        debt=Side(99987654, 10**6),
    )

    fee = ray_mul(23679259627160909, 1000020617264816075543669726)
    assert moved == Seizure(repaid=9000000000, seized=4949067296204003867, fee=fee)


def test_a_seizure_paid_in_atokens_is_the_same_seizure() -> None:
    """AV-8: receiveAToken=true, one WETH against WBTC."""
    moved = V3_0.seize(
        repay=10**18,
        balance=123456789,
        bonus=10750,
        fee=1000,
        collateral=Side(6153124680135, 10**8),
        debt=Side(300012345678, 10**18),
    )

    assert moved == Seizure(repaid=10**18, seized=5204887, fee=36568)


def test_without_a_protocol_fee_the_liquidator_gets_it_all() -> None:
    sides = {"collateral": Side(2, 1), "debt": Side(1, 1)}

    assert V3_0.seize(repay=100, balance=1000, bonus=11000, fee=0, **sides).seized == 55


def test_percentages_round_to_the_nearest() -> None:
    assert [percent_div(value, 20000) for value in (1, 2, 3)] == [1, 1, 2]
