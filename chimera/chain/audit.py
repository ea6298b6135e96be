"""The second opinion: what the log subscription delivered against what was sealed. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from chimera.domain.block import Block, BlockHash, Log, LogQuery

GRACE = 2  # blocks that a node may be late with its logs
MEMORY = 256  # blocks


@dataclass(frozen=True, slots=True)
class Difference:
    """A block for which the node told two stories."""

    block: Block
    missing: int  # sealed, but never announced
    extra: int  # announced, but not among the sealed
    endpoint: str = "subscription"  # who announced them


class LogAudit:
    """Collects announced logs by block, and judges a sealed block once `GRACE` more are sealed."""

    def __init__(self) -> None:
        self._announced: OrderedDict[BlockHash, dict[int, Log]] = OrderedDict()
        self._watched: OrderedDict[BlockHash, LogQuery] = OrderedDict()
        self._sealed: deque[tuple[Block, LogQuery, tuple[Log, ...]]] = deque()
        self._endpoint = "subscription"

    def begun(self, endpoint: str) -> None:
        """Note who announces from here on."""
        self._endpoint = endpoint

    def interrupted(self) -> None:
        """Forget what is not judged yet: nobody knows what was lost with the connection."""
        self._watched.clear()
        self._sealed.clear()

    def announced(self, block_hash: BlockHash, log: Log, *, removed: bool) -> None:
        """Note a log of the subscription."""
        logs = self._announced.setdefault(block_hash, {})
        if removed:
            logs.pop(log.log_index, None)
        else:
            logs[log.log_index] = log
        while len(self._announced) > MEMORY:
            self._announced.popitem(last=False)

    def head(self, block_hash: BlockHash, watched: LogQuery | None) -> None:
        """Note what was subscribed to when this block was announced."""
        if watched is not None:
            self._watched[block_hash] = watched
        while len(self._watched) > MEMORY:
            self._watched.popitem(last=False)

    def sealed(self, block: Block, query: LogQuery, logs: Iterable[Log]) -> list[Difference]:
        """Note a sealed block, and return what is wrong with the one that is due now."""
        watched = self._watched.pop(block.hash, None)
        if watched is None:  # back-filled: nobody announced it
            self._announced.pop(block.hash, None)
        else:
            both = LogQuery(query.addresses & watched.addresses, query.topics & watched.topics)
            self._sealed.append((block, both, tuple(filter(both.wants, logs))))
        due = []
        while self._sealed and self._sealed[0][0].number <= block.number - GRACE:
            due.append(self._judge(*self._sealed.popleft()))
        return [difference for difference in due if difference.missing or difference.extra]

    def rolled_back(self, ancestor: Block) -> None:
        """Forget sealed blocks above `ancestor`: nobody owes their logs any more."""
        self._sealed = deque(kept for kept in self._sealed if kept[0].number <= ancestor.number)

    def _judge(self, block: Block, query: LogQuery, logs: tuple[Log, ...]) -> Difference:
        delivered = self._announced.pop(block.hash, {}).values()
        announced, sealed = set(filter(query.wants, delivered)), set(logs)
        missing, extra = len(sealed - announced), len(announced - sealed)
        return Difference(block, missing, extra, self._endpoint)
