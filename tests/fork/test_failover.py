"""Endpoints that die, lag, fall silent or are on another chain: no block is lost or invented."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from chimera.chain.quorum import MOST_TRIES
from chimera.rpc.announcements import Connected, NewHead
from chimera.rpc.websocket import Subscription
from devnet.anvil import Anvil
from devnet.daemon import Daemon
from devnet.proxy import CountingProxy
from devnet.stage import Stage
from devnet.witness import Witness
from tests.fakes_node import Chain

SECONDS = 120.0  # an endpoint that failed rests for longer each time, and a machine may be slow


class Scene(NamedTuple):
    stage: Stage
    daemon: Daemon
    witness: Witness
    preferred: CountingProxy
    fallback: CountingProxy

    def live(self, blocks: int) -> None:
        for _ in range(blocks):
            self.witness.attend(self.stage.life.step(seconds=2).number)

    def agreed(self) -> None:
        assert self.witness.mismatches == []
        assert self.witness.missed_and_extra() == (set(), set())


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A market on one node, reached by two ways."""
    with (
        Stage.build(seed=23, borrowers=25) as stage,
        CountingProxy(stage.anvil.http) as preferred,
        CountingProxy(stage.anvil.http) as fallback,
    ):
        doors = {"ws": [preferred.ws, fallback.ws], "http": [preferred.http, fallback.http]}
        config = stage.write_config(tmp_path / "two.toml", extra={"rpc": doors})
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            witness = Witness(stage, daemon)
            witness.attend(stage.node.number)
            yield Scene(stage, daemon, witness, preferred, fallback)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_preferred_endpoint_dies_and_is_used_again_after_its_return(scene: Scene) -> None:
    scene.live(2)
    scene.preferred.cut()
    scene.live(3)
    assert scene.daemon.told("endpoint_rests")
    readiness = scene.daemon.get("/readyz")[1]
    assert (readiness["ready"], readiness["breaker"]) == (True, "open")
    assert any("is left alone" in reason for reason in readiness["reasons"])
    while_away = scene.fallback.counts["eth_getLogs"]
    assert while_away > 0

    before, subscribed = (scene.preferred.counts[name] for name in ("eth_getLogs", "eth_subscribe"))
    scene.preferred.restore()

    def used_again() -> bool:
        scene.live(1)
        return scene.preferred.counts["eth_getLogs"] > before + 1

    until(used_again)
    scene.live(2)
    until(lambda: scene.preferred.counts["eth_subscribe"] > subscribed)
    scene.live(2)
    readiness = scene.daemon.get("/readyz")[1]
    assert readiness["breaker"] == "closed"
    assert readiness["complete_up_to"] == scene.stage.node.number
    assert 0 < readiness["complete_since"] < readiness["complete_up_to"]
    assert {fault["reason"].split()[0] for fault in readiness["faults"]} >= {"endpoint"}
    assert scene.daemon.metric("chimera_log_differences_total") == 0
    assert scene.daemon.metric("chimera_rebuilds_total") == 0
    scene.agreed()


def test_an_endpoint_that_comes_back_on_another_chain_is_not_used(scene: Scene) -> None:
    with Anvil(chain_id=1) as other:
        scene.live(1)
        scene.preferred.cut()
        scene.live(1)
        honest, scene.preferred._target = scene.preferred._target, other.http
        scene.preferred.reset()
        scene.preferred.restore()

        def asked() -> bool:
            scene.live(1)
            return scene.preferred.counts["eth_chainId"] >= 2

        until(asked)  # by the requests and by the socket, or a second time
        scene.live(2)
        assert scene.preferred.counts.keys() == {"eth_chainId"} | (
            scene.preferred.counts.keys() & {"eth_blockNumber"}
        )
        scene.preferred._target = honest
    scene.agreed()


async def test_a_socket_that_stays_silent_while_others_have_blocks_is_left() -> None:
    """The stuck node answers, but its chain stands still."""
    with Anvil() as stuck, Anvil() as alive:
        heads = Subscription([stuck.ws, alive.ws], chain_id=31337, silence=0.5, longest_pause=0.5)
        seen: list[int] = []
        async with (
            Chain(alive.http) as chain,
            Chain(stuck.http) as still,
            aclosing(heads.listen()) as told,
            asyncio.timeout(SECONDS),
        ):
            assert await anext(told) == Connected()
            await still.rpc("evm_mine")
            mining = asyncio.create_task(_mined(chain))
            async for event in told:
                if isinstance(event, NewHead):
                    seen.append(event.block.number)
                    if event.block.number > 3:
                        break
            mining.cancel()
        assert seen[0] == 1
        assert [source.breaker.state for source in heads.sources][1] == "closed"
        assert heads.sources[0].breaker.state != "closed"


async def _mined(chain: Chain) -> None:
    while True:
        await chain.rpc("evm_mine")
        await asyncio.sleep(0.3)


async def test_a_quiet_chain_is_no_reason_to_change_the_endpoint() -> None:
    with Anvil() as anvil:
        heads = Subscription([anvil.ws, anvil.ws], chain_id=31337, silence=0.2)
        async with Chain(anvil.http) as chain, aclosing(heads.listen()) as told:
            assert await anext(told) == Connected()
            await chain.rpc("evm_mine")
            kinds = set()
            for _ in range(6):
                kinds.add(type(await anext(told)).__name__)
        assert kinds == {"NewHead", "Silent", "Probed"}


class Forgetful:
    """Leaves the logs out of answers while it is told to, as a lying endpoint would."""

    def __init__(self) -> None:
        self.lies = False

    def __call__(self, request: Mapping[str, Any]) -> Mapping[str, Any] | None:
        lied = self.lies and request.get("method") == "eth_getLogs"
        return {"result": []} if lied else None


PATIENT = """
from chimera.chain import quorum
from chimera.cli import main

quorum.PATIENCE = 60.0  # seconds: a busy machine is nobody's lack of an opinion
main()
"""


def test_a_second_endpoint_that_leaves_out_logs_is_found_out_by_the_quorum(tmp_path: Path) -> None:
    liar = Forgetful()
    with (
        Stage.build(seed=29, borrowers=15) as stage,
        CountingProxy(stage.anvil.http, intercept=liar) as second,
    ):
        doors = {"http": [stage.anvil.http, second.http], "quorum": 2}
        config = stage.write_config(tmp_path / "quorum.toml", extra={"rpc": doors})
        with Daemon(config, tmp_path / "daemon.log", program=("-c", PATIENT)) as daemon:
            witness = Witness(stage, daemon)
            witness.attend(stage.node.number)
            witness.attend(stage.life.step(seconds=2).number)
            assert daemon.metric("chimera_quorum_differences_total") == 0
            liar.lies = True
            witness.attend(stage.life.step(seconds=2, actions=4).number)
            assert daemon.metric("chimera_quorum_differences_total") == MOST_TRIES
            readiness = daemon.get("/readyz")[1]
            assert (readiness["ready"], readiness["degraded"]) == (True, True)
            assert any("tells other logs" in reason for reason in readiness["reasons"])
            liar.lies = False
            witness.attend(stage.life.step(seconds=2).number)
            assert not any("other logs" in r for r in daemon.get("/readyz")[1]["reasons"])
            assert witness.mismatches == []
            assert witness.missed_and_extra() == (set(), set())
