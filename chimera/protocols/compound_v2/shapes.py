"""How large every log is that we read, so that none is misread for want of a word."""

from __future__ import annotations

from collections.abc import Iterable

from chimera.domain import abi
from chimera.domain.block import Log
from chimera.protocols.compound_v2 import events

# Words of all arguments together, at the least
SHAPES: dict[bytes, int] = {
    events.ACCRUE_INTEREST: 4,
    events.OLD_ACCRUE_INTEREST: 3,
    events.MINT: 3,
    events.REDEEM: 3,
    events.TRANSFER: 3,
    events.BORROW: 4,
    events.REPAY_BORROW: 5,
    events.LIQUIDATE_BORROW: 5,
    events.RESERVES_ADDED: 3,
    events.RESERVES_REDUCED: 3,
    events.NEW_RESERVE_FACTOR: 2,
    events.NEW_PROTOCOL_SEIZE_SHARE: 2,
    events.NEW_MARKET_INTEREST_RATE_MODEL: 2,
    events.NEW_COMPTROLLER: 2,
    events.NEW_IMPLEMENTATION: 2,
    events.MINT_WITH_BALANCE: 4,
    events.OLD_MINT_BEHALF: 4,
    events.MINT_BEHALF: 5,
    events.REDEEM_WITH_BALANCE: 4,
    events.MARKET_LISTED: 1,
    events.MARKET_ENTERED: 2,
    events.MARKET_EXITED: 2,
    events.NEW_COLLATERAL_FACTOR: 3,
    events.NEW_CLOSE_FACTOR: 2,
    events.NEW_LIQUIDATION_INCENTIVE: 2,
    events.NEW_PRICE_ORACLE: 2,
    events.ACTION_PAUSED: 4,
    events.MARKET_ACTION_PAUSED: 5,
    events.NEW_LIQUIDATION_THRESHOLD: 4,
    events.NEW_MARKET_LIQUIDATION_INCENTIVE: 4,
    events.ACTION_PAUSED_MARKET: 3,
    events.ACTION_PROTOCOL_PAUSED: 1,
    events.FORCED_LIQUIDATION_UPDATED: 2,
    events.MARKET_UNLISTED: 1,
    events.POOL_CREATED: 3,
    events.POOL_MARKET_INITIALIZED: 2,
    events.POOL_MARKET_REMOVED: 2,
    events.POOL_ACTIVE_STATUS_UPDATED: 3,
    events.POOL_FALLBACK_STATUS_UPDATED: 3,
    events.POOL_SELECTED: 3,
    events.NEW_VAI_CONTROLLER: 2,
    events.DIAMOND_CUT: 2,
    events.NEW_INTEREST_PARAMS: 4,
}

# How many of them are indexed, where any are: Venus indexes what others do not
INDEXED: dict[bytes, tuple[int, ...]] = {
    events.TRANSFER: (2,),
    events.MARKET_LISTED: (0, 1),
    events.MARKET_ENTERED: (0, 2),
    events.MARKET_EXITED: (0, 2),
    events.NEW_LIQUIDATION_THRESHOLD: (2,),
    events.NEW_MARKET_LIQUIDATION_INCENTIVE: (2,),
    events.ACTION_PAUSED_MARKET: (2,),
    events.FORCED_LIQUIDATION_UPDATED: (1,),
    events.MARKET_UNLISTED: (1,),
    events.POOL_CREATED: (1,),
    events.POOL_MARKET_INITIALIZED: (2,),
    events.POOL_MARKET_REMOVED: (2,),
    events.POOL_ACTIVE_STATUS_UPDATED: (1,),
    events.POOL_FALLBACK_STATUS_UPDATED: (1,),
    events.POOL_SELECTED: (2,),
}


def check(logs: Iterable[Log]) -> None:
    """
    Refuse logs that are cut short.

    A block has many logs of few kinds, so kinds are looked at, and a log only to name it.

    Raises:
        Rebuild: One of them does not decode, so what it says has to be read from the contracts.
    """
    logs = list(logs)
    kinds = {(log.topics[0], len(log.topics), len(log.data)) for log in logs}
    if all(_fault(*kind) is None for kind in kinds):
        return
    for log in logs:
        fault = _fault(log.topics[0], len(log.topics), len(log.data))
        if fault is not None:
            raise abi.undecoded(log, fault)


def _fault(topic: bytes, topics: int, size: int) -> str | None:
    needed, indexed = SHAPES.get(topic, 0), topics - 1
    found = indexed + size // abi.WORD
    if found < needed or (topic in SHAPES and indexed not in INDEXED.get(topic, (0,))):
        return f"{indexed} topics and {found} words instead of {needed}"
    return None
