"""The command line as operators use it: with a daemon, without one, and against the wrong node."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from redis import Redis

from devnet.daemon import Daemon
from devnet.ports import free_port
from devnet.redis_server import RedisServer
from devnet.stage import Stage
from tests.fork.typed import DONE, FAULT, REFUSED, UNREACHABLE, chimera

SECONDS = 60.0


class Scene(NamedTuple):
    stage: Stage
    daemon: Daemon
    redis: RedisServer
    config: Path
    url: str

    def published(self) -> int:
        with Redis.from_url(self.redis.url) as client:
            return len(list(client.scan_iter("position:*", count=1000)))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("commands")
    with Stage.build(seed=9, borrowers=30) as stage, RedisServer() as redis:
        config = stage.write_config(folder / "chimera.toml", redis_url=redis.url)
        with Daemon(config, folder / "daemon.log") as daemon:
            daemon.wait_until(stage.node.number)
            daemon.wait_until(stage.life.shock("WETH", -1200))
            daemon.wait_until(stage.life.quiet())
            yield Scene(stage, daemon, redis, config, f"http://127.0.0.1:{daemon.port}")


def test_positions_are_listed_riskiest_first(scene: Scene) -> None:
    said = chimera("positions", "--json", "--url", scene.url, config=scene.config)
    assert said.code == DONE
    factors = [float(item["health_factor"]) for item in said.document["items"]]
    assert factors == sorted(factors)
    assert factors[0] < 1


def test_opportunities_carry_the_best_pair(scene: Scene) -> None:
    said = chimera("opportunities", "--json", "--url", scene.url, config=scene.config)
    assert said.code == DONE
    assert said.document["items"]
    for flag in said.document["items"]:
        assert flag["liquidatable"]
        assert flag["best"]["max_repay"] > 0


def test_status_tells_that_it_is_alive_and_complete(scene: Scene) -> None:
    said = chimera("status", "--json", "--url", scene.url, config=scene.config)
    assert said.code == DONE
    assert said.document["ready"]
    assert said.document["processed_block"] == scene.stage.node.number


def test_why_agrees_with_the_contract_with_and_without_a_daemon(scene: Scene) -> None:
    _, flags = scene.daemon.opportunities("&state=open")
    user = flags[0]["user"]
    truth = scene.stage.truth.health_factors([user])[user]
    assert truth is not None
    figure = f"0.{truth:018d}"
    nowhere = f"http://127.0.0.1:{free_port()}"
    for url in (scene.url, nowhere):
        said = chimera("why", "aave", user, "--url", url, config=scene.config)
        assert said.code == DONE, said.err
        assert figure in said.out


def test_why_says_the_same_with_and_without_a_daemon(scene: Scene) -> None:
    _, flags = scene.daemon.opportunities("&state=open")
    user = flags[0]["user"]
    nowhere = f"http://127.0.0.1:{free_port()}"

    asked, read = (
        chimera("why", "aave", user, "--json", "--url", url, config=scene.config).document
        for url in (scene.url, nowhere)
    )

    assert {name: asked[name] for name in asked if name != "verdict"} == {
        name: read[name] for name in read if name != "verdict"
    }
    steps = {step["name"]: step["value"] for step in asked["steps"]}
    assert any(name.endswith(" turns at") for name in steps)
    assert steps["best pair"].startswith("repay ")
    assert asked["verdict"].startswith("flagged: under 1 for ")
    assert read["verdict"].startswith("under 1; flagged once it is for 2 blocks in a row")
    assert asked["verdict"].endswith("; liquidatable")
    assert read["verdict"].endswith("; liquidatable")


def test_positions_come_from_redis_without_a_daemon(scene: Scene) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    borrowers = {user.lower() for user in scene.stage.truth.borrowers_now()}
    deadline = time.monotonic() + SECONDS
    while scene.published() < len(borrowers):  # positions are written beside the blocks
        assert time.monotonic() < deadline
        time.sleep(0.05)
    said = chimera("positions", "--json", "--limit", "500", "--url", nowhere, config=scene.config)
    assert said.code == DONE, said.err
    assert {item["user"].lower() for item in said.document["items"]} == borrowers


def test_check_proves_a_right_configuration(scene: Scene) -> None:
    said = chimera("check", "--json", config=scene.config)
    assert said.code == DONE, said.out
    assert said.document["ok"]


def test_a_rebuild_through_the_daemon_finds_nothing_to_mend(scene: Scene) -> None:
    said = chimera("rebuild", "--json", "--url", scene.url, config=scene.config)
    assert said.code == DONE, said.err
    assert said.document["accounts"] >= 30
    assert said.document["mismatches"] == 0
    scene.daemon.wait_until(scene.stage.life.quiet())


def test_a_rebuild_without_a_daemon_fills_redis_and_verifies(scene: Scene, tmp_path: Path) -> None:
    with RedisServer() as redis:
        long = {"redis": {"ttl": 3_600}}  # nobody writes the keys again
        config = scene.stage.write_config(tmp_path / "alone.toml", redis_url=redis.url, extra=long)
        nowhere = f"http://127.0.0.1:{free_port()}"
        said = chimera("rebuild", "--verify", "--json", "--url", nowhere, config=config)
        assert said.code == DONE, said.err
        assert said.document["mismatches"] == 0
        asked = chimera("rebuild", "--json", "--url", scene.url, config=scene.config)
        assert said.document["accounts"] == asked.document["accounts"]
        listed = chimera("positions", "--json", "--limit", "500", "--url", nowhere, config=config)
        assert len(listed.document["items"]) == len(scene.stage.truth.borrowers_now())


def test_the_wrong_chain_is_refused(scene: Scene, tmp_path: Path) -> None:
    config = scene.stage.write_config(tmp_path / "wrong.toml", extra={"chain": {"id": 8453}})
    for command in ("run", "rebuild"):
        said = chimera(command, config=config)
        assert said.code == REFUSED
        assert "31337" in said.err
        assert "Traceback" not in said.err
    assert chimera("check", config=config).code == FAULT


def test_an_address_that_is_another_contract_is_refused(scene: Scene, tmp_path: Path) -> None:
    config = scene.stage.write_config(tmp_path / "other.toml")
    pool = scene.stage.market.pool.address
    config.write_text(config.read_text().replace(scene.stage.provider, pool))
    for command in ("run", "rebuild"):
        said = chimera(command, config=config)
        assert said.code == REFUSED, said.err
        assert "Traceback" not in said.err
    assert chimera("check", config=config).code == FAULT


def test_a_node_that_does_not_answer_is_code_3(scene: Scene, tmp_path: Path) -> None:
    http, ws = f"http://127.0.0.1:{free_port()}", f"ws://127.0.0.1:{free_port()}"
    config = scene.stage.write_config(tmp_path / "nobody.toml", http=http, ws=ws)
    said = chimera("run", config=config)
    assert said.code == UNREACHABLE
    assert "Traceback" not in said.err


def test_a_history_that_cannot_be_opened_is_code_3(scene: Scene, tmp_path: Path) -> None:
    config = scene.stage.write_config(
        tmp_path / "full.toml", history=f"sqlite+aiosqlite:///{tmp_path}"
    )
    said = chimera("run", config=config)
    assert said.code == UNREACHABLE
    assert "Traceback" not in said.err


def test_a_listing_without_daemon_and_redis_is_code_3(scene: Scene, tmp_path: Path) -> None:
    config = scene.stage.write_config(tmp_path / "alone.toml")
    url = f"http://127.0.0.1:{free_port()}"
    for command in ("positions", "opportunities", "status"):
        said = chimera(command, "--url", url, config=config)
        assert said.code == UNREACHABLE
        assert said.out == ""


def test_a_configuration_with_a_typo_is_one_line(scene: Scene, tmp_path: Path) -> None:
    config = scene.stage.write_config(tmp_path / "typo.toml")
    config.write_text(config.read_text().replace("block_time", "block_tme"))
    said = chimera("run", config=config)
    assert said.code == REFUSED
    assert len(said.err.splitlines()) == 1
    assert "block_tme" in said.err
