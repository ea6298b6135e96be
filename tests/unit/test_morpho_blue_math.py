"""The reference's vectors M1 to M6 and O1 to O3: numbers that the real contracts returned."""

from __future__ import annotations

import pytest

from chimera.domain.block import Address
from chimera.domain.numeric import WAD, Wad
from chimera.errors import Skip
from chimera.protocols.morpho_blue import oracle
from chimera.protocols.morpho_blue.market import Terms
from chimera.protocols.morpho_blue.math import (
    ADJUSTMENT_SPEED,
    HIGHEST_RATE,
    INITIAL_RATE,
    LOWEST_RATE,
    MAX_UINT128,
    Totals,
    accrued,
    adapted,
    borrow_rate,
    checked,
    compounded,
    health_factor,
    incentive_factor,
    max_borrow,
    to_assets_down,
    to_assets_up,
    to_shares_down,
    to_shares_up,
    toward_zero,
    utilization_error,
    w_exp,
)

TENTH = 10**17


def named(text: str) -> Address:
    return Address(bytes.fromhex(text.removeprefix("0x")))


def test_m1_the_id_is_the_hash_of_the_terms() -> None:
    terms = Terms(
        loan=named("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"),
        collateral=named("0xcbB7C0000aB88B473b1f5aFd9ef808440eed33Bf"),
        oracle=named("0x663BECd10daE6C4A3Dcd89F1d76c1174199639B9"),
        irm=named("0x46415998764C29aB2a25CbeA6254146D50D22687"),
        lltv=Wad(860000000000000000),
    )

    assert terms.id.hex() == "9103c3b4e834476c9a62ea009ba2c884ee42e94e6e314a26f04d312434191836"


@pytest.mark.parametrize(
    ("x", "power"),
    [
        (0, WAD),
        (1, 1000000000000000001),
        (-1, 999999999999999999),
        (10**18, 2707864291678420188),
        (-(10**18), 370113253479550356),
        (346573590279972654, 1406630217019747831),
        (346573590279972655, 1426966072919605046),
        (-346573590279972655, 703315108509873915),
        (-9000000000000000007, 123409777570032),
        (4000000000000000007, 54639285358673047616),
        (-41446531673892822312, 0),
        (-41446531673892822313, 0),
        (93859467695000404318, 57716089161558943862588783571184261698504523000224082296832),
        (93859467695000404319, 57716089161558943949701069502944508345128422502756744429568),
        (93859467695000404320, 57716089161558943949701069502944508345128422502756744429568),
    ],
)
def test_m2_the_exponential(x: int, power: int) -> None:
    assert w_exp(x) == power


@pytest.mark.parametrize(
    ("rate", "seconds", "growth"),
    [
        (1268391679, 3600, 4566220469552),
        (1268391679, 2592000, 3293081545653097),
        (63419583967, 31536000, 5333333333249893333),
        (317097919, 12, 3805175035),
        (0, 12, 0),
    ],
)
def test_m3_compounding(rate: int, seconds: int, growth: int) -> None:
    assert compounded(rate, seconds) == growth


@pytest.mark.parametrize(
    ("lltv", "factor"),
    [
        ("0", 1150000000000000000),
        ("0.385", 1150000000000000000),
        ("0.625", 1126760563380281690),
        ("0.77", 1074113856068743286),
        ("0.86", 1043841336116910229),
        ("0.915", 1026167265264238070),
        ("0.945", 1016776817488561260),
        ("0.965", 1010611419909044972),
        ("0.98", 1006036217303822937),
    ],
)
def test_m4_the_liquidation_incentive(lltv: str, factor: int) -> None:
    _, _, places = lltv.partition(".")

    assert incentive_factor(int(places.ljust(18, "0"))) == factor


def accrue(totals: Totals, target: int, time: int) -> tuple[int, int, int, Totals]:
    """Return error, rate, new rate at target, and the totals with interest."""
    error = utilization_error(totals.supply_assets, totals.borrow_assets)
    rate, end = borrow_rate(target, error, time - totals.updated)
    return error, rate, end, accrued(totals, rate, time)


def test_m5_above_the_target() -> None:
    before = Totals(
        1000000685119, 1000000068510957755, 950000685119, 949974651291676282, 1800096500, TENTH
    )

    error, rate, end, after = accrue(before, 1094804956, 1800701313)

    assert (error, rate, end) == (500000342559265300, 3527480730, 1771714188)
    assert after.borrow_assets - before.borrow_assets == 2028957940
    assert after.supply_shares - before.supply_shares == 202525844368293
    assert after == Totals(
        1002029643059, 1000202594355326048, 952029643059, 949974651291676282, 1800701313, TENTH
    )


def test_m6_below_the_target_for_a_long_time() -> None:
    before = Totals(
        1002029854160, 1000202615426831177, 152029854160, 151701658367633930, 1800701363, TENTH
    )

    error, rate, end, after = accrue(before, 1771784557, 1803293370)

    assert (error, rate, end) == (-831420132367827636, 233053202, 58143810)
    assert after.borrow_assets - before.borrow_assets == 91865258
    assert after.supply_shares - before.supply_shares == 9169016482767
    assert after.supply_assets == 1002121719418
    assert after.supply_shares == 1000211784443313944


