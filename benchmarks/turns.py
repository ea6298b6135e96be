"""
What keeps an event loop: its turns by the kind of work, and what they are made of.

A turn is one callback of the loop: one step of a task, or what a socket brought. Times are the
processor's, of the loop's thread alone. Collections of garbage and the methods that are named to
`watch` are *parts*; the time of a part within another counts for both.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import time
from asyncio.events import Handle
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from types import ModuleType
from typing import Any

from benchmarks.measuring import Samples

Place = type | ModuleType

GARBAGE = ("young garbage", "middle-aged garbage", "all garbage")
FEWEST = 0.0002  # seconds: a part that takes less says nothing about a long turn


@dataclass(slots=True)
class Turns:
    """
    What was noted.

    Attributes:
        kinds: Seconds of every turn, by the name of its task or callback.
        parts: Seconds of every call of a part.
        since: What happened since somebody asked last, by kind and by part.
    """

    kinds: dict[str, Samples] = field(default_factory=lambda: defaultdict(list))
    parts: dict[str, Samples] = field(default_factory=lambda: defaultdict(list))
    since: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def ran(self, kind: str, seconds: float) -> None:
        """Note a turn."""
        self.kinds[kind].append(seconds)
        self.since[kind] += seconds

    def spent(self, part: str, seconds: float) -> None:
        """Note a part of a turn."""
        self.parts[part].append(seconds)
        self.since[f"({part})"] += seconds

    def anew(self) -> dict[str, float]:
        """Return the seconds of each kind and part since somebody asked last."""
        found, self.since = self.since, defaultdict(float)
        return found

    def lately(self) -> dict[str, float]:
        """Return the same, longest first, without those that say nothing."""
        longest = sorted(self.anew().items(), key=itemgetter(1), reverse=True)
        return {what: seconds for what, seconds in longest if seconds >= FEWEST}


@contextmanager
def watched(parts: Sequence[tuple[str, Place, str]]) -> Iterator[Turns]:
    """
    Note every turn of the loops of this thread meanwhile.

    Args:
        parts: Methods, properties and functions to time besides: what to call each, its class or
            its module, its name.
    """
    turns, began = Turns(), 0.0

    def collecting(phase: str, about: dict[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = time.thread_time()
        else:
            turns.spent(GARBAGE[about["generation"]], time.thread_time() - began)

    places = [(Handle, "_run"), *((owner, name) for _, owner, name in parts)]
    kept = [owner.__dict__[name] for owner, name in places]
    timed = [_timed(was, what, turns) for was, (what, _, _) in zip(kept[1:], parts, strict=True)]
    _put(places, [_noting(kept[0], turns), *timed])
    gc.callbacks.append(collecting)
    try:
        yield turns
    finally:
        gc.callbacks.remove(collecting)
        _put(places, kept)


def _put(places: Sequence[tuple[Place, str]], members: Sequence[object]) -> None:
    for (owner, name), member in zip(places, members, strict=True):
        setattr(owner, name, member)


def _noting(run: Callable[[Handle], None], turns: Turns) -> Callable[[Handle], None]:
    def noting(handle: Handle) -> None:
        kind = _kind(getattr(handle, "_callback", None))
        began = time.thread_time()
        try:
            run(handle)
        finally:
            turns.ran(kind, time.thread_time() - began)

    return noting


def _kind(callback: object) -> str:
    """Return the name of a task, if it was given one, or of the function that runs."""
    task = getattr(callback, "__self__", None)
    if not isinstance(task, asyncio.Task):
        return _name_of(callback)
    name = task.get_name()
    return name if not name.startswith("Task-") else _name_of(task.get_coro())


def _name_of(work: object) -> str:
    return getattr(work, "__qualname__", type(work).__name__)


def _timed(member: Any, what: str, turns: Turns) -> Any:  # noqa: ANN401  (a method or a property)
    if isinstance(member, property):
        return property(_timed(member.fget, what, turns))

    @functools.wraps(member)
    def timed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        began = time.thread_time()
        try:
            return member(*args, **kwargs)
        finally:
            turns.spent(what, time.thread_time() - began)

    return timed
