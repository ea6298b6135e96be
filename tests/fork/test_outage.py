"""Outages longer than what is read block by block: the state at the head, streaks anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devnet.daemon import Daemon
from devnet.proxy import CountingProxy
from devnet.stage import Stage
from devnet.witness import Witness

MOST, LONG = 64, 70  # blocks that are read one by one, and blocks of the outage


@pytest.fixture
def market(tmp_path: Path) -> Iterator[tuple[Stage, Daemon, CountingProxy]]:
    """A market with flagged accounts, and a daemon that gives up after 64 blocks."""
    with Stage.build(seed=5, borrowers=40) as stage, CountingProxy(stage.anvil.http) as proxy:
        config = stage.write_config(
            tmp_path / "market.toml",
            ws=proxy.ws,
            http=proxy.http,
            extra={"rpc": {"max_backfill_blocks": MOST}},
        )
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            witness = Witness(stage, daemon)
            witness.attend(stage.node.number)
            witness.attend(stage.life.shock("WETH", -1200))
            witness.attend(stage.life.quiet())
            assert open_flags(daemon)
            yield stage, daemon, proxy


def open_flags(daemon: Daemon) -> dict[str, dict[str, Any]]:
    _, flags = daemon.opportunities("&state=open")
    return {flag["id"]: flag for flag in flags}


def live_on(stage: Stage) -> None:
    """Let half of the outage be lively: people borrow for the first time, others leave."""
    for number in range(LONG):
        stage.life.step(seconds=2, actions=3 if number % 2 else 0)


def settle(stage: Stage, daemon: Daemon, before: dict[str, dict[str, Any]]) -> None:
    """Compare everything at the head: who was flagged and is still under 1 goes on, others wait."""
    fresh = Witness(stage, daemon)
    daemon.wait_until(stage.node.number)
    at, positions = daemon.positions()
    assert at == stage.node.number
    fresh.compare(at, positions)
    under = {p["user"] for p in positions if p["health_factor"] and p["health_factor"] < "1"}
    flags = open_flags(daemon)
    assert {flag["user"] for flag in flags.values()} == {f["user"] for f in flags.values()} & under
    assert flags.keys() == {i for i, flag in before.items() if flag["user"] in under}
    for identity, flag in flags.items():
        assert flag["first_unhealthy_block"] == before[identity]["first_unhealthy_block"]
        assert flag["blocks_unhealthy"] == 1

    block = stage.life.quiet()
    daemon.wait_until(block)
    at, positions = daemon.positions()
    fresh.compare(at, positions)
    still = {p["user"] for p in positions if p["health_factor"] and p["health_factor"] < "1"}
    assert {flag["user"] for flag in open_flags(daemon).values()} == under & still
    assert fresh.mismatches == []


def test_a_restart_after_a_long_outage_reads_the_state_at_the_head(
    market: tuple[Stage, Daemon, CountingProxy],
) -> None:
    stage, daemon, _ = market
    before = open_flags(daemon)
    assert daemon.stop() == 0
    live_on(stage)
    daemon.start()
    daemon.wait_until(stage.node.number)

    outages = daemon.told("outage_too_long")  # again, if the node was too slow to be read
    assert {outage["head"] - outage["last_block"] for outage in outages} == {LONG}
    assert daemon.told("following")[-1]["streaks"] == "begin here"
    assert daemon.metric("chimera_blocks_total") == 0
    settle(stage, daemon, before)


def test_a_daemon_that_falls_far_behind_reads_the_state_at_the_head(
    market: tuple[Stage, Daemon, CountingProxy],
) -> None:
    stage, daemon, proxy = market
    before = open_flags(daemon)
    proxy.cut()
    live_on(stage)
    proxy.restore()
    daemon.wait_until(stage.node.number)

    [anew] = daemon.told("mirror_is_read_anew")
    assert f"{LONG} blocks behind the head" in anew["reason"]
    assert daemon.told("outage_too_long")
    assert daemon.told("following")[-1]["streaks"] == "begin here"
    settle(stage, daemon, before)
