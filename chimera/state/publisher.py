"""The task that keeps the cache as fresh as the book, off the path of the blocks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import structlog

from chimera.domain.block import Address
from chimera.domain.market import MARKET_FOLLOWS, Key
from chimera.service import Service, Turn
from chimera.state.cache import PositionCache
from chimera.state.mirror import Mirror, Roll
from chimera.state.valuation import PREFIX, checksummed, name_of

SLICE = 500  # accounts written by one command: sending more would take a turn of its own
SAMPLED = 100  # accounts of a sample that are looked at in one go
ENDS = (":", MARKET_FOLLOWS)  # of an instance's name, within the name of a key
ROUNDS_PER_TTL = 3  # every key is rewritten this often while it lives

log = structlog.get_logger()


class CachePublisher(Service):
    """
    Writes positions of the book to the cache, always as they are at its newest block.

    What a block changed goes first; besides, every account with debt is rewritten by the clock,
    spread evenly over a third of the time to live. After a rollback, a rebuild or the return of
    Redis everything is written at once. Accounts without debt have no key.

    Args:
        cache: Where to write.
        mirror: The book, as drafts of positions.
        on_written: Told the seconds from the arrival of a block to its positions in the cache.
        clock: Seconds of a monotonic clock, on which arrival times are nanoseconds.
        tick: Seconds between two steps of the refresh.
    """

    def __init__(
        self,
        cache: PositionCache,
        mirror: Mirror,
        *,
        on_written: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        tick: float = 0.2,
    ) -> None:
        super().__init__()
        self._cache = cache
        self._mirror = mirror
        self._on_written = on_written
        self._clock = clock
        self._tick = tick
        self._wake = asyncio.Event()
        self._pending: dict[Key, None] = {}
        self._arrived: float | None = None
        self._everything = False
        self._highest = self._over = 0
        self._round: Roll | None = None  # before the first one
        self._done, self._started = 0, clock()
        cache.on_returned = self.publish_everything

    @property
    def pending(self) -> int:
        """How many changed accounts wait to be written."""
        return len(self._pending)

    def publish_block(self, keys: Iterable[Key], *, arrived_ns: int = 0) -> None:
        """
        Have these accounts written soon; what has not been written yet is joined.

        Args:
            keys: What the block touched, and what is near 1.
            arrived_ns: Monotonic clock at the block's arrival; 0 when it was not a live one.
        """
        self._pending.update(dict.fromkeys(keys))
        if arrived_ns and self._arrived is None:
            self._arrived = arrived_ns / 1e9
        self._wake.set()

    def publish_everything(self, *, force: bool = False) -> None:
        """Have every account with debt written; `force` after blocks were taken back."""
        self._everything = True
        if force:
            self._over = self._highest
        self._wake.set()

    def wrote_up_to(self, block_number: int) -> None:
        """Be told of a block that was published from here, such as by the process before us."""
        self._highest = max(self._highest, block_number)

    async def run(self) -> None:
        """Write until cancelled."""
        self.ready.set()
        while True:
            if self._everything:
                await self.write_everything()
            await self._write_pending()
            await self._refresh()
            self._wake.clear()
            if not (self._everything or self._pending):
                await self._rest()

    async def write_everything(self) -> int:
        """Write every account with debt, remove the keys of all others of ours; count writes."""
        self._everything = False
        roll, written = self._mirror.roll(), 0
        for start in range(0, len(roll), SLICE):
            written += await self._put(roll.between(start, start + SLICE))
            await self._write_pending()
        removed = await remove_strays(self._cache, self._mirror, over=self._over)
        self._round, self._done, self._started = roll, len(roll), self._clock()
        log.info("cache_rewritten", written=written, removed=removed)
        return written

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(self._tick):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _put(self, keys: Sequence[Key]) -> int:
        """Write those with debt; whoever has lost it is among what a block changed."""
        await Turn().end()
        self.wrote_up_to(self._mirror.book.block.number)
        return await put(self._cache, self._mirror, keys, over=self._over)

    async def _write_pending(self) -> None:
        keys, self._pending = list(self._pending), {}
        arrived, self._arrived = self._arrived, None
        for start in range(0, len(keys), SLICE):
            await Turn().end()
            self.wrote_up_to(self._mirror.book.block.number)
            part = keys[start : start + SLICE]
            await write_slice(self._cache, self._mirror, part, over=self._over)
        if arrived is not None and self._on_written is not None:
            self._on_written(self._clock() - arrived)

    async def _refresh(self) -> None:
        """Write as much of the round as its time has come for."""
        period = self._cache.ttl / ROUNDS_PER_TTL
        elapsed = self._clock() - self._started
        if self._round is not None:
            due = round(len(self._round) * min(1.0, elapsed / period))
            for start in range(self._done, due, SLICE):
                await self._put(self._round.between(start, min(start + SLICE, due)))
            self._done = max(self._done, due)
        if elapsed >= period:
            self._round, self._done, self._started = self._mirror.roll(), 0, self._clock()


def slices(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    """Cut a sample into parts that are looked at without anybody having to wait for long."""
    return (keys[start : start + SAMPLED] for start in range(0, len(keys), SAMPLED))


async def put(cache: PositionCache, mirror: Mirror, keys: Iterable[Key], *, over: int = 0) -> int:
    """Write the accounts with debt among `keys`, as they are now; count writes."""
    turn = Turn()
    drafts = mirror.drafts(keys)
    await turn.give_way()
    return await cache.write(drafts, over=over)


async def write_slice(
    cache: PositionCache, mirror: Mirror, keys: Sequence[Key], *, over: int = 0
) -> int:
    """
    Write the accounts with debt among `keys`, remove the keys of the others; count writes.

    Both are as they are now; a protocol may be left out before the removal.
    """
    block, closed = mirror.book.block.number, [key for key in keys if not mirror.owes(key)]
    written = await put(cache, mirror, keys, over=over)
    if names := [_name(key, mirror) for key in closed if key[0] in mirror.adapters]:
        await cache.remove(names, block=block, over=over)
    return written


async def write_mirror(cache: PositionCache, mirror: Mirror) -> int:
    """Write every account with debt, and remove the keys of all others; count writes."""
    roll, written = mirror.roll(), 0
    for start in range(0, len(roll), SLICE):
        await Turn().end()
        written += await put(cache, mirror, roll.between(start, start + SLICE))
    await remove_strays(cache, mirror)
    return written


async def remove_strays(cache: PositionCache, mirror: Mirror, *, over: int = 0) -> int:
    """Remove the keys of accounts that have no debt (any more) in our protocols; count them."""
    ours = tuple(f"{PREFIX}{name}{mark}" for name in mirror.protocols for mark in ENDS)
    names, removed = await cache.names(), 0
    for start in range(0, len(names), SLICE):
        part = names[start : start + SLICE]
        strays = [name for name in part if name.startswith(ours) and _is_stray(name, mirror)]
        if strays:
            removed += await cache.remove(strays, block=mirror.book.block.number, over=over)
        await asyncio.sleep(0)
    return removed


def _is_stray(name: str, mirror: Mirror) -> bool:
    protocol, _, user = name.removeprefix(PREFIX).rpartition(":")
    try:
        key = mirror.key(protocol, Address(bytes.fromhex(user.removeprefix("0x"))))
    except ValueError:
        return False  # nobody's position; left to whoever wrote it
    return key is None or not mirror.owes(key)


def _name(key: Key, mirror: Mirror) -> str:
    protocol, user = mirror.adapters[key[0]].published(key[1])
    return name_of(protocol, checksummed(user))
