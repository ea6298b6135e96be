"""The liquidations AV-6 to AV-10, as deployed pools of v3.0.2, v3.6.0 and v3.7 did them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from chimera.domain.numeric import WAD, Bps, Ray, Wad
from chimera.protocols.aave_v3.engine import V3_0, V3_2, V3_3, V3_4, V3_6, V3_7, Engine
from chimera.protocols.aave_v3.seizing import Seizure, Side, Target

MAX = 2**256 - 1
WETH, USDC, WBTC = 10**18, 10**6, 10**8  # units
BONUS = {WETH: Bps(10500), USDC: Bps(10450), WBTC: Bps(10750)}


@dataclass(frozen=True)
class Case:
    """One `liquidationCall`: what stood before, what was asked for, and what it moved."""

    engine: Engine
    collateral: Side
    debt: Side
    income: int
    debt_index: int
    supplied: int  # scaled, before
    owed: int  # scaled, before
    moved: tuple[int, int]  # debtToCover, liquidatedCollateralAmount
    fee: int  # scaled, to the treasury
    after: tuple[int, int]  # scaled supply and debt
    cover: int = MAX
    factor: int = 90 * WAD // 100
    collateral_is_all: bool = False

    def target(self) -> Target:
        engine = self.engine
        owed = engine.owed(self.owed, self.debt_index)
        balance = engine.supplied(self.supplied, self.income)
        value = engine.debt_value(owed, self.debt.price, self.debt.unit)
        return Target(
            owed=owed,
            owed_value=value,
            scaled=self.supplied,
            balance=balance,
            income=Ray(self.income),
            bonus=BONUS[self.collateral.unit],
            fee=Bps(1000),
            collateral=self.collateral,
            debt=self.debt,
            total_collateral=self.collateral.value(balance) + (not self.collateral_is_all),
            total_debt=value,
            factor=Wad(self.factor),
        )


# Prices in each: AV-6 half of the debt; AV-8 one WETH of it, paid in aTokens; AV-9 more debt than
# the collateral pays for, another collateral is left; AV-10 the last collateral.
HALF = Side(230012345678, WETH), Side(99987654, USDC)
PARTLY = Side(6153124680135, WBTC), Side(300012345678, WETH)
WHOLE = Side(5453124680135, WBTC), Side(300012345678, WETH)
LAST = Side(99987654, USDC), Side(300012345678, WETH)

CASES = {
    "AV-6 3.0": Case(
        V3_0,
        *HALF,
        1000020607986354651761849563,
        1000099651213553059246609951,
        9567912536054977487,
        18865663786,
        moved=(9433771886, 4285454542507753482),
        fee=20504144639899360,
        after=(5262042161676111791, 9432831893),
        factor=97 * WAD // 100,
    ),
    "AV-6 3.6": Case(
        V3_6,
        *HALF,
        1000020607986354672675857937,
        1000099651213711171688209907,
        9567912536054977492,
        18865663787,
        moved=(9433771887, 4285454542962020831),
        fee=20504144642072843,
        after=(5262042161219680415, 9432831894),
        factor=97 * WAD // 100,
    ),
    "AV-6 3.7": Case(
        V3_7,
        *HALF,
        1000020607986354672675857937,
        1000099651213711171688209907,
        9567912536054977492,
        18865663787,
        moved=(9433771887, 4285454542962020829),
        fee=20504144642072844,
        after=(5262042161219680416, 9432831894),
        factor=97 * WAD // 100,
    ),
    "AV-8 3.0": Case(
        V3_0,
        *PARTLY,
        10**27,
        1000442217538278116049886224,
        123456789,
        25000000000000012345,
        moved=(10**18, 5204887),
        fee=36568,
        after=(118215334, 24000442022068379523),
        cover=10**18,
    ),
    "AV-8 3.6": Case(
        V3_6,
        *PARTLY,
        10**27,
        1000442215602482402155045057,
        123456789,
        25000000000000012345,
        moved=(10**18, 5204887),
        fee=36568,
        after=(118215334, 24000442020134294757),
        cover=10**18,
    ),
    "AV-8 3.7": Case(
        V3_7,
        *PARTLY,
        10**27,
        1000442215602482402155045056,
        123456789,
        25000000000000012345,
        moved=(10**18, 5204885),
        fee=36569,
        after=(118215335, 24000442020134294757),
        cover=10**18,
    ),
    "AV-9 3.0": Case(
        V3_0,
        *WHOLE,
        10**27,
        1000442313663476091654758669,
        118215334,
        24000442022068379523,
        moved=(19988106294045195787, 117390576),
        fee=824758,
        after=(0, 4021172831772318594),
    ),
    "AV-9 3.6": Case(
        V3_6,
        *WHOLE,
        10**27,
        1000442310788255615332141262,
        118215334,
        24000442020134294757,
        moved=(19988106294045195787, 117390576),
        fee=824758,
        after=(0, 4021172772418827174),
    ),
    "AV-9 3.7": Case(
        V3_7,
        *WHOLE,
        10**27,
        1000442310788255615332141260,
        118215335,
        24000442020134294757,
        moved=(19988106463127375042, 117390576),
        fee=824759,
        after=(0, 4021172603411401726),
    ),
    "AV-10 3.0": Case(
        V3_0,
        *LAST,
        1000000892508922209857855462,
        1000442321995583203862627601,
        5000000001,
        4021172831772318594,
        moved=(1594635226741511936, 4978473344),
        fee=21531100,
        after=(0, 2427242635416079278),
        collateral_is_all=True,
    ),
    "AV-10 3.6": Case(
        V3_6,
        *LAST,
        1000000892656029786452640544,
        1000442319038933553482876351,
        5000000000,
        4021172772418827174,
        moved=(1594635226422585176, 4978473343),
        fee=21531101,
        after=(0, 0),
        collateral_is_all=True,
    ),
    "AV-10 3.7": Case(
        V3_7,
        *LAST,
        1000000892656029786452640544,
        1000442319038933354879895386,
        5000000000,
        4021172603411401726,
        moved=(1594635226422585176, 4978473343),
        fee=21531101,
        after=(0, 0),
        collateral_is_all=True,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_liquidation_moves_what_the_deployed_pool_moved(case: Case) -> None:
    engine, target = case.engine, case.target()

    moved = engine.seize(target, min(case.cover, engine.close(target)))

    assert (moved.repaid, moved.seized) == case.moved
    assert not engine.leaves_dust(target, moved, engine.debt_value)
    burned = target.owed if engine.writes_off(target, moved) else moved.repaid
    seized = engine.supply_burned(moved.seized, case.income)
    fee = min(engine.supply_burned(moved.fee, case.income), case.supplied - seized)
    assert fee == case.fee
    left = case.owed - engine.debt_burned(burned, case.debt_index)
    assert (case.supplied - seized - fee, left) == case.after


@pytest.mark.parametrize(
    ("name", "deficit"),
    [("AV-10 3.0", None), ("AV-10 3.6", 2428316187272324067), ("AV-10 3.7", 2428316018190142618)],
)
def test_bad_debt_is_written_off_since_v3_3(name: str, deficit: int | None) -> None:
    target, engine = CASES[name].target(), CASES[name].engine
    moved = engine.seize(target, engine.close(target))

    assert engine.writes_off(target, moved) == (deficit is not None)
    assert deficit in (None, target.owed - moved.repaid)


def test_in_v3_7_what_the_tokens_round_up_counts_as_taken_too() -> None:
    """One unit stays by the amounts, none by the scaled moves: each is rounded up."""
    target = replace(
        CASES["AV-10 3.7"].target(), scaled=10, balance=20, income=Ray(2 * 10**27),
        collateral=Side(10, 1), total_collateral=200,
    )  # fmt: skip
    moved = Seizure(repaid=1, seized=15, fee=3)

    assert V3_7.writes_off(target, moved)
    assert not V3_6.writes_off(target, moved)
    assert V3_6.writes_off(target, replace(moved, fee=5))
    assert not V3_7.writes_off(target, replace(moved, fee=2))


DUST = Case(
    V3_6,
    Side(190012345678, WETH),
    Side(99987654, USDC),
    1000020617264816075543669726,
    1000099672103400678054941192,
    5262042161676111791,
    9432831893,
    moved=(9000000000, 4949067296204003867),
    fee=23679259627160909,
    after=(289397639972320808, 433728853),
    factor=879815138993321049,
)


def test_since_v3_3_nothing_may_be_left_that_is_worth_less_than_a_thousand() -> None:
    """AV-7: 9,000 USDC of 9,434 in v3.0.2; v3.6.0 and v3.7 revert with MustNotLeaveDust."""
    for engine in (V3_0, V3_2, V3_3, V3_4, V3_6, V3_7):
        target = replace(DUST, engine=engine).target()
        refused = engine.leaves_dust(target, engine.seize(target, 9 * 10**9), engine.debt_value)
        assert refused == (engine not in (V3_0, V3_2))

    target = replace(DUST, engine=V3_0).target()
    moved = V3_0.seize(target, 9 * 10**9)
    assert (moved.repaid, moved.seized) == DUST.moved
    assert V3_0.supply_burned(moved.fee, DUST.income) == DUST.fee
    assert DUST.owed - V3_0.debt_burned(moved.repaid, DUST.debt_index) == DUST.after[1]


def test_a_leftover_of_exactly_a_thousand_is_allowed() -> None:
    target = replace(
        DUST.target(), owed=2000 * 10**8, balance=5000 * 10**8,
        collateral=Side(1, 1), debt=Side(1, 1),
    )  # fmt: skip

    def dust(repaid: int, taken: int) -> bool:
        return V3_3.leaves_dust(target, Seizure(repaid, taken, 0), V3_3.debt_value)

    assert not dust(1000 * 10**8, 4000 * 10**8)
    assert dust(1000 * 10**8 + 1, 4000 * 10**8)
    assert dust(1000 * 10**8, 4000 * 10**8 + 1)
    assert not dust(2000 * 10**8, 4999 * 10**8)  # all of the debt
    assert not dust(1999 * 10**8, 5000 * 10**8)  # all of the collateral


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(95 * WAD // 100 + 1, 501), (95 * WAD // 100, 1001), (WAD - 1, 501)],
)
def test_all_of_a_debt_may_be_closed_at_exactly_95_percent(factor: int, expected: int) -> None:
    target = replace(DUST.target(), owed=1001, factor=Wad(factor))

    assert V3_2.close(target) == expected


@pytest.mark.parametrize(
    ("factor", "owed_value", "balance_value", "expected"),
    [
        (95 * WAD // 100 + 1, 3000, 2000, 2500),  # half of everything owed
        (95 * WAD // 100, 3000, 2000, 3000),
        (WAD - 1, 2500, 2000, 2500),  # a debt that is no more than that half
        (WAD - 1, 3000, 1999, 3000),  # small collateral
        (WAD - 1, 1999, 2000, 1999),  # small debt
    ],
)
def test_since_v3_3_the_whole_position_decides_how_much_may_be_closed(
    factor: int, owed_value: int, balance_value: int, expected: int
) -> None:
    target = replace(
        DUST.target(),
        owed=owed_value * 10**8,
        owed_value=owed_value * 10**8,
        balance=balance_value * 10**8,
        collateral=Side(1, 1),
        debt=Side(1, 1),
        total_debt=5000 * 10**8,
        factor=Wad(factor),
    )

    assert V3_3.close(target) == V3_7.close(target) == expected * 10**8


def test_without_a_protocol_fee_the_liquidator_gets_it_all() -> None:
    target = replace(
        DUST.target(), balance=1000, bonus=Bps(11000), fee=Bps(0),
        collateral=Side(2, 1), debt=Side(1, 1),
    )  # fmt: skip

    assert V3_0.seize(target, 100) == Seizure(repaid=100, seized=55, fee=0)
