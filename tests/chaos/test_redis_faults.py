"""Redis as it fails: blocks go on at their pace, and it says everything again afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from devnet.chaos_chronicle import told
from devnet.chaos_faults import REDIS
from devnet.chaos_scene import Scene

PATIENT = 1.5  # seconds for one block: less than one slow answer of Redis
SLOWER = 10  # times as long as a quiet block may any other take, besides
BLOCKS = 5
LONG_LIVED = 3600  # seconds: the refresh of a key comes only after a third of it
WRITTEN_BLOCKS = 12
RETURNED = 60.0  # seconds until the daemon has to be back at a Redis that is
NOTICED = 10.0  # seconds until a Redis that hangs has to be noticed
TOLD_SECONDS = 30.0  # far less than a round of the refresh, where keys live long

# What others read is compared after each round: it may take two rounds of the refresh.
ROUNDS = (
    ("Redis lost",),
    ("Redis slow", "Redis crowded"),
    ("Redis garbled", "Redis hung"),
    ("Redis full", "Redis read-only"),
    ("Redis with other types",),
)

SetUp = Callable[..., AbstractContextManager[Scene]]


def felt(scene: Scene, mark: int) -> bool:
    complaints = {"redis_lost", "redis_refused", "flags_not_written"}
    return any(line["event"] in complaints for line in scene.events(since=mark))


def endure(scene: Scene, name: str) -> None:
    """Show that blocks are processed at their pace while Redis fails, and that it did fail."""
    deadline = time.monotonic() + RETURNED
    while scene.daemon.get("/readyz")[1]["redis"] != "connected":
        assert time.monotonic() < deadline
        time.sleep(0.1)  # the fault before this one is still felt
    patient = PATIENT + SLOWER * scene.pace()
    mark = scene.log_size()
    with REDIS[name](scene):
        waits = [scene.wave(), *(scene.catch_up(scene.live(1)) for _ in range(BLOCKS))]
        deadline = time.monotonic() + NOTICED
        while not felt(scene, mark):
            assert time.monotonic() < deadline, "the daemon did not even notice"
            waits.append(scene.catch_up(scene.life.quiet()))
            time.sleep(0.2)
    scene.tell(f"{name}: longest wait for a block {max(waits):.2f} s")
    assert max(waits) < patient


@pytest.mark.parametrize("names", ROUNDS, ids=" and ".join)
def test_blocks_do_not_wait(names: tuple[str, ...], scene: Scene) -> None:
    for name in names:
        endure(scene, name)
        verdict = scene.verdict()
        assert verdict.clean, verdict
    assert scene.published() == ""


def test_every_fault_has_its_turn() -> None:
    assert {name for names in ROUNDS for name in names} == set(REDIS)


def test_a_start_without_redis(tmp_path: Path, set_up: SetUp) -> None:
    with set_up(tmp_path) as scene:
        scene.redis.kill()
        scene.begin()
        assert scene.daemon.get("/readyz")[1]["redis"] == "fallback"
        scene.follow(2)
        scene.redis.start()
        verdict = scene.verdict()
        assert verdict.clean, verdict
        assert scene.published() == ""


def test_no_write_is_lost(tmp_path: Path, set_up: SetUp) -> None:
    with set_up(tmp_path, extra={"redis": {"ttl": LONG_LIVED}}) as scene:
        scene.begin()
        every_block_is_told(scene)
        agreed = scene.verdict()
        assert agreed.clean, agreed


def every_block_is_told(scene: Scene) -> None:
    """Nothing but a block's own writes tells Redis of it: the refresh is far too slow."""
    for _ in range(WRITTEN_BLOCKS):
        scene.follow(1)
        assert told(scene.redis, scene.daemon, seconds=TOLD_SECONDS) == ""
