"""A sequencer-uptime feed on a real chain: down, back, well again; and what is none is refused."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from chimera.chain.sequencer import LATEST_ROUND_DATA
from devnet.artifacts import ours
from devnet.daemon import Daemon
from devnet.market import DEPLOYER
from devnet.node import Transaction
from devnet.proxy import CountingProxy
from devnet.stage import Stage
from devnet.witness import Witness
from tests.fork.test_record_replay import chimera as replaying
from tests.fork.test_record_replay import recording_to
from tests.fork.typed import DONE, FAULT, REFUSED, chimera

UP, DOWN = 0, 1
GRACE = 600
DEGRADED = 'chimera_degraded{reason="sequencer"}'


class Scene(NamedTuple):
    stage: Stage
    proxy: CountingProxy  # what the node is asked through
    feed: str
    aggregator: str

    def config(self, path: Path, *, feed: str = "") -> Path:
        chain: dict[str, object] = {
            "sequencer_feed": feed or self.feed,
            "sequencer_grace": GRACE,
        }
        extra: dict[str, dict[str, object]] = {"chain": chain, "reconcile": {"enabled": False}}
        return self.stage.write_config(path, http=self.proxy.http, extra=extra)

    def says(self, status: int) -> int:
        data = ours("Aggregator").encode("set", status)
        self.stage.node.send(Transaction(DEPLOYER, self.aggregator, data))
        return self.stage.node.settle()

    def becomes(self, aggregator: str) -> int:
        data = ours("AggregatorProxy").encode("swap", aggregator)
        self.stage.node.send(Transaction(DEPLOYER, self.feed, data))
        return self.stage.node.settle()


@pytest.fixture(scope="module")
def built() -> Iterator[Scene]:
    """A market, and a feed that has said up for longer than the grace period."""
    with Stage.build(seed=31, borrowers=12) as stage, CountingProxy(stage.anvil.http) as proxy:
        aggregator = stage.node.deploy(DEPLOYER, ours("Aggregator").creation(0, UP))
        creation = ours("AggregatorProxy").creation(aggregator, "L2 Sequencer Uptime Status Feed")
        feed = stage.node.deploy(DEPLOYER, creation)
        stage.node.settle()
        stage.node.mine(GRACE + 1)
        yield Scene(stage, proxy, feed, aggregator)


@pytest.fixture
def scene(built: Scene) -> Iterator[Scene]:
    with built.stage.undone():
        yield built


def condition(daemon: Daemon) -> tuple[bool, list[str]]:
    body = daemon.get("/readyz")[1]
    assert body["ready"]
    return body["degraded"], [reason for reason in body["reasons"] if "sequencer" in reason]


def alerts(daemon: Daemon) -> list[dict[str, Any]]:
    return [line for line in daemon.told("alert") if line["reason"] == "sequencer"]


def test_down_then_back_then_well_while_mirror_and_flags_go_on(
    scene: Scene, tmp_path: Path
) -> None:
    stage, out = scene.stage, tmp_path / "out"
    program = recording_to(out)
    config = scene.config(tmp_path / "sequencer.toml")
    with Daemon(config, tmp_path / "daemon.log", program=program) as daemon:
        witness = Witness(stage, daemon)
        witness.attend(stage.node.number)
        assert condition(daemon)[1] == []
        assert daemon.metric("chimera_sequencer_up") == 1
        assert daemon.metric(DEGRADED) == 0

        witness.attend(scene.says(DOWN))
        assert condition(daemon) == (True, ["the sequencer is down, for 0 s"])
        assert daemon.metric("chimera_sequencer_up") == 0
        until(lambda: daemon.metric(DEGRADED) == 1)
        witness.attend(stage.life.shock("WBTC", -4000))
        witness.attend(stage.mine())
        assert daemon.opportunities("&state=open")[1]
        assert "is down" in condition(daemon)[1][0]

        ancestor = stage.node.number
        witness.attend(scene.says(UP))
        assert "is back for 0 s" in condition(daemon)[1][0]
        assert daemon.metric("chimera_sequencer_up") == 1
        witness.attend(stage.mine(GRACE))
        assert "is back" in condition(daemon)[1][0]
        witness.attend(stage.mine())
        assert condition(daemon)[1] == []

        stage.node.reorg(stage.node.number - ancestor)
        daemon.wait_until(stage.mine())
        assert "is down" in condition(daemon)[1][0]  # in this branch it never came back
        flags = {flag["id"] for flag in daemon.opportunities()[1]}
        assert len(alerts(daemon)) == 1  # down, up, down within five minutes
        daemon.stop()
    assert witness.mismatches == []
    [recording] = out.iterdir()
    outcomes = [replaying("replay", str(recording), "--json", seed=seed) for seed in (0, 1)]
    assert outcomes[0].stdout == outcomes[1].stdout
    told = [json.loads(line) for line in outcomes[0].stdout.splitlines()]
    assert {line["flag"]["id"] for line in told[:-1]} == flags
    assert (told[-1]["misfit"], told[-1]["ended"]) == (None, "stopped")


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60.0
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_it_costs_no_request_and_once_it_breaks_that_is_said_and_nothing_stops(
    scene: Scene, tmp_path: Path
) -> None:
    with Daemon(scene.config(tmp_path / "broken.toml"), tmp_path / "daemon.log") as daemon:
        witness = Witness(scene.stage, daemon)
        witness.attend(scene.stage.node.number)
        scene.proxy.reset()
        for _ in range(3):
            daemon.wait_until(scene.stage.mine())
        calls = [asked for asked in scene.proxy.requests if asked.method == "eth_call"]
        assert [LATEST_ROUND_DATA.hex() in asked.text for asked in calls] == [True] * 3
        witness.attend(scene.becomes("0x" + "11" * 20))  # no code there: the feed reverts
        assert "unknown" in condition(daemon)[1][0]
        assert str(daemon.metric("chimera_sequencer_up")) == "nan"
        witness.attend(scene.becomes(scene.aggregator))
        assert condition(daemon)[1] == []
        assert witness.mismatches == []


def test_what_is_no_uptime_feed_is_refused_and_check_says_so(scene: Scene, tmp_path: Path) -> None:
    price = scene.stage.node.deploy(DEPLOYER, ours("Aggregator").creation(8, 3_000 * 10**8))
    creation = ours("AggregatorProxy").creation(price, "ETH / USD")
    prices = scene.stage.node.deploy(DEPLOYER, creation)
    scene.stage.node.settle()
    for feed, why in {
        "0x" + "11" * 20: "no code",
        scene.stage.provider: "reverts",
        prices: "no such answer",
    }.items():
        config = scene.config(tmp_path / "none.toml", feed=feed)
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            assert daemon.wait(seconds=120) == REFUSED
            assert why in daemon.log_tail(3)
            assert "chain.sequencer_feed" in daemon.log_tail(3)
    row = rows(scene.config(tmp_path / "prices.toml", feed=prices), FAULT)
    assert (row["ok"], "no such answer" in row["fact"]) == (False, True)
    row = rows(scene.config(tmp_path / "good.toml"), DONE)
    assert row["ok"]
    assert row["fact"].endswith("the sequencer is up")


def rows(config: Path, code: int) -> dict[str, Any]:
    """Return what `check` says of the feed."""
    said = chimera("check", "--json", config=config)
    assert said.code == code
    [row] = [row for row in said.document["items"] if row["subject"] == "chain.sequencer_feed"]
    return dict(row)
