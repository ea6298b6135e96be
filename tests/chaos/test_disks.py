"""A history that cannot be written: the daemon goes on, and writes it down later."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from devnet.chaos_chronicle import stored
from devnet.chaos_disk import SmallDisk, locked
from devnet.chaos_scene import Scene

PATIENT = 1.5  # seconds for one block
BLOCKS = 6
NO_HISTORY = 3  # exit code

SetUp = Callable[..., AbstractContextManager[Scene]]


def agreed(scene: Scene) -> None:
    verdict = scene.verdict()
    assert verdict.clean, verdict
    assert stored(scene.database, scene.stage) == ""


def slowest(scene: Scene) -> float:
    return max(scene.wave(), *(scene.catch_up(scene.live(1)) for _ in range(BLOCKS)))


def test_a_history_that_somebody_else_has_locked(scene: Scene) -> None:
    agreed(scene)
    before = scene.newest_checkpoint()
    with locked(scene.database):
        assert slowest(scene) < PATIENT
        assert scene.newest_checkpoint() == before
    agreed(scene)


def test_a_full_disk(tmp_path: Path, set_up: SetUp) -> None:
    with SmallDisk() as disk, set_up(tmp_path, database=disk.folder / "chaos.db") as scene:
        scene.begin()
        assert stored(scene.database, scene.stage) == ""
        mark = scene.log_size()
        disk.fill(scene.daemon.pid, scene.database)
        assert slowest(scene) < PATIENT
        assert scene.events("history_not_written", since=mark)
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
        assert scene.daemon.wait(seconds=30) == NO_HISTORY
