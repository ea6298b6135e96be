from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from chimera.cli.progress import CurrentStderr, Reporter
from tests.fakes_cli import logging_as_before


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    with logging_as_before():
        yield


def test_without_a_terminal_only_the_end_of_short_work_is_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with capture_logs() as lines, Reporter() as report:
        for done in range(1, 1001):
            report("accounts", done, 1000)

    [line] = lines
    assert (line["stage"], line["done"], line["total"]) == ("accounts", 1000, 1000)


def test_without_a_terminal_long_work_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = iter(range(0, 100, 2))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds))
    with capture_logs() as lines, Reporter() as report:
        for done in range(10):
            report("logs", done, 0)

    assert [line["done"] for line in lines] == [3, 6, 9]
    assert all("left" not in line for line in lines)


def test_a_line_says_how_long_it_will_take(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(0, 1000, 2))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds))
    with capture_logs() as lines, Reporter() as report:
        for done in range(0, 101, 25):
            report("blocks", done, 1000)

    assert lines[0]["left"] == "1 min 14 s"


def test_at_a_terminal_there_is_a_bar_and_it_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setenv("TERM", "xterm")
    with capture_logs() as lines, Reporter() as report:
        report("accounts", 1, 2)
        report("accounts", 2, 2)
        assert sys.stderr is out  # the bar has let go of it
        report("logs", 1, 1)

    assert lines == []
    assert "accounts" in out.getvalue()
    assert "2/2" in out.getvalue()


def interrupted_work() -> None:
    with Reporter() as report:
        report("accounts", 1, 2)
        raise KeyboardInterrupt


def test_an_interrupted_bar_leaves_the_terminal_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setenv("TERM", "xterm")

    with pytest.raises(KeyboardInterrupt):
        interrupted_work()

    assert sys.stderr is out
    assert out.getvalue().count("\x1b[?25l") == out.getvalue().count("\x1b[?25h")


def test_log_lines_go_to_whatever_stderr_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = CurrentStderr()
    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)

    stream.write("a line\n")
    stream.flush()

    assert out.getvalue() == "a line\n"
    assert stream.isatty()
