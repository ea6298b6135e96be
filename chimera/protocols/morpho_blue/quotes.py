"""The prices of the singleton's markets, one for each oracle, and what if one were another."""

from __future__ import annotations

from dataclasses import replace

from chimera.domain.block import Address
from chimera.domain.call import Inquiry
from chimera.domain.market import Token
from chimera.protocols.morpho_blue.market import MorphoMarket, Quote


def tokens(market: MorphoMarket) -> dict[Address, Token]:
    """Return the tokens of all markets with debt."""
    return dict(market.tokens)


def quotes(market: MorphoMarket) -> dict[Address, int | None]:
    """Return the price (loan units per collateral unit x 1e36) of every oracle that is asked."""
    return {oracle: quote.price for oracle, quote in market.quotes.items()}


def priced(market: MorphoMarket, oracle: Address, price: int) -> MorphoMarket:
    """Return the markets as they would be with another answer of one oracle."""
    moved = replace(market, quotes={**market.quotes, oracle: Quote(price)})
    moved._accrued.update(market._accrued)  # noqa: SLF001  (interest knows no price)
    return moved


def sources(market: MorphoMarket) -> Inquiry[dict[Address, Address]]:
    """Name every oracle as its own source, without a question to anybody."""
    yield from ()
    return {oracle: oracle for oracle in market.quotes}
