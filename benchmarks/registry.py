"""Which measurements there are, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

from benchmarks.measuring import Row


@dataclass(frozen=True, slots=True)
class Terms:
    """After how many seconds a measurement is ended, and whether `make bench-check` makes it."""

    seconds: float = 600.0
    checked: bool = True


MEASUREMENTS: Mapping[str, Terms] = {
    "cache": Terms(),
    "screen": Terms(),
    "wide": Terms(),
    "events": Terms(),
    "block": Terms(),
    "parts": Terms(checked=False),
    "adversarial": Terms(checked=False),
    "growth": Terms(seconds=900.0, checked=False),
    "memory": Terms(),
    "stalls": Terms(checked=False),
    "coldstart": Terms(),
    "bootstrap": Terms(seconds=900.0, checked=False),
    "live": Terms(seconds=900.0, checked=False),
}
NAMES = tuple(MEASUREMENTS)
CHECKED = tuple(name for name, terms in MEASUREMENTS.items() if terms.checked)


def about(name: str) -> str:
    """Return the first line of a measurement's docstring."""
    return (import_module(f"benchmarks.{name}").__doc__ or "").strip().splitlines()[0]


def measure(name: str) -> list[Row]:
    """Make one measurement, here and now."""
    function: Callable[[], list[Row]] = import_module(f"benchmarks.{name}").measure
    return function()
