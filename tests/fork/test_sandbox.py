"""The real daemon needs nothing that its unit forbids."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from devnet.daemon import Daemon
from devnet.redis_server import RedisServer
from devnet.stage import Stage
from devnet.witness import Witness

ROOT = Path(__file__).resolve().parents[2]
UNIT, SANDBOXED = ROOT / "systemd" / "chimera.service", Path(__file__).with_name("sandboxed.py")

FORBIDDEN = {
    "memory that can be written and executed": "import mmap; mmap.mmap(-1, 4096, prot=7)",
    "a priority of its own": "import os; os.setpriority(os.PRIO_PROCESS, 0, 5)",
    "the routing table": "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "another root": "import os; os.chroot('/')",
}
PERMITTED = "import socket, threading; socket.create_server(('127.0.0.1', 0)).close()"


def tried(code: str) -> subprocess.CompletedProcess[str]:
    """Run a line of Python under the unit's filter."""
    folder = str(SANDBOXED.parent)
    line = f"import pathlib, sandboxed; sandboxed.confine(pathlib.Path({str(UNIT)!r})); {code}"
    return subprocess.run(
        [sys.executable, "-c", line],
        env={"PYTHONPATH": folder, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_filter_bites(what: str) -> None:
    said = tried(FORBIDDEN[what])

    assert said.returncode == 1
    assert "PermissionError" in said.stderr


def test_the_filter_lets_a_server_be_a_server() -> None:
    assert tried(PERMITTED).returncode == 0


def test_the_daemon_lives_under_the_filter_of_its_unit(tmp_path: Path) -> None:
    with Stage.build(seed=13, borrowers=20) as stage, RedisServer() as redis:
        config = stage.write_config(tmp_path / "chimera.toml", redis_url=redis.url)
        program = (str(SANDBOXED), str(UNIT))
        environment = {"PYTHONPATH": str(ROOT)}
        log = tmp_path / "daemon.log"
        with Daemon(config, log, env=environment, program=program) as daemon:
            witness = Witness(stage, daemon)
            witness.attend(stage.node.number)
            witness.attend(stage.life.shock("WETH", -1200))
            witness.attend(stage.life.quiet())
            assert witness.rule.episodes()
            assert witness.mismatches == []
            assert witness.missed_and_extra() == (set(), set())
            deadline = time.monotonic() + 60
            while daemon.metric("chimera_redis_connected") != 1:
                assert time.monotonic() < deadline  # a busy machine may lose it for a moment
                time.sleep(0.1)
            assert daemon.stop() == 0
        assert "Operation not permitted" not in log.read_text()
