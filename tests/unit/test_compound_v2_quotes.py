"""Prices as they are shown and asked for, and the vectors of CV-11."""

from __future__ import annotations

from dataclasses import replace

from chimera.domain import abi
from chimera.domain.call import answer
from chimera.domain.market import Token
from chimera.protocols.compound_v2 import calls
from chimera.protocols.compound_v2.dialect import VENUS
from tests.fakes_compound_v2 import (
    CBBTC,
    M_USDC,
    M_WETH,
    MOONWELL_ON_BASE,
    NOW,
    ORACLE,
    USDC,
    WETH,
    ZERO,
    address,
    configured,
    market,
    owing,
    word,
)

WHOLE = {
    WETH: 3000123456780000000000,
    USDC: 999876540000000000,
    CBBTC: 97531246801350000000000,
}


def test_prices_are_those_of_whole_tokens() -> None:
    assert MOONWELL_ON_BASE.quotes(market()) == WHOLE
    assert MOONWELL_ON_BASE.quotes(market(prices={M_WETH: None}))[WETH] is None
    assert MOONWELL_ON_BASE.tokens(market()) == {
        WETH: Token("WETH", 18),
        USDC: Token("USDC", 6),
        CBBTC: Token("cbBTC", 8),
    }


def test_another_price_is_a_market_of_its_own() -> None:
    before = market()
    account = owing({M_WETH: 10**11}, {M_USDC: 10**10})
    healthy = MOONWELL_ON_BASE.health(before, account, NOW)

    after = MOONWELL_ON_BASE.priced(before, USDC, 2 * WHOLE[USDC])

    assert MOONWELL_ON_BASE.quotes(after) == {**WHOLE, USDC: 2 * WHOLE[USDC]}
    assert MOONWELL_ON_BASE.health(before, account, NOW) == healthy
    assert MOONWELL_ON_BASE.health(after, account, NOW).debt == 2 * healthy.debt


def test_two_markets_of_one_token_have_one_price() -> None:
    both = market(listings=configured(M_WETH, underlying=USDC, decimals=6))

    moved = MOONWELL_ON_BASE.priced(both, USDC, 5)

    assert moved.prices[M_WETH] == moved.prices[M_USDC] == 5 * 10**12


def test_feeds_are_asked_for_by_symbol() -> None:
    feed = address(0xFEED)
    text = word(32) + word(4) + b"WETH".ljust(32, b"\0")
    asked = {
        calls.of_text(ORACLE, calls.GET_FEED, symbol): word(feed)
        for symbol in ("WETH", "USDC", "cbBTC")
    }
    fixed = {
        abi.of_address(ORACLE, calls.ASSET_PRICES, token): word(int(token == USDC))
        for token in (WETH, USDC, CBBTC)
    }

    found = answer(MOONWELL_ON_BASE.sources(market()), {**asked, **fixed})

    assert found == {WETH: feed, USDC: ZERO, CBBTC: feed}
    assert any(call.data == calls.GET_FEED + text for call in asked)


def test_oracles_of_others_name_no_feeds() -> None:
    found = answer(MOONWELL_ON_BASE.sources(replace(market(), dialect=VENUS)), {})

    assert found == dict.fromkeys(WHOLE, ZERO)
