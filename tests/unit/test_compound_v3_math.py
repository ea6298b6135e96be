"""Vectors of the reference, taken from real contracts: interest, principals, absorptions, sales."""

from __future__ import annotations

import pytest

from chimera.errors import Skip
from chimera.protocols.compound_v3.math import (
    MAX_INT256,
    Curve,
    Indexes,
    Offer,
    Totals,
    accrued,
    checked,
    cost,
    discounted,
    health_factor,
    moved,
    present_value,
    principal_value,
    quote,
    rate,
    supply_principal,
    utilization,
    value_of,
)
from tests.fakes_compound_v3 import BORROW, START, SUPPLY, yearly


def test_c1_rates_are_per_second() -> None:
    assert (SUPPLY.low, SUPPLY.high, SUPPLY.base) == (1522070015, 50735667174, 0)
    assert (BORROW.low, BORROW.high, BORROW.base) == (1680618975, 57077625570, 475646879)


def test_c2_an_empty_market_accrues_the_base_rate() -> None:
    empty = Totals(Indexes(10**15, 10**15), 0, 0, 1800000000, 0)
    lent = Totals(Indexes(10**15, 1000004756468790), 10**12, 0, 1800010000, 0)

    assert accrued(empty, SUPPLY, BORROW, 1800010000) == lent.indexes
    later = accrued(lent, SUPPLY, BORROW, 1800010100)
    assert later.borrow == 1000004804033704
    assert moved(0, 10**12, lent.indexes) == 10**12
    assert moved(0, -20000000000, later) == -19999903920


def test_c3_interest_below_the_kink() -> None:
    stored = Indexes(1000002630136960, 1000048804244972)
    totals = Totals(stored, 10**12, 619970622803, 1800096500, 0)

    used = utilization(totals)

    assert used == 619999249318654394
    assert (rate(SUPPLY, used), rate(BORROW, used)) == (943682266, 1517629381)
    after = Indexes(1000573382940460, 1000966731020319)
    assert accrued(totals, SUPPLY, BORROW, 1800701313) == after


def test_c4_interest_above_the_kink() -> None:
    stored = Indexes(1000573394275071, 1000966749253819)
    totals = Totals(stored, 10**12, 949651903670, 1800701325, 0)

    used = utilization(totals)

    assert used == 950025239905332780
    assert (rate(SUPPLY, used), rate(BORROW, used)) == (6368606792, 7613376197)
    after = Indexes(1004427336224746, 1005575770642302)
    assert accrued(totals, SUPPLY, BORROW, 1801306125) == after


def test_the_kink_itself_is_below() -> None:
    assert rate(Curve(10**17, 10**9, 10**15, 7), 10**17) == 10**8 + 7
    assert rate(Curve(10**17, 10**9, 10**15, 7), 10**17 + 10**4) == 10**8 + 7 + 10


@pytest.mark.parametrize(
    ("indexes", "principal", "amount", "after"),
    [
        ((1004427381256518, 1005575824519338), -19999903920, 1234567, -19998676198),
        ((1004427464886148, 10**15), 10**12, -1000001, 999999004406),
        ((1004427548516422, 10**15), 999999004406, 0, 999999004405),
        ((1004427548516422, 10**15), 0, 1, 0),
    ],
)
def test_c5_principals_round(
    indexes: tuple[int, int], principal: int, amount: int, after: int
) -> None:
    assert moved(principal, amount, Indexes(*indexes)) == after


def test_c6_silent_transfers() -> None:
    first = Indexes(1004427722210118, 1005576232444077)
    assert moved(-929651999750, -500000000, first) == -930149227095
    assert moved(-19998676198, 500000000, first) == -19501448854
    second = Indexes(1004427818706649, 1005576347894739)
    assert moved(-930149227095, -100000001, second) == -930248672554
    assert moved(0, 100000001, second) == 99559171
    assert supply_principal(100000000, second) == 99559171
    third = Indexes(1004427915206952, 1005576463349652)
    assert moved(99559171, -150000000, third) == -49722714
    assert supply_principal(100000010, third) == 99559171


def test_c7_interest_alone_moves_the_threshold() -> None:
    assert utilization(START) == 953873662073530576
    used = utilization(START)
    assert (rate(SUPPLY, used), rate(BORROW, used)) == (6563859059, 7833034997)
    after = Indexes(1004997608221191, 1006257088685055)
    assert accrued(START, SUPPLY, BORROW, 1801392625) == after


def test_c11_a_debt_is_worth_less_not_more() -> None:
    assert value_of(-3, 99990000, 10**6) == -299
    assert value_of(3, 99990000, 10**6) == 299


def test_c12_rates_of_an_upgrade_reach_back() -> None:
    dearer = Curve(BORROW.kink, yearly("0.500"), BORROW.high, yearly("0.100"))

    assert (dearer.low, dearer.base) == (15854895991, 3170979198)
    after = accrued(START, SUPPLY, dearer, 1801356235)
    assert after == Indexes(1004757691727999, 1006711887504523)
    assert accrued(START, SUPPLY, BORROW, 1801356235).borrow == 1005970454981332


def test_c10_the_store_front() -> None:
    price = discounted(251369321342, 6 * 10**17, 95 * 10**16)
    offer = Offer(99990000, 10**6, price, 10**18)

    assert price == 243828241701
    assert quote(offer, 10000000000) == 4100837511784834244
    left = 10**19 - 4100837511784834244
    assert left == 5899162488215165756
    assert quote(offer, cost(offer, left)) <= left < quote(offer, cost(offer, left) + 1)
    assert quote(offer, 100000000000) > left


def test_a_price_of_nothing_sells_nothing() -> None:
    assert quote(Offer(10**8, 10**6, 0, 10**18), 10**6) == 0


@pytest.mark.parametrize("principal", [1, 5, 10**12, -1, -7, -(10**12)])
def test_debts_survive_the_round_trip_and_supplies_lose_at_most_one(principal: int) -> None:
    indexes = Indexes(1004427548516422, 1005576463349652)

    again = principal_value(present_value(principal, indexes), indexes)

    assert again == principal if principal < 0 else principal - 1 <= again <= principal


def test_whatever_leaves_its_bits_reverts() -> None:
    full = Totals(Indexes(2**64 - 1, 10**15), 10**12, 10**12, 0, 0)
    with pytest.raises(Skip):
        accrued(full, SUPPLY, BORROW, YEARS)
    with pytest.raises(Skip):
        value_of(2**128, 2**128, 1)
    with pytest.raises(Skip):
        checked(MAX_INT256 + 1, MAX_INT256)
    assert checked(MAX_INT256, MAX_INT256) == MAX_INT256
    assert accrued(full, SUPPLY, BORROW, 0) == full.indexes


YEARS = 10 * 31_536_000


def test_a_debt_worth_nothing_has_no_factor() -> None:
    assert health_factor(0, 0) is None
    assert health_factor(2260793845107, 2260793845105) == 1000000000000884645
    assert health_factor(2260793845098, 2260793845105) == 999999999996903742
