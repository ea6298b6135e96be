"""What holds for any market, price and account, whatever the rounding."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chimera.domain.health import Health
from chimera.domain.market import Account
from chimera.domain.numeric import WAD, Wad
from chimera.errors import Skip
from chimera.protocols.morpho_blue.adapter import MorphoBlue
from chimera.protocols.morpho_blue.liquidation import at_the_limit, by_collateral, by_shares
from chimera.protocols.morpho_blue.market import Id, MorphoMarket
from chimera.protocols.morpho_blue.math import (
    HIGHEST_RATE,
    LOWEST_RATE,
    Totals,
    accrued,
    borrow_rate,
    to_assets_down,
    to_assets_up,
    utilization_error,
)
from chimera.protocols.morpho_blue.valuation import figures
from tests.fakes_morpho_blue import NAME, NOW, ORACLE, SINGLETON, TERMS, market

MORPHO = MorphoBlue(name=NAME, address=SINGLETON, from_block=0)
MANY = settings(max_examples=300, deadline=None, derandomize=True)

LLTVS = st.sampled_from([385, 625, 770, 860, 915, 945, 965, 980]).map(lambda n: Wad(n * 10**15))
PRICES = st.integers(0, 2**128)
AMOUNTS = st.integers(0, 10**30)
SECONDS = st.integers(0, 10**8)
FEES = st.sampled_from([0, 10**17, 25 * 10**16])


@st.composite
def totals(draw: st.DrawFn) -> Totals:
    supplied = draw(st.integers(1, 10**27))
    owed = draw(st.integers(0, supplied))
    return Totals(
        supplied,
        supplied * draw(st.integers(5 * 10**5, 10**6)),
        owed,
        owed * draw(st.integers(5 * 10**5, 10**6)),
        NOW,
        draw(FEES),
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[MorphoMarket, Account]:
    """A market and an account in it that owes a part of all its debt."""
    kept, terms = draw(totals()), replace(TERMS, lltv=draw(LLTVS))
    assume(kept.borrow_shares)
    of = market(
        draw(PRICES),
        terms={terms.id: terms},
        totals={terms.id: kept},
        targets={terms.id: draw(st.integers(LOWEST_RATE, HIGHEST_RATE))},
        live=(terms.id,),
    )
    shares = draw(st.integers(1, kept.borrow_shares))
    collateral = draw(AMOUNTS)
    supplied = {terms.id: collateral} if collateral else {}
    return of, Account(supplied, {terms.id: shares})


def factor(health: Health) -> int:
    assume(health.error is None)
    assert health.factor is not None
    return health.factor


def only(account: Account) -> Id:
    (where,) = account.owed
    return Id(where)


@MANY
@given(case=cases(), seconds=SECONDS, lower=PRICES)
def test_health_never_improves_when_the_collaterals_price_falls(
    case: tuple[MorphoMarket, Account], seconds: int, lower: int
) -> None:
    of, account = case
    price = of.quotes[ORACLE].price
    assert price is not None
    fallen = MORPHO.priced(of, ORACLE, min(price, lower))
    time = NOW + seconds

    before = factor(MORPHO.health(of, account, time))

    assert factor(MORPHO.health(fallen, account, time)) <= before


@MANY
@given(case=cases(), seconds=SECONDS, repaid=st.integers(1, 10**36))
def test_a_repayment_never_lowers_the_health(
    case: tuple[MorphoMarket, Account], seconds: int, repaid: int
) -> None:
    """By the contract's own arithmetic: accrue, then shares for assets rounded up."""
    of, account = case
    where, time = only(account), NOW + seconds
    shares = min(repaid, account.owed[where])
    assume(shares < account.owed[where])
    before = factor(MORPHO.health(of, account, time))
    kept = of.accrued(where, time)
    paid = to_assets_up(shares, kept.borrow_assets, kept.borrow_shares)
    left = replace(
        kept,
        borrow_assets=max(0, kept.borrow_assets - paid),
        borrow_shares=kept.borrow_shares - shares,
    )

    after = account.but(owed={where: account.owed[where] - shares})
    repaid_market = replace(of, totals={where: left})

    assert factor(MORPHO.health(repaid_market, after, time)) >= before


@MANY
@given(case=cases(), seconds=SECONDS, more=st.integers(1, 10**7))
def test_time_never_improves_the_health(
    case: tuple[MorphoMarket, Account], seconds: int, more: int
) -> None:
    of, account = case
    now = factor(MORPHO.health(of, account, NOW))

    assert factor(MORPHO.health(of, account, NOW + seconds + more)) <= now


@MANY
@given(case=cases(), added=AMOUNTS)
def test_more_collateral_never_lowers_the_health(
    case: tuple[MorphoMarket, Account], added: int
) -> None:
    of, account = case
    where = only(account)
    richer = account.but(supplied={where: account.supplied.get(where, 0) + added + 1})

    before = factor(MORPHO.health(of, account, NOW))

    assert factor(MORPHO.health(of, richer, NOW)) >= before


@MANY
@given(case=cases(), seconds=SECONDS)
def test_at_the_limit_is_accepted_and_one_more_is_refused(
    case: tuple[MorphoMarket, Account], seconds: int
) -> None:
    of, account = case
    health = MORPHO.health(of, account, NOW + seconds)
    assume(health.is_unhealthy and account.supplied)
    found = figures(of, account, NOW + seconds)
    assert found is not None

    limit = at_the_limit(found)

    assert limit is not None
    if limit.repaid_shares == found.shares:
        assert by_shares(found, found.shares + 1) is None
    else:
        assert limit.seized == found.collateral
        assert by_collateral(found, found.collateral + 1) is None
    assert limit.seized <= found.collateral
    assert limit.totals.borrow_assets >= 0
    rest = found.shares - limit.repaid_shares - limit.bad_shares
    assert rest == 0 or limit.seized < found.collateral


@MANY
@given(case=cases(), seconds=SECONDS)
def test_whoever_is_under_one_can_be_liquidated_and_nobody_else(
    case: tuple[MorphoMarket, Account], seconds: int
) -> None:
    of, account = case
    assume(account.supplied)
    time = NOW + seconds

    under = MORPHO.health(of, account, time).is_unhealthy

    assert MORPHO.verdict(of, account, time).liquidatable == under


@MANY
@given(kept=totals(), target=st.integers(LOWEST_RATE, HIGHEST_RATE), seconds=SECONDS)
def test_interest_is_owed_to_somebody(kept: Totals, target: int, seconds: int) -> None:
    """Assets grow on both sides alike; the rate stays in its bounds, and its target, too."""
    error = utilization_error(kept.supply_assets, kept.borrow_assets)
    rate, end = borrow_rate(target, error, seconds)
    assert -WAD <= error <= WAD
    assert LOWEST_RATE <= end <= HIGHEST_RATE
    assert LOWEST_RATE // 4 <= rate <= 4 * HIGHEST_RATE
    try:
        after = accrued(kept, rate, NOW + seconds)
    except Skip:
        return  # too much for 128 bits: the contract reverts

    interest = after.borrow_assets - kept.borrow_assets
    assert after.supply_assets - kept.supply_assets == interest >= 0
    minted = after.supply_shares - kept.supply_shares
    assert minted >= 0
    worth = to_assets_down(minted, after.supply_assets, after.supply_shares)
    assert worth <= interest * kept.fee // WAD
