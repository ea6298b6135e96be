"""Three endpoints of one chain: the majority is believed, and who lags holds nobody up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from devnet.daemon import Daemon
from devnet.proxy import CountingProxy
from devnet.stage import Stage
from devnet.witness import Witness

SECONDS = 60.0
FIRST, SECOND, THIRD = range(3)
# One second is enough for an opinion, but not on a machine that has stood still for as long.
PATIENT = (
    "from chimera.chain import quorum; quorum.PATIENCE = 4.0; from chimera.cli import main; main()"
)


class Unreliable:
    """An endpoint that leaves out logs, or does not know any block by its hash yet."""

    def __init__(self) -> None:
        self.lies = self.lags = False

    def __call__(self, request: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if self.lies and request["method"] == "eth_getLogs":
            return {"result": []}
        if self.lags and request["method"] == "eth_getBlockByHash":
            return {"result": None}
        return None


class Scene(NamedTuple):
    stage: Stage
    daemon: Daemon
    witness: Witness
    ways: list[Unreliable]
    proxies: list[CountingProxy]

    def live(self, *, actions: int = 4) -> None:
        self.witness.attend(self.stage.life.step(seconds=2, actions=actions).number)

    def accused(self) -> dict[int, float]:
        """Return how often each place in the order was counted for a difference."""
        name = "chimera_quorum_differences_total"
        labels = [f'{name}{{endpoint="{its.http[7:]}"}}' for its in self.proxies]
        counts = {place: self.daemon.metric(label) for place, label in enumerate(labels)}
        return {place: count for place, count in counts.items() if count}

    def shows(self, place: int) -> tuple[bool, bool, bool]:
        """Return whether an endpoint's breaker, the daemon's, and a reason show its rest."""
        label = self.proxies[place].http.removeprefix("http://")
        body = self.daemon.get("/readyz")[1]
        why = f"{label} (http) is left alone: two others"
        its = self.daemon.metric(f'chimera_endpoint_breaker{{endpoint="{label}",kind="http"}}')
        reasons = [reason for reason in body["reasons"] if why in reason]
        return its > 0, body["breaker"] != "closed", bool(reasons)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    ways = [Unreliable() for _ in range(3)]
    with ExitStack() as stack:
        stage = stack.enter_context(Stage.build(seed=37, borrowers=12))
        proxies = [
            stack.enter_context(CountingProxy(stage.anvil.http, intercept=way)) for way in ways
        ]
        doors = {"http": [its.http for its in proxies], "quorum": 2}
        config = stage.write_config(tmp_path / "three.toml", extra={"rpc": doors})
        daemon = stack.enter_context(
            Daemon(config, tmp_path / "daemon.log", program=("-c", PATIENT))
        )
        witness = Witness(stage, daemon)
        witness.attend(stage.node.number)
        scene = Scene(stage, daemon, witness, ways, proxies)
        scene.live()
        assert scene.accused() == {}
        yield scene
        assert witness.mismatches == []
        assert witness.missed_and_extra() == (set(), set())


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("liar", [FIRST, SECOND], ids=["in-use", "second"])
def test_a_liar_is_outvoted_avoided_and_told_of(scene: Scene, liar: int) -> None:
    scene.ways[liar].lies = True
    for _ in range(3):
        scene.live()

    assert scene.accused().keys() == {liar}
    label = scene.proxies[liar].http.removeprefix("http://")
    assert {line["endpoint"] for line in scene.daemon.told("endpoint_outvoted")} == {label}
    alert = f"endpoint {label} (http)"
    until(lambda: alert in {line["reason"] for line in scene.daemon.told("alert")})

    def shown() -> bool:
        scene.live()  # it is tried again after a while, and lies again
        return scene.shows(liar) == (True, liar == FIRST, True)

    until(shown)
    assert scene.accused().keys() == {liar}
    reasons = scene.daemon.get("/readyz")[1]["reasons"]
    assert not any("tells other logs" in reason for reason in reasons)
    assert scene.daemon.metric("chimera_rebuilds_total") == 0


def test_a_second_node_that_lags_accuses_nobody_and_the_third_vouches(scene: Scene) -> None:
    scene.ways[SECOND].lags = True
    scene.proxies[THIRD].reset()
    for _ in range(4):
        scene.live()

    assert scene.accused() == {}
    assert scene.daemon.metric("chimera_quorum_unchecked_total") == 0
    assert scene.proxies[THIRD].counts["eth_getLogs"] == 4
    assert len(scene.daemon.told("no_second_opinion")) == 1  # then the third is asked first
    assert not any("endpoint" in why for why in scene.daemon.get("/readyz")[1]["reasons"])
