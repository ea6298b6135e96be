"""Which measurements there are, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from benchmarks.measuring import Row

NAMES = ("cache", "screen", "wide", "events", "block", "memory", "bootstrap", "live")


def about(name: str) -> str:
    """Return the first line of a measurement's docstring."""
    return (import_module(f"benchmarks.{name}").__doc__ or "").strip().splitlines()[0]


def measure(name: str) -> list[Row]:
    """Make one measurement, here and now."""
    function: Callable[[], list[Row]] = import_module(f"benchmarks.{name}").measure
    return function()
