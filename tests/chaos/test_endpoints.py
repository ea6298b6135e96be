"""Two endpoints that lag, lie, fall ill and die in turn: nothing is lost, nothing invented."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from chimera.chain.quorum import MOST_TRIES
from devnet.chaos_faults import LATE
from devnet.chaos_proxy import ChaosProxy
from devnet.chaos_redis import OPTIONS
from devnet.chaos_scene import BORROWERS, TTL, Scene
from devnet.node import Node
from devnet.proxy import CountingProxy
from devnet.redis_server import RedisServer
from devnet.stage import Stage

SEED = int(os.environ.get("CHAOS_SEED", "1"))
SECONDS = 240.0  # some rests of an endpoint that failed, and time for blocks between them
MISSED = 6  # blocks, more than an endpoint may lag
UNKNOWN = {"error": {"code": -32000, "message": "header not found"}}

Request = Mapping[str, Any]
Answer = Mapping[str, Any] | None


class Character:
    """What kind of node an endpoint is for a while; an honest one at first."""

    def __init__(self, url: str, seed: int) -> None:
        self._node = Node(url)
        self._random = random.Random(seed)  # noqa: S311  (a seeded liar)
        self._asked: dict[str, int] = {}
        self.ends_at: int | None = None  # the newest block it has
        self.forgets = 0  # times it is asked for a block's logs, until it has them
        self.lies = False
        self.lied = 0

    def __call__(self, request: Request) -> Answer:
        if self.ends_at is not None:
            return self._behind(request["method"], request["params"], self.ends_at)
        if request["method"] == "eth_getLogs" and "blockHash" in request["params"][0]:
            return self._of_logs(request["params"][0])
        return None

    def be_honest(self) -> None:
        self.ends_at, self.forgets, self.lies, self.lied = None, 0, False, 0

    def close(self) -> None:
        self._node.close()

    def _behind(self, method: str, params: list[Any], last: int) -> Answer:
        if method == "eth_blockNumber":
            return {"result": hex(last)}
        if method == "eth_getBlockByNumber":
            number = last if params[0] == "latest" else int(params[0], 16)
            return {"result": self._node.block(number) if number <= last else None}
        if method == "eth_getBlockByHash":
            return {"result": None} if self._number(params[0]) > last else None
        pinned = [one["blockHash"] for one in params if "blockHash" in one]
        return UNKNOWN if any(self._number(name) > last for name in pinned) else None

    def _number(self, name: str) -> int:
        return int(self._node.rpc("eth_getBlockByHash", name, False)["number"], 16)  # noqa: FBT003

    def _of_logs(self, query: Mapping[str, Any]) -> Answer:
        name = query["blockHash"]
        self._asked[name] = self._asked.get(name, 0) + 1
        logs: list[dict[str, Any]] = self._node.rpc("eth_getLogs", query)
        if not logs:
            return None
        if self._asked[name] <= self.forgets:
            self.lied += 1
            return {"result": []}
        if self.lies:
            self.lied += 1
            return {"result": self._falsified(logs)}
        return None

    def _falsified(self, logs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Leave one out, say one twice, or double what one says."""
        one = self._random.choice(logs)
        index = logs.index(one)
        changed = {**one, "data": one["data"][:2] + one["data"][2:][::-1]}
        twice = {**one, "logIndex": hex(len(logs) + 1000)}
        return self._random.choice(
            [
                logs[:index] + logs[index + 1 :],
                [*logs, twice],
                [*logs[:index], changed, *logs[index + 1 :]],
            ]
        )


@dataclass(frozen=True, slots=True)
class Door:
    """One endpoint: its cables, whoever sits behind that of requests, and how he behaves."""

    ws: ChaosProxy
    http: ChaosProxy
    asked: CountingProxy
    character: Character

    def cut(self) -> None:
        self.ws.cut()
        self.http.cut()

    def restore(self) -> None:
        self.ws.restore()
        self.http.restore()

    def reads(self) -> int:
        """Return how many blocks' logs it was asked for."""
        return self.asked.counts["eth_getLogs"]


@dataclass(frozen=True, slots=True)
class House:
    """A scene whose daemon has two doors to its chain."""

    scene: Scene
    config: Path
    preferred: Door
    second: Door

    def begin(self, *, quorum: int = 1) -> Scene:
        """Start the daemon anew, with nothing against either endpoint."""
        scene, doors = self.scene, (self.preferred, self.second)
        for door in doors:
            door.restore()
            door.character.be_honest()
        scene.daemon.stop()
        rpc = {"ws": [d.ws.ws for d in doors], "http": [d.http.http for d in doors]}
        scene.stage.write_config(
            self.config,
            redis_url=scene.cable.redis,
            history=f"sqlite+aiosqlite:///{scene.database}",
            extra={
                "redis": {"ttl": TTL},
                "reconcile": {"enabled": False},
                "rpc": {**rpc, "quorum": quorum},
            },
        )
        if scene.chronicle is None:
            scene.begin()
        else:
            scene.start()
            scene.catch_up()
        scene.tell("begins")
        return scene

    def agreed(self) -> None:
        """Nothing lost, nothing invented, and every block applied once."""
        verdict = self.scene.verdict()
        self.scene.tell(f"{verdict.compared} accounts compared at {self.scene.stage.node.number}")
        assert verdict.clean, verdict
        assert self.scene.applied_too_often() == 0

    def until(self, true: Callable[[], bool]) -> None:
        """Live on until something is so."""
        deadline = time.monotonic() + SECONDS
        while not true():
            assert time.monotonic() < deadline
            self.scene.follow(1)
            time.sleep(0.5)


