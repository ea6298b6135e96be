"""A socket that stands and says nothing: blocks go on by asking, and the reason is shown."""

from __future__ import annotations

import time
from pathlib import Path

from devnet.chaos_proxy import ChaosProxy
from devnet.daemon import Daemon
from devnet.stage import Stage
from devnet.witness import Witness

WITHIN = 20.0  # seconds; three block times are 6, the rest is for a machine that has much to do


def test_blocks_go_on_within_three_block_times_of_the_last_head(tmp_path: Path) -> None:
    with Stage.build(seed=7, borrowers=10) as stage, ChaosProxy(stage.anvil.port) as cable:
        config = stage.write_config(tmp_path / "silent.toml", ws=cable.ws)
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            witness = Witness(stage, daemon)
            witness.attend(stage.life.step(seconds=2).number)
            reconnects = daemon.metric("chimera_reconnects_total")

            cable.silent = True
            for _ in range(4):
                stage.life.step(seconds=2)
            silent_at = time.monotonic()
            while (ready := daemon.get("/readyz")[1])["processed_block"] < stage.node.number:
                assert time.monotonic() < silent_at + WITHIN, ready
                time.sleep(0.05)
            assert reasons_about_sockets(daemon)
            witness.attend(stage.life.step(seconds=2).number)  # and so it goes on

            cable.restore()
            while daemon.metric("chimera_reconnects_total") == reconnects:
                assert time.monotonic() < silent_at + 6 * WITHIN
                time.sleep(0.1)
            witness.attend(stage.life.step(seconds=2).number)
            while reasons_about_sockets(daemon):
                assert time.monotonic() < silent_at + 6 * WITHIN
                time.sleep(0.1)
            assert witness.mismatches == []
            assert daemon.metric("chimera_log_differences_total") == 0


def reasons_about_sockets(daemon: Daemon) -> set[str]:
    reasons: list[str] = daemon.get("/readyz")[1]["reasons"]
    return {reason for reason in reasons if "WebSocket" in reason}
