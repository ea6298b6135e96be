"""The arithmetic of the reference: vectors CV-1 to CV-4 and CV-7, executed on real contracts."""

from __future__ import annotations

import pytest

from chimera.domain.numeric import MAX_UINT256, WAD
from chimera.errors import Skip
from chimera.protocols.compound_v2 import math
from chimera.protocols.compound_v2.math import RateModel, State
from tests.fakes_compound_v2 import JUMP

CV_1 = [
    (385123456789012333334, 25000000000000012345, 0, 394415593),
    (984999876552, 20000123483, 2, 342339700),
    (1123456792, 0, 0, 317097919),
    (385679012344567888889, 25077526220757127459, 11628933113567266, 394538015),
    (986234444442, 18818796516, 5324094, 340847637),
    (385679012344567888889, 25170711536172449510, 106079751777832843, 394826014),
    (991234444442, 13863045983, 9749039, 334592682),
]
# cash, borrows, reserves, index, accrued; reserve factor; time; interest, borrows, reserves, index
CV_2 = [
    (
        (984999876552, 20000123483, 2, 1000031695307031691, 1800100014),
        *(WAD // 10, 1807876003),
        (53240923, 20053364406, 5324094, 1002693809422344974),
    ),
    (
        (385123456789012333334, 25000000000000012345, 0, 1000031702181771067, 1800100018),
        *(15 * WAD // 100, 1807962400),
        (77526151473063188, 25077526151473075533, 11628922720959478, 1003132846550619433),
    ),
    (
        (
            *(385679012344567888889, 25078381985755382639, 92230319215272813),
            *(1003167081007184275, 1808048900),
        ),
        *(15 * WAD // 100, 1817380001),
        (92329550417066871, 25170711536172449510, 106079751777832843, 1006860380105794554),
    ),
    (
        (991234444442, 13819905535, 5434995, 1002752899707636328, 1808048900),
        *(WAD // 10, 1817380002),
        (43140448, 13863045983, 9749039, 1005883109934921558),
    ),
    (
        (1123456792, 0, 0, 1000031688863557916, 1800100012),
        *(WAD // 10, 1817380003),
        (0, 0, 0, 1005511311687514286),
    ),
]
# cash, borrows, reserves, supply, index, accrued; reserve factor; stored; time; current
CV_3 = [
    (
        (
            *(385123456789012333334, 25000000000000012345, 0, 2050617283945),
            *(1000031702181771067, 1800100018),
        ),
        *(15 * WAD // 100, 200000000000006020469590624),
        *(1803988035, 200015891194833756546897347),
    ),
    (
        (984999876552, 20000123483, 2, 5025000000039375, 1000031695307031691, 1800100014),
        *(WAD // 10, 200000000004999, 1803988035, 200004767881417),
    ),
    (
        (
            *(385679012344567888889, 25078381985755382639, 92230319215272813, 2052992315716),
            *(1003167081007184275, 1808048900),
        ),
        *(15 * WAD // 100, 200032489584786748786389240),
        *(1817380000, 200070716766078725755720927),
    ),
    (
        (
            *(991234444442, 13819905535, 5434995, 5025000000039375),
            *(1002752899707636328, 1808048900),
        ),
        *(WAD // 10, 200009734323208, 1817380000, 200017460969178),
    ),
]


@pytest.mark.parametrize(("cash", "borrows", "reserves", "rate"), CV_1)
def test_a_rate_is_the_models(cash: int, borrows: int, reserves: int, rate: int) -> None:
    assert math.borrow_rate(JUMP, cash, borrows, reserves) == rate


def test_beyond_the_kink_the_slope_is_the_other() -> None:
    model = RateModel(10, 100, 1000, WAD // 2)

    assert [math.borrow_rate(model, 100 - n, n, 0) for n in (0, 50, 51, 100)] == [10, 60, 70, 560]
    assert math.borrow_rate(model, 0, 100, 50) == 1560  # more than everything is used


def test_reserves_that_exceed_everything_stop_the_model() -> None:
    with pytest.raises(Skip):
        math.borrow_rate(JUMP, 5, 5, 10)
    with pytest.raises(Skip):
        math.exchange_rate(State(5, 5, 11, 1, WAD, 0))
    assert math.borrow_rate(JUMP, 0, 0, 10) == JUMP.base
    assert math.exchange_rate(State(5, 5, 10, 1, WAD, 0)) == 0


@pytest.mark.parametrize(("before", "factor", "time", "after"), CV_2)
def test_interest_is_added_as_the_market_adds_it(
    before: tuple[int, ...], factor: int, time: int, after: tuple[int, ...]
) -> None:
    cash, borrows, reserves, index, since = before
    state = State(cash, borrows, reserves, 0, index, since)
    interest, borrows_after, reserves_after, index_after = after

    found = math.accrued(state, factor, math.borrow_rate(JUMP, cash, borrows, reserves), time)

    assert found == State(cash, borrows_after, reserves_after, 0, index_after, time)
    assert found.borrows - borrows == interest
    assert found.reserves - reserves == math.reserved(factor, interest)


def test_no_time_no_interest() -> None:
    state = State(1, 1, 0, 1, WAD, 100)

    assert math.accrued(state, WAD, math.MAX_BORROW_RATE + 1, 100) is state


def test_an_absurd_rate_is_refused_and_the_highest_is_not() -> None:
    state = State(1, WAD, 0, 1, WAD, 100)

    assert math.accrued(state, 0, math.MAX_BORROW_RATE, 101).borrows > WAD
    with pytest.raises(Skip):
        math.accrued(state, 0, math.MAX_BORROW_RATE + 1, 101)


@pytest.mark.parametrize(("state", "factor", "stored", "time", "current"), CV_3)
def test_an_mtoken_is_worth_what_the_market_says(
    state: tuple[int, ...], factor: int, stored: int, time: int, current: int
) -> None:
    now = State(*state)
    rate = math.borrow_rate(JUMP, now.cash, now.borrows, now.reserves)

    assert math.exchange_rate(now) == stored
    assert math.exchange_rate(math.accrued(now, factor, rate, time)) == current


def test_an_empty_market_has_no_rate_to_speak_of() -> None:
    assert math.exchange_rate(State(5, 0, 0, 0, WAD, 0)) == 0


def test_a_debt_grows_by_the_index_and_may_pass_the_total() -> None:
    assert math.borrow_balance(13819905536, 1002752899707636328, 1005883109934921558) == 13863045984
    assert math.borrow_balance(0, 0, WAD) == 0


def test_the_product_is_truncated_before_the_price_is_applied() -> None:
    factor, rate, price = 81 * WAD // 100, 200032489584786748786389240, 2050123456780000000000

    assert math.weight_of(factor, rate, price) == factor * rate // WAD * price // WAD
    assert math.weight_of(3, WAD // 2, WAD) == 1
    assert math.weight_of(1, WAD // 2, 10 * WAD) == 0  # and not 5


def test_a_seizure_takes_what_the_comptroller_calculates() -> None:
    ratio = math.seize_ratio(
        11 * WAD // 10,
        999876540000000000000000000000,
        2050123456780000000000,
        200032489584786748786301958,
    )

    assert ratio == 2681998366313620241
    assert math.value_of(ratio, 5000000000) == 13409991831
    assert math.value_of(3 * WAD // 100, 13409991831) == 402299754
    assert math.value_of(200032489584786748786301958, 402299754) == 80473021351967271


@pytest.mark.parametrize("ratio", [1, 3, WAD - 1, WAD, WAD + 1, 2681998366313620241, 10**30])
@pytest.mark.parametrize("balance", [0, 1, 2, 13409991831, 10**20])
def test_the_largest_repayment_takes_all_and_one_more_too_much(ratio: int, balance: int) -> None:
    most = math.repayable(ratio, balance)

    assert math.value_of(ratio, most) <= balance < (most + 1) * ratio // WAD


def test_what_takes_nothing_is_never_too_much() -> None:
    assert math.repayable(0, 5) == MAX_UINT256


def test_a_worthless_collateral_divides_by_zero() -> None:
    with pytest.raises(Skip):
        math.seize_ratio(WAD, WAD, 1, 1)


def test_figures_that_do_not_fit_a_word_revert() -> None:
    assert math.checked(MAX_UINT256) == MAX_UINT256
    for beyond in (MAX_UINT256 + 1, -1):
        with pytest.raises(Skip):
            math.checked(beyond)
