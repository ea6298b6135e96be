"""Blocks of logs, with the figures of real contracts: what they leave in the book."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.domain.changes import Liquidated
from chimera.domain.market import Account
from chimera.errors import Rebuild
from chimera.protocols.compound_v3 import events
from chimera.protocols.compound_v3.math import Indexes, Totals, moved
from tests.fakes_compound_v3 import (
    ABSORBER,
    ALICE,
    BOB,
    CAROL,
    CBBTC,
    COMPOUND,
    NAME,
    START,
    TERMS,
    WETH,
    FakeComet,
    Follower,
    account,
    address,
    advance,
    block_at,
    burned,
    collateral,
    in_order,
    log,
    market,
    minted,
    stored,
    supplied,
    withdrawn,
)

ETHER = 10**18
BEFORE = START.accrued_at


C5 = Totals(Indexes(1004427381256518, 1005575824519338), 10**12, 949651903670, BEFORE, 0)


def test_c5_a_repayment() -> None:
    follower = stored(C5, alice=account(-19999903920, weth=ETHER))
    advance(follower, seconds=0, alice=account(-19998676198, weth=ETHER))

    after = follower.follow(supplied(ALICE, 1234567))

    assert (follower.principal(ALICE), after.corrections) == (-19998676198, 0)


def test_c5_a_withdrawal_and_its_redundant_transfer() -> None:
    totals = replace(C5, indexes=Indexes(1004427464886148, 1005575824519338))
    follower = stored(totals, bob=account(10**12))
    advance(follower, seconds=0, bob=account(999999004406))

    after = follower.follow(withdrawn(BOB, 1000001), burned(BOB, 1000001))

    assert (follower.principal(BOB), after.corrections) == (999999004406, 0)


def test_c5_a_supply_of_nothing_costs_one() -> None:
    totals = replace(C5, indexes=Indexes(1004427548516422, 1005575824519338))
    follower = stored(totals, bob=account(999999004406))
    advance(follower, seconds=0, bob=account(999999004405))

    after = follower.follow(supplied(BOB, 0), supplied(CAROL, 1))

    assert (follower.principal(BOB), after.corrections) == (999999004405, 0)
    assert follower.book.get((NAME, CAROL)) is None


C6 = Totals(Indexes(1004427722210118, 1005576232444077), 10**12, 949650675948, BEFORE, 0)


def test_c6_a_silent_transfer_is_read_and_counted() -> None:
    follower = stored(
        C6, alice=account(-929651999750, weth=ETHER), bob=account(-19998676198, weth=ETHER)
    )
    truth = {
        "alice": account(-930149227095, weth=ETHER),
        "bob": account(-19501448854, weth=ETHER),
    }
    advance(follower, seconds=0, **truth)

    after = follower.follow()

    assert (follower.principal(ALICE), follower.principal(BOB)) == (-930149227095, -19501448854)
    assert (after.corrections, after.unannounced) == (2, 0)


def test_c6_a_transfer_of_a_borrower_shows_its_receiver_only() -> None:
    totals = replace(C6, indexes=Indexes(1004427818706649, 1005576347894739))
    follower = stored(totals, alice=account(-930149227095, weth=ETHER))
    truth = {"alice": account(-930248672554, weth=ETHER), "carol": account(99559171)}
    advance(follower, seconds=0, **truth)

    after = follower.follow(minted(CAROL, 100000000))

    assert (follower.principal(ALICE), follower.principal(CAROL)) == (-930248672554, 99559171)
    assert (after.corrections, after.unannounced) == (1, 0)


def test_c6_a_withdrawal_crosses_into_debt() -> None:
    totals = replace(C6, indexes=Indexes(1004427915206952, 1005576463349652))
    follower = stored(totals, carol=account(99559171, weth=ETHER))
    advance(follower, seconds=0, carol=account(-49722714, weth=ETHER))

    after = follower.follow(withdrawn(CAROL, 150000000), burned(CAROL, 100000010))

    assert (follower.principal(CAROL), after.corrections) == (-49722714, 0)


def test_a_silent_transfer_beside_a_logged_action_is_unannounced() -> None:
    follower = stored(C5, alice=account(-19999903920, weth=ETHER), bob=account(-5, weth=ETHER))
    truth = {"alice": account(-19998676198, weth=ETHER), "bob": account(-6, weth=ETHER)}
    advance(follower, seconds=0, **truth)

    after = follower.follow(supplied(ALICE, 1234567))

    assert (after.corrections, after.unannounced) == (1, 1)


def test_a_supply_without_a_supply_side_leaves_the_next_transfer_alone() -> None:
    """Supply repays Alice's debt alone, so the Transfer after it belongs to somebody else."""
    follower = stored(C5, alice=account(-19999903920, weth=ETHER), bob=account(10**9, weth=ETHER))
    index = C5.indexes.supply
    truth = {
        "alice": account(-19998676198, weth=ETHER),
        "bob": account(10**9 - 10**6, weth=ETHER),
        "carol": account(10**6),
    }
    advance(follower, seconds=0, **truth)
    amount = 10**6 * index // 10**15

    after = follower.follow(supplied(ALICE, 1234567), burned(BOB, amount), minted(CAROL, amount))

    assert after.corrections == 0
    assert (follower.principal(BOB), follower.principal(CAROL)) == (10**9 - 10**6, 10**6)


