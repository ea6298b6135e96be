"""The published positions in Redis: one script to write them, SCAN and MGET to read them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import attrgetter
from secrets import token_hex
from typing import Any, NamedTuple, TypeVar

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from chimera.domain.market import MARKET_FOLLOWS
from chimera.domain.position import Position
from chimera.service import Turn
from chimera.state.encoding import encoded
from chimera.state.valuation import PREFIX, Publishable, instance_in

CHUNK = 1_000  # keys per command: a script of so many holds Redis for about 5 ms
TIMEOUT = 2.0  # seconds; a Redis that hangs must be noticed within 10
DECIMAL = re.compile(r"[0-9]{1,60}(\.[0-9]{1,60})?")  # more digits than any figure of a contract
DECIMALS = re.compile(rf"{DECIMAL.pattern}(\n{DECIMAL.pattern})*")

# What stands there of a later block than ours stays, unless that block has left the chain (it is
# `over`) or is none that there can be (it is past the `horizon`). Without a time to live it is
# nobody's, and would stay for ever. The server itself compares: others write beside us.
LATER = """
local over, horizon, ranking = tonumber(ARGV[1]), tonumber(ARGV[2]), KEYS[1]
local function later(key, ours)
  local old = redis.pcall('GET', key)
  if type(old) ~= 'string' then return false end
  local there = tonumber(string.match(old, '^{"block":(%d+)'))
  return there and there > ours and there > over and there <= horizon
    and redis.call('PTTL', key) > 0
end
local function member(key) return string.sub(key, tonumber(ARGV[3])) end
local done = 0
"""
# A ranking of another type is nobody's: it is replaced, as a position is.
WRITE = (
    LATER
    + """
