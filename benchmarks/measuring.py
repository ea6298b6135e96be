"""The measuring itself: repeat, take turns, and say in one row what came out."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

SECONDS = "s"

Samples = list[float]


@dataclass(frozen=True, slots=True)
class Goal:
    """What `figure` of a row has to keep to: at most `limit`, or at least."""

    limit: float
    figure: Literal["median", "p99", "worst", "ratio"] = "median"
    at_least: bool = False

    def holds(self, value: float) -> bool:
        """Tell whether a value keeps to it."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True, slots=True)
class Row:
    """
    One line of a table.

    Attributes:
        what: What was measured, in words.
        median: The middle of all repetitions, in `unit`.
        p99: Under which 99 of 100 repetitions stayed; None where there is one figure only.
        worst: The largest of them.
        count: How many repetitions.
        unit: "s" (shown as ns, us or ms), or any word.
        ratio: The other row's median over this one's: how many times as fast.
        against: The `what` of the other row.
        goals: What it has to keep to.
    """

    what: str
    median: float
    p99: float | None = None
    worst: float | None = None
    count: int = 1
    unit: str = SECONDS
    ratio: float | None = None
    against: str | None = None
    goals: tuple[Goal, ...] = ()

    @property
    def verdicts(self) -> list[bool]:
        """For each goal, whether it is reached."""
        figures = {
            "median": self.median,
            "p99": self.p99,
            "worst": self.worst,
            "ratio": self.ratio,
        }
        values = [figures[goal.figure] for goal in self.goals]
        return [
            value is not None and goal.holds(value)
            for goal, value in zip(self.goals, values, strict=True)
        ]

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**asdict(self), "verdicts": self.verdicts}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Row:
        """Read `document` back."""
        known = {field.name: document[field.name] for field in fields(cls)}
        return cls(**{**known, "goals": tuple(Goal(**goal) for goal in known["goals"])})


def percentile(samples: Sequence[float], part: float) -> float:
    """
    Return the smallest sample that at least `part` of all do not exceed (nearest rank).

    Raises:
        ValueError: There is no sample, or `part` is not above 0 and at most 1.
    """
    if not samples or not 0 < part <= 1:
        raise ValueError("a percentile needs samples, and a part above 0 and up to 1")
    return sorted(samples)[math.ceil(part * len(samples)) - 1]


def row_of(
    what: str,
    samples: Sequence[float],
    *,
    per: int = 1,
    unit: str = SECONDS,
    against: Row | None = None,
    goals: Sequence[Goal] = (),
) -> Row:
    """
    Sum up the repetitions of one measurement.

    Args:
        what: What was measured.
        samples: One figure per repetition.
        per: How many things each repetition did; the row is per thing.
        unit: Of the samples.
        against: The row to compare with, per the same thing.
        goals: What it has to keep to.
    """
    median = statistics.median(samples) / per
    return Row(
        what=what,
        median=median,
        p99=percentile(samples, 0.99) / per,
        worst=max(samples) / per,
        count=len(samples),
        unit=unit,
        ratio=None if against is None else against.median / median,
        against=None if against is None else against.what,
        goals=tuple(goals),
    )


def timed(action: Callable[[], object]) -> float:
    """
    Return the seconds of processor time that `action` takes.

    On a quiet machine that is the time on the wall; on any other, what runs beside does not count.
    """
    began = time.process_time_ns()
    action()
    return (time.process_time_ns() - began) / 1e9


def elapsed(action: Callable[[], object]) -> float:
    """Return the seconds on the wall until `action` is done: for one that waits for others."""
    began = time.perf_counter_ns()
    action()
    return (time.perf_counter_ns() - began) / 1e9


async def timed_async(action: Callable[[], Awaitable[object]]) -> float:
    """Return the seconds on the wall until `action` is done: Redis works meanwhile, not we."""
    began = time.perf_counter_ns()
    await action()
    return (time.perf_counter_ns() - began) / 1e9


async def worked(action: Callable[[], Awaitable[object]]) -> float:
    """Return the seconds of our own processor time until `action` is done, without Redis's."""
    began = time.process_time_ns()
    await action()
    return (time.process_time_ns() - began) / 1e9


@dataclass(frozen=True, slots=True)
class Turn:
    """One side of a comparison; a cheap one goes `often` times whenever its turn comes."""

    action: Callable[[], object]
    often: int = 1


def in_turns(turns: Sequence[Turn], rounds: int) -> list[Samples]:
    """
    Time all sides in turns, so that a machine that drifts drifts for all of them.

    Each side goes once before that, untimed.
    """
    for turn in turns:
        turn.action()
    found: list[Samples] = [[] for _ in turns]
    for _ in range(rounds):
        for turn, samples in zip(turns, found, strict=True):
            samples += [timed(turn.action) for _ in range(turn.often)]
    return found


@dataclass(frozen=True, slots=True)
class AsyncTurn:
    """One side of a comparison that waits for others; see `Turn`."""

    action: Callable[[], Awaitable[object]]
    often: int = 1


async def in_turns_async(turns: Sequence[AsyncTurn], rounds: int) -> list[Samples]:
    """Time all sides in turns, as `in_turns` does."""
    for turn in turns:
        await turn.action()
    found: list[Samples] = [[] for _ in turns]
    for _ in range(rounds):
        for turn, samples in zip(turns, found, strict=True):
            samples += [await timed_async(turn.action) for _ in range(turn.often)]
    return found
