"""How long work will still take."""

from __future__ import annotations

import pytest

from chimera.app.heartbeat import Labour
from chimera.observability.pace import SPAN, Pace, spoken


def test_the_time_that_is_left_follows_the_pace_so_far() -> None:
    pace = Pace()

    assert pace.left(10, 100, 0.0) is None  # nobody can tell from one report
    assert pace.left(20, 100, 0.5) is None
    assert pace.left(30, 100, 2.0) == 7.0
    assert pace.left(100, 100, 3.0) == 0.0


def test_only_the_last_minute_counts() -> None:
    pace = Pace()
    for second in range(0, 600, 10):
        pace.left(second, 10_000, float(second))  # one a second
    for second in range(600, 600 + 2 * int(SPAN), 10):
        left = pace.left(600 + 10 * (second - 600), 10_000, float(second))  # ten a second

    assert left == pytest.approx((10_000 - 600 - 1_100) / 10)


def test_work_that_begins_anew_has_no_pace_yet() -> None:
    pace = Pace()
    pace.left(10, 100, 0.0)
    pace.left(90, 100, 10.0)

    assert pace.left(5, 100, 11.0) is None
    assert pace.left(10, 100, 16.0) == 90.0


def test_where_the_whole_is_unknown_or_nothing_moves_nobody_can_tell() -> None:
    pace = Pace()

    assert [pace.left(5, 0, moment) for moment in (0.0, 5.0)] == [None, None]
    assert [Pace().left(5, 9, moment) for moment in (0.0, 5.0)] == [None, None]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"),
        (59.9, "59 s"),
        (60, "1 min 0 s"),
        (754, "12 min 34 s"),
        (7_260, "2 h 1 min"),
        (93_600, "1 d 2 h"),
    ],
)
def test_times_are_said_in_two_units(seconds: float, said: str) -> None:
    assert spoken(seconds) == said


def test_systemd_is_told_how_long_it_will_take() -> None:
    moments = iter([0.0, 30.0, 60.0])
    labour = Labour(clock=lambda: next(moments))

    labour.of_protocol("aave", "blocks", 1_000, 100_000)
    assert labour.last == "aave: blocks 1000 of 100000"
    labour.of_protocol("aave", "blocks", 2_000, 100_000)
    assert labour.last == "aave: blocks 2000 of 100000, about 49 min 0 s left"
