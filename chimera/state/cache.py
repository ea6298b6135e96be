"""The published face of the book: Redis while it answers, memory while it does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from chimera.domain.notices import RedisState
from chimera.domain.position import Position
from chimera.service import Service, heed_cancellation
from chimera.state.cache_memory import MemoryPositions
from chimera.state.cache_ranking import Riskiest, riskiest
from chimera.state.cache_redis import NO_HORIZON, RedisPositions, connect
from chimera.state.valuation import Publishable, name_of

LOST = (RedisConnectionError, RedisTimeoutError, OSError)
FIRST_DELAY, LONGEST_DELAY = 0.1, 2.0  # seconds between attempts to get Redis back

AHEAD = 64  # blocks by which another daemon's node may be ahead of ours

log = structlog.get_logger()


class PositionCache(Service):
    """
    Positions by key with a time to live; readers never see whether Redis is there.

    Everything is written to memory as well (as what the book has anyway), so that a lost Redis is
    a change of reader and nothing else. Only a broken or silent connection counts as lost; any
    other refusal (memory full, a key of another type) is logged and counted, and work goes on.

    Args:
        url: Redis URL; "" for memory only.
        ttl: Seconds that a key lives after it was written.
        clock: Seconds of a monotonic clock.
        beat: Seconds between two looks at whether Redis is there.
        client: Makes the Redis client from the URL.
        on_fault: Told the name of every error that Redis answered.
    """

    def __init__(
        self,
        url: str,
        *,
        ttl: float = 60,
        clock: Callable[[], float] = time.monotonic,
        beat: float = 1.0,
        client: Callable[[str], Any] = connect,
        on_fault: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self.ttl = ttl
        self.on_returned: Callable[[], None] | None = None  # set by the publisher
        self.head: Callable[[], int] | None = None  # set by whoever knows the node's newest block
        self._beat = beat
        self._on_fault = on_fault
        self._memory = MemoryPositions(ttl=ttl, clock=clock)
        self._redis = RedisPositions(client(url), ttl=ttl) if url else None
        self._connected = False
        self._identity: str | None = None

    @property
    def state(self) -> RedisState:
        """Say where positions are published now."""
        if self._redis is None:
            return "disabled"
        return "connected" if self._connected else "fallback"

    # --- positions -------------------------------------------------------------------------------

    async def write(self, contents: Sequence[Publishable], *, over: int = 0) -> int:
        """
        Publish positions; one that is older than what stands there is left out.

        Args:
            contents: What to write.
            over: Replace also what is newer, up to this block (which has left the chain).

        Returns:
            How many were written.
        """
        written = self._memory.write(contents, over=over)
        if self._redis is not None and self._connected:
            with self._watched():
                horizon = self.horizon
                written = await self._redis.write(contents, over=over, horizon=horizon)
        return written

    async def get(self, protocol: str, user: str) -> Position | None:
        """Return one published position (`user` in EIP-55), or None."""
        name = name_of(protocol, user)
        if self._redis is not None and self._connected:
            with self._watched():
                return await self._redis.read(name)
        return self._memory.read(name)

    async def stored(self, names: Sequence[str]) -> list[Position | None] | None:
        """Return what stands in Redis under each of these keys; None where Redis is not there."""
        if self._redis is not None and self._connected:
            with self._watched():
                return await self._redis.read_many(names)
        return None

    async def get_all(self) -> list[Position]:
        """Return every published position."""
        if self._redis is not None and self._connected:
            with self._watched():
                return await self._redis.read_all()
        return await self._memory.read_all()

    async def riskiest(
        self, count: int, *, bound: float | None = None, instance: str | None = None
    ) -> Riskiest | None:
        """
        Return the `count` lowest health factors (or all up to `bound`), and ties, in no order.

        None where only `get_all` can tell: Redis is not there, or its ranking lacks somebody.
        """
        if self._redis is not None and self._connected:
            with self._watched():
                return await riskiest(self._redis, count=count, bound=bound, instance=instance)
        return None

    async def names(self) -> list[str]:
        """Return the key of every published position."""
        if self._redis is not None and self._connected:
            with self._watched():
                return await self._redis.names()
        return await self._memory.names()

    async def remove(self, names: Iterable[str], *, block: int = NO_HORIZON, over: int = 0) -> int:
        """
        Remove keys; return how many were there.

        Args:
            names: Which.
            block: The block that has no such positions; those of later ones stay.
            over: Remove those of later blocks all the same, up to this one.
        """
        names = list(names)
        removed = self._memory.remove(names)
        if self._redis is not None and self._connected:
            with self._watched():
                horizon = self.horizon
                removed = await self._redis.remove(names, block=block, over=over, horizon=horizon)
        return removed

    @property
    def horizon(self) -> int:
        """The latest block of which another daemon may have written: its node may be ahead."""
        head = 0 if self.head is None else self.head()
        return head + AHEAD if head else NO_HORIZON

    # --- the connection --------------------------------------------------------------------------

    async def run(self) -> None:
        """Look after the connection: notice its loss and its return, also when nobody writes."""
        await self.connect()
        self.ready.set()
        delay = FIRST_DELAY
        try:
            while self._redis is not None:
                await asyncio.sleep(self._beat if self._connected else delay)
                came_back = await self.connect()
                delay = FIRST_DELAY if came_back else min(2 * delay, LONGEST_DELAY)
        finally:
            await self.close()

    async def connect(self) -> bool:
        """Look whether Redis is there; return whether it is. Never raises for one that is not."""
        if self._redis is None:
            return False
        with self._watched():
            identity, kept = await self._redis.identity(), await self._redis.mark()
            if not self._connected or identity != self._identity or not kept:
                emptied = self._connected and identity == self._identity
                self._identity, self._connected = identity, True
                log.info("redis_emptied" if emptied else "redis_connected")
                if self.on_returned is not None:
                    self.on_returned()
            return True
        if self._identity is not None:
            await self._redis.drop_connections()
        return False

    async def close(self) -> None:
        """Close the connections."""
        if self._redis is not None:
            self._connected = False
            await self._redis.close()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """
        Survive what Redis may do: being away means fallback, anything else only a line.

        The client sends by `asyncio.wait_for`, hence the last line.
        """
        try:
            yield
        except LOST as error:
            if self._connected or self._identity is None:
                log.warning("redis_lost", error=str(error))
            self._connected, self._identity = False, self._identity or ""
            self._count(error)
        except RedisError as error:
            log.warning("redis_refused", error=str(error))
            self._count(error)
        heed_cancellation()

    def _count(self, error: Exception) -> None:
        if self._on_fault is not None:
            self._on_fault(type(error).__name__)
