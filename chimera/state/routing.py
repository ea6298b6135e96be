"""Whose logs are whose, where several protocols share the blocks of one chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from chimera.domain.block import Address, Log, LogQuery


def route(queries: Mapping[str, LogQuery], logs: Sequence[Log]) -> Mapping[str, Sequence[Log]]:
    """
    Give each protocol the logs that are its own, in their order.

    One query asks for the contracts and the topics of all protocols at once, so that a block also
    brings logs which nobody wanted, such as token transfers of a protocol that needs none of them.
    A contract that no query names was found while the block was sealed: whoever knows the topic may
    have its log.

    Args:
        queries: What each protocol asked for, by its name.
        logs: All logs of a block.
    """
    if len(queries) == 1:
        return dict.fromkeys(queries, logs)
    claimed = _claims(tuple((name, query.addresses) for name, query in queries.items()))
    shares: dict[str, list[Log]] = {name: [] for name in queries}
    for log in logs:
        for name in claimed.get(log.address, queries):
            if log.topics and log.topics[0] in queries[name].topics:
                shares[name].append(log)
    return shares


@lru_cache(maxsize=1)  # most blocks have the same contracts as the one before
def _claims(
    queries: tuple[tuple[str, frozenset[Address]], ...],
) -> Mapping[Address, Sequence[str]]:
    claimed: dict[Address, list[str]] = {}
    for name, addresses in queries:
        for address in addresses:
            claimed.setdefault(address, []).append(name)
    return claimed
