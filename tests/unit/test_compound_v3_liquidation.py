"""Absorptions and the store front: what a verdict says, and why not."""

from __future__ import annotations

from dataclasses import replace

from chimera.domain.health import Pair, Verdict
from chimera.domain.market import Account
from chimera.protocols.compound_v3 import liquidation, valuation
from chimera.protocols.compound_v3.market import ABSORB_PAUSED, BUY_PAUSED, CometMarket
from chimera.protocols.compound_v3.math import cost, quote
from tests.fakes_compound_v3 import (
    CBBTC,
    COMPOUND,
    START,
    TERMS,
    USDC,
    WETH,
    account,
    market,
)

ETHER = 10**18
LATER = 1801392625  # a day after C7
INDEBTED = account(-22484812009, weth=10 * ETHER)
UNDER = market(prices={WETH: 251369321342})


def absorbed(at: CometMarket, held: Account, timestamp: int) -> liquidation.Absorption:
    return liquidation.absorption(at, valuation.standing(at, held, timestamp), timestamp)


def test_c8_a_surplus_becomes_supply() -> None:
    found = valuation.standing(UNDER, INDEBTED, LATER)
    done = absorbed(UNDER, INDEBTED, LATER)

    assert (found.balance, found.collateral) == (-22625501471, 2513693213420)
    assert (done.credited, done.after, done.principal) == (23882473774, 1256972303, 1250721686)
    assert done.paid == 23882473774
    assert START.supply + done.principal == 1001249726092
    assert START.borrow + found.principal == 930298395268


def test_c9_a_shortfall_is_paid_by_the_reserves() -> None:
    at = market(prices={WETH: 150000000000})

    done = absorbed(at, INDEBTED, 1801306558)

    assert at.indexes(1801306558).borrow == 1005579163349018
    assert (done.before, done.credited) == (-22610258448, 14251425142)
    assert (done.after, done.principal, done.paid) == (0, 0, 22610258448)


def test_c10_the_best_pair_is_a_purchase_at_the_store_front() -> None:
    verdict = COMPOUND.verdict(UNDER, INDEBTED, LATER)

    found = valuation.standing(UNDER, INDEBTED, LATER)
    offer = liquidation.offer_of(UNDER, found.held[0])
    paid = cost(offer, 10 * ETHER)
    assert (offer.price, quote(offer, 10000000000)) == (243828241701, 4100837511784834244)
    assert quote(offer, paid) <= 10 * ETHER < quote(offer, paid + 1)
    seized = quote(offer, paid)
    bonus = seized * 251369321342 // ETHER - paid * 99990000 // 10**6
    assert verdict == Verdict(liquidatable=True, best=Pair(WETH, USDC, 22625501471, seized, bonus))
    assert 0.0299 < bonus / 2513693213420 < 0.0301


def test_c10_reserves_after_the_absorption() -> None:
    """Reserves were -23283990557 before the purchase of C10, by the contract."""
    done = absorbed(UNDER, INDEBTED, LATER)
    before = UNDER.reserves(LATER)

    after = UNDER.reserves(LATER, supply=done.principal, borrow=-22484812009)

    assert before - after in range(done.paid - 1, done.paid + 2)
    steps = {step.name: step.value for step in COMPOUND.explain(UNDER, INDEBTED, LATER)}
    assert steps["balance after absorb"] == "1256.972303 USDC"
    assert steps["WETH at the store front"].endswith(" USDC")


def test_what_pays_best_is_chosen() -> None:
    at = market(prices={WETH: 10**10, CBBTC: 10**12})
    both = account(-22484812009, weth=ETHER, cbbtc=10**8)

    best = COMPOUND.verdict(at, both, LATER).best

    assert best is not None
    assert best.collateral_asset == CBBTC


def test_a_pause_protects() -> None:
    paused = replace(UNDER, totals=replace(START, pauses=ABSORB_PAUSED))

    verdict = COMPOUND.verdict(paused, INDEBTED, LATER)

    assert verdict == Verdict(liquidatable=False, reason="absorb paused")
    other = replace(UNDER, totals=replace(START, pauses=0xFF & ~ABSORB_PAUSED & ~BUY_PAUSED))
    assert COMPOUND.verdict(other, INDEBTED, LATER).best is not None


def test_the_healthy_are_left_alone() -> None:
    safe = market(prices={WETH: 251369321343})

    for held in (INDEBTED, account(5, weth=1), Account()):
        verdict = COMPOUND.verdict(safe, held, LATER)
        assert verdict == Verdict(liquidatable=False, reason="healthy")


def test_absorbing_earns_nothing_where_nothing_is_sold() -> None:
    """NotForSale: reserves at their target after the absorption, not before it."""
    done = absorbed(UNDER, INDEBTED, LATER)
    lost = -UNDER.reserves(LATER, supply=done.principal, borrow=-22484812009)
    target = TERMS.target_reserves
    full, short = (replace(UNDER, cash=lost + target - less) for less in (0, 1))

    assert full.reserves(LATER) > target
    assert short.reserves(LATER) > target  # the absorption itself reopens the sale
    reason = "not for sale: reserves are at their target"
    assert COMPOUND.verdict(full, INDEBTED, LATER) == Verdict(liquidatable=True, reason=reason)
    assert COMPOUND.verdict(short, INDEBTED, LATER).best is not None
    last = COMPOUND.explain(full, INDEBTED, LATER)[-1].value
    assert last == f"liquidatable; {reason}"


def test_reserves_under_zero_are_no_target() -> None:
    """A target of 0 closes the sale only once reserves are not negative."""
    nothing = replace(UNDER, terms=replace(TERMS, target_reserves=0))
    done = absorbed(UNDER, INDEBTED, LATER)
    lost = -UNDER.reserves(LATER, supply=done.principal, borrow=-22484812009)

    assert COMPOUND.verdict(replace(nothing, cash=lost - 1), INDEBTED, LATER).best is not None
    assert COMPOUND.verdict(replace(nothing, cash=lost), INDEBTED, LATER).best is None


def test_a_paused_store_front_sells_nothing() -> None:
    closed = replace(UNDER, totals=replace(START, pauses=BUY_PAUSED))

    verdict = COMPOUND.verdict(closed, INDEBTED, LATER)

    assert verdict == Verdict(liquidatable=True, reason="buying paused")


def test_bad_debt_without_collateral_leaves_nothing_to_buy() -> None:
    verdict = COMPOUND.verdict(UNDER, account(-22484812009), LATER)

    assert verdict == Verdict(liquidatable=True, reason="nothing to buy")


def test_dust_cannot_be_bought() -> None:
    """One unit of base would buy more of it than there is."""
    verdict = COMPOUND.verdict(UNDER, account(-22484812009, weth=1), LATER)

    assert verdict == Verdict(liquidatable=True, reason="nothing to buy")
