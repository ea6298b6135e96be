"""What cannot be, and what an upgrade may change: the block is refused, or read anew."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from chimera.domain.block import Log
from chimera.domain.call import Call
from chimera.errors import Rebuild, Refuse
from chimera.protocols.compound_v3 import calls, events
from chimera.protocols.compound_v3.math import Indexes
from tests.fakes_compound_v3 import (
    ALICE,
    CBBTC,
    COMET,
    START,
    TERMS,
    WETH,
    account,
    address,
    advance,
    collateral,
    log,
    market,
    stored,
    string,
    supplied,
    word,
)

BEFORE = START.accrued_at


# --- what must not be -----------------------------------------------------------------------------


def test_a_principal_that_moves_without_accrual_is_our_fault() -> None:
    follower = stored(START, alice=account(-5, weth=1))
    follower.comet.accounts[ALICE] = account(-6, weth=1)

    with pytest.raises(Rebuild, match="nothing moved base"):
        follower.follow(at=BEFORE + 1)


def test_a_bitmap_that_differs_is_our_fault() -> None:
    follower = stored(START, alice=account(-5, weth=1))
    follower.comet.accounts[ALICE] = account(-5, weth=1, cbbtc=1)

    with pytest.raises(Rebuild, match="0x3, by us 0x1"):
        follower.follow()


def test_base_that_moves_without_accrual_is_a_contradiction() -> None:
    follower = stored(START, alice=account(-5, weth=1))

    with pytest.raises(Rebuild, match="moves base"):
        follower.follow(supplied(ALICE, 1), at=BEFORE + 1)


def test_interest_that_is_not_ours_is_a_contradiction() -> None:
    follower = stored(START)
    comet = follower.comet
    comet.timestamp += 60
    odd = replace(comet.indexes, borrow=comet.indexes.borrow + 1)
    comet.market = replace(
        comet.market, totals=replace(START, indexes=odd, accrued_at=comet.timestamp)
    )

    with pytest.raises(Rebuild, match="interest accrued"):
        follower.follow()


def test_a_log_that_is_cut_short_is_not_read() -> None:
    follower = stored(START)
    cut = structs.replace(supplied(ALICE, 1), data=b"")

    with pytest.raises(Rebuild, match="does not decode"):
        follower.follow(cut)


def test_logs_of_others_are_nothing() -> None:
    follower = stored(START, alice=account(-5, weth=1))
    foreign: Log = structs.replace(supplied(ALICE, 10**9), address=WETH)
    unknown = structs.replace(supplied(ALICE, 10**9), topics=(b"\x01" * 32,))

    after = follower.follow(foreign, unknown)

    assert (follower.principal(ALICE), after.corrections) == (-5, 0)


# --- upgrades -------------------------------------------------------------------------------------

UPGRADED = log(events.UPGRADED, address(0x99))


def test_c12_an_upgrade_changes_terms_and_nothing_else() -> None:
    follower = stored(START)
    dearer = replace(TERMS, borrow=replace(TERMS.borrow, base=3170979198, low=15854895991))
    follower.comet.market = replace(follower.comet.market, terms=dearer)
    follower.comet.timestamp = 1801356225

    after = follower.follow(UPGRADED)

    assert (after.terms, after.totals) == (dearer, START)
    advance(follower, seconds=10)
    retroactive = Indexes(1004757691727999, 1006711887504523)
    assert follower.market.indexes(1801356235) == retroactive
    assert follower.follow().totals.indexes == retroactive


@pytest.mark.parametrize("accrued_before", [True, False])
def test_interest_may_accrue_on_either_side_of_an_upgrade(accrued_before: bool) -> None:  # noqa: FBT001
    follower = stored(START)
    dearer = replace(TERMS, borrow=replace(TERMS.borrow, base=3170979198))
    if accrued_before:
        advance(follower, seconds=60)
    follower.comet.market = replace(follower.comet.market, terms=dearer)
    if not accrued_before:
        advance(follower, seconds=60)

    assert follower.follow(UPGRADED).terms == dearer


def test_an_upgrade_lists_an_asset_with_a_feed_of_its_own() -> None:
    follower = stored(START)
    new, feed = address(0x77), address(0x78)
    listed = {**TERMS.collaterals, new: collateral(2, new, feed, "NEW")}
    terms = replace(TERMS, collaterals=listed)
    follower.comet.market = market(START, terms=terms, prices={new: 7})

    after = follower.follow(UPGRADED)

    assert (after.prices[new], after.collateral_totals[new]) == (7, 10**24)
    assert after.terms == terms


def test_an_upgrade_that_delists_or_reorders_is_read_anew() -> None:
    for kept in ([CBBTC, WETH], [WETH]):
        follower = stored(START)
        listed = {
            asset: replace(TERMS.collaterals[asset], offset=place)
            for place, asset in enumerate(kept)
        }
        terms = replace(TERMS, collaterals=listed)
        follower.comet.market = replace(follower.comet.market, terms=terms)

        with pytest.raises(Rebuild, match="collaterals' order"):
            follower.follow(UPGRADED)


def test_another_base_token_is_another_market() -> None:
    follower = stored(START)
    terms = replace(TERMS, base=replace(TERMS.base, token=address(0x66)))
    follower.comet.market = market(START, terms=terms, prices={address(0x66): 1})
    follower.comet.answers[Call(address(0x66), calls.SYMBOL)] = string("USDX")

    with pytest.raises(Rebuild, match="changed the base"):
        follower.follow(UPGRADED)


def test_an_upgrade_to_unknown_code_is_refused() -> None:
    for call, answer in (
        (Call(COMET, calls.NUM_ASSETS), None),
        (Call(COMET, calls.FACTOR_SCALE), word(10**27)),
        (Call(COMET, calls.TOTAL_BORROW), word(1)),
    ):
        follower = stored(START)
        follower.comet.answers[call] = answer

        with pytest.raises(Refuse):
            follower.follow(UPGRADED)
