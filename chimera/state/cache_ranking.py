"""The riskiest of the positions in Redis, by the ranking that is written with them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection
from typing import NamedTuple

from chimera.domain.position import Position
from chimera.state.cache_redis import RedisPositions
from chimera.state.valuation import instance_in


class Riskiest(NamedTuple):
    """Positions in no order, and how many keys were left unread: whatever is there ranks later."""

    positions: list[Position]
    unread: int


async def riskiest(
    redis: RedisPositions, *, count: int, bound: float | None = None, instance: str | None = None
) -> Riskiest | None:
    """
    Return the `count` positions with the lowest health factors, and those who rank with them.

    Ranks are floats, and one may have outlived its key: they say whom to read, the documents say
    in which order. A float never ranks before another if its figure is the greater one.

    Args:
        redis: The published positions.
        count: How many are needed.
        bound: Instead, all whose health factor is not above it.
        instance: Whose; None for all instances that have keys.

    Returns:
        None where a ranking does not know every key, or too few of its members have one: then
        only reading everything tells.

    Raises:
        redis.exceptions.RedisError: It is away, or a ranking is of another type.
    """
    keys: defaultdict[str, set[str]] = defaultdict(set)
    for name in await redis.names():
        keys[instance_in(name)].add(name)
    found, unread = list[Position](), 0
    for name, its in keys.items():
        if instance in (None, name):
            part = await _riskiest_of(redis, name, its, count, bound)
            if part is None:
                return None
            found += part.positions
            unread += part.unread
    return Riskiest(found, unread)


async def _riskiest_of(
    redis: RedisPositions, instance: str, keys: Collection[str], count: int, bound: float | None
) -> Riskiest | None:
    ranking = await redis.ranking(instance, count=count, bound=bound)
    if ranking.members < len(keys):
        return None
    names = [name for name in ranking.names if name in keys]
    there = [position for position in await redis.read_many(names) if position is not None]
    if bound is None:
        ranked = sum(_rank(position) <= ranking.highest for position in there)
        if ranked < min(count, len(keys)):
            return None
    return Riskiest(there, len(keys) - len(names))


def _rank(position: Position) -> float:
    return math.inf if position.health_factor is None else float(position.health_factor)
