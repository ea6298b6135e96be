"""The index and rounding vectors that were taken from deployed v3.0.2 and v3.6.0 pools."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.numeric import RAY, WAD, Ray, Wad
from chimera.errors import Rebuild
from chimera.protocols.aave_v3.engine import V3_0, V3_4, V3_6, V3_7, Engine
from chimera.protocols.aave_v3.math import (
    Rates,
    binomial_interest,
    debt_moved_up,
    health_of_average,
    health_of_sum,
    linear_interest,
    moved_half_up,
    nested_interest,
    normalized_debt,
    normalized_income,
    percent_div,
    percent_div_down,
    percent_div_up,
    percent_mul,
    percent_mul_down,
    percent_mul_up,
    ray_div,
    ray_div_down,
    ray_div_up,
    ray_mul,
    ray_mul_down,
    ray_mul_up,
    supply_moved_down,
)

OLD = [  # AV-1: lr, vr, li, vi, stored at, asked at, income, debt
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
NEW = [
    (
        (80026610402099812482458, 1715271055604578796959785),
        (1000000000012137885049912865, 1000000000291379759090414454),
        (1800100022, 1803988039),
        (1000009866349710802272981999, 1000211495351992466314896711),
    ),
    (
        (3482608401740727916492, 387921485725607002474714),
        (1000000000000443942568456222, 1000000000049326647568550539),
        (1800100014, 1803988039),
        (1000000429365884429123658146, 1000047827437141100730017001),
    ),
    (
        (79917872661609561579743, 1714105330237150377491740),
        (1000020170073904733004458078, 1000432424355293654141757468),
        (1808048801, 1808135201),
        (1000020389031396817956390367, 1000437122576054610186840598),
    ),
]


@pytest.mark.parametrize(
    ("engine", "yearly", "stored", "times", "expected"),
    [(V3_0, *case) for case in OLD] + [(V3_6, *case) for case in NEW],
)
def test_indexes_grow_as_the_deployed_pool_has_them(
    engine: Engine,
    yearly: tuple[int, int],
    stored: tuple[int, int],
    times: tuple[int, int],
    expected: object,
) -> None:
    """AV-1."""
    rates = Rates(Ray(stored[0]), Ray(stored[1]), Ray(yearly[0]), Ray(yearly[1]), times[0])

    asked = times[1]

    income, debt = normalized_income(rates, asked), normalized_debt(engine.compound, rates, asked)

    assert (income, debt) == expected


@pytest.mark.parametrize("engine", [V3_0, V3_4])
def test_in_the_second_of_an_update_the_stored_indexes_stand_as_they_are(engine: Engine) -> None:
    """AV-2."""
    income, debt = 1000000883928925322813228825, 1000098648513981775482819870
    rates = Rates(Ray(income), Ray(debt), Ray(3 * 10**21), Ray(4 * 10**23), 1808135201)

    assert normalized_income(rates, 1808135201) == income
    assert normalized_debt(engine.compound, rates, 1808135201) == debt


FIVE_PERCENT = 5 * 10**25


@pytest.mark.parametrize(
    ("rate", "seconds", "old", "new", "linear"),
    [
        (FIVE_PERCENT, 1, 1585489599188229325, 1585489600445117960, 1585489599188229325),
        (FIVE_PERCENT, 2, 3170979200890235919, 3170979203404013194, 3170979198376458650),
        (FIVE_PERCENT, 3, 4756468805106019785, 4756468808876685704, 4756468797564687975),
        (
            FIVE_PERCENT,
            3600,
            5707778841852838170176,
            5707778846385321333984,
            5707762557077625570776,
        ),
        (
            FIVE_PERCENT,
            31536000,
            51265681539063650421944000,
            51270833333333333333333333,
            50000000000000000000000000,
        ),
        (
            365 * 10**24,
            3888000,
            46027682784660452526432000,
            46027687500000000000000000,
            45000000000000000000000000,
        ),
        (
            4 * 10**27,
            17280000,
            6348581861266883721463202191,
            6348582881125160768466845059,
            2191780821917808219178082191,
        ),
    ],
)
def test_growth_factors_equal_the_contracts(
    rate: int, seconds: int, old: int, new: int, linear: int
) -> None:
    """AV-3: what comes on top of 1."""
    assert binomial_interest(rate, seconds) == RAY + old
    assert nested_interest(rate, seconds) == RAY + new
    assert linear_interest(rate, seconds) == RAY + linear


def test_no_time_means_no_interest() -> None:
    assert binomial_interest(FIVE_PERCENT, 0) == nested_interest(FIVE_PERCENT, 0) == RAY


def test_scaled_amounts_are_recovered_from_the_logs_of_v3_0() -> None:
    """AV-5."""
    supplied, owed = 10123456789012345678, 20000123456

    owed += V3_0.debt_moved(owed, -1232654751 - 1913139, 1000095656361829456138116079)
    supplied += V3_0.supply_moved(
        supplied, 777977539474658096 - 199761696880319, 1000019732557864733874644757
    )
    supplied += V3_0.supply_moved(supplied, 0, 1000019951320948688490182592)
    supplied -= 1111088943418998419  # BalanceTransfer: already scaled
    supplied += V3_0.supply_moved(
        supplied, -222220080602284360 - 2141619937862, 1000020170073904722552266003
    )
    owed += V3_0.debt_moved(owed, 100056151 - 56150, 1000098648513981775482819870)

    assert (supplied, owed) == (9567912536054977487, 18865663786)


def test_scaled_amounts_are_recovered_from_the_logs_of_v3_6() -> None:
    """AV-5."""
    supplied, owed = 10123456789012345678, 20000123456

    owed += V3_6.debt_moved(owed, -1232654750 - 1913140, 1000095656361987312601333131)
    supplied += V3_6.supply_moved(
        supplied, 777977539474658095 - 199761696880319, 1000019732557864733874646089
    )
    supplied += V3_6.supply_moved(supplied, 0, 1000019951320948693716400272)
    supplied -= 1111088943418998414  # BalanceTransfer: already scaled
    supplied += V3_6.supply_moved(
        supplied, -222220080602284310 - 2141619937913, 1000020170073904733004458078
    )
    owed += V3_6.debt_moved(owed, 100056151 - 56149, 1000098648514139825981555690)

    assert (supplied, owed) == (9567912536054977492, 18865663787)


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

    delta = moved_half_up(scaled, (increase - burned) - increase, now)

    assert delta == -ray_div(burned, now)


@given(
    scaled=st.integers(0, 2**110),
    delta=st.integers(-(2**110), 2**110),
    index=st.integers(RAY, 100 * RAY),
)
def test_differences_of_balances_give_the_scaled_move_back(
    scaled: int, delta: int, index: int
) -> None:
    delta = max(delta, -scaled)
    supply = ray_mul_down(scaled + delta, index) - ray_mul_down(scaled, index)
    debt = ray_mul_up(scaled + delta, index) - ray_mul_up(scaled, index)

    assert supply_moved_down(scaled, supply, index) == delta
    assert debt_moved_up(scaled, debt, index) == delta


@pytest.mark.parametrize(
    ("scaled", "amount"),
    [(5, -11), (5, 1), (5, 3)],  # under zero; a balance that no scaled one rounds to
)
def test_a_move_that_the_balance_cannot_make_betrays_a_wrong_balance(
    scaled: int, amount: int
) -> None:
    with pytest.raises(Rebuild, match=f"aToken logs a move by {amount} at index .* that 5 cannot"):
        supply_moved_down(scaled, amount, 2 * RAY)
    with pytest.raises(Rebuild, match=f"vToken logs a move by {amount} at index .* that 5 cannot"):
        debt_moved_up(scaled, amount, 2 * RAY)


@given(scaled=st.integers(0, 2**120), index=st.integers(RAY, 1000 * RAY))
def test_a_whole_balance_scales_back_to_itself(scaled: int, index: int) -> None:
    assert ray_div(ray_mul(scaled, index), index) == scaled
    assert ray_div_up(ray_mul_down(scaled, index), index) == scaled
    assert ray_div_down(ray_mul_up(scaled, index), index) == scaled


@given(a=st.integers(0, 2**128), b=st.integers(1, 2**100))
def test_the_roundings_lie_next_to_each_other(a: int, b: int) -> None:
    for down, near, up in (
        (ray_mul_down, ray_mul, ray_mul_up),
        (ray_div_down, ray_div, ray_div_up),
        (percent_mul_down, percent_mul, percent_mul_up),
        (percent_div_down, percent_div, percent_div_up),
    ):
        assert down(a, b) <= near(a, b) <= up(a, b) <= down(a, b) + 1


def test_the_average_threshold_is_truncated_before_it_counts_up_to_v3_4() -> None:
    assert health_of_average(3, 7800 + 7800 + 8300, 2) == Wad(WAD)  # 7966.67 bps counts as 7966
    assert health_of_average(10**12, 10**12 * 7966 + 10**11, 10**12) == Wad(7966 * WAD // 10**4)


def test_the_whole_sum_counts_since_v3_5() -> None:
    assert health_of_sum(10**12, 10**12 * 7966 + 10**11, 10**12) == Wad(79661 * WAD // 10**5)
    assert health_of_sum(3, 19_999, 2) == Wad(99995 * WAD // 10**5)


@pytest.mark.parametrize("engine", [V3_0, V3_7])
def test_without_debt_there_is_no_factor_and_without_collateral_it_is_zero(engine: Engine) -> None:
    assert engine.health(1, 8300, 0) is None
    assert engine.health(0, 0, 1) == 0


def test_percentages_round_to_the_nearest() -> None:
    assert [percent_div(value, 20000) for value in (1, 2, 3)] == [1, 1, 2]
    assert [percent_div_up(value, 20000) for value in (1, 2, 3)] == [1, 1, 2]
    assert [percent_div_down(value, 20000) for value in (1, 2, 3)] == [0, 1, 1]
    assert [percent_mul_up(value, 5000) for value in (1, 2, 3)] == [1, 1, 2]
    assert [percent_mul_down(value, 5000) for value in (1, 2, 3)] == [0, 1, 1]
