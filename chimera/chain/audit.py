"""The second opinion: what the log subscription delivered against what was sealed. Pure."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from chimera.domain.block import Block, BlockHash, Log, LogQuery

GRACE = 2  # blocks that a node may be late with its logs
MEMORY = 256  # blocks
MOST_OF_BLOCK = 10_000  # announced logs of one block: more than any has of the contracts we follow
MOST_LOGS = 50_000  # announced logs of all blocks, some 40 MB


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
        self._kept = 0  # announced logs, of all blocks
        self._surplus: Counter[str] = Counter()  # logs there was no room for, by who announced them
        self._endpoint = "subscription"

    def begun(self, endpoint: str) -> None:
        """Note who announces from here on."""
        self._endpoint = endpoint

    def interrupted(self) -> None:
        """Forget what is not judged yet: nobody knows what was lost with the connection."""
        self._watched.clear()
        self._sealed.clear()

    def announced(self, block_hash: BlockHash, log: Log, *, removed: bool) -> None:
        """Note a log of the subscription, which may announce logs without end."""
        logs = self._announced.setdefault(block_hash, {})
        known = log.log_index in logs
        if removed:
            self._kept -= known
            logs.pop(log.log_index, None)
        elif known or len(logs) < MOST_OF_BLOCK:
            self._kept += not known
            logs[log.log_index] = log
        else:
            self._surplus[self._endpoint] += 1
        while len(self._announced) > MEMORY or self._kept > MOST_LOGS:
            oldest, forgotten = self._announced.popitem(last=False)
            self._kept -= len(forgotten)
            self._watched.pop(oldest, None)  # nobody could judge it

    def knows_more(self, block: Block, query: LogQuery, logs: Iterable[Log]) -> bool:
        """Tell whether logs of this very block were announced that are not among `logs`."""
        announced = self._announced.get(block.hash)
        if not announced:
            return False
        places = {log.log_index for log in logs}
        return any(place not in places and query.wants(log) for place, log in announced.items())

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
            self._take(block.hash)
        else:
            both = LogQuery(query.addresses & watched.addresses, query.topics & watched.topics)
            self._sealed.append((block, both, tuple(filter(both.wants, logs))))
        due = [Difference(block, 0, extra, who) for who, extra in self._surplus.items()]
        self._surplus.clear()
        while self._sealed and self._sealed[0][0].number <= block.number - GRACE:
            due.append(self._judge(*self._sealed.popleft()))
        return [difference for difference in due if difference.missing or difference.extra]

    def rolled_back(self, ancestor: Block) -> None:
        """Forget sealed blocks above `ancestor`: nobody owes their logs any more."""
        self._sealed = deque(kept for kept in self._sealed if kept[0].number <= ancestor.number)

    def _judge(self, block: Block, query: LogQuery, logs: tuple[Log, ...]) -> Difference:
        announced, sealed = set(filter(query.wants, self._take(block.hash))), set(logs)
        missing, extra = len(sealed - announced), len(announced - sealed)
        return Difference(block, missing, extra, self._endpoint)

    def _take(self, block_hash: BlockHash) -> Iterable[Log]:
        logs = self._announced.pop(block_hash, {})
        self._kept -= len(logs)
        return logs.values()
