import math
import time
from pathlib import Path

import pytest

from benchmarks import __main__ as program
from benchmarks import stored
from benchmarks.exposition import Exposition, bound
from benchmarks.measuring import (
    AsyncTurn,
    Goal,
    Row,
    Turn,
    elapsed,
    in_turns,
    in_turns_async,
    percentile,
    row_of,
    timed,
)
from benchmarks.registry import NAMES, about
from benchmarks.table import aim, cells, markdown, shown

HUNDRED = [float(number) for number in range(1, 101)]


def test_a_percentile_is_the_smallest_sample_that_so_many_do_not_exceed() -> None:
    assert percentile(HUNDRED[::-1], 0.99) == 99
    assert percentile(HUNDRED, 1) == 100
    assert percentile(HUNDRED, 0.001) == 1
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2


@pytest.mark.parametrize(("samples", "part"), [([], 0.5), ([1.0], 0), ([1.0], 1.1)])
def test_a_percentile_of_nothing_is_refused(samples: list[float], part: float) -> None:
    with pytest.raises(ValueError, match="needs samples"):
        percentile(samples, part)


def test_a_row_is_per_thing_and_says_how_many_times_as_fast() -> None:
    slow = row_of("slow", [8.0, 10.0, 30.0], per=2)
    fast = row_of("fast", [1.0, 2.0, 9.0, 3.0], per=2, against=slow)

    assert (slow.median, slow.p99, slow.worst, slow.count) == (5.0, 15.0, 15.0, 3)
    assert slow.ratio is None
    assert fast.median == 1.25
    assert fast.ratio == 4.0
    assert fast.against == "slow"


def test_a_goal_looks_at_its_own_figure() -> None:
    goals = (
        Goal(2.0),
        Goal(2.0, "p99"),
        Goal(3.0, "worst"),
        Goal(10, "ratio", at_least=True),
        Goal(11, "ratio", at_least=True),
    )
    row = Row("ours", 2.0, p99=2.5, worst=3.0, ratio=10, goals=goals)

    assert row.verdicts == [True, False, True, True, False]


def test_a_goal_for_a_figure_that_is_not_there_or_no_number_is_missed() -> None:
    assert Row("ours", 1.0, goals=(Goal(9.0, "p99"),)).verdicts == [False]
    assert Row("ours", math.nan, goals=(Goal(9.0), Goal(0, at_least=True))).verdicts == [
        False,
        False,
    ]


def test_a_row_survives_its_document() -> None:
    row = Row("ours", 1.0, p99=2.0, ratio=3.0, against="theirs", goals=(Goal(1.0, "p99"),))

    assert row.document()["verdicts"] == [False]
    assert Row.from_document(row.document()) == row


def test_sides_take_turns_and_the_first_time_does_not_count() -> None:
    calls = ""

    def call(name: str) -> None:
        nonlocal calls
        calls += name

    found = in_turns([Turn(lambda: call("a")), Turn(lambda: call("b"), often=2)], rounds=3)

    assert calls == "ab" + "abb" * 3
    assert [len(samples) for samples in found] == [3, 6]
    assert all(seconds >= 0 for samples in found for seconds in samples)


async def test_sides_that_wait_take_turns_as_well() -> None:
    calls = ""

    async def call(name: str) -> None:
        nonlocal calls
        calls += name

    turns = [AsyncTurn(lambda: call("a"), often=2), AsyncTurn(lambda: call("b"))]
    found = await in_turns_async(turns, rounds=2)

    assert calls == "ab" + "aab" * 2
    assert [len(samples) for samples in found] == [4, 2]


def test_times_are_shown_in_the_unit_that_fits() -> None:
    assert [shown(value, "s") for value in (2.5, 0.0123, 0.000042, 1.5e-8)] == [
        "2.5 s",
        "12.3 ms",
        "42 us",
        "15 ns",
    ]
    assert shown(None, "s") == ""
    assert shown(1234.5, "bytes") == "1,234 bytes"
    assert aim(Goal(100, "ratio", at_least=True), "s") == ">= 100x"
    assert aim(Goal(0.01, "p99"), "s") == "p99 <= 10 ms"


