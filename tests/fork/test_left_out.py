"""A protocol does not fit, or becomes what a start would refuse, and others are beside it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from devnet.daemon import Daemon
from devnet.town import MORPHO, NEW, OLD, VENUS, Town
from devnet.venus_market import admin

MIRROR_ALONE = {"reconcile": {"enabled": False}}
WAD = 10**18
VAI_CONTROLLER = "0x00000000000000000000000000000000000000Fa"


FALLIBLE = """
from chimera.cli import main
from chimera.errors import Rebuild
from chimera.protocols.morpho_blue.adapter import MorphoBlue

fold, faults = MorphoBlue.fold, [Rebuild("a log does not fit")]

def fails_once(*arguments):
    if faults:
        raise faults.pop()
    return fold(*arguments)

MorphoBlue.fold = fails_once
main()
"""


def read_by(daemon: Daemon) -> Counter[str]:
    """Count how often each protocol was read as a whole."""
    return Counter(line["protocol"] for line in daemon.told("protocol_read"))


def spoken(factor: int | None) -> str | None:
    return None if factor is None else f"{factor // WAD}.{factor % WAD:018}"


def test_a_protocol_that_turns_unsupported_is_left_out_and_the_others_go_on(
    tmp_path: Path,
) -> None:
    with Town.build(seed=9, borrowers=10) as town:
        config = town.write_config(tmp_path / "town.toml", extra=MIRROR_ALONE)
        with Daemon(config, tmp_path / "daemon.log", program=("-c", FALLIBLE)) as daemon:
            daemon.wait_until(town.node.number)
            daemon.wait_until(town.node.mine(60))
            assert read_by(daemon) == {OLD: 1, NEW: 1, VENUS: 1, MORPHO: 2}

            admin(town.node, town.venus.market.comptroller, "_setVAIController", VAI_CONTROLLER)
            body = daemon.wait_until(town.node.settle())

            assert set(body["protocols"]) == {OLD, NEW, MORPHO}
            assert [VENUS in reason for reason in body["reasons"]].count(True) == 1
            assert body["degraded"]
            assert daemon.metric("chimera_protocols_left_out") == 1
            for with_actions in (True, False):
                number = (
                    town.old.life.step(seconds=60).number if with_actions else town.node.mine(60)
                )
                daemon.wait_until(number)
                block, positions = daemon.positions()
                assert block == number
                said = {
                    (p["protocol"], p["user"].lower()): p["health_factor"]
                    for p in positions
                    if p["debt"]
                }
                truth = town.truth(number, venus=False)
                assert said == {key: spoken(told.factor) for key, told in truth.items()}
            assert daemon.metric("chimera_rebuilds_total") == 2
            assert daemon.stop() == 0

        told = Daemon(config, tmp_path / "again.log")
        told.start()
        assert told.wait(seconds=180) == 2
        assert "VAI" in told.log_tail()
