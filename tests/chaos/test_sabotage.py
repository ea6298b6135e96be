"""
The chaos suite must turn red when the daemon is broken, one rule at a time.

The scenarios are the suite's own, with their own verdicts; only the daemon is another. Where a
rule is guarded in several places, all of them are broken: parentHash is looked at by the feed, the
book and the detector, a gap is noticed by the feed and the book, a repetition by the feed, the book
and the detector. One guard alone that fails is not silent either: where the feed's fails, the book
has the mirror read anew, which no scenario allows; those of book and detector stand behind it and
are not reached while it holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pytest

from devnet.chaos_scene import REBUILT, Scene
from devnet.soak import soak
from tests.chaos import test_branches as branches
from tests.chaos import test_cables as cables
from tests.chaos import test_redis_faults as redis_faults

PROGRAM = str(Path(__file__).with_name("sabotaged.py"))
LONG_LIVED = {"redis": {"ttl": redis_faults.LONG_LIVED}}
BLOCKS = 5
SHORT = 4.0  # seconds for what will never be told
SOON = 6.0  # seconds for one block
SLOWER = 10  # times as long as a quiet block may any other take, besides
MANY = 20
SOAKED, SOAK_SEED = 12, 14  # blocks, and a seed with quick faults

SetUp = Callable[..., AbstractContextManager[Scene]]


class Guard(NamedTuple):
    """A scenario, and what its verdict says about a daemon that breaks the rule (a pattern)."""

    scenario: Callable[[Scene], None]
    reason: str
    extra: Mapping[str, Mapping[str, object]] = {}


def a_cut(scene: Scene) -> None:
    cables.test_a_cut_of_thirty_blocks("both", scene)


def another_branch(scene: Scene) -> None:
    branches.test_a_branch_that_changes_while_nobody_looks("both", scene)


LOST_FLAGS = r"missed=\{Episode"
WRONG_FIGURES = r"block \d+: 0x\w+ \w+: \S+ instead of \S+ as the contract says"
REPEATED = cables.test_heads_and_logs_that_are_said_twice

GUARDS = {
    "gaps_stay_open": Guard(a_cut, LOST_FLAGS),
    "nobody_looks_at_parents": Guard(another_branch, LOST_FLAGS),
    "feed_ignores_parents": Guard(another_branch, f"{REBUILT}.*does not build on"),
    "a_batch_is_applied_twice": Guard(REPEATED, WRONG_FIGURES),
    "feed_repeats_a_batch": Guard(REPEATED, f"{REBUILT}.*does not build on"),
    "a_position_is_lost": Guard(redis_faults.every_block_is_told, "not told", LONG_LIVED),
    "a_flag_is_lost": Guard(
        redis_faults.every_block_is_told, "the stream differs about", LONG_LIVED
    ),
    "streaks_stay_at_a_reorg": Guard(
        branches.test_a_fall_that_comes_a_block_later_on_the_other_branch, r"extra=\{Episode"
    ),
}


@pytest.mark.parametrize("broken", GUARDS)
def test_a_broken_rule_is_noticed(
    broken: str,
    tmp_path: Path,
    set_up: SetUp,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_faults, "TOLD_SECONDS", SHORT)
    scenario, reason, extra = GUARDS[broken]
    with set_up(tmp_path, program=(PROGRAM, broken), extra=extra) as scene:
        scene.begin()
        with pytest.raises(AssertionError) as red:
            scenario(scene)
        assert re.search(reason, f"{red.value} {scene.found}")
        assert f"seed {scene.seed}\n" in capsys.readouterr().out


def test_an_unbroken_daemon_passes_them_all(tmp_path: Path, set_up: SetUp) -> None:
    with set_up(tmp_path, program=(PROGRAM, "nothing"), extra=LONG_LIVED) as scene:
        scene.begin()
        for scenario in dict.fromkeys(guard.scenario for guard in GUARDS.values()):
            scenario(scene)


# -- the breaker -------------------------------------------------------------------------------


def the_preferred_is_away(scene: Scene) -> None:
    """No block waits for a dead endpoint, nor is it asked at every block."""
    seconds = SOON + SLOWER * scene.pace()
    scene.http.cut()
    scene.ws.cut()
    counts = [asked(scene)]
    for _ in range(BLOCKS):
        scene.catch_up(scene.live(1), seconds=seconds)
        counts.append(asked(scene))
    at_blocks = len(set(counts)) - 1
    assert at_blocks < BLOCKS, counts
    verdict = scene.verdict()
    assert verdict.clean, verdict


def asked(scene: Scene) -> float:
    """Count the requests to the preferred endpoint."""
    _, text = scene.daemon.get("/metrics")
    lines = [line for line in text.splitlines() if line.startswith("chimera_rpc_requests_total")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if f":{scene.http.port}" in line)


def test_a_dead_endpoint_is_left_alone(tmp_path: Path, set_up: SetUp) -> None:
    with set_up(tmp_path, program=(PROGRAM, "nothing"), fallbacks=True) as scene:
        scene.begin()
        the_preferred_is_away(scene)


def test_a_breaker_that_never_opens_is_noticed(tmp_path: Path, set_up: SetUp) -> None:
    """The dead endpoint is asked at every block, and its socket is tried again and again."""
    with set_up(tmp_path, program=(PROGRAM, "breakers_never_open"), fallbacks=True) as scene:
        scene.begin()
        with pytest.raises((AssertionError, RuntimeError), match=r"< 5|was not reached"):
            the_preferred_is_away(scene)
        assert len(scene.events("socket_lost")) > MANY


# -- the seed ----------------------------------------------------------------------------------


def test_a_failing_soak_names_its_seed_and_can_be_repeated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same seed brings the same faults at the same blocks, and the same goes wrong."""
    told, reports = [], []
    for _ in range(2):
        broken = (PROGRAM, "a_batch_is_applied_twice")
        reports.append(soak(blocks=SOAKED, seed=SOAK_SEED, aloud=True, program=broken))
        told.append(capsys.readouterr().out.splitlines())
    first, second = reports
    assert not first.clean
    assert first.lines()[0].startswith(f"seed {SOAK_SEED}: ")
    assert told[0][0] == f"seed {SOAK_SEED}"
    assert len(told[0]) == 1 + first.faults.total() > 2
    assert told[0] == told[1]
    # Which blocks a daemon applies in one go depends on the machine as well, and so does what else
    # goes wrong after the first time.
    assert first.mismatches[0] == second.mismatches[0]
