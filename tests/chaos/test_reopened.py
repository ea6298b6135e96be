"""An episode that closed on a branch that left goes on, through two crashes, under its one id."""

from __future__ import annotations

import time

from devnet.chaos_branch import set_back
from devnet.chaos_scene import DOWN, UP, Scene

WRITTEN = 0.5  # seconds after which the history has heard of a block


def open_ids(scene: Scene) -> set[str]:
    return {flag["id"] for flag in scene.daemon.opportunities("&state=open")[1]}


def test_closed_on_a_branch_that_left(scene: Scene) -> None:
    scene.catch_up(scene.move(DOWN))
    scene.catch_up(scene.life.quiet())
    flagged = open_ids(scene)
    time.sleep(WRITTEN)
    with set_back(scene.stage):
        scene.catch_up(scene.move(UP))
        assert flagged - open_ids(scene)
        time.sleep(WRITTEN)
        scene.daemon.kill()
    for _ in range(2):
        scene.life.quiet()
        scene.start()
        verdict = scene.verdict()
        assert verdict.clean, verdict
        assert open_ids(scene) == flagged
        time.sleep(WRITTEN)
        scene.daemon.kill()
    scene.start()
    scene.catch_up(scene.move(UP))
