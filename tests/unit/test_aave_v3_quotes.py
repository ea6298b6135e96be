from __future__ import annotations

from chimera.domain.block import ZERO_ADDRESS
from chimera.domain.call import Call, answer
from chimera.protocols.aave_v3 import quotes
from tests.fakes_aave_v3 import ORACLE, USDC, WETH, address, market


def test_every_reserve_is_a_token_with_its_places() -> None:
    found = quotes.tokens(market())

    assert {asset: token.decimals for asset, token in found.items()} == {
        asset: reserve.configuration.decimals for asset, reserve in market().reserves.items()
    }
    assert found[USDC].symbol == market().reserves[USDC].symbol


def test_another_price_is_a_market_of_its_own() -> None:
    before = market()
    indexes = before.indexes(1_800_000_000)

    after = quotes.priced(before, WETH, 7)

    assert after.prices == {**before.prices, WETH: 7}
    assert before.prices[WETH] != 7
    assert after.indexes(1_800_000_000) == indexes
    assert after.indexes(1_900_000_000) == before.indexes(1_900_000_000)
    assert before.indexes(1_800_000_000) == indexes


def test_the_oracle_is_asked_for_the_source_of_every_price() -> None:
    pool = market()
    calls = {
        asset: Call(ORACLE, quotes.GET_SOURCE_OF_ASSET + asset.rjust(32, b"\0"))
        for asset in pool.prices
    }
    feed = address(0xFEED)
    told = {call: feed.rjust(32, b"\0") for call in calls.values()}

    assert answer(quotes.sources(pool), told) == dict.fromkeys(pool.prices, feed)
    assert answer(quotes.sources(pool), {**told, calls[WETH]: None})[WETH] == ZERO_ADDRESS
