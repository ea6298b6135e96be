"""`chimera check`: what the configuration claims, looked up where it can be proved."""

from __future__ import annotations

import asyncio
from typing import Any

from chimera.app.build import Chain, build_cache, build_chain
from chimera.app.checking_prices import price_rows, used_lately
from chimera.app.commands import running
from chimera.app.examining import examine_http, examine_ws
from chimera.app.facts import CheckRow
from chimera.app.proving import ask_sequencer
from chimera.chain.sequencer import Sequencer
from chimera.domain.block import Block
from chimera.domain.market import EMPTY
from chimera.errors import ChimeraError, Refuse, Unreachable
from chimera.observability.metrics import Metrics
from chimera.ports import Adapter
from chimera.rpc.wire import TEXT, hexed, octets
from chimera.settings import Settings
from chimera.state.rebuild import drive
from chimera.state.valuation import checksummed
from chimera.store.database import reach

REVISION = "revision"  # the step in which an adapter tells what it has found
SHOWN = 3  # contracts without code that are named


async def check(settings: Settings) -> list[CheckRow]:
    """
    Look up what the configuration claims, one row per fact.

    Raises:
        Unreachable: No node answers.
    """
    chain_id = settings.chain.id
    http = await examine_http(settings.rpc.http, chain_id)
    sockets = await examine_ws(settings.rpc.ws, chain_id)
    rows = [*http.rows, *sockets, await _redis(settings), await _history(settings)]
    if not http.usable:
        return rows
    nodes = settings.rpc.model_copy(update={"http": tuple(http.usable)})
    chain = build_chain(settings.model_copy(update={"rpc": nodes}))
    try:
        if chain.sequencer is not None:
            rows.append(await _sequencer(chain, chain.sequencer))
        for name in chain.adapters:
            rows += await _protocol(chain, name)
    finally:
        await chain.close()
    return rows


async def _redis(settings: Settings) -> CheckRow:
    cache = build_cache(settings, Metrics())
    async with running(cache):
        state = cache.state
    words = {
        "connected": "answers",
        "disabled": "none is configured: positions stay in memory",
        "fallback": "does not answer: positions would stay in memory until it does",
    }
    return CheckRow("redis", words[state], ok=True)


async def _history(settings: Settings) -> CheckRow:
    try:
        await reach(settings.history.url)
    except Unreachable as fault:
        return CheckRow("history", str(fault), ok=False)
    return CheckRow("history", "the database can be opened", ok=True)


async def _sequencer(chain: Chain, sequencer: Sequencer) -> CheckRow:
    subject, place = "chain.sequencer_feed", checksummed(sequencer.call.to)
    try:
        block = await ask_sequencer(chain.reader.labelled("check"), sequencer)
    except ChimeraError as fault:
        return CheckRow(subject, str(fault), ok=False)
    trouble = sequencer.trouble(block) or "the sequencer is up"
    return CheckRow(subject, f"an uptime feed at {place}: {trouble}", ok=True)


async def _protocol(chain: Chain, name: str) -> list[CheckRow]:
    adapter, reader = chain.adapters[name], chain.reader.labelled("check")
    place = checksummed(adapter.address)
    if not await reader.code_at(adapter.address):
        return [CheckRow(name, f"no code at {place}", ok=False)]
    block = await reader.head()
    rows = [await _beginning(chain, adapter, block)]
    try:
        await drive(adapter.prove(), reader, block)
        market = await drive(adapter.read_market(block), reader, block)
    except Refuse as fault:
        return [*rows, CheckRow(name, str(fault), ok=False)]
    told = adapter.explain(market, EMPTY, block.timestamp)
    revision = next((f", {step.value}" for step in told if step.name == REVISION), "")
    rows.append(CheckRow(name, f"{adapter.kind} at {place}{revision}", ok=True))
    opened = not adapter.quotes(market)
    if opened:
        market, row = await used_lately(chain, adapter, market, block)
        rows.append(row)
    rows.append(await _followed(chain, adapter, market))
    return rows + await price_rows(reader, adapter, market, block, opened=opened)


async def _beginning(chain: Chain, adapter: Adapter[Any], head: Block) -> CheckRow:
    """Prove that nothing was there before `from_block`, where the node can tell."""
    first, place = adapter.from_block, hexed(adapter.address)
    if first > head.number:
        fact = f"from_block {first} is after the newest block {head.number}"
        return CheckRow(adapter.name, fact, ok=False)
    if first == 0:
        return CheckRow(adapter.name, "from_block 0 is before everything", ok=True)
    try:
        asked = [place, hex(first - 1)]
        code = octets(await chain.pool.call("eth_getCode", asked, TEXT, purpose="check"))
    except ChimeraError:
        fact = f"from_block {first}: the node cannot tell what was there before (no archive)"
        return CheckRow(adapter.name, fact, ok=True)
    if code:
        fact = (
            f"from_block {first} is too late: there is code in block {first - 1} already; "
            "set it to the deployment's block or earlier"
        )
        return CheckRow(adapter.name, fact, ok=False)
    return CheckRow(adapter.name, f"no code before from_block {first}", ok=True)


async def _followed(chain: Chain, adapter: Adapter[Any], market: Any) -> CheckRow:  # noqa: ANN401
    followed = sorted(adapter.interest(market).addresses)
    reader = chain.reader.labelled("check")
    codes = await asyncio.gather(*map(reader.code_at, followed))
    empty = [checksummed(one) for one, code in zip(followed, codes, strict=True) if not code]
    if not empty:
        fact = f"{len(followed)} contracts to follow, code at every one"
        return CheckRow(adapter.name, fact, ok=True)
    named = ", ".join(empty[:SHOWN])
    fact = f"{len(empty)} of {len(followed)} contracts to follow have no code: {named}"
    return CheckRow(adapter.name, fact, ok=False)
