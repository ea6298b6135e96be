"""Everything that can fail around one daemon, each at the end of a cable of its own."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devnet.chaos_chronicle import (
    PUBLISHED_SECONDS,
    READY_SECONDS,
    Chronicle,
    Verdict,
    await_block,
    published,
)
from devnet.chaos_proxy import ChaosProxy
from devnet.daemon import Daemon
from devnet.life import Life
from devnet.node import Node
from devnet.redis_server import RedisServer
from devnet.stage import Stage

BORROWERS = 24
TTL = 10  # seconds, the shortest: keys are refreshed every 3.3 s
PROGRAM = ("-m", "chimera")
QUICK = 2  # seconds between two blocks
DOWN, UP = 80, 125  # percent of the prices
SHOCK = ("WETH", -1200)
SHOCKS = 4  # at most, until somebody is flagged
REBUILT = "the mirror was read anew"


@dataclass
class Scene:
    """
    A chain, a Redis and a daemon, with a `ChaosProxy` in every connection of the daemon.

    Attributes:
        ws: Between the daemon's subscription and the node.
        http: Between its requests and the node.
        cable: Between it and Redis.
        database: Its SQLite file.
        first: The block at which it began.
        forgotten: Episodes of which the stream in Redis need not know any more.
    """

    stage: Stage
    redis: RedisServer
    ws: ChaosProxy
    http: ChaosProxy
    cable: ChaosProxy
    daemon: Daemon
    database: Path
    seed: int
    first: int = 0
    chronicle: Chronicle | None = None
    since: int = 0  # where the log of the newest process begins
    judged: int = 0  # up to where its rebuilds have been counted
    found: Verdict | None = None  # the newest
    forgotten: set[str] = field(default_factory=set)

    @classmethod
    @contextmanager
    def on(
        cls,
        stage: Stage,
        folder: Path,
        *,
        seed: int,
        redis: RedisServer,
        database: Path | None = None,
        reconcile: bool = False,
        program: Sequence[str] = PROGRAM,
        extra: Mapping[str, Mapping[str, object]] | None = None,
        fallbacks: bool = False,
    ) -> Iterator[Scene]:
        """
        Set up everything on a stage; the daemon has not started yet.

        Args:
            stage: The chain, and whoever lives on it.
            folder: For the configuration, the log and, by default, the database.
            seed: Decides what is spoilt, and is printed.
            redis: Where positions go.
            database: The SQLite file, which need not exist.
            reconcile: Whether the daemon compares itself with the chain, and mends what differs.
            program: What to run in place of `python -m chimera`.
            extra: Sections of the configuration, in place of those of the scene.
            fallbacks: Whether the daemon knows a way to the node beside the cables, too.
        """
        database = database or folder / "chaos.db"
        with ExitStack() as stack:
            ws = stack.enter_context(ChaosProxy(stage.anvil.port, seed=seed))
            http = stack.enter_context(ChaosProxy(stage.anvil.port, seed=seed + 1))
            cable = stack.enter_context(ChaosProxy(redis.port, seed=seed + 2))
            node = stage.anvil
            doors = {"ws": [ws.ws, node.ws], "http": [http.http, node.http]} if fallbacks else {}
            config = stage.write_config(
                folder / "chaos.toml",
                ws=ws.ws,
                http=http.http,
                redis_url=cable.redis,
                history=f"sqlite+aiosqlite:///{database}",
                extra={
                    "rpc": doors,
                    "redis": {"ttl": TTL},
                    "reconcile": {"enabled": reconcile},
                    **(extra or {}),
                },
            )
            daemon = Daemon(config, folder / "daemon.log", program=program)
            stack.callback(daemon.kill)
            stack.enter_context(_mining_unasked(stage.node, http))
            print(f"seed {seed}")
            yield cls(stage, redis, ws, http, cable, daemon, database, seed)

    def begin(self) -> None:
        """Start the daemon, wait for it, and have some accounts flagged."""
        self.start()
        self.first = self.stage.node.number
        self.chronicle = Chronicle(self.stage, self.first)
        await_block(self.daemon, self.first)
        self.have_flags()

    def have_flags(self) -> None:
        """See to it that some accounts are flagged, whatever has happened until now."""
        for _ in range(SHOCKS):
            if self.daemon.opportunities("&state=open")[1]:
                return
            self.catch_up(self.life.shock(*SHOCK))
            self.catch_up(self.life.quiet())
        if not self.daemon.opportunities("&state=open")[1]:
            raise RuntimeError("nobody is flagged: the scene is too quiet to lose anything")

    def start(self) -> None:
        """Start the daemon; nobody waits for it."""
        self.since = self.log_size() if self.daemon.log.exists() else 0
        self.daemon.start()

    @property
    def life(self) -> Life:
        """What happens on the chain."""
        return self.stage.life

    def live(self, blocks: int, *, actions: int = 3, seconds: int = QUICK) -> int:
        """Live so many blocks, without waiting for the daemon; the last one's number."""
        for _ in range(blocks):
            self.life.step(seconds=seconds, actions=actions)
        return self.stage.node.number

    def move(self, percent: int) -> int:
        """Let all volatile prices become so many percent of what they were. The block's number."""
        prices, listings = self.stage.prices, self.stage.market.listings
        for symbol in prices.movable:
            if listings[symbol].reserve.volatile:
                prices.set(symbol, prices.answer(symbol) * percent // 100)
        return self.stage.mine()

    def wave(self) -> float:
        """Flag many and let them recover, in three blocks; the longest wait for one, seconds."""
        waits = [self.catch_up(self.move(DOWN)), self.catch_up(self.life.quiet())]
        return max(*waits, self.catch_up(self.move(UP)))

    def mine_at(self, timestamp: int) -> int:
        """Mine a block with what was sent, at a time that may be that of the last block."""
        node = self.stage.node
        with self.http.quiet():
            node.rpc("evm_setNextBlockTimestamp", timestamp)
            node.rpc("anvil_mine", "0x1")
        node.waiting.clear()
        return node.number

    def follow(self, blocks: int) -> int:
        """Live so many blocks, each of which the daemon has to process before the next."""
        for _ in range(blocks):
            self.catch_up(self.live(1))
        return self.stage.node.number

    def catch_up(self, block: int | None = None, *, seconds: float = READY_SECONDS) -> float:
        """Wait until the daemon stands at the head; the seconds that this took."""
        began = time.monotonic()
        wanted = self.stage.node.number if block is None else block
        await_block(self.daemon, wanted, seconds=seconds)
        return time.monotonic() - began

    def pace(self) -> float:
        """Return the seconds that a quiet block takes on a machine as busy as now, at most."""
        return max(self.catch_up(self.life.quiet()) for _ in range(3))

    def tell(self, what: str) -> None:
        """Print a figure of this scene, to be read beside the seed."""
        print(f"seed {self.seed}: {what}")

    def verdict(self, *, rebuilds: int = 0) -> Verdict:
        """
        Let a quiet block pass and hold everything against the chain.

        A mirror that is read anew is right afterwards, whatever was wrong with it: more of that
        than the scene explains (`rebuilds`) counts as a mismatch, once for every verdict.
        """
        if self.chronicle is None:
            raise RuntimeError("the scene has not begun")
        self.catch_up(self.life.quiet())
        verdict = self.chronicle.verdict(self.daemon)
        anew = self.events("mirror_is_read_anew", since=self.judged)
        self.judged = self.log_size()
        if len(anew) != rebuilds:
            verdict.mismatches.append(f"{REBUILT}: {[line['reason'] for line in anew]}")
        self.found = verdict
        return verdict

    def forget(self) -> None:
        """Note that Redis has lost its stream just now, and with it every episode until here."""
        self.forgotten |= {episode["id"] for episode in self.daemon.opportunities()[1]}

    def published(self, *, seconds: float = PUBLISHED_SECONDS) -> str:
        """Wait until Redis says what the daemon says; return what still differs."""
        return published(self.redis, self.daemon, forgotten=self.forgotten, seconds=seconds)

    def processed(self) -> int:
        """Return the block that the daemon stands at."""
        number: int = self.daemon.get("/readyz")[1]["processed_block"]
        return number

    def log_size(self) -> int:
        """Return how many bytes the daemon has logged."""
        return self.daemon.log.stat().st_size

    def events(self, name: str = "", *, since: int = 0) -> list[dict[str, Any]]:
        """Return the daemon's log lines from byte `since` (`log_size`) on, all or of one event."""
        text = self.daemon.log.read_bytes()[since:].decode(errors="replace")
        whole = text.split("\n")[:-1]  # the last line may be under way
        found = [json.loads(line) for line in whole if line.startswith("{")]
        return [line for line in found if not name or line["event"] == name]

    def applied_too_often(self) -> int:
        """
        Return how many blocks were applied more often than the log explains, by this process.

        Since its start it applied what it stands above the block it began with, and again what
        reorgs made it undo; 0 is right, and a negative figure means lost blocks.
        """
        counted = int(self.daemon.metric("chimera_blocks_total"))
        expected = stands = 0
        for line in self.events(since=self.since):
            match line["event"]:
                case "mirror_is_read_anew":
                    expected += line["after_block"] - stands
                case "following":
                    stands = line["block"]
                case "reorg":
                    expected += line["depth"]
        return counted - (expected + self.processed() - stands)

    def newest_checkpoint(self) -> int:
        """Return the newest block that the daemon's database knows, -1 for none."""
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)
        try:
            (number,) = connection.execute("SELECT MAX(number) FROM checkpoints").fetchone()
        finally:
            connection.close()
        return -1 if number is None else int(number)


@contextmanager
def _mining_unasked(node: Node, requests: ChaosProxy) -> Iterator[None]:
    """
    Let nobody ask the node while it mines.

    Anvil answers a call that is pinned to the hash of its newest block from the state of the next
    one, if that is mined meanwhile: no other node does, and a daemon cannot know.
    """
    honest = node.mine

    def mine(seconds: int = QUICK) -> int:
        with requests.quiet():
            return honest(seconds)

    node.mine = mine  # type: ignore[method-assign]
    try:
        yield
    finally:
        del node.mine