def test_m6_the_rate_moves_where_nobody_owes_anything() -> None:
    before = Totals(supply_assets=996212497220, supply_shares=1, updated=1803294382)

    error, rate, end, after = accrue(before, 58063822, 1803303482)

    assert (error, rate, end) == (-WAD, 14411804, 57232123)
    assert after.supply_assets == before.supply_assets
    assert after.updated == 1803303482


def test_a_fresh_market_begins_at_a_quarter_of_the_initial_rate() -> None:
    assert borrow_rate(0, utilization_error(0, 0), 0) == (317097919, 1268391679)
    assert borrow_rate(0, utilization_error(0, 0), 10**6) == (317097919, INITIAL_RATE)


def test_nothing_happens_in_no_time() -> None:
    totals = Totals(10**12, 10**18, 10**11, 10**17, 100, TENTH)

    assert accrued(totals, 10**9, 100) is totals
    assert borrow_rate(1000000000, 5 * TENTH, 0) == (2500000000, 1000000000)


def test_the_rate_at_target_stays_between_its_bounds() -> None:
    assert adapted(1268391679, -(40 * WAD)) == LOWEST_RATE
    assert adapted(1268391679, 40 * WAD) == HIGHEST_RATE


def test_an_accrual_split_in_two_gives_other_totals() -> None:
    totals = Totals(10**15, 10**21, 95 * 10**13, 10**20, 0, 0)

    whole = accrued(totals, 3 * 10**9, 10**6)
    split = accrued(accrued(totals, 3 * 10**9, 5 * 10**5), 3 * 10**9, 10**6)

    assert whole != split


@pytest.mark.parametrize(("a", "b", "quotient"), [(7, 2, 3), (-7, 2, -3), (-8, 2, -4), (0, 3, 0)])
def test_signed_division_is_cut_off(a: int, b: int, quotient: int) -> None:
    assert toward_zero(a, b) == quotient


def test_the_constants_are_the_contracts_own() -> None:
    assert (INITIAL_RATE, LOWEST_RATE, HIGHEST_RATE) == (1268391679, 31709791, 63419583967)
    assert ADJUSTMENT_SPEED == 1585489599188
    assert MAX_UINT128 == 340282366920938463463374607431768211455
    assert Totals() == Totals(0, 0, 0, 0, 0, 0)


def test_totals_of_exactly_128_bits_are_kept() -> None:
    full = Totals(MAX_UINT128, MAX_UINT128, 0, 0, 0, 0)

    assert accrued(full, 10**9, 10**6).supply_assets == 2**128 - 1
    assert checked(2**256 - 1) == 2**256 - 1


def test_totals_past_128_bits_revert() -> None:
    huge = Totals(MAX_UINT128, 1, MAX_UINT128, 1, 0, 0)

    with pytest.raises(Skip, match="overflow"):
        accrued(huge, 10**9, 10**6)


def test_every_conversion_has_its_virtual_amounts_and_its_rounding() -> None:
    assert to_assets_down(1, 0, 0) == 0
    assert to_assets_up(1, 0, 0) == 1
    assert to_shares_down(1, 0, 0) == to_shares_up(1, 0, 0) == 10**6
    assert to_shares_down(1, 2, 0) == 333333
    assert to_shares_up(1, 2, 0) == 333334
    assert to_assets_up(1500000, 1, 1500000) == 2  # vector M12: one more than there is


def test_what_may_be_owed_is_rounded_down_twice() -> None:
    price = 15 * 10**35  # 1.5 loan units per collateral unit

    assert max_borrow(3, price, 5 * TENTH) == 2  # 4.5 -> 4 -> 2
    assert max_borrow(1, price, 9 * TENTH) == 0  # 1.5 -> 1 -> 0.9 -> 0


def test_a_product_past_256_bits_reverts() -> None:
    assert max_borrow(2**127, 2**128, WAD) > 0
    with pytest.raises(Skip, match="overflow"):
        max_borrow(2**128, 2**128, WAD)
    with pytest.raises(Skip, match="overflow"):
        checked(2**256)


def test_a_health_factor_is_under_one_exactly_when_less_is_allowed_than_owed() -> None:
    assert health_factor(25069224868, 25069224868) == WAD
    assert health_factor(25069224867, 25069224868) == 999999999960110453
    assert health_factor(10, 0) is None


def test_o1_two_feeds() -> None:
    scale = oracle.scale_factor((8, 8), (6, 8))

    base, quote = oracle.Side(feed_1=6712345678901), oracle.Side(feed_1=99987654)

    assert scale == 10**34
    assert oracle.price(scale, base, quote) == 671317448742321727040420410303856114075


def test_o2_a_base_vault() -> None:
    scale = oracle.scale_factor((18, 8), (6, 8), base_sample=10**18)
    base = oracle.Side(vault=1196543210987654321, feed_1=412345678901)

    assert scale == 1000000
    assert oracle.price(scale, base, oracle.Side(feed_1=99987654)) == 4934503440485630393150850216


def test_o3_a_quote_vault_and_three_feeds() -> None:
    scale = oracle.scale_factor((18, 18, 8), (6, 8), quote_sample=10**18)
    base = oracle.Side(feed_1=999123456789012345, feed_2=412345678901)
    quote = oracle.Side(vault=1050000, feed_1=99987654)

    assert scale == 10**24
    assert oracle.price(scale, base, quote) == 3924143904288130392733477664152416257311
