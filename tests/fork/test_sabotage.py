"""The comparison with the chain must turn red when the daemon is broken, one rule at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from devnet.daemon import Daemon
from devnet.stage import Stage
from devnet.witness import Witness
from tests.fork.sabotaged import BREAKS

PROGRAM = str(Path(__file__).with_name("sabotaged.py"))


def faults_seen(broken: str, folder: Path) -> list[str]:
    """Live a short life with two reorgs in front of a daemon; say what did not agree."""
    with Stage.build(seed=5, borrowers=40) as stage:
        alone = {"reconcile": {"enabled": False}}  # which would mend what is to be noticed
        config = stage.write_config(folder / "sabotage.toml", extra=alone)
        program = (PROGRAM, broken)
        with Daemon(config, folder / "daemon.log", program=program) as daemon:
            witness = Witness(stage, daemon)
            try:
                live(stage, witness)
                missed, extra = witness.missed_and_extra()
            except RuntimeError as death:
                return [str(death)]
    return [*witness.mismatches, *map(str, missed), *map(str, extra)]


def live(stage: Stage, witness: Witness) -> None:
    witness.attend(stage.node.number)
    for _ in range(4):
        witness.attend(stage.life.step(seconds=60).number)
    prices = stage.prices.remember()
    for _ in range(2):
        witness.attend(stage.life.step(seconds=2).number)
    witness.reorg(2)  # people's actions are undone
    stage.prices.restore(prices)
    witness.attend(stage.life.quiet())
    witness.attend(stage.life.shock("WETH", -1500))
    witness.reorg(1)  # the price's fall is undone ...
    stage.prices.restore(prices)
    witness.attend(stage.life.shock("WETH", -1500))  # ... and comes a block later,
    stage.prices.restore(prices)
    witness.attend(stage.life.shock("WETH", 0))  # for one block only


def test_an_unbroken_daemon_agrees(tmp_path: Path) -> None:
    assert faults_seen("nothing", tmp_path) == []


@pytest.mark.parametrize("broken", sorted(BREAKS.keys() - {"nothing"}))
def test_a_broken_rule_is_noticed(broken: str, tmp_path: Path) -> None:
    assert faults_seen(broken, tmp_path) != []
