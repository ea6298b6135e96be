"""The prices of a pool: of which tokens, from which contracts, and what if one were another."""

from __future__ import annotations

from chimera.domain import abi
from chimera.domain.block import Address
from chimera.domain.call import Inquiry
from chimera.domain.market import Account, Quoted, Token
from chimera.protocols.aave_v3.market import AaveMarket

GET_SOURCE_OF_ASSET = bytes.fromhex("92bf2be0")  # AaveOracle


def tokens(market: AaveMarket) -> dict[Address, Token]:
    """Return symbol and decimals of every reserve."""
    return {
        asset: Token(reserve.symbol, reserve.configuration.decimals)
        for asset, reserve in market.reserves.items()
    }


def quoted(market: AaveMarket, account: Account | None) -> dict[Address, Quoted]:
    """Return how prices are written: of all assets or the account's, and of the eModes' sources."""
    listed = tokens(market)
    held = listed if account is None else dict.fromkeys((*account.supplied, *account.owed))
    sources = (source for source in market.prices if source not in listed)
    return {
        asset: Quoted(
            listed[asset].symbol if asset in listed else f"0x{asset.hex()}",
            market.base_currency,
            market.base_decimals,
        )
        for asset in (*held, *sources)
        if asset in market.prices
    }


def priced(market: AaveMarket, asset: Address, price: int) -> AaveMarket:
    """Return the market as it would be with this price of one asset or eMode price source."""
    moved = market.moved(prices={**market.prices, asset: price})
    moved._indexes.update(market._indexes)  # noqa: SLF001  (interest knows no price)
    return moved


def sources(market: AaveMarket) -> Inquiry[dict[Address, Address]]:
    """Ask the oracle where its prices come from; the zero address: the fallback, or fixed."""
    questions = {
        asset: abi.of_address(market.oracle, GET_SOURCE_OF_ASSET, asset) for asset in market.prices
    }
    answers = yield tuple(questions.values())
    return {
        asset: abi.as_address(abi.number(answers[question]) or 0)
        for asset, question in questions.items()
    }
