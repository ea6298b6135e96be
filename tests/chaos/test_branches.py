"""A chain that changes its mind, while somebody looks and while nobody does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from devnet.chaos_branch import replaced, set_back
from devnet.chaos_scene import Scene

WINDOW = 64  # blocks that can be undone
DEEP = WINDOW + 6

SetUp = Callable[..., AbstractContextManager[Scene]]


def agreed(scene: Scene) -> None:
    verdict = scene.verdict()
    assert verdict.clean, verdict
    assert scene.applied_too_often() == 0


def depths(scene: Scene, since: int) -> list[int]:
    return [line["depth"] for line in scene.events("reorg", since=since)]


@pytest.mark.parametrize("depth", [1, 4, 11])
def test_blocks_that_are_replaced(depth: int, scene: Scene) -> None:
    mark = scene.log_size()
    with replaced(scene.stage):
        scene.catch_up(scene.live(depth))
    scene.live(1)
    agreed(scene)
    assert depths(scene, mark) == [depth]


@pytest.mark.parametrize("depth", [2, 7])
def test_a_chain_that_is_set_back_and_grows_again(depth: int, scene: Scene) -> None:
    mark = scene.log_size()
    with set_back(scene.stage):
        scene.catch_up(scene.live(depth))
    scene.follow(depth + 2)
    agreed(scene)
    assert sum(depths(scene, mark)) == depth


def test_a_flag_on_a_branch_that_leaves_is_taken_back(scene: Scene) -> None:
    before = open_ids(scene)
    with replaced(scene.stage):
        scene.catch_up(scene.move(55))
        scene.catch_up(scene.life.quiet())
        there = open_ids(scene) - before
    scene.live(1)
    agreed(scene)
    _, closed = scene.daemon.opportunities("&state=closed")
    taken_back = {flag["id"] for flag in closed if flag["closed_reason"] == "reorged"}
    assert there
    assert there <= taken_back


def open_ids(scene: Scene) -> set[str]:
    return {flag["id"] for flag in scene.daemon.opportunities("&state=open")[1]}


def test_a_fall_that_comes_a_block_later_on_the_other_branch(scene: Scene) -> None:
    """One block under 1 here and two on a branch that left are not three in a row."""
    before = under(scene)
    with replaced(scene.stage):
        scene.catch_up(scene.move(70))
        scene.catch_up(scene.life.quiet())
        there = under(scene) - before
    scene.catch_up(scene.move(70))
    here = under(scene) - before
    scene.catch_up(scene.move(143))
    agreed(scene)
    assert there & here


def under(scene: Scene) -> set[str]:
    _, positions = scene.daemon.positions()
    return {p["user"] for p in positions if p["health_factor"] and p["health_factor"] < "1"}


def test_a_branch_as_deep_as_can_be_undone(scene: Scene) -> None:
    mark = scene.log_size()
    with replaced(scene.stage):
        scene.live(4)
        for _ in range(WINDOW - 4):
            scene.life.quiet()
        scene.catch_up()
    scene.live(1)
    agreed(scene)
    assert depths(scene, mark) == [WINDOW]


@pytest.mark.parametrize("cut", ["socket", "both"])
def test_a_branch_that_changes_while_nobody_looks(cut: str, scene: Scene) -> None:
    mark = scene.log_size()
    cables = [scene.ws] if cut == "socket" else [scene.ws, scene.http]
    with set_back(scene.stage):
        scene.catch_up(scene.live(5))
        for cable in cables:
            cable.cut()
        scene.live(3)
    scene.live(9)
    for cable in cables:
        cable.restore()
    scene.catch_up()
    agreed(scene)
    assert 5 <= sum(depths(scene, mark)) <= 8


def test_two_branches_in_a_row(scene: Scene) -> None:
    with replaced(scene.stage):
        scene.catch_up(scene.live(4))
    with replaced(scene.stage):
        scene.live(2)
    scene.live(2)
    agreed(scene)


def test_timestamps_that_stand_still_or_leap(scene: Scene) -> None:
    for seconds in (0, 0, 30 * 86_400, 0, 3_600):
        scene.life.begin(actions=3)
        scene.catch_up(scene.mine_at(scene.stage.node.time + seconds))
        agreed(scene)


def test_a_branch_deeper_than_can_be_undone(tmp_path: Path, set_up: SetUp) -> None:
    """The mirror is read anew: flags stay who they are, and count their blocks from there."""
    with set_up(tmp_path) as scene:
        scene.begin()
        before = open_ids(scene)
        with replaced(scene.stage):
            for _ in range(DEEP):
                scene.life.quiet()
            scene.catch_up()
        scene.catch_up(scene.life.quiet())
        assert depths(scene, 0) == []
        verdict = scene.verdict(rebuilds=1)
        assert (verdict.missed, verdict.extra) == (set(), set())
        assert verdict.compared
        assert all(": flag of 0x" in one for one in verdict.mismatches), verdict
        assert open_ids(scene) == before
        assert scene.applied_too_often() == 0
