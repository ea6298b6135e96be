"""Bad input of every kind: stated behaviour, one line about it, and everybody else goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis import Redis

from devnet.aave import admin
from devnet.daemon import Daemon
from devnet.node import Node
from devnet.proxy import CountingProxy
from devnet.redis_server import RedisServer
from devnet.stage import Stage
from devnet.witness import Witness

PATIENCE = 60.0  # seconds, of a busy machine


class Scene(NamedTuple):
    stage: Stage
    daemon: Daemon
    witness: Witness
    redis: RedisServer

    def attend(self, block: int) -> list[dict[str, Any]]:
        positions = self.witness.attend(block)
        assert self.witness.mismatches == []
        return positions

    def flags(self) -> dict[str, dict[str, Any]]:
        _, flags = self.daemon.opportunities("&state=open")
        return {flag["user"]: flag for flag in flags}

    def about_health(self) -> list[dict[str, Any]]:
        return [*self.daemon.told("health_unknown"), *self.daemon.told("health_known_again")]

    def changed(self) -> set[str]:
        return {event["user"] for event in self.daemon.told("underwater_changed")}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Stage.build(seed=21, borrowers=40) as stage, RedisServer() as redis:
        config = stage.write_config(tmp_path / "bad.toml", redis_url=redis.url)
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            scene = Scene(stage, daemon, Witness(stage, daemon), redis)
            scene.attend(stage.node.number)
            yield scene


def owing_or_holding(positions: list[dict[str, Any]], symbol: str) -> set[str]:
    return {
        p["user"]
        for p in positions
        if any(leg["symbol"] == symbol for leg in p["debt"])
        or any(leg["symbol"] == symbol and leg["enabled"] for leg in p["collateral"])
    }


@pytest.mark.parametrize("price", [0, -1], ids=["zero", "negative"])
def test_a_dead_price_takes_only_its_holders_out(scene: Scene, price: int) -> None:
    scene.attend(scene.stage.life.shock("WBTC", -2500))
    scene.attend(scene.stage.life.quiet())
    flagged = set(scene.flags())
    assert flagged
    scene.stage.prices.set("WBTC", price)
    positions = scene.attend(scene.stage.mine())
    dead = {p["user"] for p in positions if p["error"]}
    assert dead == owing_or_holding(positions, "WBTC")
    assert all(p["health_factor"] is None for p in positions if p["error"])
    _, closed = scene.daemon.opportunities("&state=closed")
    ended = {flag["user"]: flag["closed_reason"] for flag in closed}
    assert {ended[user] for user in flagged & dead} == {"unpriced"}
    assert len(positions) > len(dead)
    scene.stage.life.cure("WBTC")
    back = scene.attend(scene.stage.node.number)
    assert not any(p["error"] for p in back)
    until(lambda: len(scene.about_health()) >= 2, seconds=PATIENCE)  # it is said after it shows
    said = scene.about_health()
    assert [(e["event"], e["reason"]) for e in said] == [
        ("health_unknown", "price of WBTC reverts"),
        ("health_known_again", "price of WBTC reverts"),
    ]
    assert said[0]["accounts"] == len([p for p in positions if p["error"] and p["debt"]])


def test_a_source_that_reverts_takes_only_its_holders_out(scene: Scene) -> None:
    market = scene.stage.market
    asset = market.listings["WBTC"].token.address
    admin(scene.stage.node, market.oracle, "setAssetSources", [asset], [market.pool.address])
    positions = scene.attend(scene.stage.mine())
    dead = {p["user"] for p in positions if p["error"]}
    assert dead == owing_or_holding(positions, "WBTC")
    assert dead < {p["user"] for p in positions}


@pytest.mark.parametrize("exponent", [128, 200])
def test_a_price_beyond_all_bounds_is_what_the_contract_makes_of_it(
    scene: Scene, exponent: int
) -> None:
    scene.stage.prices.set("DAI", 2**exponent)
    positions = scene.attend(scene.stage.mine())
    assert owing_or_holding(positions, "DAI")
    scene.attend(scene.stage.life.quiet())
    assert scene.witness.missed_and_extra() == (set(), set())


def test_debt_without_collateral_is_flagged_and_not_liquidatable(scene: Scene) -> None:
    scene.stage.life.shock("WETH", -9500)
    scene.attend(scene.stage.node.number)
    for _ in range(12):
        scene.attend(scene.stage.life.step(seconds=2, actions=0).number)
    stripped = {
        user: flag for user, flag in scene.flags().items() if flag["reason"] == "no collateral"
    }
    assert stripped
    for user, flag in stripped.items():
        assert not flag["liquidatable"]
        assert flag["best"] is None
        assert flag["health_factor"] == "0.000000000000000000"
        position = next(p for p in scene.daemon.positions()[1] if p["user"] == user)
        assert position["collateral_asset"] is None
        assert position["debt"]
    assert scene.witness.missed_and_extra() == (set(), set())


def test_a_paused_reserve_stays_mirrored_and_cannot_be_liquidated(scene: Scene) -> None:
    scene.attend(scene.stage.life.shock("WETH", -1500))
    scene.attend(scene.stage.life.quiet())
    assert any(flag["liquidatable"] for flag in scene.flags().values())
    market = scene.stage.market
    for listing in market.listings.values():
        asset = listing.token.address
        admin(scene.stage.node, market.configurator, "setReservePause", asset, True)  # noqa: FBT003
    scene.attend(scene.stage.mine())
    flags = scene.flags()
    assert flags
    assert {(flag["liquidatable"], flag["reason"]) for flag in flags.values()} == {
        (False, "reserve paused")
    }
    until(lambda: scene.changed() >= set(flags), seconds=PATIENCE)


def test_foreign_and_corrupt_values_in_redis_are_skipped_or_mended(scene: Scene) -> None:
    """What is ours is mended by the next refresh, what is not ours is left alone."""
    _, positions = scene.daemon.positions()
    ours = f"position:aave:{positions[0]['user']}"
    with Redis.from_url(scene.redis.url, decode_responses=True) as client:
        client.set(ours, "{broken")
        client.set("position:other:0x0000000000000000000000000000000000000001", "[1, 2]")
        client.rpush("position:other:list", "a", "b")
        scene.attend(scene.stage.life.shock("USDC", -50))
        until(lambda: readable(client, ours), seconds=PATIENCE)
        assert client.type("position:other:list") == "list"
    assert scene.daemon.get("/readyz")[1]["redis"] == "connected"


def readable(client: Redis, name: str) -> bool:
    try:
        return bool(json.loads(str(client.get(name)))["user"])
    except (ValueError, TypeError):
        return False


# --- a node that misbehaves ----------------------------------------------------------------------

Answer = dict[str, Any]


class Misbehaviour:
    """Answers wrongly, a few times, for one method."""

    def __init__(self, method: str, answer: Answer, times: int) -> None:
        self.method, self.answer, self.left = method, answer, times

    def __call__(self, request: Mapping[str, Any]) -> Answer | None:
        if request.get("method") != self.method or not self.left:
            return None
        self.left -= 1
        return self.answer


MISBEHAVIOURS: dict[str, tuple[str, Answer]] = {
    "logs that are no list": ("eth_getLogs", {"result": "0x"}),
    "logs without a topic list": ("eth_getLogs", {"result": [{"address": "0x12"}]}),
    "a server error": ("eth_getLogs", {"error": {"code": -32603, "message": "internal error"}}),
    "too many requests": ("eth_getLogs", {"error": {"code": -32005, "message": "rate limit"}}),
    "a result that is no hex": ("eth_call", {"result": "0xzz"}),
    "a multicall of the wrong size": ("eth_call", {"result": "0x" + "00" * 31}),
    "an empty multicall": ("eth_call", {"result": "0x" + "00" * 31 + "20" + "00" * 32}),
    "nothing": ("eth_call", {"result": None}),
}


@pytest.fixture(scope="module")
def market() -> Iterator[Stage]:
    with Stage.build(seed=22, borrowers=30) as stage:
        yield stage


@pytest.mark.parametrize("name", MISBEHAVIOURS)
def test_a_node_that_answers_garbage_costs_nothing_but_time(
    market: Stage, name: str, tmp_path: Path
) -> None:
    method, answer = MISBEHAVIOURS[name]
    faults: list[Misbehaviour] = []

    def intercept(request: Mapping[str, Any]) -> Answer | None:
        return faults[-1](request) if faults else None

    with CountingProxy(market.anvil.http, intercept=intercept) as proxy:
        config = market.write_config(tmp_path / "node.toml", http=proxy.http, ws=proxy.ws)
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            witness = Witness(market, daemon)
            witness.attend(market.node.number)
            faults.append(Misbehaviour(method, answer, times=3))
            for _ in range(3):
                witness.attend(market.life.step(seconds=2).number)
            assert faults[-1].left == 0
            assert witness.mismatches == []
            assert witness.missed_and_extra() == (set(), set())
    assert "Traceback" not in daemon.log.read_text()


def test_a_log_that_is_cut_short_makes_the_mirror_read_the_contracts(tmp_path: Path) -> None:
    """The account cannot be followed through such a log, but everybody can be read anew."""
    with (
        Stage.build(seed=23, borrowers=30) as stage,
        Node(stage.anvil.http) as node,  # a connection of the proxy's thread alone
    ):
        cut: list[str] = []

        def intercept(request: Mapping[str, Any]) -> Answer | None:
            if request.get("method") != "eth_getLogs" or "blockHash" not in request["params"][0]:
                return None
            logs = node.rpc("eth_getLogs", *request["params"])
            long = [log for log in logs if len(log["data"]) > 2 + 64 * 2]
            if not armed or not long:
                return None
            cut.append(long[-1]["blockNumber"])
            long[-1]["data"] = long[-1]["data"][:-64]
            return {"result": logs}

        armed: list[bool] = []
        with CountingProxy(stage.anvil.http, intercept=intercept) as proxy:
            config = stage.write_config(tmp_path / "cut.toml", http=proxy.http, ws=proxy.ws)
            with Daemon(config, tmp_path / "daemon.log") as daemon:
                witness = Witness(stage, daemon)
                witness.attend(stage.node.number)
                armed.append(True)
                witness.attend(stage.life.step(seconds=2).number)
                armed.clear()
                for _ in range(2):
                    witness.attend(stage.life.step(seconds=2).number)
                assert witness.mismatches == []
            said = daemon.told("mirror_is_read_anew")
    assert cut
    assert said
    assert all("does not decode" in line["reason"] for line in said)


def until(holds: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.1)
