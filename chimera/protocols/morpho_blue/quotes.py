"""The prices of the singleton's markets, one for each oracle, and what if one were another."""

from __future__ import annotations

from dataclasses import replace

from chimera.domain.block import Address
from chimera.domain.call import Inquiry
from chimera.domain.market import Account, Quoted, Token
from chimera.protocols.morpho_blue.market import (
    MorphoMarket,
    Quote,
    Terms,
    market_of,
    oracles_of,
)
from chimera.protocols.morpho_blue.valuation import token

ORACLE_PLACES = 36  # of the price of one smallest unit in another


def tokens(market: MorphoMarket) -> dict[Address, Token]:
    """Return the tokens of all markets with debt."""
    return dict(market.tokens)


def quotes(market: MorphoMarket) -> dict[Address, int | None]:
    """Return the price (loan units per collateral unit x 1e36) of every oracle that is asked."""
    return {oracle: market.quotes[oracle].price for oracle in _asked(market)}


def quoted(market: MorphoMarket, account: Account | None) -> dict[Address, Quoted]:
    """Return how prices are written: of all oracles that are asked, or of the account's market."""
    where = None if account is None else market_of(account)
    asked = market.live if account is None else (() if where is None else (where,))
    written: dict[Address, Quoted] = {}
    for one in asked:
        terms = market.terms[one]
        if terms.oracle in market.quotes:
            written.setdefault(terms.oracle, _written(market, terms))
    return written


def _written(market: MorphoMarket, terms: Terms) -> Quoted:
    loan, collateral = token(market, terms.loan), token(market, terms.collateral)
    places = ORACLE_PLACES + loan.decimals - collateral.decimals
    name = f"{collateral.symbol}/{loan.symbol}"
    if places < 0:  # a whole collateral is worth more digits than the oracle has
        return Quoted(name, f"{loan.symbol} per 10^{places} {collateral.symbol}", 0)
    return Quoted(name, loan.symbol, places)


def priced(market: MorphoMarket, oracle: Address, price: int) -> MorphoMarket:
    """Return the markets as they would be with another answer of one oracle."""
    moved = replace(market, quotes={**market.quotes, oracle: Quote(price)})
    moved.remember_interest(market)
    return moved


def sources(market: MorphoMarket) -> Inquiry[dict[Address, Address]]:
    """Name every oracle as its own source, without a question to anybody."""
    yield from ()
    return {oracle: oracle for oracle in _asked(market)}


def _asked(market: MorphoMarket) -> list[Address]:
    """Return the oracles of markets with debt: others are remembered only because they failed."""
    wanted = oracles_of(market.terms, market.live)
    return [oracle for oracle in wanted if oracle in market.quotes]
