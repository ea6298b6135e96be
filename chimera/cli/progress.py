"""How far long work has got: bars for people at a terminal, log lines now and then for others."""

from __future__ import annotations

import io
import sys
import time
from types import TracebackType
from typing import Self

import structlog
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from chimera.observability.pace import Pace, spoken

EVERY = 5.0  # seconds between two lines of one stage


class CurrentStderr(io.TextIOBase):
    """Standard error as it is at each write, so that log lines pass above a running bar."""

    def write(self, text: str) -> int:
        """Write to whatever standard error is now."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Flush whatever standard error is now."""
        sys.stderr.flush()

    def isatty(self) -> bool:
        """Tell whether standard error is a terminal."""
        return sys.stderr.isatty()


class Reporter:
    """
    Told of long work as `reporter(stage, done, total)`; shows it on stderr, if at all.

    Use it as a context, so that the terminal is left in order.
    """

    def __init__(self) -> None:
        self._view = _Bars() if sys.stderr.isatty() else _Lines()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` is done; a total of 0 is one that is not known."""
        self._view.show(stage, done, total)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._view.close()


class _Lines:
    """One line per stage every few seconds, with the time that is left, and one at its end."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}
        self._paces: dict[str, Pace] = {}

    def show(self, stage: str, done: int, total: int) -> None:
        now, finished = time.monotonic(), done >= total > 0
        left = self._paces.setdefault(stage, Pace()).left(done, total, now)
        if finished or now - self._said.setdefault(stage, now) >= EVERY:
            self._said[stage] = now
            more = {} if finished or left is None else {"left": spoken(left)}
            structlog.get_logger().info("progress", stage=stage, done=done, total=total, **more)

    def close(self) -> None:
        self._said.clear()
        self._paces.clear()


class _Bars:
    """One bar per stage, gone once all are full."""

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._stages: dict[str, TaskID] = {}

    def show(self, stage: str, done: int, total: int) -> None:
        bars = self._bars or self._begun()
        if stage not in self._stages:
            self._stages[stage] = bars.add_task(stage)
        bars.update(self._stages[stage], completed=done, total=total or None)
        if bars.finished:
            self.close()

    def close(self) -> None:
        if self._bars is not None:
            self._bars.stop()
        self._bars, self._stages = None, {}

    def _begun(self) -> Progress:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._bars = Progress(*columns, console=Console(stderr=True), transient=True)
        self._bars.start()
        return self._bars
