"""Every log that changes terms, prices or pools, and those that nobody can follow."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from chimera.domain import abi
from chimera.domain.numeric import WAD
from chimera.errors import Rebuild, Refuse
from chimera.protocols.compound_v2 import calls, events
from chimera.protocols.compound_v2.dialect import COMPOUND, VENUS
from chimera.protocols.compound_v2.math import RateModel
from chimera.protocols.compound_v2.pools import Pool, Terms
from tests.fakes_compound_v2 import (
    ALICE,
    BLOCK,
    BOB,
    COMPTROLLER,
    LISTINGS,
    M_CBBTC,
    M_USDC,
    M_WETH,
    MODEL,
    MOONWELL_ON_BASE,
    OTHER_ORACLE,
    PRICES,
    STATES,
    ZERO,
    Mirror,
    address,
    log,
    market,
    owing,
    readings,
    word,
)


def test_terms_change_by_their_logs() -> None:
    mirror = Mirror()

    mirror.take(
        log(COMPTROLLER, events.NEW_COLLATERAL_FACTOR, M_WETH, 1, 2),
        log(COMPTROLLER, events.NEW_CLOSE_FACTOR, 1, 3),
        log(COMPTROLLER, events.NEW_LIQUIDATION_INCENTIVE, 1, 4),
        log(M_WETH, events.NEW_PROTOCOL_SEIZE_SHARE, 1, 5),
        log(MODEL, events.NEW_INTEREST_PARAMS, 6, 7, 8, 9),
    )

    after = mirror.market
    assert after.listings[M_WETH].factor == 2
    assert after.listings[M_USDC].factor == LISTINGS[M_USDC].factor
    assert after.close_factor == 3
    assert {listing.incentive for listing in after.listings.values()} == {4} == {after.incentive}
    assert after.listings[M_WETH].seize_share == 5
    assert {one.rates for one in after.listings.values()} == {RateModel(6, 7, 8, 9)}


@pytest.mark.parametrize(("action", "paused"), [(b"Seize", True), (b"Transfer", False)])
def test_only_the_pause_of_seizing_counts(action: bytes, paused: bool) -> None:  # noqa: FBT001
    mirror = Mirror()
    text = action.ljust(32, b"\0")

    mirror.take(log(COMPTROLLER, events.ACTION_PAUSED, 64, 1, len(action), text))
    assert mirror.market.is_paused is paused
    mirror.take(log(COMPTROLLER, events.ACTION_PAUSED, 64, 0, len(action), text))
    assert not mirror.market.is_paused


def test_another_oracle_is_asked_at_once() -> None:
    mirror = Mirror()
    entry = log(COMPTROLLER, events.NEW_PRICE_ORACLE, address(1), OTHER_ORACLE)
    asked = abi.of_address(OTHER_ORACLE, calls.GET_UNDERLYING_PRICE, M_WETH)
    accounts = mirror.book.accounts(MOONWELL_ON_BASE.name)
    told = readings(mirror.market)

    needs = MOONWELL_ON_BASE.needs(mirror.market, accounts, BLOCK, (entry,), told)
    mirror.take(entry, answers={**readings(mirror.market, OTHER_ORACLE), asked: word(77)})

    assert asked in needs.calls
    assert mirror.market.oracle == OTHER_ORACLE
    assert mirror.market.prices == {**PRICES, M_WETH: 77}
    assert asked in MOONWELL_ON_BASE.polls(mirror.market, accounts, BLOCK)


def test_venus_has_terms_per_market_and_per_pool() -> None:
    mirror = Mirror(of=market(dialect=VENUS))
    threshold, incentive = events.NEW_LIQUIDATION_THRESHOLD, events.NEW_MARKET_LIQUIDATION_INCENTIVE

    mirror.take(
        log(COMPTROLLER, threshold, 1, 2, indexed=(0, M_WETH)),
        log(COMPTROLLER, incentive, 1, 3, indexed=(0, M_WETH)),
        log(COMPTROLLER, events.POOL_CREATED, 32, 1, b"x", indexed=(1,)),
        log(COMPTROLLER, events.POOL_MARKET_INITIALIZED, indexed=(1, M_USDC)),
        log(COMPTROLLER, events.POOL_MARKET_INITIALIZED, indexed=(1, M_WETH)),
        log(COMPTROLLER, threshold, 1, 4, indexed=(1, M_WETH)),
        log(COMPTROLLER, incentive, 1, 5, indexed=(1, M_WETH)),
        log(COMPTROLLER, threshold, 1, 4, indexed=(7, M_WETH)),  # a pool that nobody made
    )

    after = mirror.market
    assert (after.listings[M_WETH].factor, after.listings[M_WETH].incentive) == (2, 3)
    assert after.pools == {1: Pool(terms={M_USDC: Terms(0, 0), M_WETH: Terms(4, 5)})}
    mirror.take(
        log(COMPTROLLER, events.POOL_MARKET_REMOVED, indexed=(1, M_USDC)),
        log(COMPTROLLER, events.POOL_ACTIVE_STATUS_UPDATED, 1, 0, indexed=(1,)),
        log(COMPTROLLER, events.POOL_FALLBACK_STATUS_UPDATED, 0, 1, indexed=(1,)),
        log(COMPTROLLER, events.POOL_SELECTED, 0, indexed=(ALICE, 1)),
    )
    assert mirror.market.pools == {
        1: Pool(is_active=False, falls_back=True, terms={M_WETH: Terms(4, 5)})
    }
    assert mirror.account(ALICE).mode == 1


def test_venus_pauses_forces_and_takes_off_the_list() -> None:
    mirror = Mirror(of=market(dialect=VENUS))

    mirror.take(
        log(COMPTROLLER, events.ACTION_PAUSED_MARKET, 1, indexed=(M_WETH, calls.SEIZE)),
        log(COMPTROLLER, events.ACTION_PAUSED_MARKET, 1, indexed=(M_USDC, calls.LIQUIDATE)),
        log(COMPTROLLER, events.ACTION_PAUSED_MARKET, 1, indexed=(M_CBBTC, 0)),
        log(COMPTROLLER, events.ACTION_PROTOCOL_PAUSED, 1),
        log(COMPTROLLER, events.FORCED_LIQUIDATION_UPDATED, 1, indexed=(M_USDC,)),
        log(COMPTROLLER, events.MARKET_UNLISTED, indexed=(M_CBBTC,)),
    )

    weth, usdc, cbbtc = (mirror.market.listings[m] for m in (M_WETH, M_USDC, M_CBBTC))
    assert (weth.is_seize_paused, weth.is_liquidation_paused) == (True, False)
    assert (usdc.is_seize_paused, usdc.is_liquidation_paused, usdc.is_forced) == (False, True, True)
    assert (cbbtc.is_seize_paused, cbbtc.is_listed) == (False, False)
    assert mirror.market.is_paused


# --- what cannot be followed ---------------------------------------------------------------------


def test_a_market_that_leaves_its_comptroller_has_to_be_read_anew() -> None:
    with pytest.raises(Rebuild, match="another comptroller"):
        Mirror().take(log(M_WETH, events.NEW_COMPTROLLER, COMPTROLLER, address(1)))


def test_debt_in_vai_is_refused() -> None:
    with pytest.raises(Refuse, match="VAI"):
        Mirror(of=market(dialect=VENUS)).take(
            log(COMPTROLLER, events.NEW_VAI_CONTROLLER, ZERO, address(1))
        )


def test_a_log_that_is_cut_short_is_not_guessed_at() -> None:
    with pytest.raises(Rebuild, match="does not decode: 0 topics and 3 words instead of 4"):
        Mirror().take(log(M_WETH, events.BORROW, ALICE, 1, 2))


def test_a_log_with_other_topics_is_not_guessed_at() -> None:
    for entry in (
        log(M_WETH, events.TRANSFER, BOB, 5, indexed=(ALICE,)),
        log(COMPTROLLER, events.MARKET_ENTERED, ALICE, indexed=(M_WETH,)),
        log(M_WETH, events.BORROW, 1, 2, 3, indexed=(ALICE,)),
    ):
        with pytest.raises(Rebuild, match="does not decode"):
            Mirror().take(entry)
        Mirror().take(structs.replace(entry, address=address(0xBAD)))  # not ours to read


def test_figures_that_cannot_be_are_not_believed() -> None:
    supply, index = STATES[M_WETH].supply, STATES[M_WETH].index

    Mirror().take(log(M_WETH, events.REDEEM, ALICE, 1, supply))
    with pytest.raises(Rebuild, match="would have -1 mTokens after a change of"):
        Mirror().take(log(M_WETH, events.REDEEM, ALICE, 1, supply + 1))
    Mirror().take(log(M_WETH, events.ACCRUE_INTEREST, 1, 0, index, 5))
    with pytest.raises(Rebuild, match="the borrow index of 0x"):
        Mirror().take(log(M_WETH, events.ACCRUE_INTEREST, 1, 0, index - 1, 5))


def test_logs_of_others_change_nothing() -> None:
    mirror = Mirror({ALICE: owing({M_USDC: 100}, {})})
    stranger = address(0xBAD)

    changes = mirror.take(
        log(stranger, events.BORROW, ALICE, 1, 2, 3),
        log(stranger, events.NEW_PRICE_ORACLE, stranger, stranger),
        log(stranger, events.MARKET_LISTED, stranger),
        log(stranger, events.NEW_IMPLEMENTATION, stranger, stranger),
        log(M_WETH, events.MARKET_ENTERED, M_WETH, ALICE),  # not the comptroller's to say
        log(COMPTROLLER, events.TRANSFER, 5, indexed=(ALICE, BOB)),
    )

    assert changes == []
    assert mirror.market == replace(market(), block_number=2)


def test_compound_asks_anew_whether_a_market_is_being_wound_up() -> None:
    of = market(dialect=COMPOUND)
    asked = abi.of_address(COMPTROLLER, calls.IS_DEPRECATED, M_WETH)
    mirror = Mirror(of=of)
    accounts = mirror.book.accounts(MOONWELL_ON_BASE.name)
    pause = log(COMPTROLLER, events.MARKET_ACTION_PAUSED, M_WETH, 96, 1, 6, b"Borrow")
    factor = log(COMPTROLLER, events.NEW_COLLATERAL_FACTOR, M_WETH, 1, 0)
    reserve = log(M_WETH, events.NEW_RESERVE_FACTOR, 1, WAD)

    for entry in (pause, factor, reserve):
        assert asked in MOONWELL_ON_BASE.needs(of, accounts, BLOCK, (entry,), readings(of)).calls
        assert not MOONWELL_ON_BASE.needs(market(), accounts, BLOCK, (entry,), readings(of)).calls