def test_a_transfer_that_is_not_next_to_its_action_is_another() -> None:
    follower = stored(C5, bob=account(10**9))
    gained = 10**6 * 10**15 // C5.indexes.supply
    amount = gained * C5.indexes.supply // 10**15
    truth = moved(10**9, 10**6, C5.indexes) + gained
    advance(follower, seconds=0, bob=account(truth))
    logs = in_order(supplied(BOB, 10**6), minted(BOB, amount), minted(BOB, amount))

    after = follower.follow(*logs)

    assert (follower.principal(BOB), after.corrections) == (truth, 0)


def test_a_sender_may_lose_all_supply_and_get_into_debt_unseen() -> None:
    follower = stored(C5, bob=account(1000, weth=ETHER))
    advance(follower, seconds=0, bob=account(-7, weth=ETHER))

    after = follower.follow(burned(BOB, 1004))

    assert (follower.principal(BOB), after.corrections) == (-7, 1)


def test_c8_an_absorption_with_a_surplus() -> None:
    follower = stored(
        replace(START, accrued_at=BEFORE), alice=account(-22484812009, weth=10 * ETHER)
    )
    advance(follower, seconds=86_400, alice=account(1250721686))
    logs = (
        log(events.ABSORB_COLLATERAL, ABSORBER, ALICE, WETH, words=[10 * ETHER, 2513693213420]),
        log(events.ABSORB_DEBT, ABSORBER, ALICE, words=[23882473774, 2388008552662]),
        minted(ALICE, 1256972302),
    )

    after = follower.follow(*logs)

    assert follower.comet.indexes == Indexes(1004997608221191, 1006257088685055)
    assert (follower.account(ALICE).supplied, after.corrections) == (
        {TERMS.base.token: 1250721686},
        0,
    )
    assert follower.account(ALICE).enabled == frozenset()
    assert after.collateral_totals[WETH] == 10**24 - 10 * ETHER


def test_c9_an_absorption_with_bad_debt() -> None:
    follower = stored(START, alice=account(-22484812009, weth=10 * ETHER))
    advance(follower, seconds=333, alice=account())
    logs = (
        log(events.ABSORB_COLLATERAL, ABSORBER, ALICE, WETH, words=[10 * ETHER, 1500000000000]),
        log(events.ABSORB_DEBT, ABSORBER, ALICE, words=[22610258448, 2260799742215]),
    )

    after = follower.follow(*logs)

    assert follower.comet.indexes == Indexes(1004430175057696, 1005579163349018)
    assert follower.book.get((NAME, ALICE)) is None
    assert after.corrections == 0


def test_an_absorption_is_a_liquidation() -> None:
    follower = stored(START, alice=account(-22484812009))
    advance(follower, seconds=0, alice=account())
    debt = log(events.ABSORB_DEBT, ABSORBER, ALICE, words=[22610199471, 1])
    block = block_at(follower.comet.timestamp)
    batch = follower.seal(block, in_order(debt))

    changes = COMPOUND.fold(follower.market, follower.book.accounts(NAME), batch)

    assert Liquidated(ALICE) in list(changes)


def test_an_absorption_of_another_amount_is_our_fault() -> None:
    follower = stored(START, alice=account(-22484812009, weth=9 * ETHER))
    wrong = log(events.ABSORB_COLLATERAL, ABSORBER, ALICE, WETH, words=[10 * ETHER, 1])

    with pytest.raises(Rebuild, match="absorption"):
        follower.follow(wrong)


def test_collateral_comes_moves_and_goes_with_its_bit() -> None:
    follower = stored(START, alice=account(weth=2))
    follower.comet.accounts = {ALICE: account(weth=1), BOB: account(weth=1, cbbtc=5)}

    after = follower.follow(
        log(events.SUPPLY_COLLATERAL, ALICE, ALICE, CBBTC, words=[5]),
        log(events.SUPPLY_COLLATERAL, ALICE, ALICE, WETH, words=[0]),
        log(events.SUPPLY_COLLATERAL, CAROL, CAROL, WETH, words=[0]),
        log(events.TRANSFER_COLLATERAL, ALICE, BOB, WETH, words=[1]),
        log(events.TRANSFER_COLLATERAL, ALICE, BOB, CBBTC, words=[5]),
    )

    assert follower.account(ALICE).supplied == {WETH: 1}
    assert follower.account(BOB).enabled == {WETH, CBBTC}
    assert follower.book.get((NAME, CAROL)) is None
    assert after.collateral_totals == {WETH: 10**24, CBBTC: 10**24 + 5}
    follower.comet.accounts = {ALICE: account(), BOB: account(weth=1)}
    after = follower.follow(
        log(events.WITHDRAW_COLLATERAL, ALICE, ALICE, WETH, words=[1]),
        log(events.WITHDRAW_COLLATERAL, BOB, CAROL, CBBTC, words=[5]),
    )
    assert follower.book.get((NAME, ALICE)) is None
    assert follower.account(BOB).enabled == {WETH}
    assert after.collateral_totals == {WETH: 10**24 - 1, CBBTC: 10**24}


