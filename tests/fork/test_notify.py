"""The real daemon under a test's notify socket: ready, alive, given up, healed, stopped."""

from __future__ import annotations

import itertools
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import pytest

from devnet.daemon import Daemon
from devnet.proxy import CountingProxy
from devnet.stage import Stage

WATCHDOG = 5.0  # seconds; the daemon pings every 1.7, and lets a head wait for 2.5
READY, PING, STOPPING = "READY=1", "WATCHDOG=1", "STOPPING=1"
CLEAN_WITHIN = 10.0  # seconds, as the unit says; a machine with nothing else to do needs 1
SECONDS = 180.0  # for what has to come, on a machine that is ten times slower for a while


class Systemd:
    """
    What systemd is for a service: a socket that hears it. Lines come with their time.

    It listens in a thread of its own, whatever the test is busy with: pings that had to wait for a
    listener would look like one long silence.
    """

    def __init__(self, folder: Path, *, abstract: bool = False, watchdog: bool = True) -> None:
        path = str(folder / "notify")
        self._ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ear.bind("\0" + path if abstract else path)
        self._ear.settimeout(0.05)
        self.environment = {"NOTIFY_SOCKET": "@" + path if abstract else path}
        if watchdog:
            self.environment["WATCHDOG_USEC"] = str(int(WATCHDOG * 1_000_000))
        self.lines: list[tuple[float, str]] = []
        self._read = 0  # lines that the test has taken note of
        self._deaf = threading.Event()
        self._listener = threading.Thread(target=self._listen, name="systemd")

    def __enter__(self) -> Self:
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._deaf.set()
        self._listener.join()
        self._ear.close()

    def listen(self, seconds: float) -> list[str]:
        """Return the lines of so many seconds from now on."""
        before = len(self.lines)
        time.sleep(seconds)
        self._read = len(self.lines)
        return [line for _, line in self.lines[before : self._read]]

    def forget(self) -> None:
        """Take note of everything so far: what is waited for has to be said from now on."""
        self._read = len(self.lines)

    def until(self, *wanted: str, seconds: float = SECONDS) -> None:
        """Listen until a line that was not taken note of yet begins with something `wanted`."""
        deadline = time.monotonic() + seconds
        while True:
            while self._read < len(self.lines):
                self._read += 1
                if self.lines[self._read - 1][1].startswith(wanted):
                    return
            assert time.monotonic() < deadline, f"no {wanted!r} within {seconds} s: {self.said()}"
            time.sleep(0.01)

    def until_silent(self, period: float, *, seconds: float = SECONDS) -> None:
        """Listen until there was no sign of life for so long."""
        deadline = time.monotonic() + seconds
        while PING in self.listen(period):
            assert time.monotonic() < deadline, f"it was not silent within {seconds} s"

    def said(self) -> list[str]:
        """Return every line so far, in order; statuses left out."""
        return [line for _, line in self.lines if not line.startswith("STATUS=")]

    def gaps(self) -> list[float]:
        """Return the seconds between signs of life, once it was ready: systemd waits for that."""
        lines = list(self.lines)
        ready = next(at for at, line in lines if line == READY)
        pings = [at for at, line in lines if line == PING and at >= ready]
        return [after - before for before, after in itertools.pairwise(pings)]

    def _listen(self) -> None:
        while not self._deaf.is_set():
            with suppress(TimeoutError):
                lines = self._ear.recv(65_536).decode().split("\n")
                self.lines += [(time.monotonic(), line) for line in lines]


