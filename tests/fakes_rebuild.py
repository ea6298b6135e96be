"""The walls around a start: a history, a node and its past logs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from chimera.domain.block import Address, Block, BlockHash, Log, LogQuery
from chimera.domain.call import Call, Readings
from chimera.domain.opportunity import Checkpoint, Opportunity
from chimera.errors import Rebuild


class FakeHistory:
    """Remembers borrowers and checkpoints in memory."""

    def __init__(self, *checkpoints: Checkpoint) -> None:
        self.known: dict[str, set[Address]] = {}
        self.scanned: dict[str, int] = {}
        self.kept = list(checkpoints)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def users(self, protocol: str) -> list[Address]:
        return sorted(self.known.get(protocol, ()))

    async def add_users(self, protocol: str, users: Iterable[Address]) -> None:
        self.known.setdefault(protocol, set()).update(users)

    async def scanned_to(self, protocol: str) -> int | None:
        return self.scanned.get(protocol)

    async def set_scanned_to(
        self, protocol: str, block_number: int, users: Iterable[Address], *, scan: str
    ) -> None:
        await self.add_users(protocol, users)
        self.scanned[scan] = block_number

    async def checkpoints(self) -> list[Checkpoint]:
        return self.kept

    async def save(
        self, checkpoint: Checkpoint | None, opportunities: Sequence[Opportunity]
    ) -> None: ...

    async def opportunities(self, limit: int) -> list[Opportunity]:
        del limit
        return []


class FakeReader:
    """A chain whose every call answers with what `answers` says, by call data."""

    def __init__(self, *blocks: Block) -> None:
        self.blocks = {block.number: block for block in blocks}
        self.answers: dict[bytes, bytes | None] = {}
        self.asked: list[tuple[int, Block]] = []
        self.fails_at: dict[int, Exception] = {}

    async def chain_id(self) -> int:
        return 31337

    async def head(self) -> Block:
        return self.blocks[max(self.blocks)]

    async def block_at(self, number: int) -> Block | None:
        return self.blocks.get(number)

    async def block_of(self, block_hash: BlockHash) -> Block | None:
        return next((block for block in self.blocks.values() if block.hash == block_hash), None)

    async def logs_of(self, block: Block, query: LogQuery) -> tuple[Log, ...]:
        del block, query
        return ()

    async def logs_between(self, first: int, last: int, query: LogQuery) -> tuple[Log, ...]:
        del first, last, query
        return ()

    async def read(self, calls: Sequence[Call], block: Block) -> Readings:
        self.asked.append((len(calls), block))
        if block.number in self.fails_at:
            raise self.fails_at[block.number]
        return {call: self.answers.get(call.data, b"\x01") for call in calls}

    async def code_at(self, address: Address) -> bytes:
        del address
        return b"\xfe"


class FakeScan:
    """Past logs by block, in windows of ten blocks."""

    def __init__(self, logs: Mapping[int, Sequence[Log]]) -> None:
        self.logs = logs
        self.asked: list[tuple[int, int]] = []
        self.fails_after: int | None = None

    async def __call__(
        self, reader: object, query: LogQuery, first: int, last: int
    ) -> AsyncIterator[tuple[int, tuple[Log, ...]]]:
        del reader
        self.asked.append((first, last))
        for low in range(first, last + 1, 10):
            high = min(last, low + 9)
            if self.fails_after is not None and high > self.fails_after:
                raise Rebuild("the test stops the scan here")
            found = [
                entry for number in range(low, high + 1) for entry in self.logs.get(number, ())
            ]
            yield high, tuple(entry for entry in found if query.wants(entry))
