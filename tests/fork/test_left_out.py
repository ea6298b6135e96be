"""A protocol becomes what a start would refuse, while others are followed beside it."""

from __future__ import annotations

from pathlib import Path

from devnet.daemon import Daemon
from devnet.town import MORPHO, NEW, OLD, VENUS, Town
from devnet.venus_market import admin

MIRROR_ALONE = {"reconcile": {"enabled": False}}
WAD = 10**18
VAI_CONTROLLER = "0x00000000000000000000000000000000000000Fa"


def spoken(factor: int | None) -> str | None:
    return None if factor is None else f"{factor // WAD}.{factor % WAD:018}"


def test_a_protocol_that_turns_unsupported_is_left_out_and_the_others_go_on(
    tmp_path: Path,
) -> None:
    with Town.build(seed=9, borrowers=10) as town:
        config = town.write_config(tmp_path / "town.toml", extra=MIRROR_ALONE)
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            daemon.wait_until(town.node.number)

            admin(town.node, town.venus.market.comptroller, "_setVAIController", VAI_CONTROLLER)
            body = daemon.wait_until(town.node.settle())

            assert set(body["protocols"]) == {OLD, NEW, MORPHO}
            assert [VENUS in reason for reason in body["reasons"]].count(True) == 1
            for number in (town.old.life.step(seconds=60).number, town.node.mine(60)):
                daemon.wait_until(number)
                _, positions = daemon.positions()
                said = {
                    (p["protocol"], p["user"].lower()): p["health_factor"]
                    for p in positions
                    if p["debt"]
                }
                truth = town.truth(number, venus=False)
                assert said == {key: spoken(told.factor) for key, told in truth.items()}
            assert daemon.metric("chimera_rebuilds_total") == 1
            assert daemon.stop() == 0

        told = Daemon(config, tmp_path / "again.log")
        told.start()
        assert told.wait(seconds=60) == 2
        assert "VAI" in told.log_tail()
