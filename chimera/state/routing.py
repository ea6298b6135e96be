"""Whose logs are whose, where several protocols share the blocks of one chain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

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
    claimed = _claims(queries)
    shares: dict[str, list[Log]] = {name: [] for name in queries}
    for log in logs:
        for name in claimed.get(log.address, queries):
            if log.topics and log.topics[0] in queries[name].topics:
                shares[name].append(log)
    return shares


def _claims(queries: Mapping[str, LogQuery]) -> Mapping[Address, Iterable[str]]:
    claimed: dict[Address, list[str]] = {}
    for name, query in queries.items():
        for address in query.addresses:
            claimed.setdefault(address, []).append(name)
    return claimed
