"""`python -m devnet.soak`: a long life in which everything around the daemon fails at random."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median_low

from devnet.chaos_chronicle import stored
from devnet.chaos_faults import MUTE, draw
from devnet.chaos_process import memory
from devnet.chaos_redis import OPTIONS
from devnet.chaos_scene import BORROWERS, PROGRAM, Scene
from devnet.redis_server import RedisServer
from devnet.stage import Stage

LONG = 1_000  # blocks from which on faults that cost many seconds are drawn as well
CALM, STORM = (0, 3), (1, 6)  # blocks between two faults, and blocks of one fault
YOUNG, GROWN = 1 / 4, 5 / 8  # of a life: until when the daemon is killed, from when it is weighed
FLAT = 0.05  # of its memory may a process grow in a long soak
SAMPLES = 10  # weighings of which the median counts, at the beginning and at the end
MIB = 2**20


@dataclass
class Report:
    """
    What a soak found. All from `lost` to `mismatches` has to be 0 or empty, and memory flat.

    Attributes:
        faults: How often each fault was injected.
        recoveries: How often the daemon was complete again afterwards.
        longest_blocks: Most blocks that it had to catch up with, counted from the one it stood at.
        longest_seconds: Longest time that this took.
        lost: Blocks that were never applied.
        twice: Blocks that were applied once too often.
        missed: Flags that it lacks.
        false: Flags that it invented.
        mismatches: Figures that are not the contract's, and what others were told wrongly.
        weights: Bytes of memory, as often as it was weighed.
    """

    seed: int
    blocks: int = 0
    compared: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    recoveries: int = 0
    longest_blocks: int = 0
    longest_seconds: float = 0.0
    lost: int = 0
    twice: int = 0
    missed: int = 0
    false: int = 0
    mismatches: list[str] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        """Tell whether something was compared, nothing lost, nothing invented, memory flat."""
        bad = (self.lost, self.twice, self.missed, self.false, len(self.mismatches))
        recovered = self.recoveries == self.faults.total()
        return self.compared > 0 and not any(bad) and recovered and self.flat

    @property
    def memory_start(self) -> int:
        """Return the median of the first weighings, bytes; 0 where there are too few."""
        return median_low(self.weights[:SAMPLES]) if self._is_weighed else 0

    @property
    def memory_end(self) -> int:
        """Return the median of the last weighings, bytes; 0 where there are too few."""
        return median_low(self.weights[-SAMPLES:]) if self._is_weighed else 0

    @property
    def _is_weighed(self) -> bool:
        return len(self.weights) >= 2 * SAMPLES

    @property
    def growth(self) -> float:
        """Return by which part of it memory has grown; 0 where it was not weighed."""
        return self.memory_end / self.memory_start - 1 if self.memory_start else 0.0

    @property
    def flat(self) -> bool:
        """Tell whether memory is; a short life is over before a process has its size."""
        return self.blocks < LONG or (self.memory_start > 0 and self.growth <= FLAT)

    def lines(self) -> list[str]:
        """Return the report as text."""
        mib = f"{self.memory_start / MIB:.1f}, then {self.memory_end / MIB:.1f}"
        return [
            f"seed {self.seed}: {self.blocks} blocks in {self.seconds:.0f} s",
            f"faults injected   {self.faults.total()} of {len(self.faults)} kinds",
            f"recoveries        {self.recoveries}",
            f"longest gap       {self.longest_blocks} blocks, {self.longest_seconds:.2f} s",
            f"accounts compared {self.compared}",
            f"blocks lost       {self.lost}",
            f"applied twice     {self.twice}",
            f"false flags       {self.false}",
            f"missed flags      {self.missed}",
            f"mismatches        {len(self.mismatches)}",
            f"memory            {mib} MiB ({self.growth:+.1%})",
            *self.mismatches[:20],
        ]


class Soak:
    """
    One life with faults.

    The daemon is killed in the first quarter only, and weighed after each fault from five eighths
    on: a process has its size when undo window, histories and the allocator's pools have filled.
    From there on nobody borrows for the first time, so that it is no larger market that is weighed.
    """

    def __init__(self, scene: Scene, *, blocks: int, aloud: bool) -> None:
        self._scene = scene
        self._chance = random.Random(scene.seed)
        self._wanted = blocks
        self._aloud = aloud
        self.report = Report(scene.seed)

    def run(self) -> Report:
        """Live until there were as many blocks as wanted, and hold all of it against the chain."""
        report, began = self.report, time.monotonic()
        self._scene.begin()
        first = self._scene.stage.node.number
        while report.blocks < self._wanted:
            self._storm()
            report.blocks = self._scene.stage.node.number - first
        self._examine_stores()
        report.seconds = time.monotonic() - began
        return report

    def _storm(self) -> None:
        scene, report = self._scene, self.report
        scene.follow(self._chance.randint(*CALM))
        young = report.blocks < YOUNG * self._wanted
        name, fault = draw(self._chance, crashes=young, silence=self._wanted >= LONG)
        blocks = self._chance.randint(*STORM)
        if name == "daemon killed":
            self._count_applied()
        self._tell(f"{report.faults.total() + 1}. {name}, {blocks} blocks")
        report.faults[name] += 1
        stood = scene.processed()
        with fault(scene):
            scene.live(blocks, actions=4)
            stands = stood if name in MUTE else scene.processed()
            behind = scene.stage.node.number - stands
        report.longest_blocks = max(report.longest_blocks, behind)
        report.longest_seconds = max(report.longest_seconds, scene.catch_up())
        report.recoveries += 1
        self._examine()
        self._weigh()

    def _examine(self) -> None:
        report, verdict = self.report, self._scene.verdict()
        report.compared += verdict.compared
        report.missed += len(verdict.missed)
        report.false += len(verdict.extra)
        report.mismatches += verdict.mismatches
        self._count_applied()

    def _count_applied(self) -> None:
        difference = self._scene.applied_too_often()
        self.report.twice += max(0, difference)
        self.report.lost += max(0, -difference)

    def _examine_stores(self) -> None:
        scene = self._scene
        for wrong in (stored(scene.database, scene.stage), scene.published()):
            self.report.mismatches += [wrong] if wrong else []

    def _weigh(self) -> None:
        if self.report.blocks >= GROWN * self._wanted:
            self._scene.life.full = True
            self.report.weights.append(memory(self._scene.daemon.pid))

    def _tell(self, line: str) -> None:
        if self._aloud:
            print(f"block {self._scene.stage.node.number}: {line}", flush=True)


def soak(
    *,
    blocks: int,
    seed: int,
    borrowers: int = BORROWERS,
    reconcile: bool = False,
    aloud: bool = False,
    program: Sequence[str] = PROGRAM,
) -> Report:
    """
    Live `blocks` blocks with faults drawn from `seed`.

    Args:
        blocks: Blocks on the final chain; those that were taken back come on top.
        seed: Decides who lives there, how, and which fault comes when.
        borrowers: People with debt in the beginning.
        reconcile: Whether the daemon may compare itself with the chain, and mend itself.
        aloud: Whether to print every fault as it begins.
        program: What to run in place of `python -m chimera`.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chimera-soak-")))
        stage = stack.enter_context(Stage.build(seed=seed, borrowers=borrowers))
        redis = stack.enter_context(RedisServer(*OPTIONS))
        place = Scene.on(
            stage, folder, seed=seed, redis=redis, reconcile=reconcile, program=program
        )
        scene = stack.enter_context(place)
        return Soak(scene, blocks=blocks, aloud=aloud).run()


def main() -> None:
    """Run a soak from the command line; exit code 1 unless its report is clean."""
    parser = argparse.ArgumentParser(prog="devnet.soak", description=__doc__)
    parser.add_argument("--blocks", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--borrowers", type=int, default=BORROWERS)
    parser.add_argument("--reconcile", action="store_true")
    options = parser.parse_args()
    report = soak(**vars(options), aloud=True)
    print("\n".join(report.lines()))
    sys.exit(0 if report.clean else 1)


if __name__ == "__main__":
    main()
