"""How large every log is that we read, so that none is misread for want of a word."""

from __future__ import annotations

from collections.abc import Sequence

from chimera.domain import abi
from chimera.domain.block import Log
from chimera.protocols.aave_v3 import events

# (topics, words of data at the least), as the ABIs have them
SHAPES: dict[bytes, tuple[int, int]] = {
    events.RESERVE_DATA_UPDATED: (2, 5),
    events.COLLATERAL_ENABLED: (3, 0),
    events.COLLATERAL_DISABLED: (3, 0),
    events.USER_EMODE_SET: (2, 1),
    events.LIQUIDATION_CALL: (4, 4),
    events.MINT: (3, 3),
    events.BURN: (3, 3),
    events.BALANCE_TRANSFER: (3, 2),
    events.ATOKEN_INITIALIZED: (3, 6),
    events.DEBT_TOKEN_INITIALIZED: (3, 5),
    events.STABLE_DEBT_MINT: (3, 6),
    events.RESERVE_INITIALIZED: (3, 3),
    events.RESERVE_DROPPED: (2, 0),
    events.COLLATERAL_CONFIGURATION_CHANGED: (2, 3),
    events.LIQUIDATION_PROTOCOL_FEE_CHANGED: (2, 2),
    events.RESERVE_ACTIVE: (2, 1),
    events.RESERVE_PAUSED: (2, 1),
    events.EMODE_CATEGORY_ADDED: (2, 5),
    events.EMODE_ASSET_CATEGORY_CHANGED: (2, 2),
    events.COLLATERAL_IN_EMODE_CHANGED: (2, 2),
    events.BORROWABLE_IN_EMODE_CHANGED: (2, 2),
    events.LTVZERO_IN_EMODE_CHANGED: (2, 2),
    events.GRACE_PERIOD_CHANGED: (2, 1),
    events.GRACE_PERIOD_DISABLED: (2, 0),
    events.ATOKEN_UPGRADED: (4, 0),
    events.VARIABLE_DEBT_TOKEN_UPGRADED: (4, 0),
    events.PRICE_ORACLE_UPDATED: (3, 0),
    events.SENTINEL_UPDATED: (3, 0),
    events.POOL_UPDATED: (3, 0),
    events.ADDRESS_SET: (4, 0),
    events.UPGRADED: (2, 0),
}

# Where an index stands, by which amounts are divided; it begins at one ray and never falls
INDEXES = {
    events.MINT: (abi.place(2),),
    events.BURN: (abi.place(2),),
    events.RESERVE_DATA_UPDATED: (abi.place(3), abi.place(4)),
}
ZERO = bytes(abi.WORD)


def check(logs: Sequence[Log]) -> set[bytes]:
    """
    Refuse logs that are cut short, or say what no pool says; return all first topics.

    Raises:
        Rebuild: One of them does not decode, so what it says has to be read from the contracts.
    """
    topics = check_sizes(logs)
    for log in logs:
        check_indexes(log)
    return topics


def check_sizes(logs: Sequence[Log]) -> set[bytes]:
    """
    Refuse logs that are cut short; return all first topics. Raises as `check`.

    A block has many logs of few kinds, so kinds are looked at, and a log only to name it.
    """
    kinds = {(log.topics[0], len(log.topics), len(log.data)) for log in logs}
    if any(_is_short(*kind) for kind in kinds):
        for log in logs:
            if (shape := SHAPES.get(log.topics[0])) is not None:
                abi.check_size(log, *shape)
    return {topic for topic, _, _ in kinds}


def check_indexes(log: Log) -> None:
    """Refuse a log with an index of 0. Raises as `check`."""
    for index in INDEXES.get(log.topics[0], ()):
        if log.data[index] == ZERO:
            raise abi.undecoded(log, "an index in it is 0")


def _is_short(topic: bytes, topics: int, size: int) -> bool:
    wanted, words = SHAPES.get(topic, (topics, 0))
    return topics != wanted or size < words * abi.WORD
