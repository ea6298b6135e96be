"""What the command line asks for, each on the rooms that it needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chimera.app.build import (
    Rooms,
    build_cache,
    build_rooms,
)
from chimera.app.daemon import Daemon
from chimera.app.heartbeat import Progress
from chimera.app.proving import prove_node
from chimera.domain.notices import RebuildReport
from chimera.domain.position import Position
from chimera.errors import Unreachable
from chimera.observability.metrics import Metrics
from chimera.service import Service
from chimera.settings import Settings
from chimera.state.publisher import write_mirror
from chimera.state.rebuild import compare_views


async def run(settings: Settings, progress: Progress | None = None) -> None:
    """Run the daemon until it is told to stop."""
    await Daemon(build_rooms(settings, progress=progress)).run()


async def rebuild(
    settings: Settings,
    *,
    protocol: str | None,
    from_block: int | None,
    verify: bool,
    progress: Progress | None = None,
) -> RebuildReport:
    """
    Read the book from the chain without a daemon, and publish all of it to the cache.

    `mismatches` counts accounts that differ from the contract's own view; without `verify`, 0.

    Raises:
        Refuse: The node or a contract is not what the configuration says.
        Unreachable: No node answers, or the history cannot be opened.
    """
    rooms = build_rooms(only(settings, protocol), progress=progress)
    began = time.monotonic_ns()
    try:
        await prove_node(rooms.chain)
        await rooms.bootstrap.prove()
        await rooms.history.open()  # only now: what is refused leaves no file behind
        async with running(rooms.writer):
            await rooms.bootstrap.search(await rooms.chain.reader.head())
            block = await rooms.chain.reader.head()
            accounts = await rooms.bootstrap.load(block, from_block=from_block)
        rooms.engine.adopt()
        async with running(rooms.cache):
            await write_mirror(rooms.cache, rooms.engine.mirror)
        wrong = await _count_wrong(rooms) if verify else 0
    finally:
        await rooms.close()
    return RebuildReport(accounts, wrong, (time.monotonic_ns() - began) // 1_000_000)


async def cached_positions(
    settings: Settings,
    *,
    count: int | None = None,
    bound: float | None = None,
    instance: str | None = None,
) -> tuple[list[Position], int]:
    """
    Read what a daemon has published in Redis.

    Args:
        settings: Where Redis is.
        count: How many of the lowest health factors are enough; None for everything.
        bound: With `count`: instead, all whose health factor is not above it.
        instance: With `count`: of which protocol.

    Returns:
        At least what is asked for, in no order, and how many more there are, all ranked later.

    Raises:
        Unreachable: Redis does not answer, or none is configured.
    """
    cache = build_cache(settings, Metrics())
    async with running(cache):
        if cache.state != "connected":
            raise Unreachable("neither a daemon nor Redis answers: start one with `chimera run`")
        if count is not None:
            found = await cache.riskiest(count, bound=bound, instance=instance)
            if found is not None:
                return found
        return await cache.get_all(), 0


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[None]:
    """Run one service for as long as it is needed."""
    async with asyncio.TaskGroup() as group:
        await service.start(group)
        yield
        await service.stop()


async def _count_wrong(rooms: Rooms) -> int:
    reader, count = rooms.chain.reader.labelled("verify"), 0
    for name in rooms.book.protocols:
        _, wrong = await compare_views(reader, rooms.chain.adapters, rooms.book, protocol=name)
        count += len(wrong)
    return count


def only(settings: Settings, protocol: str | None) -> Settings:
    """Narrow the settings to one protocol, which the command line has found among them."""
    if protocol is None:
        return settings
    chosen = tuple(its for its in settings.protocols if its.name == protocol)
    return settings.model_copy(update={"protocols": chosen})
