"""An episode that closed on a branch that left goes on, through two crashes, under its one id."""

from __future__ import annotations

from devnet.chaos_branch import set_back
from devnet.chaos_chronicle import stored
from devnet.chaos_scene import DOWN, UP, Scene


def open_ids(scene: Scene) -> set[str]:
    return {flag["id"] for flag in scene.daemon.opportunities("&state=open")[1]}


def test_closed_on_a_branch_that_left(scene: Scene) -> None:
    scene.catch_up(scene.move(DOWN))
    scene.catch_up(scene.life.quiet())
    flagged = open_ids(scene)
    assert stored(scene.database, scene.stage) == ""
    with set_back(scene.stage):
        scene.catch_up(scene.move(UP))
        assert flagged - open_ids(scene)
        assert stored(scene.database, scene.stage) == ""
        scene.daemon.kill()
    for _ in range(2):
        scene.life.quiet()
        scene.start()
        verdict = scene.verdict()
        assert verdict.clean, verdict
        assert open_ids(scene) == flagged
        assert stored(scene.database, scene.stage) == ""
        scene.daemon.kill()
    scene.start()
    scene.catch_up(scene.move(UP))
