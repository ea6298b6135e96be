"""Reading a comptroller: its kind, its markets and rate models, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.domain import abi
from chimera.domain.call import Answer, Call
from chimera.domain.numeric import MAX_UINT256
from chimera.errors import Refuse
from chimera.protocols.compound_v2 import calls, events
from chimera.protocols.compound_v2.dialect import COMPOUND, MOONWELL, VENUS, Dialect
from chimera.protocols.compound_v2.market import NATIVE, CompoundMarket
from chimera.protocols.compound_v2.math import RateModel, borrow_rate
from chimera.protocols.compound_v2.pools import Pool, Terms
from tests.fakes_aave_v3 import drive
from tests.fakes_compound_v2 import (
    BLOCK,
    COMPTROLLER,
    FACTORS,
    JUMP,
    M_CBBTC,
    M_USDC,
    M_WETH,
    MODEL,
    MOONWELL_ON_BASE,
    ORACLE,
    STATES,
    WETH,
    Mirror,
    chain,
    layout,
    log,
    market,
    text,
    word,
    words,
)


def read(told: dict[Call, Answer]) -> CompoundMarket:
    return drive(MOONWELL_ON_BASE.read_market(BLOCK), told)


def test_markets_are_read_as_they_stand() -> None:
    assert read(chain()) == market()


def test_the_kinds_are_told_apart_by_their_markets() -> None:
    for dialect in (MOONWELL, COMPOUND, VENUS):
        drive(MOONWELL_ON_BASE.prove(), chain(dialect))
        found = read(chain(dialect))
        assert found.dialect is dialect
        assert {listing.rates for listing in found.listings.values()} == {JUMP}
        assert found.states == STATES
    assert read(chain(VENUS)).listings[M_WETH].factor == FACTORS[M_WETH] + 7


def test_switches_of_venus_and_compound_are_read() -> None:
    yes = {
        abi.plain(COMPTROLLER, calls.PROTOCOL_PAUSED): word(1),
        calls.of_market_action(COMPTROLLER, calls.ACTION_PAUSED, M_WETH, calls.SEIZE): word(1),
        calls.of_market_action(COMPTROLLER, calls.ACTION_PAUSED, M_USDC, calls.LIQUIDATE): word(1),
        abi.of_address(COMPTROLLER, calls.IS_FORCED_LIQUIDATION_ENABLED, M_CBBTC): word(1),
    }
    venus = read({**chain(VENUS), **yes})
    deprecated = abi.of_address(COMPTROLLER, calls.IS_DEPRECATED, M_USDC)
    compound = read({**chain(COMPOUND), deprecated: word(1)})
    paused = abi.plain(COMPTROLLER, calls.SEIZE_GUARDIAN_PAUSED)

    assert venus.is_paused
    assert [m for m, one in venus.listings.items() if one.is_seize_paused] == [M_WETH]
    assert [m for m, one in venus.listings.items() if one.is_liquidation_paused] == [M_USDC]
    assert [m for m, one in venus.listings.items() if one.is_forced] == [M_CBBTC]
    assert [m for m, one in compound.listings.items() if one.is_forced] == [M_USDC]
    assert read({**chain(), paused: word(1)}).is_paused


def test_pools_are_read_with_their_terms() -> None:
    more = {
        abi.plain(COMPTROLLER, calls.LAST_POOL_ID): word(2),
        abi.of_number(COMPTROLLER, calls.POOLS, 1): words(96, 1, 0, 1, b"x"),
        abi.of_number(COMPTROLLER, calls.POOLS, 2): words(96, 0, 1, 1, b"y"),
        abi.of_number(COMPTROLLER, calls.GET_POOL_VTOKENS, 1): words(32, 1, M_WETH),
        abi.of_number(COMPTROLLER, calls.GET_POOL_VTOKENS, 2): words(32, 0),
        calls.of_pool_market(COMPTROLLER, calls.POOL_MARKETS, 1, M_WETH): words(
            1, 2, 0, 3, 4, 1, 1
        ),
    }

    found = read({**chain(VENUS), **more}).pools

    assert found == {
        1: Pool(terms={M_WETH: Terms(3, 4)}),
        2: Pool(is_active=False, falls_back=True),
    }


def test_dead_prices_are_no_obstacle() -> None:
    asked = abi.of_address(ORACLE, calls.GET_UNDERLYING_PRICE, M_WETH)

    assert read({**chain(), asked: None}).prices[M_WETH] is None
    assert read({**chain(), asked: word(0)}).prices[M_WETH] == 0


@pytest.mark.parametrize(
    ("answer", "symbol"),
    [
        (text("A B"), "A B"),
        (b"MKR".ljust(32, b"\0"), "MKR"),
        (None, f"0x{WETH[:4].hex()}"),
        (b"", f"0x{WETH[:4].hex()}"),
        (text("a\nb"), f"0x{WETH[:4].hex()}"),
    ],
)
def test_names_are_strings_old_words_or_missing(answer: Answer, symbol: str) -> None:
    told = {**chain(), abi.plain(WETH, calls.SYMBOL): answer}

    assert read(told).listings[M_WETH].symbol == symbol


@pytest.mark.parametrize(("answer", "decimals"), [(word(0), 0), (word(30), 30), (None, 0)])
def test_decimals_are_any_or_missing(answer: Answer, decimals: int) -> None:
    told = {**chain(), abi.plain(WETH, calls.DECIMALS): answer}

    assert read(told).listings[M_WETH].decimals == decimals


def test_a_market_of_the_chains_own_coin_has_no_token() -> None:
    told = {
        **chain(),
        abi.plain(M_WETH, calls.UNDERLYING): None,
        abi.plain(M_WETH, calls.SYMBOL): text("mGLMR"),
        abi.plain(M_WETH, calls.DECIMALS): word(8),
    }

    found = read(told).listings[M_WETH]

    assert (found.underlying, found.symbol, found.decimals) == (NATIVE, "GLMR", 18)
    nameless = read({**told, abi.plain(M_WETH, calls.SYMBOL): None}).listings[M_WETH]
    assert nameless.symbol == f"0x{M_WETH[:4].hex()}"


def test_a_market_without_a_share_for_the_protocol_has_none() -> None:
    told = {**chain(), abi.plain(M_WETH, calls.PROTOCOL_SEIZE_SHARE_MANTISSA): None}

    assert read(told).listings[M_WETH].seize_share == 0


# --- rate models ---------------------------------------------------------------------------------


def rates(*missing: bytes, told: int | None = None) -> CompoundMarket:
    answers = chain()
    for getter in missing:
        answers[abi.plain(MODEL, getter)] = None
    if told is not None:
        answers[abi.plain(M_USDC, calls.BORROW_RATE_PER_TIMESTAMP)] = word(told)
    return read(answers)


def test_a_model_without_a_kink_has_one_slope() -> None:
    """None of the markets is used beyond its kink, so the one slope is right for all."""
    found = rates(calls.KINK, calls.JUMP_MULTIPLIER_PER_TIMESTAMP)

    flat = RateModel(JUMP.base, JUMP.multiplier, 0, MAX_UINT256)
    assert {listing.rates for listing in found.listings.values()} == {flat}


@pytest.mark.parametrize("missing", [calls.KINK, calls.BASE_RATE_PER_TIMESTAMP])
def test_a_model_with_other_getters_is_polled(missing: bytes) -> None:
    found = rates(missing)

    assert {listing.rates for listing in found.listings.values()} == {None}
    assert found.rates[M_USDC] == borrow_rate(JUMP, 986234444442, 18819905535, 5434995)
    polled = abi.plain(M_USDC, calls.BORROW_RATE_PER_TIMESTAMP)
    accounts = Mirror().book.accounts(MOONWELL_ON_BASE.name)
    assert polled in MOONWELL_ON_BASE.polls(found, accounts, BLOCK)
    assert polled not in MOONWELL_ON_BASE.polls(market(), accounts, BLOCK)


def test_a_model_that_computes_otherwise_than_it_looks_is_polled() -> None:
    found = rates(told=123)

    assert found.listings[M_USDC].rates is None
    assert found.listings[M_WETH].rates == JUMP
    assert found.rates == {M_USDC: 123}
    assert found.borrow_rate(M_USDC) == 123
    mirror = Mirror(of=found)
    mirror.take()
    assert mirror.market.rates == {M_USDC: 7}


def test_a_model_that_reverts_proves_itself_by_that() -> None:
    broke = replace(STATES[M_WETH], cash=0, reserves=10**30)
    answers = {**chain(), **layout(M_WETH, broke)}
    answers[abi.plain(M_WETH, calls.GET_CASH)] = word(0)
    answers[abi.plain(M_WETH, calls.TOTAL_RESERVES)] = word(10**30)
    rate = abi.plain(M_WETH, calls.BORROW_RATE_PER_TIMESTAMP)

    assert read({**answers, rate: None}).listings[M_WETH].rates == JUMP
    assert read({**answers, rate: word(5)}).listings[M_WETH].rates is None


def test_new_parameters_of_a_model_that_is_polled_change_nothing() -> None:
    mirror = Mirror(of=rates(told=123))

    mirror.take(log(MODEL, events.NEW_INTEREST_PARAMS, 1, 2, 3, 4))

    assert mirror.market.listings[M_USDC].rates is None
    assert mirror.market.listings[M_WETH].rates == RateModel(1, 2, 3, 4)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "call", "answer", "told"),
    [
        (MOONWELL, abi.plain(COMPTROLLER, calls.ORACLE), None, "is no Compound v2 comptroller"),
        (MOONWELL, abi.plain(COMPTROLLER, calls.GET_ALL_MARKETS), words(32, 0), "no markets"),
        (MOONWELL, abi.plain(COMPTROLLER, calls.CLOSE_FACTOR_MANTISSA), b"", "0xe8755446"),
        (MOONWELL, abi.plain(M_USDC, calls.INTEREST_RATE_MODEL), None, "0xf3fdb15a"),
        (COMPOUND, abi.plain(M_WETH, calls.ACCRUAL_BLOCK_NUMBER), None, "0x6c540baf"),
        (VENUS, abi.plain(COMPTROLLER, calls.VAI_CONTROLLER), word(1), "debts in VAI"),
    ],
)
def test_what_is_not_supported_is_refused_in_words(
    dialect: Dialect, call: Call, answer: Answer, told: str
) -> None:
    answers = {**chain(dialect), call: answer}

    for inquiry in (MOONWELL_ON_BASE.prove(), MOONWELL_ON_BASE.read_market(BLOCK)):
        with pytest.raises(Refuse, match=told):
            drive(inquiry, answers)