def test_a_table_line_says_whether_each_goal_was_reached() -> None:
    line = cells(Row("ours", 0.5, p99=2.0, worst=2.0, count=9, goals=(Goal(1), Goal(1, "p99"))))

    assert line == (
        *("ours", "500 ms", "2 s", "2 s", "9", ""),
        *("<= 1 s\np99 <= 1 s", "ok\nMISSED"),
    )


def test_a_line_for_the_documentation_names_a_size_once() -> None:
    goals = (Goal(1), Goal(3, "ratio", at_least=True))
    row = Row("10: ours", 0.5, 2.0, 3.0, ratio=2.5, against="10: theirs", goals=goals)

    command, *_, line, _ = markdown("screen", [row])

    assert command == "    .venv/bin/python -m benchmarks screen"
    assert line == (
        "| 10: ours | 500 ms | 2 s | 3 s | 2.5x theirs | <= 1 s, >= 3x | reached, **missed** |"
    )


def test_what_waits_is_timed_on_the_wall_and_what_works_by_the_processor() -> None:
    nap = 0.05

    assert timed(lambda: time.sleep(nap)) < nap
    assert elapsed(lambda: time.sleep(nap)) >= nap


BEFORE = """\
# TYPE chimera_wait_seconds histogram
chimera_wait_seconds_bucket{le="0.1"} 1.0
chimera_wait_seconds_bucket{le="1.0"} 1.0
chimera_wait_seconds_bucket{le="+Inf"} 1.0
chimera_wait_seconds_count 1.0
chimera_wait_seconds_sum 0.05
# TYPE chimera_asked_total counter
chimera_asked_total{method="a",purpose="x"} 5.0
"""
AFTER = """\
# TYPE chimera_wait_seconds histogram
chimera_wait_seconds_bucket{le="0.1"} 3.0
chimera_wait_seconds_bucket{le="1.0"} 4.0
chimera_wait_seconds_bucket{le="+Inf"} 5.0
chimera_wait_seconds_count 5.0
chimera_wait_seconds_sum 4.05
# TYPE chimera_asked_total counter
chimera_asked_total{method="a",purpose="x"} 8.0
chimera_asked_total{method="a",purpose="y"} 2.0
chimera_asked_total{method="b",purpose="x"} 1.0
"""


def test_a_histogram_tells_the_edges_that_hold_its_parts() -> None:
    grown = Exposition.parse(AFTER).since(Exposition.parse(BEFORE))
    histogram = grown.histogram("chimera_wait_seconds")

    assert histogram.count == 4
    assert histogram.mean == 1.0
    assert bound(histogram, 0.5) == 0.1
    assert bound(histogram, 0.75) == 1.0
    assert bound(histogram, 0.99) == math.inf


def test_an_empty_histogram_has_no_figures() -> None:
    same = Exposition.parse(AFTER).since(Exposition.parse(AFTER))
    histogram = same.histogram("chimera_wait_seconds")

    assert histogram.count == 0
    assert math.isnan(histogram.mean)
    assert math.isnan(bound(histogram, 0.5))


def test_requests_are_summed_by_the_labels_that_are_asked_for() -> None:
    grown = Exposition.parse(AFTER).since(Exposition.parse(BEFORE))

    assert grown.value("chimera_asked_total") == 6
    assert grown.by_labels("chimera_asked_total", ("method",)) == {("a",): 5, ("b",): 1}


def test_every_measurement_says_what_it_compares() -> None:
    assert all(about(name).endswith(".") for name in NAMES)
    assert sorted(NAMES) == sorted(
        path.stem
        for path in Path(program.__file__).parent.glob("*.py")
        if "\ndef measure() -> list[Row]:" in path.read_text()
    )


def test_a_figure_beyond_all_bounds_is_null_in_the_json() -> None:
    document = stored.finite(Row("ours", math.inf, p99=2.0, ratio=math.nan))

    assert (document["median"], document["p99"], document["ratio"]) == (None, 2.0, None)


def test_an_unknown_measurement_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", "speed"])

    with pytest.raises(SystemExit) as ended:
        program.main()

    assert ended.value.code == 2
    assert "no measurement 'speed'" in capsys.readouterr().err
