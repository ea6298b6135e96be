"""`chimera why` without a daemon: one account, read from the chain once."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from chimera.app.build import build_chain
from chimera.app.commands import only
from chimera.app.proving import prove_node
from chimera.domain.block import Address
from chimera.domain.health import VERDICT
from chimera.domain.market import instance_of
from chimera.domain.numeric import decimal_string
from chimera.domain.standing import Standing
from chimera.errors import Skip
from chimera.pricing.explanation import explanation
from chimera.settings import Settings
from chimera.state.rebuild import drive
from chimera.state.valuation import checksummed, key_of

FACTOR_PLACES = 18


async def explain(settings: Settings, protocol: str, user: Address) -> dict[str, Any]:
    """
    Read one account from the chain; return what a daemon would answer to `/why` about it.

    Nobody has counted blocks, so the verdict cannot tell how long it has been under 1.

    Raises:
        Refuse: The node or the contract is not what the configuration says.
        Skip: There is no such account.
        Unreachable: No node answers.
    """
    chain = build_chain(only(settings, instance_of(protocol)))
    try:
        await prove_node(chain)
        key = key_of(chain.adapters, protocol, user)
        if key is None:
            raise Skip(f"the configuration has no protocol {protocol!r}")
        holder = key[1]
        adapter, reader = chain.adapters[key[0]], chain.reader.labelled("why")
        block = await reader.head()
        await drive(adapter.prove(), reader, block)
        market = await drive(adapter.read_market(block), reader, block)
        market = await drive(adapter.read_rest(market, [holder], block), reader, block)
        accounts = await drive(adapter.read_accounts(market, [holder], block), reader, block)
    finally:
        await chain.close()
    if holder not in accounts:
        raise Skip(f"{protocol} has no account of {checksummed(user)}")
    account = accounts[holder]
    health = adapter.health(market, account, block.timestamp)
    factor = None if health.factor is None else decimal_string(health.factor, FACTOR_PLACES)
    steps = explanation(adapter, market, account, block.timestamp, holder)
    standing = Standing(
        health_factor=factor,
        error=health.error,
        blocks_unhealthy=None,
        confirmation_blocks=settings.detection.confirmation_blocks,
        contract=next((step.value for step in steps if step.name == VERDICT), None),
    )
    return {
        "protocol": protocol,
        "user": checksummed(user),
        "block": block.number,
        "health_factor": factor,
        "steps": [asdict(step) for step in steps if step.name != VERDICT],
        "verdict": standing.sentence(),
    }
