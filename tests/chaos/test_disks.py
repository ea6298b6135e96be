"""A history that cannot be written: the daemon goes on, and writes it down later."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from http import HTTPStatus
from pathlib import Path

from chimera.store.database import BUSY_SECONDS
from devnet.chaos_chronicle import stored
from devnet.chaos_disk import SmallDisk, locked
from devnet.chaos_scene import Scene

PATIENT = 1.5  # seconds for one block
SLOWER = 10  # times as long as a quiet block may any other take, besides
BLOCKS = 6
NOTICED = 30.0  # seconds until something has to be written, and cannot be
NO_HISTORY = 3  # exit code

SetUp = Callable[..., AbstractContextManager[Scene]]


def agreed(scene: Scene) -> None:
    verdict = scene.verdict()
    assert verdict.clean, verdict
    assert stored(scene.database, scene.stage) == ""


def slowest(scene: Scene) -> float:
    return max(scene.wave(), *(scene.catch_up(scene.live(1)) for _ in range(BLOCKS)))


def patience(scene: Scene) -> float:
    return PATIENT + SLOWER * scene.pace()


def test_a_history_that_somebody_else_has_locked(scene: Scene) -> None:
    patient = patience(scene)
    agreed(scene)
    before = scene.newest_checkpoint()
    with locked(scene.database):
        assert slowest(scene) < patient
        assert scene.newest_checkpoint() == before
    agreed(scene)


def rebuilt(scene: Scene, *, from_block: int) -> tuple[int, float]:
    """Ask the daemon to read its book anew; its mismatches, and the seconds that it took."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", scene.daemon.port, timeout=60)
    with closing(connection):
        kind = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/rebuild", json.dumps({"from_block": from_block}), kind)
        answer = connection.getresponse()
        report = json.load(answer)
    assert answer.status == HTTPStatus.OK, report
    return int(report["mismatches"]), time.monotonic() - began


def test_a_rebuild_while_somebody_else_has_the_history_locked(scene: Scene) -> None:
    """It searches from the first block on, and none of what it finds waits to be written."""
    _, usual = rebuilt(scene, from_block=0)
    patient = patience(scene)
    agreed(scene)
    before = scene.newest_checkpoint()
    with locked(scene.database):
        scene.live(1)
        mismatches, seconds = rebuilt(scene, from_block=0)
        scene.tell(f"a rebuild in {seconds:.2f} s, else {usual:.2f} s")
        assert mismatches == 0
        assert seconds < max(BUSY_SECONDS, 3 * usual)
        assert slowest(scene) < patient
        assert scene.newest_checkpoint() == before
    agreed(scene)


def test_a_full_disk(tmp_path: Path, set_up: SetUp) -> None:
    with SmallDisk() as disk, set_up(tmp_path, database=disk.folder / "chaos.db") as scene:
        scene.begin()
        patient = patience(scene)
        assert stored(scene.database, scene.stage) == ""
        mark = scene.log_size()
        disk.fill(scene.daemon.pid, scene.database)
        assert slowest(scene) < patient
        deadline = time.monotonic() + NOTICED
        while not scene.events("history_not_written", since=mark):
            assert time.monotonic() < deadline, "the daemon did not even notice"
            scene.follow(1)
        disk.free()
        agreed(scene)


def test_a_crash_while_the_history_cannot_be_written(scene: Scene) -> None:
    """What was kept in memory is worked out again from the chain."""
    with locked(scene.database):
        slowest(scene)
        scene.daemon.kill()
    scene.start()
    agreed(scene)
    assert scene.applied_too_often() == 0


def test_a_history_that_cannot_be_opened_is_refused(tmp_path: Path, set_up: SetUp) -> None:
    with set_up(tmp_path, database=tmp_path / "folder") as scene:
        (tmp_path / "folder").mkdir()
        scene.start()
        assert scene.daemon.wait(seconds=60) == NO_HISTORY