local ranked, i = {}, 1
for new in string.gmatch(ARGV[5], '[^\\n]+') do
  i = i + 1
  local key = KEYS[i]
  if not later(key, tonumber(string.match(new, '^{"block":(%d+)'))) then
    redis.call('SET', key, new, 'PX', ARGV[4])
    ranked[#ranked + 1] = string.match(new, '"health_factor":"([%d.]+)"') or '+inf'
    ranked[#ranked + 1] = member(key)
    done = done + 1
  end
end
if done > 0 then
  local answer = redis.pcall('ZADD', ranking, unpack(ranked))
  if type(answer) == 'table' and answer.err then
    redis.call('UNLINK', ranking)
    redis.call('ZADD', ranking, unpack(ranked))
  end
  redis.call('PEXPIRE', ranking, ARGV[4])
end
return done
"""
)
REMOVE = (
    LATER
    + """
for i = 2, #KEYS do
  local key = KEYS[i]
  if not later(key, tonumber(ARGV[4])) then
    done = done + redis.call('UNLINK', key)
    redis.pcall('ZREM', ranking, member(key))
  end
end
return done
"""
)
RANKING = "chimera:risk:"  # and the name of an instance: its accounts by health factor
MARK = "chimera:published:"  # and something of our own: lives exactly as long as our keys
NO_HORIZON = 2**53 - 1  # the largest whole number in a script

log = structlog.get_logger()
T = TypeVar("T")


class Ranking(NamedTuple):
    """
    The beginning of an instance's ranking.

    Attributes:
        members: How many there are in all; of some the key may be gone.
        highest: Up to which rank `names` goes, ties included.
        names: The keys that its members lead to.
    """

    members: int
    highest: float
    names: list[str]


def connect(url: str) -> Redis:
    """Return a client that fails fast: no retries of its own, so that every loss is seen."""
    client: Redis = Redis.from_url(
        url,
        protocol=3,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        retry=Retry(NoBackoff(), 0),
    )
    return client


class RedisPositions:
    """
    Positions as JSON under `position:<protocol>:<user>`, each with its time to live.

    A write is one script per chunk: an older `block` never replaces a newer one, whoever wrote it,
    and the time to live is set by the same command. What is there and is no position is replaced.

    The same script ranks what it writes by health factor, in one sorted set per instance. Its
    members are what follows the instance in the name of a key: the user, and before it, where a
    family has isolated markets, the market. What has none (an error, or the contract's maximum) is
    last. It lives as long as the key that was written last, so a member may have no key any more.
    """

    def __init__(self, client: Any, *, ttl: float) -> None:  # noqa: ANN401  (Redis, or a test's own)
        self._client = client
        self._ttl_ms = max(1, round(ttl * 1000))
        self._write = client.register_script(WRITE)
        self._remove = client.register_script(REMOVE)
        self._mark = MARK + token_hex(8)
        self._decoder = msgspec.json.Decoder(Position)

    async def identity(self) -> str:
        """
        Ask the server for the id of its run; another one means that it came back empty.

        Raises:
            redis.exceptions.ConnectionError, redis.exceptions.TimeoutError: It is away.
        """
        try:
            facts = await self._client.info("server")
        except ResponseError:  # INFO is forbidden to us, PING never is
            await self._client.ping()
            return ""
        return str(facts.get("run_id", ""))

    async def mark(self) -> bool:
        """
        Renew a key that lives as long as ours; tell whether it was there, as our keys are then.

        Where it cannot be written, nothing can be told of the others and the answer is yes.

        Raises:
            redis.exceptions.ConnectionError, redis.exceptions.TimeoutError: It is away.
        """
        try:
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.exists(self._mark)
                pipe.set(self._mark, 1, px=self._ttl_ms)
                there, _ = await pipe.execute()
        except ResponseError:  # full, read-only, or not allowed to us
            return True
        return bool(there)

    async def write(
        self, contents: Iterable[Publishable], *, over: int = 0, horizon: int = NO_HORIZON
    ) -> int:
        """Write all, but for those older than what stands there (see `LATER`); count them."""
        written, turn = 0, Turn()
        await turn.end()  # whoever gathered them has had one
        for instance, group in groupby(contents, attrgetter("instance")):
            for chunk in _chunks(group):
                names, documents = [_ranking(instance)], []
                for content in chunk:
                    name, document = encoded(content)
                    names.append(name)
                    documents.append(document)
                    await turn.give_way()
                options = [over, horizon, _place_of_member(instance), self._ttl_ms]
                args = [*options, b"\n".join(documents)]  # one: each costs the client a microsecond
                await turn.end()  # sending takes a good part of one
                written += int(await self._write(keys=names, args=args))
        return written

    async def read(self, name: str) -> Position | None:
        """Return what stands under the key, or None; bad JSON is logged and is None."""
        return self._decoded(name, (await self._client.mget([name]))[0])

    async def read_many(self, names: Sequence[str]) -> list[Position | None]:
        """Return what stands under each key; bad JSON is logged and is None."""
        found, turn = [], Turn()
        for chunk in _chunks(names):
            for name, answer in zip(chunk, await self._client.mget(chunk), strict=True):
                found.append(self._decoded(name, answer))
                await turn.give_way()
        return found

    async def read_all(self) -> list[Position]:
        """Return every position; bad JSON is logged and left out."""
        return [found for found in await self.read_many(await self.names()) if found is not None]

    async def names(self) -> list[str]:
        """Return every key of a position."""
        found: dict[str, None] = {}  # SCAN may tell a key twice
        cursor: int | None = None
        while cursor != 0:
            cursor, part = await self._client.scan(cursor or 0, match=f"{PREFIX}*", count=CHUNK)
            found.update((name.decode(errors="replace"), None) for name in part)  # also others'
        return list(found)

    async def remove(
        self, names: Iterable[str], *, block: int, over: int = 0, horizon: int = NO_HORIZON
    ) -> int:
        """Remove keys, but for those of later blocks (see `LATER`); count those that were there."""
        removed = 0
        for instance, group in groupby(names, instance_in):
            options = [over, horizon, _place_of_member(instance), block]
            for chunk in _chunks(group):
                removed += int(await self._remove(keys=[_ranking(instance), *chunk], args=options))
        return removed

    async def ranking(self, instance: str, *, count: int, bound: float | None) -> Ranking:
        """Return the keys of an instance ranked up to `bound`, without one the first `count`."""
        ranking, begin = _ranking(instance), PREFIX + instance
        size, highest = await self._client.zcard(ranking), bound
        if highest is None:
            last = await self._client.zrange(ranking, count - 1, count - 1, withscores=True)
            highest = last[0][1] if last else math.inf
        members = await self._client.zrange(ranking, "-inf", highest, byscore=True)
        texts = [member.decode(errors="replace") for member in members]
        names = [f"{begin}{MARKET_FOLLOWS if ':' in text else ':'}{text}" for text in texts]
        return Ranking(size, highest, names)

    async def drop_connections(self) -> None:
        """Close idle sockets, which lead to a server that is gone."""
        await self._client.connection_pool.disconnect(inuse_connections=False)

    async def close(self) -> None:
        """Close every socket."""
        await self._client.aclose()

    def _decoded(self, name: str, answer: bytes | None) -> Position | None:
        if answer is None:
            return None
        try:
            position = self._decoder.decode(answer)
            _prove_decimals(position)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            log.warning("position_unreadable", key=name, error=str(error))
            return None
        return position


def _prove_decimals(position: Position) -> None:
    """Refuse text where readers expect decimals. Raises ValueError."""
    factor = position.health_factor
    texts = ["0" if factor is None else factor, position.liquidation_threshold]
    texts += [leg.value for leg in position.collateral]
    texts += [leg.value for leg in position.debt]
    lines = "\n".join(texts)
    if DECIMALS.fullmatch(lines) is None or lines.count("\n") >= len(texts):
        wrong = next(text for text in texts if DECIMAL.fullmatch(text) is None)
        raise ValueError(f"expected a decimal, found {wrong[:40]!r}")


def _ranking(instance: str) -> str:
    return RANKING + instance


def _place_of_member(instance: str) -> int:
    """Return where, counted from 1, the member of the ranking begins in the name of a key."""
    return len(PREFIX + instance) + len(MARKET_FOLLOWS) + 1


def _chunks(items: Iterable[T]) -> Iterator[Sequence[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk
