"""`kill -9` at any moment, and a start: the same state, one id per episode, nothing twice."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from devnet.chaos_branch import set_back
from devnet.chaos_chronicle import await_block, published, stored
from devnet.chaos_scene import Scene

KILLS = 6
LONGEST = 0.6  # seconds between a block and the end

SetUp = Callable[..., AbstractContextManager[Scene]]


def test_killed_at_random_moments(tmp_path: Path, set_up: SetUp) -> None:
    with set_up(tmp_path) as scene:
        scene.begin()
        chance = random.Random(scene.seed)  # noqa: S311  (which moments, to be found again)
        for round_ in range(KILLS):
            scene.live(chance.randint(1, 3))
            time.sleep(chance.random() * LONGEST)
            scene.daemon.kill()
            scene.live(chance.randint(0, 2))
            scene.start()
            if round_ % 3 == 2:  # else it dies while it starts, or just after
                agreed(scene)
        scene.catch_up()
        agreed(scene)
        assert stored(scene.database, scene.stage) == ""
        assert published(scene.redis, scene.daemon) == ""


def agreed(scene: Scene) -> None:
    verdict = scene.verdict()
    assert verdict.clean, verdict
    assert scene.applied_too_often() == 0


def test_killed_while_the_chain_changes_its_branch(tmp_path: Path, set_up: SetUp) -> None:
    """What it remembers of the branch that left is not on the chain when it comes back."""
    with set_up(tmp_path) as scene:
        scene.begin()
        with set_back(scene.stage):
            scene.live(4)
            scene.catch_up(scene.crash())
            scene.catch_up(scene.life.quiet())
            there = {flag["id"] for flag in scene.daemon.opportunities("&state=open")[1]}
            time.sleep(0.5)  # its history has heard of it
            scene.daemon.kill()
        last = scene.live(9)
        scene.start()
        await_block(scene.daemon, last)
        agreed(scene)
        left = {flag["id"] for flag in scene.daemon.opportunities("&state=open")[1]}
        assert there - left
        assert stored(scene.database, scene.stage) == ""
