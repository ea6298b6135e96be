"""The revisions of Aave v3 that round or decide differently, one frozen `Engine` each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from chimera.domain.numeric import Wad, mul_div, mul_div_up
from chimera.protocols.aave_v3 import math
from chimera.protocols.aave_v3.seizing import (
    Rounding,
    Seizure,
    Target,
    Worth,
    any_leftover,
    half_of_the_position,
    half_or_all,
    leaves_dust,
    never_written_off,
    seizure,
    written_off_by_scaled,
    written_off_by_value,
)

Move = Callable[[int, int, int], int]
"""(scaled balance before, amount, index) -> by how much the scaled balance moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """
    Everything that one revision computes, decides or keeps otherwise than another.

    Attributes:
        version: As Aave names it.

        supplied: (scaled, liquidity index) -> aToken balance.
        owed: (scaled, debt index) -> vToken balance.
        debt_value: (amount, price, unit) -> value of a debt.
        compound: (rate, seconds) -> growth factor of debt.
        supply_moved: What a log of an aToken moves.
        debt_moved: What a log of a vToken moves.
        supply_burned: (amount, liquidity index) -> scaled aTokens that a seizure burns.
        debt_burned: (amount, debt index) -> scaled vTokens that a repayment burns.
        health: (collateral, sum of value times threshold, debt) -> health factor.
        close: How much of a debt may be repaid at once.
        seize: What a repayment takes of a collateral.
        leaves_dust: Whether a liquidation is refused for what it leaves.
        writes_off: Whether it burns the rest of the account's debts, too.

        averages_threshold: Health is figured by a threshold truncated to whole basis points.
        rounds_to_nearest: Balances are; else supply is rounded down and debt up.
        needs_own_threshold: Collateral counts only in reserves with a threshold of their own.
        has_stable_debt: There are loans at a stable rate.
        has_mode_bitmaps: eModes list their assets in bitmaps; else every asset names its eMode,
            and an eMode may have a price source.
        has_ltvzero_bitmap: A third bitmap says which of them have no LTV.
        has_grace_period: Reserves protect their users for a while after a pause.
        has_sentinel: A sentinel may forbid liquidations at 0.95 and above.
        may_discount_debt: vTokens of reserves without virtual accounting discount balances.
        touches_collateral: `liquidationCall` stores the collateral's new indexes, also when it
            pays in aTokens and no log tells.
    """

    version: str

    supplied: Rounding
    owed: Rounding
    debt_value: Worth
    compound: Callable[[int, int], int]
    supply_moved: Move
    debt_moved: Move
    supply_burned: Rounding
    debt_burned: Rounding
    health: Callable[[int, int, int], Wad | None]
    close: Callable[[Target], int]
    seize: Callable[[Target, int], Seizure]
    leaves_dust: Callable[[Target, Seizure, Worth], bool]
    writes_off: Callable[[Target, Seizure], bool]

    averages_threshold: bool
    rounds_to_nearest: bool
    needs_own_threshold: bool
    has_stable_debt: bool
    has_mode_bitmaps: bool
    has_ltvzero_bitmap: bool
    has_grace_period: bool
    has_sentinel: bool
    may_discount_debt: bool
    touches_collateral: bool


V3_0 = Engine(
    version="3.0",
    supplied=math.ray_mul,
    owed=math.ray_mul,
    debt_value=mul_div,
    compound=math.binomial_interest,
    supply_moved=math.moved_half_up,
    debt_moved=math.moved_half_up,
    supply_burned=math.ray_div,
    debt_burned=math.ray_div,
    health=math.health_of_average,
    close=half_or_all,
    seize=partial(
        seizure,
        add_bonus=math.percent_mul,
        need=math.percent_div,
        without_bonus=math.percent_div,
        levy=math.percent_mul,
    ),
    leaves_dust=any_leftover,
    writes_off=never_written_off,
    averages_threshold=True,
    rounds_to_nearest=True,
    needs_own_threshold=True,
    has_stable_debt=True,
    has_mode_bitmaps=False,
    has_ltvzero_bitmap=False,
    has_grace_period=False,
    has_sentinel=True,
    may_discount_debt=False,
    touches_collateral=False,
)
V3_1 = replace(V3_0, version="3.1", has_grace_period=True)
V3_2 = replace(V3_1, version="3.2", has_stable_debt=False, has_mode_bitmaps=True)
V3_3 = replace(
    V3_2,
    version="3.3",
    close=half_of_the_position,
    leaves_dust=leaves_dust,
    writes_off=written_off_by_value,
    may_discount_debt=True,
)
V3_4 = replace(V3_3, version="3.4", compound=math.nested_interest, may_discount_debt=False)
V3_5 = replace(
    V3_4,
    version="3.5",
    supplied=math.ray_mul_down,
    owed=math.ray_mul_up,
    debt_value=mul_div_up,
    supply_moved=math.supply_moved_down,
    debt_moved=math.debt_moved_up,
    supply_burned=math.ray_div_up,
    debt_burned=math.ray_div_down,
    health=math.health_of_sum,
    seize=partial(
        seizure,
        add_bonus=math.percent_mul,
        need=math.percent_div_up,
        without_bonus=math.percent_div,
        levy=math.percent_mul,
    ),
    averages_threshold=False,
    rounds_to_nearest=False,
    touches_collateral=True,
)
V3_6 = replace(V3_5, version="3.6", needs_own_threshold=False, has_ltvzero_bitmap=True)
V3_7 = replace(
    V3_6,
    version="3.7",
    seize=partial(
        seizure,
        add_bonus=math.percent_mul_down,
        need=math.percent_div_up,
        without_bonus=math.percent_div_down,
        levy=math.percent_mul_up,
    ),
    writes_off=written_off_by_scaled,
    has_sentinel=False,
)

ENGINES = {engine.version: engine for engine in (V3_0, V3_1, V3_2, V3_3, V3_4, V3_5, V3_6, V3_7)}
