import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import apart, checking
from benchmarks import stored as files
from benchmarks.apart import Measured
from benchmarks.measuring import Row
from benchmarks.registry import CHECKED, NAMES, Terms
from benchmarks.regressions import Comparison, Figure, compare, figures, middle

HERE = {"cpu": "this one"}


def row(ratio: float | None, what: str = "screen") -> Row:
    return Row(what, 1.0, ratio=ratio, against="exact")


def test_ratios_and_counts_are_compared_times_are_not() -> None:
    rows = [
        row(30.0),
        Row("exact", 0.001),
        Row("per second", 9e9, unit="/s"),
        Row("memory", 900.0, unit="bytes"),
        Row("requests", 2.5, unit="a block"),
        row(math.inf, "beyond all bounds"),
    ]

    assert figures(rows) == {
        "screen / exact": Figure(30.0),
        "memory": Figure(900.0, "bytes"),
        "requests": Figure(2.5, "a block"),
    }


@pytest.mark.parametrize(
    ("stored", "now", "worse", "regressed"),
    [
        (Figure(30.0), Figure(20.0), 1.5, False),
        (Figure(30.0), Figure(19.9), 1.508, True),
        (Figure(0.2), Figure(0.1), 2.0, True),
        (Figure(30.0), Figure(90.0), 0.333, False),
        (Figure(30.0), Figure(0.0), math.inf, True),
        (Figure(0.0), Figure(0.0), 1.0, False),
        (Figure(1_000, "bytes"), Figure(1_500, "bytes"), 1.5, False),
        (Figure(1_000, "bytes"), Figure(1_501, "bytes"), 1.501, True),
        (Figure(1_000, "bytes"), Figure(500, "bytes"), 0.5, False),
        (Figure(0, "a block"), Figure(1, "a block"), math.inf, True),
    ],
)
def test_worse_is_a_smaller_ratio_or_a_larger_count(
    stored: Figure, now: Figure, worse: float, *, regressed: bool
) -> None:
    comparison = Comparison("it", stored, now)

    assert comparison.worse == pytest.approx(worse, abs=1e-3)
    assert comparison.regressed is regressed


def test_what_is_gone_and_what_is_new_is_no_regression_but_said() -> None:
    gone, new = compare({"old": Figure(2.0)}, {"young": Figure(1.0)})

    assert (gone.name, gone.gone, gone.regressed) == ("old", True, False)
    assert (new.name, new.gone, new.regressed) == ("young", False, False)


def test_the_middle_of_runs_is_taken_figure_by_figure() -> None:
    runs = [{"a": Figure(value), "b": Figure(-value, "bytes")} for value in (1.0, 9.0, 2.0)]

    assert middle(runs) == {"a": Figure(2.0), "b": Figure(-2.0, "bytes")}
    assert middle([{"a": Figure(1.0), "b": Figure(2.0)}, {"a": Figure(1.0)}]) == {"a": Figure(1.0)}


def test_a_result_that_was_stored_is_read_back(tmp_path: Path) -> None:
    rows = [row(30.0), row(math.nan, "nothing")]

    path = files.store("screen", HERE, rows, tmp_path)
    back = files.stored("screen", tmp_path)

    assert json.loads(path.read_text())["machine"] == HERE
    assert back is not None
    assert figures(back.rows) == {"screen / exact": Figure(30.0)}
    assert files.stored("block", tmp_path) is None


def test_the_newest_run_is_read_back(tmp_path: Path) -> None:
    files.write_latest(HERE, {"screen": [row(30.0)]}, {"screen": 4.5}, tmp_path)

    assert files.latest(tmp_path) == (HERE, {"screen": [row(30.0)]})


class Bench:
    """`make bench-check` without measuring: each run gives the next of `ratios`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.said = io.StringIO()
        self.runs = 0
        self.ratios: Iterator[float | None] = iter(())
        self._folder = folder
        monkeypatch.setattr(checking, "stored", lambda name: files.stored(name, folder))
        monkeypatch.setattr(checking, "measured_apart", self._measured)

    def store(self, ratio: float, cpu: str = "this one") -> None:
        files.store("screen", {"cpu": cpu}, [row(ratio)], self._folder)

    def check(self, *ratios: float | None) -> int:
        self.ratios = iter(ratios)
        return checking.check(["screen"], HERE, Console(file=self.said, width=150))

    def _measured(self, name: str) -> Measured:
        assert name == "screen"
        self.runs += 1
        ratio = next(self.ratios)
        if ratio is None:
            return Measured(None, 1.0)
        return Measured([row(ratio)] if ratio else [], 1.0)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    return Bench(monkeypatch, tmp_path)


def test_a_figure_that_is_as_good_as_it_was_passes_at_once(bench: Bench) -> None:
    bench.store(30.0)

    assert bench.check(21.0) == 0
    assert bench.runs == 1
    assert "another machine" not in bench.said.getvalue()


def test_a_figure_that_got_worse_three_times_fails(bench: Bench) -> None:
    bench.store(30.0)

    assert bench.check(10.0, 11.0, 12.0) == 1
    assert bench.runs == 3
    assert "WORSE" in bench.said.getvalue()
    assert "2.73" in bench.said.getvalue()  # times worse by the median of the three


def test_one_bad_run_of_three_is_noise(bench: Bench) -> None:
    bench.store(30.0)

    assert bench.check(1.0, 29.0, 31.0) == 0
    assert bench.runs == 3


def test_a_stored_figure_that_nobody_measures_any_more_fails(bench: Bench) -> None:
    bench.store(30.0)

    assert bench.check(0.0) == 1
    assert "GONE" in bench.said.getvalue()


def test_a_result_of_another_machine_is_compared_all_the_same(bench: Bench) -> None:
    bench.store(30.0, cpu="a larger one")

    assert bench.check(1.0, 1.0, 1.0) == 1
    assert "screen, stored on another machine" in bench.said.getvalue()


def test_a_measurement_that_fails_or_was_never_stored_fails_the_check(bench: Bench) -> None:
    assert bench.check() == 1
    assert "nothing is stored" in bench.said.getvalue()

    bench.store(30.0)
    assert bench.check(None) == 1
    assert "FAILED" in bench.said.getvalue()


def test_a_measurement_is_ended_after_a_time_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(apart, "MEASUREMENTS", {"memory": Terms(seconds=1)})

    assert apart.measured_apart("memory").rows is None
    assert "memory: not done after 1 s, ended" in capfd.readouterr().err


def test_what_is_checked_is_stored() -> None:
    assert set(CHECKED) < set(NAMES)
    assert {path.stem for path in files.RESULTS.glob("*.json")} >= set(CHECKED)
