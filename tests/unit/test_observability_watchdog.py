"""When systemd is told what, and how it gets there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from chimera.app.heartbeat import Labour, signs
from chimera.domain.notices import ProtocolStatus, Status
from chimera.observability.notify import notifier
from chimera.observability.watchdog import Signs, Watchdog, watchdog_for, watchdog_seconds

PING = "WATCHDOG=1"


def shown(*, ready: bool, block: int = 100, steps: int = 0, doing: str = "") -> Signs:
    return Signs(ready, block, steps, doing)


class Told:
    """A watchdog whose every word arrives, as long as `hears`."""

    def __init__(self, *, period: float | None = 10.0, patience: float = 15.0) -> None:
        self.watchdog = Watchdog(period=period, patience=patience)
        self.hears = True

    def at(self, now: float, looks: Signs) -> list[str]:
        said = self.watchdog.due(looks, now)
        if self.hears:
            self.watchdog.delivered(said, now)
        return said


def test_ready_is_said_once_and_only_when_it_is_true() -> None:
    told = Told(period=None)

    assert told.at(0, shown(ready=False)) == []
    assert told.at(1, shown(ready=True)) == ["READY=1"]
    assert told.at(2, shown(ready=False)) == []
    assert told.at(3, shown(ready=True)) == []


def test_a_chain_that_stands_still_is_alive() -> None:
    told = Told()
    pings = [now for now in range(200) if PING in told.at(now, shown(ready=True))]

    assert pings == list(range(0, 200, 10))


def test_a_head_that_stays_unprocessed_ends_the_signs_of_life() -> None:
    told = Told()
    told.at(0, shown(ready=True))
    pings = [now for now in range(1, 200) if PING in told.at(now, shown(ready=False))]

    assert pings == [10]


def test_life_comes_back_with_the_next_processed_block() -> None:
    told = Told()
    told.at(0, shown(ready=True))
    assert told.at(50, shown(ready=False)) == []

    assert told.at(51, shown(ready=False, block=101)) == [PING]


@pytest.mark.parametrize("moves", ["block", "steps"])
def test_who_gets_ahead_is_alive_however_far_behind(moves: str) -> None:
    told = Told()
    blocks = {now: now if moves == "block" else 0 for now in range(0, 300, 12)}
    pings = [
        now
        for now, block in blocks.items()
        if PING in told.at(now, shown(ready=False, block=block, steps=now - block))
    ]

    assert pings == list(blocks)


def test_without_somebody_who_waits_for_them_there_are_no_pings() -> None:
    told = Told(period=None)

    assert {line for now in range(100) for line in told.at(now, shown(ready=True))} == {"READY=1"}
    assert told.watchdog.look_every == 1.0


def test_the_status_is_said_when_it_changes() -> None:
    told = Told(period=None)
    said = [told.at(now, shown(ready=False, doing=it)) for now, it in enumerate("aabba")]

    assert said == [["STATUS=a"], [], ["STATUS=b"], [], ["STATUS=a"]]


def test_what_did_not_arrive_is_said_again() -> None:
    told = Told()
    told.hears = False
    everything = ["READY=1", PING, "STATUS=on"]
    assert told.at(0, shown(ready=True, doing="on")) == everything
    told.hears = True

    assert told.at(1, shown(ready=True, doing="on")) == everything
    assert told.at(2, shown(ready=True, doing="on")) == []


@pytest.mark.parametrize(
    ("seconds", "block_time", "patience"),
    [(90.0, 2.0, 30.0), (600.0, 12.0, 120.0), (90.0, 12.0, 45.0), (3.0, 2.0, 1.5)],
)
def test_a_head_may_wait_for_ten_blocks_but_never_as_long_as_systemd_waits(
    seconds: float, block_time: float, patience: float
) -> None:
    told = Told()
    told.watchdog = watchdog_for(seconds, block_time=block_time)
    told.hears = False  # so that a ping is always due, if it is true
    told.at(0, shown(ready=False))

    assert PING in told.at(patience, shown(ready=False))
    assert PING not in told.at(patience + 0.01, shown(ready=False))
    assert told.watchdog.look_every <= seconds / 12
    assert patience < seconds


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "90000000"}, 90.0),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "7"}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
    ],
)
def test_the_watchdog_is_for_the_process_that_systemd_means(
    environment: dict[str, str], seconds: float | None
) -> None:
    assert watchdog_seconds(environment, pid=7) == seconds


@pytest.fixture(params=["file", "abstract"])
def listening(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[str, socket.socket]]:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(name if request.param == "file" else "\0" + name)
        ear.settimeout(20)
        yield (name if request.param == "file" else "@" + name), ear


def test_lines_arrive_as_one_message(listening: tuple[str, socket.socket]) -> None:
    name, ear = listening
    line = notifier({"NOTIFY_SOCKET": name})
    assert line is not None

    assert line.say(["READY=1", "STATUS=caught up"])
    assert ear.recv(4096) == b"READY=1\nSTATUS=caught up"
    line.close()


def test_a_socket_that_is_full_or_gone_holds_nothing_up(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    line = notifier({"NOTIFY_SOCKET": name})
    assert line is not None
    assert not line.say(["READY=1"])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(name)
        delivered = 0
        while line.say([PING]):
            delivered += 1
            assert delivered < 100_000
        assert delivered > 0
        ear.recv(64)
        assert line.say([PING])
    assert not line.say([PING])
    line.close()


@pytest.mark.parametrize("path", ["", "vsock:2:1234", "notify"])
def test_without_a_socket_that_we_understand_nothing_is_said(path: str) -> None:
    assert notifier({"NOTIFY_SOCKET": path}) is None


def test_the_status_line_tells_block_accounts_flags_and_what_is_wrong() -> None:
    status = Status(
        ready=False,
        chain_id=1,
        head=12,
        processed_block=10,
        lag_blocks=2,
        redis="connected",
        breaker="closed",
        reasons=("2 blocks behind the head",),
        protocols={"aave": ProtocolStatus(40, 30), "other": ProtocolStatus(2, 1)},
    )
    labour = Labour()

    told = signs(status, labour, flags=3)
    assert told.doing == "block 10, 42 accounts, 3 flags open; 2 blocks behind the head"
    assert (told.ready, told.processed_block, told.steps) == (False, 10, 0)


def test_long_work_counts_as_life_and_is_passed_on() -> None:
    heard: list[tuple[str, int, int]] = []
    labour = Labour(lambda *report: heard.append(report))

    labour.of_protocol("aave", "blocks", 10, 20)
    assert (labour.steps, labour.last) == (1, "aave: blocks 10 of 20")
    labour.of_protocol("aave", "blocks", 20, 20)
    assert (labour.steps, labour.last) == (2, "")
    assert heard == [("aave: blocks", 10, 20), ("aave: blocks", 20, 20)]
