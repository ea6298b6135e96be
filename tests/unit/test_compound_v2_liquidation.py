"""What `liquidateBorrow` would do: vectors CV-7 and CV-8, its limits, and every way it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.domain.market import EMPTY, Account
from chimera.domain.numeric import MAX_UINT256, WAD
from chimera.protocols.compound_v2 import liquidation
from chimera.protocols.compound_v2.dialect import COMPOUND, VENUS
from chimera.protocols.compound_v2.liquidation import Case
from chimera.protocols.compound_v2.market import NATIVE, CompoundMarket
from chimera.protocols.compound_v2.math import State
from chimera.protocols.compound_v2.pools import Pool, Terms
from tests.fakes_compound_v2 import (
    CBBTC,
    M_CBBTC,
    M_USDC,
    M_WETH,
    MOONWELL_ON_BASE,
    NOW,
    STATES,
    USDC,
    WETH,
    configured,
    market,
    owing,
)

LOW = {M_WETH: 2050123456780000000000}
B_OWES = owing({M_WETH: 53394615470}, {M_USDC: 18819905536})
UNDER = market(prices=LOW)


def case(of: CompoundMarket = UNDER, account: Account = B_OWES) -> Case:
    return liquidation.case(of, account, M_USDC, M_WETH, NOW)


def reason(of: CompoundMarket, account: Account = B_OWES) -> str | None:
    found = MOONWELL_ON_BASE.verdict(of, account, NOW)
    assert found.liquidatable == (found.best is not None) == (found.reason is None)
    return found.reason


def test_a_seizure_is_the_recorded_one() -> None:
    """Vector CV-7: 5,000 USDC repaid take 13409991831 mWETH, of which the protocol keeps 3%."""
    found = case()
    ratio = found.limits().ratio

    taken = ratio * 5000000000 // WAD
    assert ratio == 2681998366313620241
    assert (taken, taken * 3 // 100) == (13409991831, 402299754)
    assert found.of.rate == 200032489584786748786301958
    assert found.returns(5000000000) == liquidation.DONE


def test_the_liquidator_receives_what_the_protocols_share_leaves() -> None:
    """Vector CV-7 as the best pair: of 13409991831 mTokens 402299754 are burned."""
    account = owing({M_WETH: 13409991831}, {M_USDC: 18819905536})

    best = MOONWELL_ON_BASE.verdict(UNDER, account, NOW).best

    assert UNDER.listings[M_WETH].seize_share == 3 * WAD // 100
    assert best is not None
    assert best.max_repay == 5000000000
    assert best.seize == 13007692077 * 200032489584786748786301958 // WAD
    all_of_it = market(prices=LOW, listings=configured(M_WETH, seize_share=0))
    without = MOONWELL_ON_BASE.verdict(all_of_it, account, NOW).best
    assert without is not None
    assert without.seize == 13409991831 * 200032489584786748786301958 // WAD


def test_refusals_are_values_and_reversions_are_not() -> None:
    """Vector CV-8: over the close factor, and of a healthy account, the call returns 3."""
    assert case().returns(10**12) == liquidation.COMPTROLLER_REJECTION
    assert case(market()).returns(5000000000) == liquidation.COMPTROLLER_REJECTION
    assert case().returns(0) == liquidation.INVALID_CLOSE_AMOUNT


def test_the_limit_is_half_of_this_debt_and_one_more_is_refused() -> None:
    limit = case().close_limit()

    assert limit == 18819905536 // 2
    assert case().returns(limit) == liquidation.DONE
    assert case().returns(limit + 1) == liquidation.COMPTROLLER_REJECTION


def test_more_than_there_is_to_seize_reverts() -> None:
    poor = B_OWES.but(supplied={M_WETH: 10**9})
    most = case(account=poor).limits().repay

    assert most < case(account=poor).close_limit()
    assert case(account=poor).returns(most) == liquidation.DONE
    assert case(account=poor).returns(most + 1) is None
    best = MOONWELL_ON_BASE.verdict(UNDER, poor, NOW).best
    assert best is not None
    assert best.max_repay == most


def test_more_than_the_markets_total_reverts() -> None:
    """The total of all debts may be a unit under the only one, and then cannot be repaid."""
    all_of_it = replace(UNDER, close_factor=WAD)
    owed = STATES[M_USDC].borrows + 1
    account = owing({M_WETH: 53394615470 * 2}, {M_USDC: owed})
    under = replace(all_of_it, prices={**all_of_it.prices, M_WETH: 10**21})

    found = case(under, account)

    assert found.close_limit() == owed
    assert found.limits().repay == owed - 1
    assert found.returns(owed) is None
    assert found.returns(owed - 1) == liquidation.DONE


def test_the_best_pair_is_what_pays_most() -> None:
    account = owing({M_WETH: 53394615470, M_CBBTC: 10**6}, {M_USDC: 18819905534 * 2})

    found = MOONWELL_ON_BASE.verdict(UNDER, account, NOW)

    assert found.best is not None
    assert (found.best.collateral_asset, found.best.debt_asset) == (WETH, USDC)
    assert found.best.max_repay == 18819905534
    taken = 2681998366313620241 * found.best.max_repay // WAD
    kept = taken * 3 // 100
    rate = 200032489584786748786301958
    assert found.best.seize == (taken - kept) * rate // WAD
    paid = 999876540000000000000000000000 * found.best.max_repay // WAD
    assert found.best.gross_bonus == 2050123456780000000000 * found.best.seize // WAD - paid
    assert 0 < found.best.gross_bonus < paid * 7 // 100  # 10 percent, less the protocol's 3


def test_collateral_that_was_never_entered_can_be_seized_but_not_on_venus() -> None:
    account = owing({M_CBBTC: 10**9}, {M_USDC: 18819905536}).but(enabled=frozenset({M_USDC}))

    found = MOONWELL_ON_BASE.verdict(UNDER, account, NOW)

    assert found.best is not None
    assert found.best.collateral_asset == CBBTC
    assert reason(market(prices=LOW, dialect=COMPOUND), account) is None
    assert reason(market(prices=LOW, dialect=VENUS), account) == liquidation.NO_COLLATERAL
    venus = liquidation.case(market(prices=LOW, dialect=VENUS), account, M_USDC, M_CBBTC, NOW)
    assert venus.returns(1) is None  # MARKET_NOT_COLLATERAL comes after the repayment: it reverts


def test_two_markets_are_brought_up_to_now_and_the_others_are_not() -> None:
    """A third market with years of interest does not count; one of the pair does."""
    old = replace(STATES[M_USDC], accrued=NOW - 3 * 365 * 86_400)
    stale = market(prices=LOW, states={M_USDC: old})
    account = owing({M_WETH: 53394615470, M_CBBTC: 10**9}, {M_USDC: 10**6, M_WETH: 10**18})

    involved = liquidation.case(stale, account, M_USDC, M_CBBTC, NOW).told
    elsewhere = liquidation.case(stale, account, M_WETH, M_CBBTC, NOW).told
    by_view = MOONWELL_ON_BASE.health(stale, account, NOW)

    assert involved.debt > elsewhere.debt
    assert elsewhere.debt == by_view.debt


def test_interest_alone_makes_an_account_liquidatable_for_the_call_but_not_for_the_view() -> None:
    debt = 18819905536
    at_the_edge = owing({M_WETH: 53394615470}, {M_USDC: debt})
    told = MOONWELL_ON_BASE.value(market(), at_the_edge, NOW).health
    assert told.factor is not None
    price = 3000123456780000000000 * WAD // told.factor + 10**15  # a hair above 1
    of = market(
        prices={M_WETH: price}, states={M_USDC: replace(STATES[M_USDC], accrued=NOW - 86_400 * 30)}
    )

    assert not MOONWELL_ON_BASE.health(of, at_the_edge, NOW).is_unhealthy
    assert reason(of, at_the_edge) is None
    assert not MOONWELL_ON_BASE.health(of, at_the_edge, NOW + 86_400).is_unhealthy


def test_whoever_is_well_is_left_alone() -> None:
    assert reason(market()) == liquidation.HEALTHY
    assert reason(UNDER, EMPTY) == liquidation.HEALTHY
    assert reason(UNDER, owing({M_WETH: 5}, {})) == liquidation.HEALTHY


def test_bad_debt_has_nothing_to_seize() -> None:
    assert reason(UNDER, owing({}, {M_USDC: 5})) == liquidation.NO_COLLATERAL
    dead = market(prices={M_USDC: None})
    assert reason(dead, owing({}, {M_USDC: 5})) == liquidation.UNPRICED


def test_paused_seizing_reverts_whatever_the_shortfall() -> None:
    paused = market(prices=LOW, is_paused=True)

    assert reason(paused) == liquidation.PAUSED
    assert case(paused).returns(1) is None
    assert case(paused).returns(10**12) == liquidation.COMPTROLLER_REJECTION  # that comes first
    venus = market(prices=LOW, is_paused=True, dialect=VENUS)
    assert case(venus).returns(10**12) is None


@pytest.mark.parametrize(
    ("mtoken", "terms", "returned"),
    [
        (M_WETH, {"is_seize_paused": True}, None),
        (M_USDC, {"is_liquidation_paused": True}, None),
    ],
)
def test_venus_pauses_single_markets(
    mtoken: bytes, terms: dict[str, bool], returned: int | None
) -> None:
    listings = configured(M_WETH if mtoken == M_WETH else M_USDC, **terms)
    of = market(prices=LOW, dialect=VENUS, listings=listings)

    assert reason(of) == liquidation.PAUSED
    assert case(of).returns(1) is returned


def test_a_market_that_was_taken_off_the_list_is_not_liquidated() -> None:
    for mtoken in (M_WETH, M_USDC):
        off = configured(mtoken, is_listed=False)
        assert reason(market(prices=LOW, listings=off)) == liquidation.INACTIVE
        assert case(market(prices=LOW, listings=off)).returns(1) == 3
        assert case(market(prices=LOW, listings=off, dialect=VENUS)).returns(1) is None


def test_without_prices_nothing_is_liquidated() -> None:
    for price, returned in ((0, liquidation.COMPTROLLER_REJECTION), (None, None)):
        dead = market(prices={**LOW, M_USDC: price})
        assert reason(dead) == liquidation.UNPRICED
        assert case(dead).returns(1) is returned


def test_a_dead_price_outside_of_the_account_stops_only_its_own_pair() -> None:
    account = B_OWES.but(
        supplied={**B_OWES.supplied, M_CBBTC: 10**9}, enabled=frozenset({M_WETH, M_USDC})
    )
    dead = market(prices={**LOW, M_CBBTC: None})

    assert liquidation.case(dead, account, M_USDC, M_CBBTC, NOW).refusal() == liquidation.UNPRICED
    assert reason(dead, account) is None


def test_a_collateral_that_is_worth_nothing_reverts() -> None:
    worthless = market(prices={M_WETH: 1}, states={M_WETH: replace(STATES[M_WETH], cash=1)})
    state = State(cash=1, borrows=0, reserves=0, supply=10**18, index=WAD, accrued=NOW)
    of = replace(worthless, states={**worthless.states, M_WETH: state})

    assert reason(of) == liquidation.OVERFLOW
    assert case(of).returns(1) is None


def test_an_account_whose_figures_overflow_is_told_apart() -> None:
    of = market(prices={M_WETH: MAX_UINT256})

    assert reason(of) == liquidation.OVERFLOW
    assert case(of).returns(1) is None


def test_a_dust_of_collateral_is_too_little() -> None:
    tiny = owing({M_CBBTC: 1}, {M_USDC: 1}).but(enabled=frozenset({M_USDC}))

    assert reason(UNDER, tiny) == liquidation.TOO_LITTLE


def test_interest_that_cannot_be_added_stops_everything() -> None:
    absurd = replace(STATES[M_USDC], cash=0, reserves=10**18, accrued=NOW - 5)
    of = market(prices=LOW, states={M_USDC: absurd})

    assert reason(of) == liquidation.STUCK
    told = {s.name: s.value for s in MOONWELL_ON_BASE.explain(of, B_OWES, NOW)}
    shown = told["shortfall with interest added in USDC and WETH"]
    assert shown == "none: interest of USDC cannot be added (liquidateBorrow)"


def test_a_rate_that_nobody_here_computes_is_the_polled_one() -> None:
    listings = configured(M_USDC, rates=None)
    late = {M_USDC: replace(STATES[M_USDC], accrued=NOW - 100)}
    of = market(prices=LOW, listings=listings, states=late)

    polled = replace(of, rates={M_USDC: 10**12})

    index = STATES[M_USDC].index
    assert polled.accrued(M_USDC, NOW).index == index + 10**14 * index // WAD
    assert reason(of) == liquidation.STUCK  # the model reverts
    assert reason(polled) is None


def test_interest_of_venus_and_compound_runs_by_blocks() -> None:
    for dialect in (VENUS, COMPOUND):
        states = {m: replace(state, accrued=90) for m, state in STATES.items()}
        of = replace(market(states=states, dialect=dialect), block_number=100)

        assert of.accrued(M_USDC, NOW).accrued == 100
        assert of.accrued(M_USDC, NOW + 10**6).index == of.accrued(M_USDC, NOW).index


def test_interest_of_moonwell_runs_by_seconds_and_is_asked_for_at_any() -> None:
    of, index = market(), STATES[M_USDC].index

    found = [of.accrued(M_USDC, NOW + seconds) for seconds in (60, 5, 0, 60)]

    assert [state.accrued - NOW for state in found] == [60, 5, 0, 60]
    assert found[0] == found[3]
    assert found[0].index > found[1].index > found[2].index == index


def test_markets_that_are_wound_up_are_repaid_in_full_without_a_shortfall() -> None:
    for dialect in (VENUS, COMPOUND):
        forced = market(listings=configured(M_USDC, is_forced=True), dialect=dialect)
        forced = replace(forced, block_number=NOW)
        found = case(forced)

        assert found.close_limit() == 18819905536
        assert reason(forced) is None
        assert found.returns(18819905536) is None  # a unit more than the market's total
        assert found.returns(18819905535) == liquidation.DONE
        assert found.returns(18819905537) == liquidation.COMPTROLLER_REJECTION


def test_a_pool_has_an_incentive_of_its_own_but_not_for_debts_in_coin() -> None:
    pools = {1: Pool(terms={M_WETH: Terms(WAD // 2, 12 * WAD // 10), M_USDC: Terms(0, 0)})}
    member = B_OWES.but(mode=1)
    of = replace(market(prices=LOW, dialect=VENUS, pools=pools), block_number=NOW)
    coin = replace(of, listings={**of.listings, **configured(M_USDC, underlying=NATIVE)})

    core, own = case(of).limits().ratio, case(of, member).limits().ratio

    assert own * 11 // 12 in range(core - 3, core + 4)
    assert case(coin, member).limits().ratio == core
