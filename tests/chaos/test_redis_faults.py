"""Redis as it fails: blocks go on at their pace, and it says everything again afterwards."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from devnet.chaos_chronicle import published
from devnet.chaos_faults import FORGETFUL, REDIS
from devnet.chaos_scene import Scene

PATIENT = 1.5  # seconds for one block: less than one slow answer of Redis
BLOCKS = 5

SetUp = Callable[..., AbstractContextManager[Scene]]


@pytest.fixture(scope="module")
def forgotten() -> set[str]:
    """What the stream of this module's Redis has lost so far."""
    return set()


@pytest.mark.parametrize("name", REDIS)
def test_blocks_do_not_wait(name: str, scene: Scene, forgotten: set[str]) -> None:
    with REDIS[name](scene):
        longest = max(scene.catch_up(scene.live(1)) for _ in range(BLOCKS))
        scene.catch_up(scene.crash(90))
        scene.catch_up(scene.life.quiet())
        forgotten |= {name} & FORGETFUL
    scene.tell(f"{name}: longest wait for a block {longest:.2f} s")
    assert longest < PATIENT
    verdict = scene.verdict()
    assert verdict.clean, verdict
    assert published(scene.redis, scene.daemon, forgotten=bool(forgotten)) == ""


def test_a_start_without_redis(tmp_path: Path, set_up: SetUp) -> None:
    with set_up(tmp_path) as scene:
        scene.redis.kill()
        scene.begin()
        assert scene.daemon.get("/readyz")[1]["redis"] == "fallback"
        scene.follow(2)
        scene.redis.start()
        verdict = scene.verdict()
        assert verdict.clean, verdict
        assert published(scene.redis, scene.daemon) == ""
