"""What logs do to markets and accounts, and what the adapter asks about the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from chimera.domain.block import ZERO_ADDRESS, Log
from chimera.domain.changes import Liquidated, MarketMoved, SupplyMoved
from chimera.domain.market import Account
from chimera.errors import Rebuild
from chimera.protocols.morpho_blue import calls, events
from chimera.protocols.morpho_blue.market import holder_of
from tests.fakes_morpho_blue import (
    ALICE,
    BOB,
    CAROL,
    COLLATERAL,
    FEE_TAKER,
    ID,
    NEW_ORACLE,
    NOW,
    OTHER_IRM,
    PRICE,
    SHARES,
    SINGLETON,
    TERMS,
    TOTALS,
    World,
    at,
    borrowed,
    created,
    log,
    market,
    pledged,
    repaid,
    supplied,
    word,
    words,
)

STRANGE = replace(TERMS, oracle=NEW_ORACLE)
THERE = STRANGE.id


def liquidated(user: bytes, *amounts: int) -> Log:
    return log(events.LIQUIDATE, ID, CAROL, user, data=amounts)


def test_a_loan_moves_totals_and_the_owner_not_the_caller() -> None:
    world = World()
    world.step(borrowed(ALICE, 1000, 2000))

    totals = world.market.totals[ID]
    assert totals.borrow_assets == TOTALS.borrow_assets + 1000
    assert totals.borrow_shares == TOTALS.borrow_shares + 2000
    assert world.account(ALICE) == Account({ID: COLLATERAL}, {ID: SHARES + 2000}, updated_block=2)
    assert world.account(BOB) is world.account(CAROL) is None


def test_m12_a_dust_repayment_ends_at_zero() -> None:
    world = World(market(totals={ID: replace(TOTALS, borrow_assets=0, borrow_shares=0)}), {})

    world.step(borrowed(BOB, 1, 1500000), repaid(BOB, 2, 1500000))

    totals = world.market.totals[ID]
    assert (totals.borrow_assets, totals.borrow_shares) == (0, 0)


def test_time_moves_with_interest_alone() -> None:
    world = World()
    world.step(pledged(ALICE, 5), seconds=100)
    assert world.market.totals[ID].updated == NOW

    world.step(log(events.ACCRUE_INTEREST, ID, data=[1, 7, 3]), seconds=100)
    after = world.market.totals[ID]
    assert after.updated == NOW + 200
    assert after.borrow_assets == TOTALS.borrow_assets + 7
    assert after.supply_assets == TOTALS.supply_assets + 7
    assert after.supply_shares == TOTALS.supply_shares + 3


def test_the_fee_goes_to_who_is_the_recipient_then() -> None:
    world = World()
    interest = log(events.ACCRUE_INTEREST, ID, data=[1, 7, 3])

    world.step(interest, log(events.SET_FEE_RECIPIENT, BOB), interest, interest)

    assert world.account(FEE_TAKER) == Account(marks={ID: 3}, updated_block=2)
    assert world.account(BOB) == Account(marks={ID: 6}, updated_block=2)
    assert world.market.fee_recipient == BOB


def test_fee_shares_of_the_zero_address_are_nobodys() -> None:
    world = World(market(fee_recipient=ZERO_ADDRESS))
    world.step(log(events.ACCRUE_INTEREST, ID, data=[1, 7, 3]))

    assert world.market.totals[ID].supply_shares == TOTALS.supply_shares + 3
    assert world.account(ZERO_ADDRESS) is None


def test_a_new_fee_holds_for_the_interest_after_it() -> None:
    world = World()
    world.step(log(events.SET_FEE, ID, data=[5]))

    assert world.market.totals[ID].fee == 5


def test_collateral_comes_and_goes_without_interest() -> None:
    world = World()
    taken = log(events.WITHDRAW_COLLATERAL, ID, ALICE, BOB, data=[CAROL, 7])
    world.step(pledged(ALICE, 10), taken)

    assert world.account(ALICE) == Account({ID: COLLATERAL + 3}, {ID: SHARES}, updated_block=2)
    assert world.market.totals == {ID: TOTALS}


def test_lenders_are_followed_by_their_shares() -> None:
    world = World()
    world.step(supplied(BOB, 100, 200))
    withdrawn = log(events.WITHDRAW, ID, BOB, CAROL, data=[ALICE, 40, 80])
    world.step(withdrawn)

    assert world.account(BOB) == Account(marks={ID: 120}, updated_block=3)
    assert world.market.totals[ID].supply_assets == TOTALS.supply_assets + 60
    assert world.market.totals[ID].supply_shares == TOTALS.supply_shares + 120


def test_m10_a_liquidation_with_bad_debt() -> None:
    before = replace(
        TOTALS,
        borrow_assets=152121719457,
        supply_assets=1002121719457,
        supply_shares=1000211784446308226,
    )
    world = World(market(totals={ID: before}))

    changes = world.step(
        liquidated(ALICE, 19160000002, 19107092562789666, COLLATERAL, 5909224867, 5892907437210334)
    )

    after = world.market.totals[ID]
    assert (after.supply_assets, after.supply_shares) == (996212494590, 1000211784446308226)
    assert (after.borrow_assets, after.borrow_shares) == (127052494588, 126701658367633930)
    assert world.account(ALICE) is None  # nothing is left, and the book is complete
    assert Liquidated(holder_of(ID, ALICE)) in changes


def test_a_total_that_would_go_under_zero_is_a_reason_to_read_anew() -> None:
    world = World()
    too_much = log(events.WITHDRAW, ID, BOB, CAROL, data=[ALICE, 2**100, 0])

    with pytest.raises(Rebuild, match="supply_assets of market 0x"):
        world.step(too_much)


@pytest.mark.parametrize(
    "cut",
    [
        structs.replace(borrowed(ALICE, 1, 1), data=b"\0" * 64),
        structs.replace(pledged(ALICE, 1), topics=pledged(ALICE, 1).topics[:2]),
        structs.replace(created(TERMS), topics=(events.CREATE_MARKET, word(5))),
    ],
)
def test_a_log_that_does_not_decode_is_a_reason_to_read_anew(cut: Log) -> None:
    with pytest.raises(Rebuild, match="does not decode"):
        World().step(cut)


def test_logs_of_other_contracts_are_nobodys_business() -> None:
    world = World()
    foreign = structs.replace(borrowed(ALICE, 1, 1), address=at(0xDEAD), data=b"")

    block = world.book.block
    needs = world.adapter.needs(world.market, world.book.accounts("morpho"), block, (foreign,), {})

    assert not needs
    assert [type(change) for change in world.step(foreign)] == [MarketMoved]


# --- new markets ---------------------------------------------------------------------------------


def test_a_new_market_is_mirrored_from_its_first_log() -> None:
    world = World()
    world.answers[NEW_ORACLE, calls.PRICE] = word(PRICE)
    rate = log(events.BORROW_RATE_UPDATE, THERE, data=[317097919, 1268391679])

    world.step(created(STRANGE), rate, seconds=5)

    assert world.market.terms[THERE] == STRANGE
    assert world.market.totals[THERE].updated == NOW + 5
    assert world.market.targets[THERE] == 1268391679
    assert world.asked == [calls.price(TERMS.oracle)]  # nobody owes anything there


def test_the_rate_of_a_new_irm_is_heard_in_the_block_that_brings_it() -> None:
    world = World()
    terms = replace(TERMS, irm=OTHER_IRM)
    rate = structs.replace(
        log(events.BORROW_RATE_UPDATE, terms.id, data=[317097919, 1268391679]), address=OTHER_IRM
    )
    view = calls.rate_view(terms, calls.totals([0, 0, 0, 0, NOW, 0]))
    world.answers |= {
        (OTHER_IRM, calls.MORPHO): word(SINGLETON),
        (OTHER_IRM, calls.RATE_AT_TARGET + terms.id): word(1268391679),
        (SINGLETON, calls.ID_TO_MARKET_PARAMS + terms.id): terms.words,
        (SINGLETON, calls.MARKET + terms.id): words(0, 0, 0, 0, NOW, 0),
        (OTHER_IRM, view.data): word(317097919),
    }

    world.step(created(terms), rate)

    assert world.market.targets[terms.id] == 1268391679
    assert OTHER_IRM in world.market.curves
    assert OTHER_IRM in world.adapter.interest(world.market).addresses


def test_a_market_without_an_irm_has_no_interest_and_no_time() -> None:
    world = World()
    terms = replace(STRANGE, irm=ZERO_ADDRESS)
    world.answers[NEW_ORACLE, calls.PRICE] = word(PRICE)
    here = [pledged(BOB, COLLATERAL, terms.id), borrowed(BOB, 10**10, 10**16, terms.id)]

    world.step(created(terms), *here)
    first = world.health(BOB, terms.id)
    world.step(seconds=10**7)

    assert world.market.totals[terms.id].updated == 0
    assert world.health(BOB, terms.id) == first
    assert first.debt == 10**10


def singleton_knows(world: World, *positions: tuple[bytes, int, int, int]) -> None:
    """A market that the mirror has not heard of, and who is in it at the end of the block."""
    stored = (10**12, 10**18, 10**10, 10**16, NOW, 0)
    world.answers |= {
        (NEW_ORACLE, calls.PRICE): word(PRICE),
        (SINGLETON, calls.ID_TO_MARKET_PARAMS + THERE): STRANGE.words,
        (SINGLETON, calls.MARKET + THERE): words(*stored),
        (TERMS.irm, calls.RATE_AT_TARGET + THERE): word(1268391679),
    }
    for user, *balances in positions:
        world.answers[SINGLETON, calls.POSITION + THERE + word(user)] = words(*balances)


def test_an_unknown_market_is_read_when_somebody_borrows_there() -> None:
    world = World(complete=False)
    singleton_knows(world, (BOB, 0, 10**16, COLLATERAL))

    world.step(pledged(BOB, 1, THERE), borrowed(BOB, 10**10, 10**16, THERE))

    assert world.market.terms[THERE] == STRANGE
    assert world.market.totals[THERE].borrow_shares == 10**16  # as read, its logs left out
    assert world.account(BOB, THERE) == Account(
        {THERE: COLLATERAL}, {THERE: 10**16}, updated_block=2
    )
    assert world.health(BOB, THERE).factor is not None


def test_of_an_unknown_market_nothing_is_read_before_somebody_borrows() -> None:
    world = World(complete=False)
    world.step(pledged(BOB, 1, THERE), supplied(BOB, 5, 5, THERE))

    assert THERE not in world.market.terms
    assert world.asked == [calls.price(TERMS.oracle)]


def test_in_a_complete_book_whoever_enters_an_unknown_market_is_read() -> None:
    world = World()
    singleton_knows(world, (BOB, 0, 0, 77), (CAROL, 10**18, 0, 0))

    world.step(pledged(BOB, 7, THERE), supplied(CAROL, 5, 5, THERE))

    assert world.account(BOB, THERE) == Account({THERE: 77}, updated_block=2)
    assert world.account(CAROL, THERE) == Account(marks={THERE: 10**18}, updated_block=2)


def test_a_first_borrower_of_an_incomplete_book_is_read_whole() -> None:
    world = World(complete=False)
    world.answers[SINGLETON, calls.POSITION + ID + word(BOB)] = words(5, 2000, 300)

    world.step(borrowed(BOB, 1, 1500), borrowed(BOB, 1, 500), pledged(BOB, 100))

    assert world.account(BOB) == Account({ID: 300}, {ID: 2000}, updated_block=2, marks={ID: 5})
    assert world.market.totals[ID].borrow_shares == TOTALS.borrow_shares + 2000


def test_who_does_not_borrow_stays_out_of_an_incomplete_book() -> None:
    world = World(complete=False)
    world.step(pledged(BOB, 100), supplied(CAROL, 1, 1), repaid(CAROL, 0, 0))

    assert world.account(BOB) is world.account(CAROL) is None
    assert world.market.totals[ID].supply_shares == TOTALS.supply_shares + 1


def test_markets_that_were_not_chosen_do_not_exist() -> None:
    world = World(market(chosen=frozenset({bytes(ID)})), markets=(bytes(ID),))
    changes = world.step(
        created(STRANGE), pledged(BOB, 1, THERE), borrowed(BOB, 1, 1, THERE), pledged(ALICE, 1)
    )

    assert world.market.terms == {ID: TERMS}
    assert SupplyMoved(holder_of(ID, ALICE), ID, 1) in changes
    assert len(changes) == 2
