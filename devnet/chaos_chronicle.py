"""The rule of detection on the chain as it stands at last, however often it changed its mind."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from eth_utils.address import to_checksum_address

from devnet.chaos_redis import STREAM, client_of
from devnet.daemon import Daemon
from devnet.redis_server import RedisServer
from devnet.rule import Episode, Rule
from devnet.stage import Stage
from devnet.witness import Witness

READY_SECONDS = 120.0
NONE: frozenset[str] = frozenset()
PUBLISHED_SECONDS = 60.0  # several rounds of the cache's refresh, and a reconnect before them
STORED_SECONDS = 90.0  # twice the longest pause of the writer, and a lock before it


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What the comparison with the chain found.

    Attributes:
        compared: Accounts held against the contract's own view.
        mismatches: Differences, as sentences.
        missed: Episodes that the daemon lacks.
        extra: Episodes that it invented.
        reasons: For each of these, what the contract says of it block by block.
    """

    compared: int = 0
    mismatches: list[str] = field(default_factory=list)
    missed: set[Episode] = field(default_factory=set)
    extra: set[Episode] = field(default_factory=set)
    reasons: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Tell whether nothing was lost and nothing invented."""
        return self.compared > 0 and not (self.mismatches or self.missed or self.extra)


class Chronicle:
    """
    Truth block by block, as the contracts tell it, for the branch that is on the chain now.

    Args:
        stage: Whose chain.
        first: Number of the block at which the daemon began to look.
    """

    def __init__(self, stage: Stage, first: int) -> None:
        self._stage = stage
        self._first = first
        self._rule = Rule()
        self._seen: list[str] = []  # hashes of the blocks that the rule has seen, from `first` on
        self.compared = 0

    def verdict(self, daemon: Daemon) -> Verdict:
        """Wait until the daemon stands at the head, and compare everything. Nobody may mine."""
        head = self._stage.node.number
        await_block(daemon, head)
        witness = Witness(self._stage, daemon)
        at, _ = daemon.positions()
        if at != head:
            return Verdict(1, [f"positions are of block {at}, the head is {head}"])
        self._see(below=head)
        witness.rule = self._rule
        witness.attend(head)
        self._seen.append(self._stage.node.block(head)["hash"])
        missed, extra = witness.missed_and_extra()
        self.compared += witness.compared
        reasons = [line for episode in missed | extra for line in self._reasons(episode)]
        return Verdict(witness.compared, witness.mismatches, missed, extra, reasons)

    def _reasons(self, episode: Episode) -> list[str]:
        """Ask the contract again about the blocks of one episode, and those around it."""
        first, last = episode.first_unhealthy_block - 1, episode.closed_block
        node, truth = self._stage.node, self._stage.truth
        lines = []
        for number in range(first, (last or episode.flagged_block) + 1):
            [factor] = truth.health_factors([to_checksum_address(episode.user)], number).values()
            block = node.block(number)
            lines.append(f"{episode.user} at {number} {block['hash'][:10]}: {factor}")
        return lines

    def _see(self, *, below: int) -> None:
        """Let the rule see every block from the first to the one before `below`, on this branch."""
        node, truth = self._stage.node, self._stage.truth
        while self._seen:
            newest = self._first + len(self._seen) - 1
            if newest < below and node.block(newest)["hash"] == self._seen[-1]:
                break
            self._seen.pop()
        self._rule.forget_above(self._first + len(self._seen) - 1)
        for number in range(self._first + len(self._seen), below):
            factors = truth.health_factors(truth.borrowers_ever(number), number)
            self._rule.see(number, {user.lower(): factor for user, factor in factors.items()})
            self._seen.append(node.block(number)["hash"])


def await_block(daemon: Daemon, number: int, *, seconds: float = READY_SECONDS) -> None:
    """
    Wait until the daemon stands at this very block, not above it.

    Raises:
        RuntimeError: It does not get there in time.
    """
    deadline = time.monotonic() + seconds
    body = daemon.wait_until(0, seconds=seconds)
    while not (body.get("ready") and body["processed_block"] == number):
        if time.monotonic() > deadline:
            raise RuntimeError(f"block {number} was not reached: {body}\n{daemon.log_tail()}")
        time.sleep(0.01)
        _, body = daemon.get("/readyz")


# -- what others see ---------------------------------------------------------------------------


def published(
    redis: RedisServer,
    daemon: Daemon,
    *,
    forgotten: AbstractSet[str] = NONE,
    seconds: float = PUBLISHED_SECONDS,
) -> str:
    """
    Wait until Redis says what the daemon says; return what still differs, empty when nothing.

    `forgotten` are the ids of episodes that the stream need not know.
    """
    return _settled(lambda: _unpublished(redis, daemon, forgotten=forgotten), seconds)


def told(redis: RedisServer, daemon: Daemon, *, seconds: float) -> str:
    """
    Wait until Redis knows the newest block of who is under 1, and every episode.

    Return what it does not know. Where keys live long, nothing but the block's own write can have
    told it: a write that is lost is not mended by the refresh meanwhile.
    """
    return _settled(lambda: _untold(redis, daemon), seconds)


def stored(database: Path, stage: Stage, *, seconds: float = STORED_SECONDS) -> str:
    """
    Wait until the newest checkpoint in SQLite is the head; return what is wrong with the chain.

    The checkpoints have to be an unbroken chain of blocks, each of them on the chain.
    """
    return _settled(lambda: _broken(database, stage), seconds)


def _settled(ask: Callable[[], str], seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while (wrong := ask()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return wrong


def _unpublished(redis: RedisServer, daemon: Daemon, *, forgotten: AbstractSet[str]) -> str:
    _, positions = daemon.positions()
    wanted = {f"position:{p['protocol']}:{p['user']}": p for p in positions if p["debt"]}
    with client_of(redis) as client:
        names = sorted(client.scan_iter("position:*", count=1000))
        if set(names) != set(wanted):
            return f"keys: {len(set(names) ^ set(wanted))} too many or too few"
        if strange := [name for name in names if client.type(name) != "string"]:
            return f"keys of another type: {strange}"
        values = dict(zip(names, map(json.loads, client.mget(names)), strict=True))
        entries = [fields for _, fields in client.xrange(STREAM)] if client.exists(STREAM) else []
    stale = [name for name, value in values.items() if value != wanted[name]]
    return (
        f"stale: {stale[:3]} of {len(stale)}"
        if stale
        else _strange(entries, daemon, forgotten=forgotten)
    )


def _untold(redis: RedisServer, daemon: Daemon) -> str:
    _, positions = daemon.positions()
    under = (p for p in positions if p["debt"] and p["health_factor"] and p["health_factor"] < "1")
    wanted = {f"position:{p['protocol']}:{p['user']}": p for p in under}
    if not wanted:
        raise RuntimeError("nobody is under 1: there is nothing to be told")
    with client_of(redis) as client:
        texts = dict(zip(wanted, client.mget(list(wanted)), strict=True))
        entries = [fields for _, fields in client.xrange(STREAM)]
    stale = [name for name, text in texts.items() if not text or json.loads(text) != wanted[name]]
    return f"not told: {stale}" if stale else _strange(entries, daemon)


def _strange(
    entries: Iterable[Mapping[str, str]], daemon: Daemon, *, forgotten: AbstractSet[str] = NONE
) -> str:
    newest: dict[str, str] = {}
    for fields in entries:
        if newest.get(fields["id"]) == fields["document"]:
            return f"the stream says twice in a row what became of {fields['id']}"
        newest[fields["id"]] = fields["document"]
    _, episodes = daemon.opportunities()
    states = {episode["id"]: episode["state"] for episode in episodes}
    said = {identity: json.loads(text)["state"] for identity, text in newest.items()}
    wrong = {
        identity
        for identity, state in states.items()
        if said.get(identity, state if identity in forgotten else "") != state
    }
    return f"the stream differs about {sorted(wrong)[:3]}" if wrong else ""


def _broken(database: Path, stage: Stage) -> str:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
        rows = list(connection.execute("SELECT number, hash FROM checkpoints ORDER BY number"))
    head = stage.node.number
    if not rows or rows[-1][0] != head:
        return f"the newest checkpoint is {rows[-1][0] if rows else None}, the head is {head}"
    numbers = [number for number, _ in rows]
    if numbers != list(range(numbers[0], head + 1)):
        return f"there are gaps among the checkpoints {numbers}"
    for number, identity in rows:
        if stage.node.block(number)["hash"] != "0x" + identity.hex():
            return f"checkpoint {number} is not on the chain"
    return ""
