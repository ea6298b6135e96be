"""How large every log is that we read, so that none is misread for want of a word."""

from __future__ import annotations

from collections.abc import Sequence

from chimera.domain import abi
from chimera.domain.block import Log
from chimera.protocols.morpho_blue import events

# (topics, words of data at the least), as the ABIs have them
SHAPES: dict[bytes, tuple[int, int]] = {
    events.CREATE_MARKET: (2, 5),
    events.SUPPLY: (4, 2),
    events.WITHDRAW: (4, 3),
    events.BORROW: (4, 3),
    events.REPAY: (4, 2),
    events.SUPPLY_COLLATERAL: (4, 1),
    events.WITHDRAW_COLLATERAL: (4, 2),
    events.LIQUIDATE: (4, 5),
    events.ACCRUE_INTEREST: (2, 3),
    events.SET_FEE: (2, 1),
    events.SET_FEE_RECIPIENT: (2, 0),
    events.SET_AUTHORIZATION: (4, 1),
    events.BORROW_RATE_UPDATE: (2, 2),
}


def check(logs: Sequence[Log]) -> None:
    """
    Refuse logs that are cut short, and new markets whose terms are not those of their id.

    A block has many logs of few kinds, so kinds are looked at, and a log only to name it.

    Raises:
        Rebuild: One of them does not decode, so what it says has to be read from the contracts.
    """
    kinds = {(log.topics[0], len(log.topics), len(log.data)) for log in logs}
    if any(_is_short(*kind) for kind in kinds):
        for log in logs:
            abi.check_size(log, *SHAPES[log.topics[0]])
    for log in logs:
        is_new = log.topics[0] == events.CREATE_MARKET
        if is_new and events.terms_in(log).id != events.market_in(log):
            raise abi.undecoded(log, "its terms have another id")


def _is_short(topic: bytes, topics: int, size: int) -> bool:
    wanted, words = SHAPES[topic]
    return topics != wanted or size < words * abi.WORD