class Illness:
    """A node that tells of its heads, but answers nothing about them while it is `ill`."""

    def __init__(self) -> None:
        self.ill = threading.Event()

    def __call__(self, request: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if self.ill.is_set() and request["method"] in {"eth_getLogs", "eth_call"}:
            return {"error": {"code": -32000, "message": "out of order"}}
        return None


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    with Systemd(tmp_path) as systemd:
        yield systemd


@pytest.fixture
def illness() -> Illness:
    return Illness()


@pytest.fixture
def proxy(stage: Stage, illness: Illness) -> Iterator[CountingProxy]:
    with CountingProxy(stage.anvil.http, intercept=illness) as proxy:
        yield proxy


@pytest.fixture
def daemon(stage: Stage, proxy: CountingProxy, systemd: Systemd, tmp_path: Path) -> Daemon:
    """A daemon that has not been started yet."""
    config = stage.write_config(
        tmp_path / "chimera.toml", ws=proxy.ws, http=proxy.http, extra={"rpc": {"max_log_range": 1}}
    )
    return Daemon(config, tmp_path / "daemon.log", env=systemd.environment)


@contextmanager
def started(daemon: Daemon) -> Iterator[None]:
    daemon.start()
    try:
        yield
    finally:
        daemon.kill()


def test_it_is_ready_once_and_alive_while_the_chain_stands_still(
    stage: Stage, systemd: Systemd, daemon: Daemon
) -> None:
    with started(daemon):
        systemd.until(READY)
        body = daemon.get("/readyz")[1]
        assert (body["ready"], body["processed_block"]) == (True, stage.node.number)
        systemd.listen(1.5 * WATCHDOG)
        systemd.until(PING)
        daemon.wait_until(stage.mine())
        systemd.until("STATUS=block " + str(stage.node.number))
        assert daemon.stop(within=CLEAN_WITHIN) == 0
    systemd.until(STOPPING)
    assert systemd.said().count(READY) == 1
    assert systemd.said()[-1] == STOPPING
    assert max(systemd.gaps()) < WATCHDOG


def test_a_head_that_stays_unprocessed_silences_it_until_the_node_is_well(
    stage: Stage, systemd: Systemd, illness: Illness, daemon: Daemon
) -> None:
    with started(daemon):
        systemd.until(READY)
        illness.ill.set()
        systemd.forget()
        systemd.until(PING)  # ill or not: there is no head to process
        block = stage.mine()
        systemd.until_silent(WATCHDOG)
        assert daemon.get("/healthz")[0] == 200  # the process is fine, and yet of no use
        illness.ill.clear()
        systemd.until(PING)
        daemon.wait_until(block)
        systemd.forget()
        systemd.until(PING)
    assert systemd.said().count(READY) == 1


def test_filling_a_long_gap_is_life(
    stage: Stage, systemd: Systemd, proxy: CountingProxy, daemon: Daemon
) -> None:
    with started(daemon):
        systemd.until(READY)
        missed = unheard(stage, proxy)
        systemd.until(f"STATUS=block {missed[-1]}")
        behind = [at for at, line in list(systemd.lines) if "blocks behind the head" in line]
        assert behind[-1] - behind[0] > WATCHDOG  # long enough to be given up
        assert max(systemd.gaps()) < WATCHDOG


def test_the_abstract_name_space_will_do_and_nobody_has_to_wait_for_pings(
    stage: Stage, tmp_path: Path
) -> None:
    config = stage.write_config(tmp_path / "chimera.toml")
    with Systemd(tmp_path, abstract=True, watchdog=False) as systemd:
        with Daemon(config, tmp_path / "daemon.log", env=systemd.environment):
            systemd.until(READY)
            systemd.listen(3.0)
        systemd.until(STOPPING)
        assert systemd.said() == [READY, STOPPING]


def test_a_stop_while_nothing_is_to_do_is_clean(systemd: Systemd, daemon: Daemon) -> None:
    with started(daemon):
        systemd.until(READY)
        stopped_cleanly(daemon, systemd, signal.SIGINT)


def test_a_stop_in_the_middle_of_discovery_is_clean(
    stage: Stage, systemd: Systemd, proxy: CountingProxy, daemon: Daemon
) -> None:
    for _ in range(100):
        stage.mine()
    proxy.delay = 0.05  # for each block, because a range is one block
    with started(daemon):
        systemd.until("STATUS=starting; aave: blocks ")
        stopped_cleanly(daemon, systemd, signal.SIGTERM)
    assert READY not in systemd.said()


def test_a_stop_while_the_node_does_not_answer_is_clean(
    systemd: Systemd, proxy: CountingProxy, daemon: Daemon
) -> None:
    proxy.delay = 60.0
    with started(daemon):
        asked(proxy, "eth_chainId", 1)
        stopped_cleanly(daemon, systemd, signal.SIGINT)
    assert READY not in systemd.said()


def test_a_stop_between_two_tries_is_clean(
    systemd: Systemd, proxy: CountingProxy, illness: Illness, daemon: Daemon
) -> None:
    illness.ill.set()
    with started(daemon):
        asked(proxy, "eth_call", 3)
        stopped_cleanly(daemon, systemd, signal.SIGTERM)
    assert READY not in systemd.said()


def test_a_stop_in_the_middle_of_a_gap_is_clean_and_loses_nothing(
    stage: Stage, systemd: Systemd, proxy: CountingProxy, daemon: Daemon
) -> None:
    with started(daemon):
        systemd.until(READY)
        missed = unheard(stage, proxy)
        systemd.until(*(f"STATUS=block {number}" for number in missed[1:-4]))
        stopped_cleanly(daemon, systemd, signal.SIGINT)
        [stopped] = daemon.told("stopped")
        assert stopped["processed_block"] < missed[-1]
        proxy.delay = 0.0
        daemon.start()
        daemon.wait_until(missed[-1])
    assert [line["streaks"] for line in daemon.told("following")][1:] == ["resumed"]


def test_a_stop_while_a_head_waits_is_clean(
    stage: Stage, systemd: Systemd, proxy: CountingProxy, illness: Illness, daemon: Daemon
) -> None:
    with started(daemon):
        systemd.until(READY)
        illness.ill.set()
        proxy.reset()
        stage.mine()
        asked(proxy, "eth_getLogs", 3)
        stopped_cleanly(daemon, systemd, signal.SIGTERM)


def unheard(stage: Stage, proxy: CountingProxy) -> list[int]:
    """Mine blocks while the cable is cut; each will cost a while. Their numbers."""
    proxy.cut()
    missed = [stage.mine() for _ in range(40)]
    proxy.delay = 0.5
    proxy.restore()
    return missed


def asked(proxy: CountingProxy, method: str, times: int) -> None:
    deadline = time.monotonic() + SECONDS
    while proxy.counts[method] < times:
        assert time.monotonic() < deadline, f"{method} was never asked for: {proxy.counts}"
        time.sleep(0.01)


def stopped_cleanly(daemon: Daemon, systemd: Systemd, how: signal.Signals) -> None:
    assert daemon.stop(within=CLEAN_WITHIN, how=how) == 0, daemon.log_tail()
    systemd.until(STOPPING)
    assert daemon.told("stopped")
    assert "Traceback" not in daemon.log.read_text()
