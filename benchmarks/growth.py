"""
What becomes of it when accounts grow tenfold, and tenfold again: screen, block, memory.

All three books are in one process and take turns, so that they meet the same machine. A ratio says
how many times as fast the larger one is as the one a tenth its size: 0.1x is linear growth, 1x
none at all. The screen is asked again at the same weights, as on a calm block; `screen` has stormy
ones. Memory is what the process takes from the system for accounts, book and screen.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.measuring import Goal, Row, Samples, Turn, in_turns, row_of
from benchmarks.synthetic import START, Mirror, make_mirror
from benchmarks.traffic import Traffic

SIZES = (10_000, 100_000, 1_000_000)
ROUNDS, OFTEN = 10, 10
LOGS = 200
NOW = START + 2
PAGE = os.sysconf("SC_PAGE_SIZE")
FAST = (Goal(5e-9),)
LINEAR = Goal(1 / 10, "ratio", at_least=True)


def measure() -> list[Row]:
    """Load all sizes, then measure them in turns."""
    mirrors, memory = [], []
    for size in SIZES:
        before = _resident()
        mirrors.append(make_mirror(size))
        mirrors[-1].detector.observe(mirrors[-1].engine.adopt())
        gc.collect()
        memory.append(Row(f"{size:,}: memory per account", (_resident() - before) / size, unit="B"))
    gc.freeze()
    turns = [Turn(_look(mirror), OFTEN) for mirror in mirrors]
    turns += [Turn(_block(mirror), OFTEN) for mirror in mirrors]
    found = in_turns(turns, ROUNDS)
    screens, blocks = found[: len(SIZES)], found[len(SIZES) :]
    return [
        *_grown("screen, calm", screens),
        *_grown(f"block of {LOGS} logs to the decision", blocks, LINEAR),
        row_of(f"{SIZES[-1]:,}: screen per account, calm", screens[-1], per=SIZES[-1], goals=FAST),
        *memory,
    ]


def _grown(what: str, found: list[Samples], *goals: Goal) -> list[Row]:
    rows: list[Row] = []
    for size, samples in zip(SIZES, found, strict=True):
        smaller = rows[-1] if rows else None
        held_to = goals if smaller else ()
        rows.append(row_of(f"{size:,}: {what}", samples, against=smaller, goals=held_to))
    return rows


def _look(mirror: Mirror) -> Callable[[], object]:
    [screen] = mirror.engine.screens.values()
    return lambda: screen.candidates(screen.weigh(mirror.market, NOW))


def _block(mirror: Mirror) -> Callable[[], object]:
    """Make up the blocks beforehand: what decides about them is measured, not their making."""
    traffic = Traffic(mirror.adapter, mirror.market, mirror.accounts, logs=LOGS)
    blocks = iter(traffic.blocks(ROUNDS * OFTEN + 1))
    return lambda: mirror.detector.observe(mirror.engine.apply(next(blocks)))


def _resident() -> int:
    """Return the bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
