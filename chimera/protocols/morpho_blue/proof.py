"""What the contracts say about one account, and where ours differs from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from chimera.domain import abi
from chimera.domain.block import ZERO_ADDRESS, Block
from chimera.domain.call import Call, Readings
from chimera.domain.health import Difference
from chimera.domain.market import Account, Holder
from chimera.protocols.morpho_blue import calls
from chimera.protocols.morpho_blue.market import Id, MorphoMarket, parts_of


def views(market: MorphoMarket, holder: Holder) -> tuple[Call, ...]:
    """Name the position, its market, and for markets with debt the price and the rate."""
    where, user = parts_of(holder)
    found = [
        calls.position(market.singleton, where, user),
        calls.of_market(market.singleton, calls.MARKET, where),
    ]
    if _is_priced(market, where):
        found.append(calls.price(market.terms[where].oracle))
    if _is_on_a_curve(market, where):
        found.append(calls.rate_view(market.terms[where], market.totals[where]))
    return tuple(found)


def _is_priced(market: MorphoMarket, where: Id) -> bool:
    """Tell whether there is a price to compare: an oracle that failed is left in peace."""
    quote = market.quotes.get(market.terms[where].oracle)
    return quote is not None and quote.price is not None


def _is_on_a_curve(market: MorphoMarket, where: Id) -> bool:
    return market.terms[where].irm in market.curves


def differences(
    market: MorphoMarket, holder: Holder, account: Account, block: Block, readings: Readings
) -> Iterator[Difference]:
    """Compare position, totals, price and rate with the contracts', each to the last digit."""
    where, user = parts_of(holder)
    position = abi.words(readings[calls.position(market.singleton, where, user)])
    held = (account.marks, account.owed, account.supplied)
    names = ("supply shares", "borrow shares", "collateral")
    for name, side, theirs in zip(names, held, position or (-1, -1, -1), strict=False):
        yield from _unequal(name, side.get(where, 0), theirs)
    yield from _of_totals(market, where, readings)
    terms = market.terms[where]
    if _is_priced(market, where):
        said = calls.quote(readings[calls.price(terms.oracle)]).price
        yield from _unequal("price", market.quotes[terms.oracle].price, said)
    if _is_on_a_curve(market, where):
        view = calls.rate_view(terms, market.totals[where])
        ours = market.rate_at(where, block.timestamp)
        yield from _unequal("rate", ours, abi.number(readings[view]))


def _of_totals(market: MorphoMarket, where: Id, readings: Readings) -> Iterator[Difference]:
    stored = abi.words(readings[calls.of_market(market.singleton, calls.MARKET, where)])
    ours = asdict(market.totals[where])
    for (name, figure), theirs in zip(ours.items(), stored or [-1] * 6, strict=False):
        if name == "updated" and market.terms[where].irm == ZERO_ADDRESS:
            continue  # moves without a log, and nothing depends on it
        yield from _unequal(name.replace("_", " "), figure, theirs)


def _unequal(name: str, ours: int | None, theirs: int | None) -> Iterator[Difference]:
    if ours != theirs:
        yield Difference(name, _told(ours), _told(theirs))


def _told(figure: int | None) -> str:
    return "reverts" if figure in {None, -1} else str(figure)
