"""The reference's vectors M7 to M13: what the real contract seized, repaid and wrote off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.domain.health import Pair, Verdict
from chimera.domain.market import Account
from chimera.domain.numeric import WAD, Wad
from chimera.protocols.morpho_blue.adapter import MorphoBlue
from chimera.protocols.morpho_blue.liquidation import (
    Outcome,
    at_the_limit,
    by_collateral,
    by_shares,
)
from chimera.protocols.morpho_blue.market import MorphoMarket, PreLiquidation
from chimera.protocols.morpho_blue.math import ORACLE_SCALE, Totals
from chimera.protocols.morpho_blue.preliquidation import offer, traded
from chimera.protocols.morpho_blue.valuation import Figures, figures
from tests.fakes_morpho_blue import (
    BORROWER,
    COLLATERAL,
    ID,
    LLTV,
    NAME,
    NOW,
    ORACLE,
    SHARES,
    SINGLETON,
    TERMS,
    TOTALS,
    USDC,
    WETH,
    market,
)

MORPHO = MorphoBlue(name=NAME, address=SINGLETON, from_block=0)
LATER = NOW + 12
THRESHOLD = 2915026147500000000000000000


def case_at(price: int, account: Account = BORROWER, of: MorphoMarket | None = None) -> Figures:
    found = figures(of or market(price), account, LATER)
    assert found is not None
    return found


def done(outcome: Outcome | None) -> Outcome:
    assert outcome is not None
    return outcome


def test_m7_the_totals_twelve_seconds_later() -> None:
    totals = market().accrued(ID, LATER)

    assert market().rate(ID, LATER) == 21890953
    assert totals.borrow_assets == 152121719457
    assert totals.supply_assets == 1002121719457
    assert totals.supply_shares == 1000211784446308226


def test_m7_equality_is_healthy_and_one_less_is_not() -> None:
    healthy, under = case_at(THRESHOLD), case_at(THRESHOLD - 1)

    assert (healthy.borrowed, healthy.allowed, healthy.factor) == (25069224868, 25069224868, WAD)
    assert by_shares(healthy, SHARES) is None
    assert MORPHO.verdict(market(THRESHOLD), BORROWER, LATER) == Verdict(
        liquidatable=False, reason="healthy"
    )
    assert (under.allowed, under.factor) == (25069224867, 999999999960110453)
    assert by_shares(under, SHARES) is not None
    assert MORPHO.verdict(market(THRESHOLD - 1), BORROWER, LATER).liquidatable


def test_m7_the_stored_totals_would_give_another_threshold() -> None:
    stored = figures(market(2915026146800000000000000000), BORROWER, NOW)

    assert stored is not None
    assert (stored.borrowed, stored.factor) == (25069224862, WAD)


def test_m8_by_shares() -> None:
    case = case_at(2890 * 10**24)
    whole, half = done(by_shares(case, SHARES)), done(by_shares(case, SHARES // 2))

    assert (case.allowed, case.factor) == (24854000000, 991414777715176702)
    assert (whole.seized, whole.repaid_assets) == (9054772726643598615, 25069224868)
    assert COLLATERAL - whole.seized == 945227273356401385
    assert (whole.totals.borrow_assets, whole.totals.borrow_shares) == (
        127052494589,
        126701658367633930,
    )
    assert (half.seized, half.repaid_assets) == (4527386362975778546, 12534612434)
    assert half.totals.borrow_assets == 139587107023


def test_m9_by_collateral() -> None:
    case = case_at(2890 * 10**24)
    one = done(by_collateral(case, 10**18))

    assert (one.repaid_shares, one.repaid_assets) == (2760974876176245, 2768620002)
    assert one.totals.borrow_assets == 149353099455
    assert one.totals.borrow_shares == 148940683491457685
    assert SHARES - one.repaid_shares == 22239025123823755
    assert by_collateral(case, 9054773726643598615) is None  # it takes more shares than there are


def test_m10_bad_debt_only_if_nothing_is_left() -> None:
    case = case_at(2000 * 10**24)
    everything, almost = (done(by_collateral(case, COLLATERAL - left)) for left in (0, 1))

    assert case.factor == 686100192190433703
    assert (everything.repaid_shares, everything.repaid_assets) == (19107092562789666, 19160000002)
    assert (everything.bad_assets, everything.bad_shares) == (5909224867, 5892907437210334)
    assert everything.totals.supply_assets == 996212494590
    assert everything.totals.supply_shares == case.totals.supply_shares
    assert everything.totals.borrow_assets == 127052494588
    assert everything.totals.borrow_shares == 126701658367633930
    assert (almost.repaid_shares, almost.repaid_assets) == (19107092562789666, 19160000002)
    assert (almost.bad_assets, almost.bad_shares) == (0, 0)
    assert SHARES - almost.repaid_shares == 5892907437210334
    assert by_shares(case, SHARES) is None  # it would seize 1308 % of what there is


def test_m11_at_price_0_all_is_seized_for_nothing() -> None:
    case = case_at(0)
    free = done(by_collateral(case, COLLATERAL))

    assert (free.repaid_shares, free.repaid_assets) == (0, 0)
    assert (free.bad_assets, free.bad_shares) == (25069224868, 25000000000000000)
    assert free.totals.supply_assets == 977052494589
    assert by_shares(case, 10**6) is None
    verdict = MORPHO.verdict(market(0), BORROWER, LATER)
    assert verdict.best == Pair(WETH, USDC, max_repay=0, seize=COLLATERAL, gross_bonus=0)


def test_the_best_pair_closes_the_debt_where_the_collateral_covers_it() -> None:
    verdict = MORPHO.verdict(market(2890 * 10**24), BORROWER, LATER)

    worth = 9054772726643598615 * 2890 * 10**24 // 10**36
    assert verdict.best == Pair(
        collateral_asset=WETH,
        debt_asset=USDC,
        max_repay=25069224868,
        seize=9054772726643598615,
        gross_bonus=worth - 25069224868,
    )


def test_the_best_pair_takes_all_collateral_where_it_does_not_cover_the_debt() -> None:
    best = MORPHO.verdict(market(2000 * 10**24), BORROWER, LATER).best

    assert best is not None
    assert (best.max_repay, best.seize) == (19160000002, COLLATERAL)
    assert best.gross_bonus == 20000000000 - 19160000002


@pytest.mark.parametrize("price", [2890 * 10**24, 2000 * 10**24, 0, 1, 10**20])
def test_what_is_over_the_limit_is_refused(price: int) -> None:
    case = case_at(price)
    limit = done(at_the_limit(case))

    if limit.repaid_shares == SHARES:
        assert by_shares(case, SHARES + 1) is None
    else:
        assert limit.seized == COLLATERAL
        assert by_collateral(case, COLLATERAL + 1) is None
    assert by_shares(case, 0) is by_collateral(case, 0) is None


def test_a_position_at_the_border_is_closed_by_shares_to_the_last_one() -> None:
    """Where all shares seize exactly all collateral, nothing is written off."""
    case = case_at(2890 * 10**24)
    seized = done(by_shares(case, SHARES)).seized
    border = case._replace(collateral=seized, allowed=0)

    assert done(at_the_limit(border)).bad_shares == 0
    short = border._replace(collateral=seized - 1)
    assert by_shares(short, SHARES) is None
    assert done(at_the_limit(short)).seized == seized - 1


def test_dust_is_liquidated_for_nothing() -> None:
    """One share is worth less than a unit: the liquidator pays a unit and gets nothing."""
    verdict = MORPHO.verdict(market(10**24), Account({ID: 1}, {ID: 1}), LATER)

    assert verdict.best == Pair(WETH, USDC, max_repay=1, seize=0, gross_bonus=-1)


def test_there_is_nothing_to_seize_without_collateral() -> None:
    verdict = MORPHO.verdict(market(), Account({}, {ID: SHARES}), LATER)

    assert verdict == Verdict(liquidatable=False, reason="no collateral")


@pytest.mark.parametrize(
    ("price", "collateral", "reason"),
    [
        (None, COLLATERAL, "price unknown: the oracle reverts"),
        (2**193, 2**64, "figures overflow"),
    ],
)
def test_no_verdict_without_a_health_factor(
    price: int | None, collateral: int, reason: str
) -> None:
    account = Account({ID: collateral}, {ID: SHARES})

    assert MORPHO.health(market(price), account, LATER).error == reason
    assert MORPHO.verdict(market(price), account, LATER) == Verdict(
        liquidatable=False, reason=reason
    )


def test_a_collateral_that_overflows_on_the_way_cannot_be_named() -> None:
    case = case_at(0)._replace(price=2**200, collateral=2**60, allowed=0)

    assert by_collateral(case, 2**60) is None


def test_the_last_debt_of_a_market_may_cost_a_unit_more_than_there_is() -> None:
    totals = Totals(supply_assets=1, borrow_assets=1, borrow_shares=1500000, updated=LATER)
    of = market(10**36, totals={ID: totals})
    case = case_at(10**36, Account({ID: 2}, {ID: 1500000}), of)

    closed = done(by_shares(case, 1500000))

    assert (closed.repaid_assets, closed.totals.borrow_assets) == (2, 0)


def test_the_worth_of_a_seizure_is_rounded_up_within_256_bits() -> None:
    fits = 2**256 - ORACLE_SCALE
    case = case_at(0)._replace(price=fits, collateral=1, shares=2**256, allowed=0)

    assert by_collateral(case, 1) is not None
    assert by_collateral(case._replace(price=fits + 1), 1) is None


def test_a_market_with_a_debt_of_nobody_has_no_health() -> None:
    health = MORPHO.health(market(), Account({ID: COLLATERAL}), LATER)

    assert (health.factor, health.debt, health.error) == (None, 0, None)
    assert health.collateral == 28900000000


# --- pre-liquidation -----------------------------------------------------------------------------

CONTRACT = PreLiquidation(
    market=ID,
    lltv=Wad(80 * 10**16),
    close_low=Wad(5 * 10**16),
    close_high=Wad(50 * 10**16),
    incentive_low=Wad(101 * 10**16),
    incentive_high=Wad(104 * 10**16),
    oracle=ORACLE,
)


def at_m13(price: int = 3000 * 10**24) -> Figures:
    totals = replace(TOTALS, borrow_assets=152121719457)
    found = figures(market(price, totals={ID: totals}), BORROWER, NOW)
    assert found is not None
    return found


def test_m13_a_pre_liquidation() -> None:
    case = at_m13()
    found = offer(case, CONTRACT)

    assert case.borrowed == 25069224868
    assert found is not None
    assert found.ltv == 835640828933333334
    assert found.incentive == 1027820414466666666
    assert found.close_factor == 317306217000000004
    assert found.repaid_shares == 7932655425000000
    assert (found.seized, found.repaid_assets) == (2725307251666666666, 7954620906)
    assert traded(case, 7932655425000000, found.incentive) == (7954620906, 2725307251666666666)


def test_a_pre_liquidation_acts_between_its_threshold_and_the_markets() -> None:
    assert at_m13(THRESHOLD).allowed == at_m13(THRESHOLD).borrowed
    assert offer(at_m13(THRESHOLD), CONTRACT) is not None
    assert offer(at_m13(THRESHOLD - 1), CONTRACT) is None  # the market's own turn
    assert offer(at_m13(3200 * 10**24), CONTRACT) is None
    assert offer(at_m13(0), CONTRACT) is None


def test_at_its_very_threshold_a_pre_liquidation_does_not_act() -> None:
    at_it = at_m13()._replace(value=100, borrowed=80)

    assert offer(at_it, CONTRACT) is None
    assert offer(at_it._replace(borrowed=81), CONTRACT) is not None
    assert offer(at_it._replace(borrowed=86), CONTRACT) is not None
    assert offer(at_it._replace(borrowed=87), CONTRACT) is None


def test_no_more_is_repaid_than_is_owed() -> None:
    greedy = replace(CONTRACT, close_low=Wad(2 * WAD), close_high=Wad(3 * WAD))
    found = offer(at_m13(), greedy)

    assert found is not None
    assert found.repaid_shares == SHARES


def test_a_contract_that_claims_the_markets_own_limit_is_never_allowed() -> None:
    assert offer(at_m13(), replace(CONTRACT, lltv=LLTV)) is None
    assert TERMS.lltv == LLTV
