"""`kill -9` at any moment, and a start: the same state, one id per episode, nothing twice."""

from __future__ import annotations

import random
import time

from devnet.chaos_branch import set_back
from devnet.chaos_chronicle import stored
from devnet.chaos_scene import Scene

KILLS = 5
LONGEST = 0.6  # seconds between a block and the end


def agreed(scene: Scene) -> None:
    verdict = scene.verdict()
    assert verdict.clean, verdict
    assert scene.applied_too_often() == 0


def test_killed_at_random_moments(scene: Scene) -> None:
    chance = random.Random(scene.seed)  # noqa: S311  (which moments, to be found again)
    for kill in range(KILLS):
        scene.live(chance.randint(1, 3))
        time.sleep(chance.random() * LONGEST)
        scene.daemon.kill()
        scene.live(chance.randint(0, 2))
        scene.start()
        if kill % 2:  # else it dies while it starts, or just after
            agreed(scene)
    agreed(scene)
    assert stored(scene.database, scene.stage) == ""
    assert scene.published() == ""


def test_killed_while_the_chain_changes_its_branch(scene: Scene) -> None:
    """What it remembers of the branch that left is not on the chain when it comes back."""
    before = open_ids(scene)
    with set_back(scene.stage):
        scene.live(4)
        scene.catch_up(scene.move(55))
        scene.catch_up(scene.life.quiet())
        there = open_ids(scene) - before
        assert stored(scene.database, scene.stage) == ""
        scene.daemon.kill()
    scene.live(9)
    scene.start()
    agreed(scene)
    assert there
    assert not there & open_ids(scene)
    assert stored(scene.database, scene.stage) == ""


def open_ids(scene: Scene) -> set[str]:
    return {flag["id"] for flag in scene.daemon.opportunities("&state=open")[1]}
