"""Ties, limits and last units: where a slightly wrong arithmetic would still look right."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.domain.numeric import BPS, MAX_UINT256, RAY, WAD, Bps, Ray, Wad
from chimera.errors import Rebuild, Skip
from chimera.protocols.aave_v3.engine import V3_0, V3_3, V3_4, V3_6, V3_7, Engine
from chimera.protocols.aave_v3.math import (
    Rates,
    checked,
    debt_moved_up,
    health_of_average,
    health_of_sum,
    moved_half_up,
    normalized_debt,
    normalized_income,
    ray_div,
    supply_moved_down,
    wad_div,
)
from chimera.protocols.aave_v3.seizing import Seizure, Side, Target

FIVE_PERCENT = Ray(5 * 10**25)


def target(**terms: object) -> Target:
    """One unit of either asset is worth 1, with eight decimals as every value has."""
    given = Target(
        owed=3000 * 10**8,
        owed_value=3000 * 10**8,
        scaled=4000 * 10**8,
        balance=4000 * 10**8,
        income=Ray(RAY),
        bonus=Bps(10500),
        fee=Bps(1000),
        collateral=Side(1, 1),
        debt=Side(1, 1),
        total_collateral=4000 * 10**8,
        total_debt=5000 * 10**8,
        factor=Wad(99 * WAD // 100),
    )
    return replace(given, **terms)  # type: ignore[arg-type]


def test_the_largest_word_still_fits() -> None:
    assert checked(MAX_UINT256) == MAX_UINT256
    with pytest.raises(Skip, match="overflows 256 bits"):
        checked(MAX_UINT256 + 1)


def test_an_exact_half_is_rounded_up() -> None:
    assert [ray_div(amount, 2 * RAY) for amount in (1, 2, 3)] == [1, 1, 2]
    assert [wad_div(amount, 2 * WAD) for amount in (1, 2, 3)] == [1, 1, 2]


def test_a_burn_rounds_its_half_as_a_mint_does() -> None:
    assert moved_half_up(10, 1, 2 * RAY) == 1
    assert moved_half_up(10, -1, 2 * RAY) == -1


def test_a_move_that_cannot_be_is_told_with_its_index() -> None:
    with pytest.raises(Rebuild, match=f"the aToken logs a move by 1 at index {2 * RAY} that 5"):
        supply_moved_down(5, 1, 2 * RAY)
    with pytest.raises(Rebuild, match=f"the vToken logs a move by 1 at index {2 * RAY} that 5"):
        debt_moved_up(5, 1, 2 * RAY)


@pytest.mark.parametrize(
    ("engine", "growth"), [(V3_0, 1585489599188229325), (V3_4, 1585489600445117960)]
)
def test_the_first_second_after_an_update_bears_interest(engine: Engine, growth: int) -> None:
    """AV-3: by how much five percent a year grow in one second."""
    rates = Rates(Ray(RAY), Ray(RAY), FIVE_PERCENT, FIVE_PERCENT, 1_800_000_000)

    assert normalized_income(rates, 1_800_000_001) == RAY + 1585489599188229325
    assert normalized_debt(engine.compound, rates, 1_800_000_001) == RAY + growth


@pytest.mark.parametrize("debt", [1, MAX_UINT256 // 3, MAX_UINT256])
def test_a_factor_overflows_at_the_first_value_whose_numerator_has_no_room(debt: int) -> None:
    """The numerator of a wadDiv is value * WAD + debt / 2, and has 256 bits."""
    fits = (MAX_UINT256 - debt // 2) // WAD

    assert health_of_average(fits, fits * BPS, debt) == (fits * WAD + debt // 2) // debt
    assert health_of_sum(fits, fits, debt) == (fits * WAD + debt // 2) // debt // BPS
    with pytest.raises(Skip):
        health_of_average(fits + 1, (fits + 1) * BPS, debt)
    with pytest.raises(Skip):
        health_of_sum(fits + 1, fits + 1, debt)


@pytest.mark.parametrize("collateral", [MAX_UINT256 // 2, MAX_UINT256 // 8300, MAX_UINT256])
def test_a_collateral_times_its_threshold_overflows_whatever_the_debt(collateral: int) -> None:
    for debt in (1, MAX_UINT256):
        with pytest.raises(Skip):
            health_of_average(collateral, collateral * 8300, debt)


def test_a_value_is_a_whole_number_rounded_down() -> None:
    assert Side(price=1, unit=2).value(3) == 1
    assert Side(price=10**8, unit=10**6).value(10**30 + 7) == 10**32 + 700


def test_a_debt_that_is_worth_just_half_may_be_repaid_with_what_its_value_hides() -> None:
    """Its value is rounded down; only a value of more than half limits the amount."""
    just_half = target(owed=2500 * 10**8 * 10 + 7, owed_value=2500 * 10**8, debt=Side(1, 10))

    assert V3_3.close(just_half) == just_half.owed
    assert V3_3.close(replace(just_half, owed_value=2500 * 10**8 + 1)) == 2500 * 10**8 * 10


def test_a_repayment_that_takes_the_balance_exactly_is_not_cut() -> None:
    exact = target(balance=11, fee=Bps(0))

    assert V3_6.seize(exact, 10) == Seizure(repaid=10, seized=11, fee=0)
    assert V3_6.seize(replace(exact, balance=10), 10) == Seizure(repaid=10, seized=10, fee=0)
    assert V3_6.seize(replace(exact, balance=9), 10) == Seizure(repaid=9, seized=9, fee=0)


@pytest.mark.parametrize("engine", [V3_0, V3_6, V3_7])
def test_a_fee_of_nothing_is_nothing(engine: Engine) -> None:
    assert engine.seize(target(fee=Bps(0)), 10**8 + 7).fee == 0


def test_a_single_unit_that_stays_is_dust() -> None:
    def dust(repaid: int, taken: int) -> bool:
        return V3_3.leaves_dust(target(), Seizure(repaid, taken, 0), V3_3.debt_value)

    assert dust(3000 * 10**8 - 1, 1000 * 10**8)
    assert dust(1000 * 10**8, 4000 * 10**8 - 1)
    assert not dust(3000 * 10**8, 1000 * 10**8)
    assert not dust(1000 * 10**8, 4000 * 10**8)
