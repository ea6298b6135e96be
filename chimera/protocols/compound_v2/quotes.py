"""The prices of a comptroller: of which tokens, from which contracts, and what if another."""

from __future__ import annotations

from dataclasses import replace

from chimera.domain import abi
from chimera.domain.block import ZERO_ADDRESS, Address
from chimera.domain.call import Inquiry
from chimera.domain.market import Account, Quoted, Token
from chimera.domain.numeric import WAD
from chimera.protocols.compound_v2 import calls
from chimera.protocols.compound_v2.dialect import MOONWELL
from chimera.protocols.compound_v2.market import CompoundMarket, Listing
from chimera.protocols.compound_v2.valuation import CURRENCY, PLACES


def tokens(market: CompoundMarket) -> dict[Address, Token]:
    """Return symbol and decimals of every underlying."""
    return {
        listing.underlying: Token(listing.symbol, listing.decimals)
        for listing in market.listings.values()
    }


def quotes(market: CompoundMarket) -> dict[Address, int | None]:
    """Return the price of a whole token of every underlying, USD with 18 places."""
    return {
        listing.underlying: _whole(listing, market.prices[mtoken])
        for mtoken, listing in market.listings.items()
    }


def quoted(market: CompoundMarket, account: Account | None) -> dict[Address, Quoted]:
    """Return how prices are written: of all underlyings, or of the account's."""
    held = market.listings if account is None else (*account.supplied, *account.owed)
    return {
        listing.underlying: Quoted(listing.symbol, CURRENCY, PLACES)
        for listing in (market.listings[mtoken] for mtoken in held)
    }


def _whole(listing: Listing, price: int | None) -> int | None:
    return None if price is None else price * 10**listing.decimals // WAD


def priced(market: CompoundMarket, asset: Address, price: int) -> CompoundMarket:
    """Return the market as it would be with this price of a whole token."""
    moved = {
        mtoken: price * WAD // 10**listing.decimals
        for mtoken, listing in market.listings.items()
        if listing.underlying == asset
    }
    return replace(market, prices={**market.prices, **moved})


def sources(market: CompoundMarket) -> Inquiry[dict[Address, Address]]:
    """
    Ask Moonwell's oracle for the feed of each underlying, by its symbol; others have no getter.

    The zero address: no feed is named, or the price is one that the administrator has set.
    """
    listings = market.listings.values()
    if market.dialect != MOONWELL:
        return {listing.underlying: ZERO_ADDRESS for listing in listings}
    oracle = market.oracle
    feeds = {a.underlying: calls.of_text(oracle, calls.GET_FEED, a.symbol) for a in listings}
    fixed = {token: abi.of_address(oracle, calls.ASSET_PRICES, token) for token in feeds}
    answers = yield (*feeds.values(), *fixed.values())
    return {
        token: ZERO_ADDRESS
        if abi.number(answers[fixed[token]])
        else abi.as_address(abi.number(answers[feed]) or 0)
        for token, feed in feeds.items()
    }
