"""The chain's state over JSON-RPC, every answer tied to its block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from chimera.domain.block import Address, Block, BlockHash, Log, LogQuery
from chimera.domain.call import Call, Readings
from chimera.errors import RangeTooWide
from chimera.rpc.client import Rpc
from chimera.rpc.faults import Garbled, TimedOut, UnknownBlock
from chimera.rpc.multicall import Multicall
from chimera.rpc.wire import HEADER, LOGS, TEXT, Filter, WireLog, hexed, octets, quantity


class RpcReader:
    """
    Implements `ports.ChainReader`.

    `purpose` labels the requests of `read`, of `logs_between` and of `code_at` in the metrics.
    """

    def __init__(
        self, rpc: Rpc, *, multicall: Multicall | None = None, purpose: str = "readings"
    ) -> None:
        self._rpc = rpc
        self._multicall = multicall or Multicall(rpc)
        self._purpose = purpose
        self._newest_filter = Filter(LogQuery(frozenset(), frozenset()))

    def labelled(self, purpose: str) -> Self:
        """Return the same reader with another label ("bootstrap", "backfill", "check")."""
        return type(self)(self._rpc, multicall=self._multicall, purpose=purpose)

    async def chain_id(self) -> int:
        """Return the node's chain id."""
        return quantity(await self._rpc.call("eth_chainId", [], TEXT, purpose="check"))

    async def head(self) -> Block:
        """Return the newest block of the node."""
        block = await self._block("eth_getBlockByNumber", "latest")
        if block is None:
            raise Garbled("the node has no newest block")
        return block

    async def block_at(self, number: int) -> Block | None:
        """Return the canonical block of this height, or None."""
        block = await self._block("eth_getBlockByNumber", hex(number))
        if block is not None and block.number != number:
            raise Garbled(f"asked for block {number}, got {block.number}")
        return block

    async def block_of(self, block_hash: BlockHash) -> Block | None:
        """Return the block with this hash, or None."""
        block = await self._block("eth_getBlockByHash", hexed(block_hash))
        if block is not None and block.hash != block_hash:
            raise Garbled(f"asked for block {hexed(block_hash)}, got {hexed(block.hash)}")
        return block

    async def logs_of(self, block: Block, query: LogQuery) -> tuple[Log, ...]:
        """Return the matching logs of exactly this block, in order."""
        block_hash = hexed(block.hash)
        found = await self._logs({"blockHash": block_hash}, query, "logs")
        if [log.block_hash for log in found].count(block_hash) != len(found):
            raise Garbled(f"the node mixed other logs into block {block.number}")
        return self._filter(query).logs(found)

    async def logs_between(self, first: int, last: int, query: LogQuery) -> tuple[Log, ...]:
        """
        Return the matching logs of a range of canonical blocks, in order.

        Raises:
            Retry: The node failed; `RangeTooWide` when a narrower range may work.
        """
        try:
            found = await self._logs(
                {"fromBlock": hex(first), "toBlock": hex(last)}, query, self._purpose
            )
        except TimedOut as fault:
            raise RangeTooWide(str(fault)) from fault
        return self._filter(query).logs(found)

    async def read(self, calls: Sequence[Call], block: Block) -> Readings:
        """
        Make all calls at exactly this block, in as few requests as the node allows.

        Raises:
            Retry: The node failed, or does not have the block (`UnknownBlock`).
            Rebuild: It no longer has the state of this block (`StateGone`).
        """
        return await self._multicall.read(calls, block, purpose=self._purpose)

    async def code_at(self, address: Address) -> bytes:
        """Return the code of `address` at the newest block."""
        asked = [hexed(address), "latest"]
        return octets(await self._rpc.call("eth_getCode", asked, TEXT, purpose=self._purpose))

    async def _block(self, method: str, which: str) -> Block | None:
        try:
            header = await self._rpc.call(method, [which, False], HEADER, purpose="head")
        except UnknownBlock:
            return None
        return None if header is None else header.block()

    async def _logs(
        self, where: dict[str, Any], query: LogQuery, purpose: str
    ) -> Sequence[WireLog]:
        if not query.addresses or not query.topics:
            return ()
        asked = [{**where, **self._filter(query).members}]
        return await self._rpc.call("eth_getLogs", asked, LOGS, purpose=purpose)

    def _filter(self, query: LogQuery) -> Filter:
        """Return how nodes write the query; of a feed it hardly ever changes."""
        if self._newest_filter.query != query:
            self._newest_filter = Filter(query)
        return self._newest_filter