@contextmanager
def door(stage: Stage, ws: ChaosProxy, http: ChaosProxy, seed: int) -> Iterator[Door]:
    character = Character(stage.anvil.http, seed)
    with CountingProxy(stage.anvil.http, intercept=character) as asked:
        port = urlsplit(asked.http).port
        assert port is not None
        http.retarget(port)
        yield Door(ws, http, asked, character)
    character.close()


@contextmanager
def mining_unasked(node: Node, cable: ChaosProxy) -> Iterator[None]:
    """Let nobody ask at the second door either while the node mines."""
    at_the_first = node.mine

    def mine(seconds: int = 2) -> int:
        with cable.quiet():
            return at_the_first(seconds)

    node.mine = mine  # type: ignore[method-assign]
    try:
        yield
    finally:
        node.mine = at_the_first  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("endpoints")
    with ExitStack() as stack:
        stage = stack.enter_context(Stage.build(seed=SEED, borrowers=BORROWERS))
        redis = stack.enter_context(RedisServer(*OPTIONS))
        scene = stack.enter_context(Scene.on(stage, folder, seed=SEED, redis=redis))
        ws, http = (stack.enter_context(ChaosProxy(stage.anvil.port, seed=SEED)) for _ in "ab")
        stack.enter_context(mining_unasked(stage.node, http))
        preferred = stack.enter_context(door(stage, scene.ws, scene.http, SEED))
        second = stack.enter_context(door(stage, ws, http, SEED + 1))
        stack.callback(scene.daemon.kill)
        yield House(scene, folder / "chaos.toml", preferred, second)


def test_the_preferred_falls_ill_in_many_ways_and_is_used_again(house: House) -> None:
    scene = house.begin()
    start = scene.log_size()
    house.preferred.http.delay = LATE
    scene.follow(2)
    house.preferred.http.delay = 0.0
    house.preferred.ws.half_close()
    house.preferred.http.half_close()
    scene.follow(3)
    while not scene.events("endpoint_rests", since=start):
        house.preferred.http.spoils = 4
        house.preferred.ws.spoils = 1
        scene.follow(1)
    house.preferred.restore()
    before = house.second.reads()
    scene.follow(2)
    assert house.second.reads() > before
    house.agreed()

    before = house.preferred.reads()
    house.until(lambda: house.preferred.reads() > before + 2)
    assert scene.events("endpoint_is_back", since=start)
    house.agreed()


def test_both_die_and_the_second_comes_back_alone(house: House) -> None:
    scene = house.begin()
    house.preferred.cut()
    house.second.cut()
    last = scene.live(MISSED)
    assert scene.processed() < last
    house.second.restore()
    scene.tell(f"complete again {scene.catch_up():.2f} s after the second's return")
    scene.follow(2)
    house.agreed()
    house.preferred.restore()
    scene.follow(3)
    house.agreed()


def test_the_requests_of_the_preferred_lag_behind_its_socket(house: House) -> None:
    scene = house.begin()
    house.preferred.character.ends_at = scene.stage.node.number
    before = house.second.reads()
    scene.catch_up(scene.live(MISSED))
    assert house.second.reads() >= before + MISSED
    house.agreed()
    house.preferred.character.ends_at = None
    scene.follow(2)
    house.agreed()


def test_the_preferred_dies_while_the_second_lags(house: House) -> None:
    scene = house.begin()
    start = scene.log_size()
    house.second.character.ends_at = scene.stage.node.number
    house.second.ws.cut()
    scene.follow(MISSED)
    house.agreed()
    stands = scene.stage.node.number
    house.preferred.cut()
    scene.live(2)
    time.sleep(3.0)
    scene.tell(f"stood at {stands}, stands at {scene.processed()} with an old node alone")
    house.second.restore()
    house.second.character.ends_at = None
    scene.live(1)
    scene.tell(f"complete again {scene.catch_up():.2f} s after it had the newest blocks")
    assert scene.events("reorg", since=start) == [], "blocks were taken back for a lag"
    house.agreed()
    house.preferred.restore()
    scene.follow(2)
    house.agreed()


def test_the_second_lies_about_logs(house: House) -> None:
    scene = house.begin(quorum=2)
    house.second.character.lies = True
    scene.follow(4)
    house.until(lambda: differences(scene) >= MOST_TRIES)  # who is too slow is left unasked
    assert house.second.character.lied >= MOST_TRIES
    house.agreed()
    house.second.character.be_honest()
    scene.follow(1)
    house.agreed()


def test_the_preferred_forgets_logs_at_first(house: House) -> None:
    scene = house.begin(quorum=2)
    house.preferred.character.forgets = MOST_TRIES - 1
    scene.follow(4)
    house.until(lambda: differences(scene) > 0)  # who is too slow is left unasked
    assert house.preferred.character.lied > 0
    house.agreed()


def differences(scene: Scene) -> float:
    return scene.daemon.metric("chimera_quorum_differences_total")