def test_c13_assets_from_the_sixteenth_on_have_bits_of_their_own() -> None:
    names = [address(0x100 + place) for place in range(18)]
    listed = {asset: collateral(place, asset) for place, asset in enumerate(names)}
    terms = replace(TERMS, collaterals=listed)
    prices = dict.fromkeys(names, 10**8)
    comet = FakeComet(market(START, terms=terms, prices=prices), BEFORE)
    follower, seen, held = Follower(comet), [], {}

    for place in (3, 15, 16, 17):
        asset = names[place]
        held[asset] = 1
        comet.accounts[ALICE] = Account(supplied=dict(held), enabled=frozenset(held))
        follower.follow(log(events.SUPPLY_COLLATERAL, ALICE, ALICE, asset, words=[1]))
        bits = terms.bits(follower.account(ALICE))
        seen.append((bits & 0xFFFF, bits >> 16))

    assert seen == [(8, 0), (32776, 0), (32776, 1), (32776, 3)]
    only = Account(supplied={names[16]: 1}, enabled=frozenset({names[16]}))
    assert terms.bits(only) == 1 << 16


def test_a_receiver_whose_debt_is_repaid_gains_supply_from_zero_on() -> None:
    follower = stored(C5, alice=account(-(10**6), weth=ETHER))
    advance(follower, seconds=0, alice=account(995_593, weth=ETHER))

    after = follower.follow(minted(ALICE, 10**6))

    assert (follower.principal(ALICE), after.corrections) == (995_593, 0)


def test_a_mint_right_after_a_mere_repayment_is_another_action() -> None:
    follower = stored(C5, alice=account(-19999903920, weth=ETHER))
    advance(follower, seconds=0, alice=account(995_593, weth=ETHER))

    after = follower.follow(supplied(ALICE, 1234567), minted(ALICE, 10**6))

    assert (follower.principal(ALICE), after.corrections) == (995_593, 0)


def test_a_sender_is_left_with_nothing_at_the_least() -> None:
    """More than we knew of: a silent transfer came before."""
    follower = stored(C5, bob=account(1000, weth=ETHER))
    advance(follower, seconds=0, bob=account(weth=ETHER))

    after = follower.follow(burned(BOB, 1005))

    assert (follower.principal(BOB), after.corrections) == (0, 0)


def test_a_transfer_beside_the_action_hints_at_what_it_hides() -> None:
    follower = stored(C5, alice=account(-19999903920, weth=ETHER), bob=account(-5, weth=ETHER))
    truth = {
        "alice": account(-19998676198, weth=ETHER),
        "bob": account(-6, weth=ETHER),
        "carol": account(995_593),
    }
    advance(follower, seconds=0, **truth)

    after = follower.follow(supplied(ALICE, 1234567), minted(CAROL, 10**6))

    assert (after.corrections, after.unannounced) == (1, 0)


# --- books that are not complete ------------------------------------------------------------------


def test_an_incomplete_book_reads_newcomers_as_a_whole() -> None:
    comet = FakeComet(market(START), BEFORE, {ALICE: account(-5, weth=1, cbbtc=2)})
    follower = Follower(comet, complete=False)

    follower.follow(withdrawn(ALICE, 5), burned(BOB, 5))

    assert follower.account(ALICE).owed == {TERMS.base.token: 5}
    assert follower.account(ALICE).supplied == {WETH: 1, CBBTC: 2}
    assert follower.account(BOB).supplied == {}


def test_a_block_taken_back_leaves_nothing_behind() -> None:
    follower = stored(START, alice=account(-22484812009, weth=10 * ETHER))
    before, known = follower.market, dict(follower.book.accounts(NAME).users)
    advance(follower, seconds=60, alice=account(-22484812010, weth=10 * ETHER))
    follower.follow()
    advance(follower, seconds=60, alice=account(-22484812010, weth=10 * ETHER, cbbtc=1))
    follower.follow(log(events.SUPPLY_COLLATERAL, ALICE, ALICE, CBBTC, words=[1]))

    follower.book.rollback(99)

    assert follower.market is before
    assert follower.book.accounts(NAME).users == known


def test_a_collateral_that_the_market_does_not_have_is_read_anew() -> None:
    follower = stored(C5, alice=account(-(10**6), weth=ETHER))

    with pytest.raises(Rebuild, match="no collateral of the market"):
        follower.follow(log(events.SUPPLY_COLLATERAL, ALICE, ALICE, BOB, words=[1]))
