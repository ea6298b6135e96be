"""Crashes and stops of the real daemon: nothing forgotten, nothing invented."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devnet.daemon import Daemon
from devnet.stage import Stage
from devnet.witness import Witness

SHOCK = ("WETH", -1200)
CLEAN_WITHIN = 5.0  # seconds
STOPS = 5  # tries: a busy machine may take longer now and then, but not always


@pytest.fixture
def market(tmp_path: Path) -> Iterator[tuple[Stage, Daemon, Witness]]:
    """A market with flagged accounts, and the daemon that has flagged them."""
    with Stage.build(seed=5, borrowers=40) as stage:
        config = stage.write_config(tmp_path / "market.toml")
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            witness = Witness(stage, daemon)
            witness.attend(stage.node.number)
            witness.attend(stage.life.shock(*SHOCK))
            witness.attend(stage.life.quiet())
            assert witness.rule.episodes()
            yield stage, daemon, witness


def open_flags(daemon: Daemon) -> dict[str, dict[str, Any]]:
    _, flags = daemon.opportunities("&state=open")
    return {flag["id"]: flag for flag in flags}


def agreed(witness: Witness) -> None:
    assert witness.mismatches == []
    assert witness.missed_and_extra() == (set(), set())


def test_a_crash_forgets_no_episode_and_no_streak(market: tuple[Stage, Daemon, Witness]) -> None:
    stage, daemon, witness = market
    witness.attend(stage.life.shock("WBTC", -1500))  # under 1 for one block when it dies
    before = open_flags(daemon)
    daemon.kill()
    daemon.start()
    daemon.wait_until(stage.node.number)
    assert open_flags(daemon) == before
    witness.attend(stage.life.quiet())
    agreed(witness)


def test_blocks_missed_while_it_was_down_count_for_streaks(
    market: tuple[Stage, Daemon, Witness],
) -> None:
    stage, daemon, witness = market
    before = set(open_flags(daemon))
    daemon.kill()
    missed = [stage.life.cure("WETH")]  # every episode ends unseen ...
    missed += [stage.life.shock("WBTC", -2500), stage.life.quiet()]  # ... and others begin
    missed += [stage.life.step(seconds=60).number for _ in range(3)]
    for block in missed:
        witness.see(block)
    daemon.start()
    daemon.wait_until(stage.node.number)
    witness.attend(stage.life.quiet())
    agreed(witness)
    _, flags = daemon.opportunities()
    assert before <= {flag["id"] for flag in flags}
    assert len({flag["id"] for flag in flags}) == len(flags)


def test_a_stop_is_clean_and_a_start_resumes(market: tuple[Stage, Daemon, Witness]) -> None:
    stage, daemon, witness = market
    before, seconds = open_flags(daemon), list[float]()
    while not seconds or (seconds[-1] >= CLEAN_WITHIN and len(seconds) < STOPS):
        began = time.monotonic()
        assert daemon.stop() == 0
        seconds.append(time.monotonic() - began)
        daemon.start()
        daemon.wait_until(stage.node.number)
        assert open_flags(daemon) == before
        assert daemon.told("following")[-1]["streaks"] == "resumed"
    assert min(seconds) < CLEAN_WITHIN, seconds
    agreed(witness)


def test_a_reorg_takes_its_blocks_out_of_the_count(market: tuple[Stage, Daemon, Witness]) -> None:
    stage, daemon, witness = market
    ancestor = stage.node.number
    with_shock = stage.life.shock("WBTC", -2500)
    witness.attend(with_shock)
    witness.attend(stage.life.quiet())
    flagged_there = {f["id"] for f in open_flags(daemon).values() if f["flagged_block"] > ancestor}
    assert flagged_there
    witness.reorg(2)  # the same heights, without the shock
    witness.attend(stage.life.quiet())
    agreed(witness)
    _, flags = daemon.opportunities("&state=closed")
    ended = {flag["id"]: flag for flag in flags}
    assert {ended[identity]["closed_reason"] for identity in flagged_there} == {"reorged"}
    assert {ended[identity]["closed_block"] for identity in flagged_there} == {ancestor + 1}
    assert daemon.metric("chimera_reorgs_total") == 1
