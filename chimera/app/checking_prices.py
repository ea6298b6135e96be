"""The part of `chimera check` that is about prices: where each comes from, and whether it lives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chimera.app.build import Chain
from chimera.app.facts import CheckRow
from chimera.domain.block import ZERO_ADDRESS, Address, Block, Log, LogQuery
from chimera.domain.call import BoundedCall, Call
from chimera.domain.market import Holder, Quoted
from chimera.errors import RangeTooWide
from chimera.ports import Adapter, ChainReader
from chimera.pricing.probing import probe
from chimera.pricing.sources import Kind, Source
from chimera.state.rebuild import drive
from chimera.state.valuation import checksummed

MOST_SOURCES = 60  # of a protocol that lists its markets itself; none that is known has more
MOST_OPENED = 12  # of one where anybody opens markets: an impression
MOST_MARKETS = 60  # of those that are looked into
NOTHING = Source(ZERO_ADDRESS, Kind.ABSENT, None)


async def used_lately(
    chain: Chain,
    adapter: Adapter[Any],
    market: Any,  # noqa: ANN401  (the family's own)
    head: Block,
) -> tuple[Any, CheckRow]:
    """
    Read the markets that were borrowed from lately, where the contract itself lists none.

    Anybody can open a market there, so that one with a dead price is told, but no fault.
    """
    reader = chain.reader.labelled("check")
    query = adapter.discovery(market, suppliers=False)
    first, logs = await _newest(reader, query, head, chain.settings.rpc.max_log_range)
    one_of: dict[str, Holder] = {}
    for holder in sorted(adapter.users_in(logs, suppliers=False)):
        one_of.setdefault(adapter.published(holder)[0], holder)
    holders = list(one_of.values())[:MOST_MARKETS]
    market = await drive(adapter.read_rest(market, holders, head), reader, head)
    quotes = adapter.quotes(market)
    dead = sum(not price for price in quotes.values())
    few = "" if len(holders) == len(one_of) else f", {len(holders)} of them looked into"
    fact = (
        f"{len(one_of)} markets were borrowed from since block {first}{few}; "
        f"{len(quotes)} oracles, {dead} of them dead"
    )
    return market, CheckRow(adapter.name, fact, ok=True)


async def _newest(
    reader: ChainReader, query: LogQuery, head: Block, blocks: int
) -> tuple[int, Sequence[Log]]:
    """Return the logs of the newest blocks, as many as the node gives at once, and since when."""
    while True:
        first = max(head.number - blocks + 1, 0)
        try:
            return first, await reader.logs_between(first, head.number, query)
        except RangeTooWide:
            if blocks == 1:
                raise
            blocks //= 2


async def price_rows(
    reader: ChainReader,
    adapter: Adapter[Any],
    market: Any,  # noqa: ANN401  (the family's own)
    block: Block,
    *,
    opened: bool,
) -> list[CheckRow]:
    """
    Tell of each price what it is and where it comes from; of very many, of the dead ones first.

    Args:
        reader: Where to ask.
        adapter: Whose prices.
        market: Of this protocol.
        block: At which all is read.
        opened: Whether anybody could have brought these sources in. They are asked with bounds, and
            a dead one is no fault.
    """
    quotes, most = adapter.quotes(market), MOST_OPENED if opened else MOST_SOURCES
    ordered = (
        sorted(quotes, key=lambda asset: bool(quotes[asset])) if len(quotes) > most else quotes
    )
    shown = list(ordered)[:most]
    named = await drive(adapter.sources(market), reader, block)
    contracts = {asset: named.get(asset, ZERO_ADDRESS) for asset in shown}
    asking = BoundedCall if opened else Call
    found = await drive(probe(contracts.values(), asking=asking), reader, block)
    sources = {asset: found.get(contract, NOTHING) for asset, contract in contracts.items()}
    rows = list(_rows(adapter, market, block, sources, opened=opened))
    if len(shown) < len(quotes):
        left = [quotes[asset] for asset in quotes if asset not in sources]
        fact = f"{len(left)} more prices, {sum(not price for price in left)} of them dead"
        rows.append(CheckRow(adapter.name, fact, ok=opened or all(left)))
    return rows


def _rows(
    adapter: Adapter[Any],
    market: Any,  # noqa: ANN401  (the family's own)
    block: Block,
    sources: Mapping[Address, Source],
    *,
    opened: bool,
) -> Iterator[CheckRow]:
    quotes, written = adapter.quotes(market), adapter.quoted(market)
    for asset, source in sources.items():
        price, quoted = quotes[asset], written[asset]
        age = None if source.updated is None else max(0, block.timestamp - source.updated)
        described = _described(asset, source, price, quoted, age)
        fact = _price_fact(source, described["price"], quoted.currency, age)
        ok = opened or bool(price)
        yield CheckRow(f"{adapter.name} {quoted.name}", fact, ok=ok, source=described)


def _described(
    asset: Address, source: Source, price: int | None, quoted: Quoted, age: int | None
) -> dict[str, Any]:
    return {
        "asset": checksummed(asset),
        "symbol": quoted.name,
        "address": None if source.address == ZERO_ADDRESS else checksummed(source.address),
        "kind": source.kind.value,
        "description": source.description,
        "beneath": None if source.beneath is None else checksummed(source.beneath),
        "capped": source.is_capped,
        "alive": source.is_alive or (source is NOTHING and bool(price)),
        "price": None if price is None else quoted.written(price),
        "currency": quoted.currency,
        "age": age,
    }


def _price_fact(source: Source, price: str | None, currency: str, age: int | None) -> str:
    place = "" if source.address == ZERO_ADDRESS else f" {checksummed(source.address)}"
    what = f"{source.kind.value}{place}"
    if price is None or not price.strip("0."):
        return f"{what} is dead: the oracle answers no price"
    if source.address == ZERO_ADDRESS:
        return f"the oracle answers {price} {currency} and names no source"
    said = f"{what} answers {price} {currency}"
    if not source.is_alive:
        return f"{what} is dead by itself; the protocol's oracle answers {price} {currency}"
    capped = ", held down by its cap" if source.is_capped else ""
    return f"{said}{capped}" if age is None else f"{said}{capped}, {age} s old"
