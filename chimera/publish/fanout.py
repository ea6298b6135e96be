"""The stream of flags in Redis: every episode that opens or closes, for other programs."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry as RedisRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from chimera.domain.opportunity import Opportunity
from chimera.service import Service, Turn, heed_cancellation

STREAM = "chimera:opportunities"
MAX_ENTRIES = 10_000  # of the stream, as interfaces promise
REMEMBERED = 1_000  # newest entries that are compared, so that none is written twice
CHUNK = 100  # entries in one transaction
TIMEOUT = 2.0  # seconds for one answer of Redis
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0  # seconds between attempts while Redis is away
CLOSING_SECONDS = 1.0  # of the five in which the daemon has to stop

log = structlog.get_logger()


class Entry(NamedTuple):
    """An episode that waits; `is_reminder`: to be written only if the stream says otherwise."""

    opportunity: Opportunity
    is_reminder: bool


class FlagStream(Service):
    """
    Append episodes to the Redis stream `chimera:opportunities` (`ports.Flags`).

    An entry has the fields `id`, `event` ("flagged" or "closed"), `chain_id` and `document` (JSON,
    as the HTTP API gives it out). The last entry of an id is the state of the episode: one that a
    reorg opens again is "flagged" again. What the stream's newest entries say already, because
    blocks were processed again after a crash or an answer of Redis was lost, is not repeated.

    Args:
        url: Redis URL; "" publishes nothing.
        chain_id: Of the chain that the daemon follows; several daemons may share the stream.
        bound: How many entries wait while Redis is away; the oldest make room for newer ones.
        on_dropped: Told how many entries were dropped for that.
    """

    def __init__(
        self,
        url: str,
        *,
        chain_id: int,
        bound: int = MAX_ENTRIES,
        on_dropped: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__()
        self._url = url
        self._chain_id = chain_id
        self._bound = bound
        self._on_dropped = on_dropped
        self._queue: deque[Entry] = deque()
        self._work = asyncio.Event()
        self._last: dict[str, str] | None = None  # newest document by id; None: not read yet
        self._stale = False  # what we remember of the stream may be wrong
        self.dropped = 0

    @property
    def pending(self) -> int:
        """How many entries wait to be written."""
        return len(self._queue)

    def publish(self, opportunities: Sequence[Opportunity]) -> None:
        """Hand episodes over and return at once; never raises for a broker that is away."""
        self._hand_over(Entry(its, is_reminder=False) for its in opportunities)

    def remind(self, opportunities: Sequence[Opportunity]) -> None:
        """Hand over what a crash may have kept from the stream; what it knows is not repeated."""
        self._hand_over(Entry(its, is_reminder=True) for its in opportunities)

    def returned(self, opportunities: Sequence[Opportunity]) -> None:
        """
        Be told that Redis is back and may be empty: make sure that the stream knows these.

        What it says is read again, as far back as it goes; what it knows is not repeated.
        """
        self._stale = True
        room = max(0, self._bound - len(self._queue))
        newest = opportunities[-room:] if room else ()
        self._hand_over(Entry(its, is_reminder=True) for its in newest)

    def _hand_over(self, entries: Iterable[Entry]) -> None:
        if not self._url:
            return
        self._queue.extend(entries)
        excess = max(0, len(self._queue) - self._bound)
        for _ in range(excess):
            self._queue.popleft()
        if excess:
            self.dropped += excess
            log.error("flags_dropped", dropped=excess, waiting=len(self._queue))
            if self._on_dropped is not None:
                self._on_dropped(excess)
        if self._queue:
            self._work.set()

    async def run(self) -> None:
        """Write what is handed over, and what is left when cancelled."""
        self.ready.set()
        if not self._url:
            return
        client = _connect(self._url)
        try:
            await self._work_through(client)
        finally:
            await self._finish(client)

    async def _work_through(self, client: Redis) -> None:
        delay = 0.0
        while True:
            await self._work.wait()
            try:
                await self._write(client)
            except (RedisError, OSError) as error:
                if not delay:
                    log.warning("flags_not_written", error=str(error), waiting=len(self._queue))
                delay = min(2 * delay or FIRST_DELAY, LONGEST_DELAY)
                await asyncio.sleep(delay)
            else:
                if delay:
                    log.info("flags_written_again")
                delay = 0.0
            heed_cancellation()  # the client sends by asyncio.wait_for

    async def _write(self, client: Redis) -> None:
        known, self._last = self._last, None  # whatever fails from here on is read again
        turn = Turn()
        while self._queue:
            if known is None or self._stale:
                self._stale = False
                known = await self._newest_documents(client)
            chunk = list(islice(self._queue, CHUNK))
            async with client.pipeline(transaction=True) as pipe:
                for entry in chunk:
                    self._add(entry, known, pipe)
                    await turn.give_way()
                await pipe.execute()
            self._forget(chunk)
        while known is not None and len(known) > REMEMBERED:
            del known[next(iter(known))]
        self._last = known
        self._work.clear()

    def _add(self, entry: Entry, known: dict[str, str], pipe: Any) -> None:  # noqa: ANN401  (redis-py)
        """Have an entry written unless the stream says so already; `known` is what it says."""
        identity, document = entry.opportunity.id, _document(entry.opportunity)
        told = known.pop(identity, None)
        if told is None or _is_news(entry, document, told):
            fields = self._fields(entry.opportunity, document)
            pipe.xadd(STREAM, fields, maxlen=MAX_ENTRIES, approximate=False)
            told = document
        known[identity] = told

    def _forget(self, written: list[Entry]) -> None:
        # While Redis was answering, the bound may have dropped some of them already.
        for entry in written:
            if self._queue and self._queue[0] is entry:
                self._queue.popleft()

    async def _newest_documents(self, client: Redis) -> dict[str, str]:
        """Return the last document of each id; of all ids if somebody may have to be reminded."""
        depth = MAX_ENTRIES if any(entry.is_reminder for entry in self._queue) else REMEMBERED
        documents: dict[str, str] = {}
        last = "+"
        while depth > 0:
            page: Any = await client.xrevrange(STREAM, max=last, count=min(depth, REMEMBERED))
            for _, fields in page:
                documents.setdefault(fields.get("id", ""), fields.get("document", ""))
            depth -= len(page)
            if len(page) < REMEMBERED:
                break
            last = page[-1][0]  # which is told twice
        return dict(reversed(documents.items()))

    def _fields(self, opportunity: Opportunity, document: str) -> dict[Any, Any]:
        return {
            "id": opportunity.id,
            "event": "flagged" if opportunity.state == "open" else "closed",
            "chain_id": str(self._chain_id),
            "document": document,
        }

    async def _finish(self, client: Redis) -> None:
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                await self._write(client)
        except (RedisError, OSError) as error:  # a timeout is an OSError
            log.warning("flags_not_flushed", error=str(error), waiting=len(self._queue))
        await client.aclose()


def _document(opportunity: Opportunity) -> str:
    return json.dumps(opportunity.document(), separators=(",", ":"))


def _is_news(entry: Entry, document: str, told: str) -> bool:
    if not entry.is_reminder:
        return document != told
    try:
        state = json.loads(told)["state"]
    except (ValueError, LookupError, TypeError, RecursionError):  # nobody's document
        return True
    return bool(state != entry.opportunity.state)


def _connect(url: str) -> Redis:
    client: Redis = Redis.from_url(
        url,
        decode_responses=True,
        encoding_errors="replace",  # entries of others may be anything
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        retry=RedisRetry(NoBackoff(), 0),
    )
    return client
