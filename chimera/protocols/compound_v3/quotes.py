"""The prices of a Comet: of which tokens, and from which feeds."""

from __future__ import annotations

from chimera.domain.block import Address
from chimera.domain.call import Inquiry
from chimera.domain.market import Account, Quoted, Token
from chimera.protocols.compound_v3.market import CometMarket, places
from chimera.protocols.compound_v3.math import PRICE_DECIMALS


def tokens(market: CometMarket) -> dict[Address, Token]:
    """Return symbol and decimals of the base token and every collateral."""
    base, collaterals = market.terms.base, market.terms.collaterals
    listed = {asset: Token(one.symbol, places(one.scale)) for asset, one in collaterals.items()}
    return {**listed, base.token: Token(base.symbol, places(base.scale))}


def quoted(market: CometMarket, account: Account | None) -> dict[Address, Quoted]:
    """Return how prices are written: of all tokens, or of the account's."""
    listed = tokens(market)
    held = listed if account is None else dict.fromkeys((*account.supplied, *account.owed))
    currency = market.terms.currency
    return {token: Quoted(listed[token].symbol, currency, PRICE_DECIMALS) for token in held}


def sources(market: CometMarket) -> Inquiry[dict[Address, Address]]:
    """Name the feed behind each price; the terms tell, so that nothing is asked."""
    yield from ()
    base, collaterals = market.terms.base, market.terms.collaterals
    return {base.token: base.feed, **{asset: one.feed for asset, one in collaterals.items()}}
