"""What was answered about the newest blocks: nothing is asked twice at the same hash."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from chimera.domain.block import Block, BlockHash, Log, LogQuery
from chimera.domain.call import Answer, Call, Readings
from chimera.ports import ChainReader

MOST_BLOCKS = 8  # more than are drafted ahead
MOST_BYTES = 16 * 1024 * 1024  # of logs and answers
LOG_BYTES = 20 + 4 * 32  # an emitter and four topics, beside the data


@dataclass(slots=True)
class _Told:
    """What is known of one block; `size` in bytes, without what Python adds to them."""

    logs: dict[LogQuery, tuple[Log, ...]] = field(default_factory=dict)
    readings: dict[Call, Answer] = field(default_factory=dict)
    size: int = 0


class Answers:
    """
    The two questions that a block takes, asked once.

    A block's hash stands for its logs and for its state, so an answer at a hash stays true: a block
    that is drafted again because one of its requests failed, or because the chain came back to it,
    takes what was answered then. A fault is no answer. Who doubts the node must `forget` a block,
    or everything.

    The blocks asked about last are kept, at most `most_blocks` of them and `most_bytes` in all.
    """

    def __init__(
        self,
        reader: ChainReader,
        *,
        most_blocks: int = MOST_BLOCKS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._reader = reader
        self._most_blocks, self._most_bytes = most_blocks, most_bytes
        self._told: OrderedDict[BlockHash, _Told] = OrderedDict()
        self._size = 0  # bytes, of all

    async def logs_of(self, block: Block, query: LogQuery) -> tuple[Log, ...]:
        """Return the matching logs of exactly this block, in order."""
        told = self._about(block).logs.get(query)
        if told is not None:
            return told
        logs = await self._reader.logs_of(block, query)
        about = self._about(block)
        about.logs[query] = logs
        self._grow(about, sum([len(log.data) for log in logs]) + LOG_BYTES * len(logs))
        return logs

    async def read(self, calls: Sequence[Call], block: Block) -> Readings:
        """Return the answers of all calls at exactly this block."""
        told = self._about(block).readings
        known = {call: told[call] for call in calls if call in told} if told else {}
        lacking = [call for call in calls if call not in known] if known else calls
        if not lacking:
            return known
        fresh = await self._reader.read(lacking, block)
        about = self._about(block)  # which may be new: others were asked about meanwhile
        about.readings.update(fresh)
        self._grow(about, sum([len(answer) for answer in fresh.values() if answer is not None]))
        return {**known, **fresh} if known else fresh

    def forget(self, block: Block) -> None:
        """Ask everything about a block anew."""
        told = self._told.pop(block.hash, None)
        if told is not None:
            self._size -= told.size

    def clear(self) -> None:
        """Ask everything anew."""
        self._told.clear()
        self._size = 0

    def _about(self, block: Block) -> _Told:
        """Return what is known of a block, as of the one that was asked about last."""
        told = self._told.setdefault(block.hash, _Told())
        self._told.move_to_end(block.hash)
        if len(self._told) > self._most_blocks:
            self._drop_oldest()
        return told

    def _grow(self, told: _Told, size: int) -> None:
        told.size += size
        self._size += size
        while self._size > self._most_bytes:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, oldest = self._told.popitem(last=False)
        self._size -= oldest.size
