"""The cache's face: the published positions, as whoever works with the engine reads and writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from eth_utils.address import is_address, to_checksum_address

from chimera.domain.block import Address
from chimera.domain.position import Position
from chimera.state.cache import PositionCache
from chimera.state.mirror import Mirror
from chimera.state.publisher import write_mirror
from chimera.state.valuation import PREFIX, Finished, checksummed, name_of

User = str | Address


class CacheFace:
    """
    Reads and writes of what is published in Redis, or in memory while Redis is away.

    `user` is an address in any case, or its 20 bytes; keys are EIP-55. A missing position is None.
    The book knows better and overwrites what is written here at its next refresh.

    Args:
        cache: The published positions.
        mirror: The book that they are made from.
        rebuild: Reads the book anew from the chain.
    """

    def __init__(
        self,
        cache: PositionCache,
        mirror: Mirror,
        rebuild: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.cache = cache
        self.mirror = mirror
        self.rebuild = rebuild
        self._counted: dict[tuple[str, str], int] = {}  # last block of update_position_health

    async def get_position(self, protocol: str, user: User) -> Position | None:
        """Return one published position, or None."""
        return await self.cache.get(protocol, _owner(user))

    async def get_all_positions(self) -> list[Position]:
        """Return every published position."""
        return await self.cache.get_all()

    async def update_position(self, position: Position) -> bool:
        """
        Publish a position, with the `blocks_unhealthy` of the one that it replaces.

        Returns:
            False when a newer one (by `block`) stands there.
        """
        owner = _owner(position.user)
        old = await self.cache.get(position.protocol, owner)
        streak = position.blocks_unhealthy if old is None else old.blocks_unhealthy
        new = replace(position, user=owner, blocks_unhealthy=streak)
        return await self.cache.write([Finished(new)]) == 1

    async def update_position_health(
        self,
        protocol: str,
        user: User,
        is_healthy: bool,  # noqa: FBT001  (the interface that operators know)
        block_number: int,
    ) -> bool:
        """
        Count one more block under 1, or start again at 0.

        Returns:
            False when there is no such position, or this block has been counted already.
        """
        owner = _owner(user)
        old = await self.cache.get(protocol, owner)
        if old is None or block_number <= self._counted_to(protocol, owner):
            return False
        self._counted[protocol, owner] = block_number
        streak = 0 if is_healthy else old.blocks_unhealthy + 1
        return await self.cache.write([Finished(replace(old, blocks_unhealthy=streak))]) == 1

    async def remove_position(self, protocol: str, user: User) -> bool:
        """Remove a published position; tell whether there was one."""
        owner = _owner(user)
        self._counted.pop((protocol, owner), None)
        return await self.cache.remove([name_of(protocol, owner)]) > 0

    async def rebuild_cache_from_blockchain(self) -> int:
        """Read the book anew from the chain and publish all of it; count the positions."""
        if self.rebuild is not None:
            await self.rebuild()
        return await write_mirror(self.cache, self.mirror)

    async def get_cache_stats(self) -> dict[str, Any]:
        """Return total_positions, positions_by_protocol, redis_connected and current_block."""
        names = await self.cache.names()
        protocols = Counter(name.removeprefix(PREFIX).rpartition(":")[0] for name in names)
        book = self.mirror.book
        return {
            "total_positions": len(names),
            "positions_by_protocol": dict(protocols),
            "redis_connected": self.cache.state == "connected",
            "current_block": book.block.number if book.loaded else 0,
        }

    def forget_counts_above(self, block_number: int) -> None:
        """Take back the counts of blocks that have left the chain."""
        for key, counted in self._counted.items():
            self._counted[key] = min(counted, block_number)

    def _counted_to(self, protocol: str, owner: str) -> int:
        """Return the last block in the streak: detection counts whatever is in the book."""
        counted = self._counted.get((protocol, owner), -1)
        book = self.mirror.book
        if is_address(owner):
            key = self.mirror.key(protocol, Address(bytes.fromhex(owner[2:])))
            if key is not None and book.get(key):
                counted = max(counted, book.block.number)
        return counted


def _owner(user: User) -> str:
    if isinstance(user, bytes):
        return checksummed(Address(user))
    return str(to_checksum_address(user)) if is_address(user) else user
