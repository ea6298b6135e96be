"""What may happen to a running daemon besides blocks: rebuilds, early reorgs, nodes elsewhere."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from devnet.anvil import Anvil
from devnet.daemon import Daemon
from devnet.proxy import CountingProxy
from devnet.stage import Stage
from devnet.witness import Witness

REFUSED = 2


class Scene(NamedTuple):
    stage: Stage
    daemon: Daemon
    witness: Witness

    def agreed(self) -> None:
        assert self.witness.mismatches == []
        assert self.witness.missed_and_extra() == (set(), set())


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Stage.build(seed=17, borrowers=40) as stage:
        config = stage.write_config(tmp_path / "recovery.toml")
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            witness = Witness(stage, daemon)
            witness.attend(stage.node.number)
            yield Scene(stage, daemon, witness)


def rebuild(daemon: Daemon) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    try:
        connection.request("POST", "/v1/rebuild", headers={"content-length": "0"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_a_rebuild_while_a_block_is_sealed_loses_nothing(tmp_path: Path) -> None:
    """The node is slow, so that each rebuild is asked for while the feed asks about a block."""
    answers: list[tuple[int, Any]] = []
    with (
        Stage.build(seed=17, borrowers=40) as stage,
        CountingProxy(stage.anvil.http) as proxy,
    ):
        config = stage.write_config(tmp_path / "slow.toml", http=proxy.http, ws=proxy.ws)
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            witness = Witness(stage, daemon)
            witness.attend(stage.node.number)
            proxy.delay = 0.05
            for _ in range(12):
                block = stage.life.step(seconds=30, actions=12).number
                asking = threading.Thread(target=lambda: answers.append(rebuild(daemon)))
                asking.start()
                witness.attend(block)
                asking.join()
            Scene(stage, daemon, witness).agreed()
            assert daemon.metric("chimera_rebuilds_total") == len(answers)
    assert [status for status, _ in answers] == [200] * 12
    assert {report["mismatches"] for _, report in answers} == {0}


def test_a_reorg_below_the_first_block_keeps_what_can_be_kept(scene: Scene) -> None:
    """The book cannot be undone below its snapshot: it is read anew, and flags stay true."""
    scene.witness.attend(scene.stage.life.shock("WETH", -1500))
    scene.witness.attend(scene.stage.life.quiet())
    assert rebuild(scene.daemon)[0] == 200  # from here on the undo log is empty
    flagged = {flag["id"] for flag in scene.daemon.opportunities("&state=open")[1]}
    assert flagged
    scene.witness.reorg(1)
    scene.witness.attend(scene.stage.life.quiet())
    scene.agreed()
    reorged = scene.daemon.opportunities("&state=closed")[1]
    assert {flag["id"] for flag in reorged if flag["closed_reason"] == "reorged"} == flagged


def test_a_mirror_that_was_wrong_is_mended_and_counted(scene: Scene) -> None:
    status, report = rebuild(scene.daemon)
    assert (status, report["mismatches"]) == (200, 0)
    assert report["accounts"] >= 40
    assert scene.daemon.metric("chimera_mirror_mismatches_total") == 0
    scene.witness.attend(scene.stage.life.step(seconds=30).number)
    scene.agreed()


@pytest.mark.parametrize("door", ["ws", "http"])
def test_an_endpoint_on_another_chain_is_refused_at_start(door: str, tmp_path: Path) -> None:
    with Stage.build(seed=17, borrowers=7) as stage, Anvil(chain_id=1) as other:
        doors = {"ws": [stage.anvil.ws, other.ws], "http": [stage.anvil.http, other.http]}
        config = stage.write_config(tmp_path / "two.toml", extra={"rpc": {door: doors[door]}})
        daemon = Daemon(config, tmp_path / "daemon.log")
        daemon.start()
        assert daemon.wait(seconds=120) == REFUSED
        line = daemon.log_tail(1)
        assert line.startswith(f"rpc.{door}: ")
        assert "chain 1" in line
