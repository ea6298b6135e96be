"""The judge of a soak: what makes its report red, and its exit code 1."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from devnet import soak
from devnet.soak import LONG, MIB, SAMPLES, Report


def weights(start: int, end: int) -> list[int]:
    """So many MiB in the beginning and at the end, but for a few weighings."""
    odd, rest = SAMPLES // 2 - 1, SAMPLES - SAMPLES // 2 + 1
    first = [1 * MIB] * odd + [start * MIB] * rest
    last = [900 * MIB] * odd + [end * MIB] * rest
    return [*first, 300 * MIB, *last]


GOOD = Report(
    seed=7,
    blocks=LONG,
    compared=9,
    faults=Counter({"socket cut": 2, "daemon killed": 1}),
    recoveries=3,
    longest_blocks=8,
    longest_seconds=1.5,
    weights=weights(100, 104),
    seconds=60.0,
)
BAD: dict[str, Any] = {
    "lost": 1,
    "twice": 1,
    "missed": 1,
    "false": 1,
    "mismatches": ["block 5: one figure instead of another"],
    "recoveries": 2,
    "compared": 0,
    "weights": weights(100, 106),
}


def exit_code(report: Report, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(soak, "soak", lambda **_: report)
    monkeypatch.setattr(sys, "argv", ["devnet.soak", "--blocks", "1", "--seed", "7"])
    with pytest.raises(SystemExit) as ended:
        soak.main()
    return ended.value.code


def test_a_soak_that_found_nothing_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    assert GOOD.clean
    assert exit_code(GOOD, monkeypatch) == 0


def test_memory_has_to_be_weighed_often_enough_at_both_ends() -> None:
    few = [100 * MIB] * (2 * SAMPLES - 1)
    assert not replace(GOOD, weights=few).clean
    assert replace(GOOD, weights=[*few, 100 * MIB]).clean
    assert not replace(GOOD, weights=[]).clean


@pytest.mark.parametrize("what", BAD)
def test_each_of_these_makes_it_red(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    report = replace(GOOD, **{what: BAD[what]})
    assert not report.clean
    assert exit_code(report, monkeypatch) == 1


def test_memory_is_not_judged_in_a_short_life() -> None:
    assert replace(GOOD, blocks=LONG - 1, weights=weights(100, 200)).clean
    assert replace(GOOD, blocks=LONG - 1, weights=[]).clean


def test_every_figure_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = replace(GOOD, lost=11, twice=12, false=13, missed=14, mismatches=["this"])
    exit_code(found, monkeypatch)
    assert capsys.readouterr().out.splitlines() == [
        f"seed 7: {LONG} blocks in 60 s",
        "faults injected   3 of 2 kinds",
        "recoveries        3",
        "longest gap       8 blocks, 1.50 s",
        "accounts compared 9",
        "blocks lost       11",
        "applied twice     12",
        "false flags       13",
        "missed flags      14",
        "mismatches        1",
        "memory            100.0, then 104.0 MiB (+4.0%)",
        "this",
    ]
