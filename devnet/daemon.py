"""The real daemon as a process of its own, for the demo, the tests and the benchmarks."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from devnet.ports import port_for

START_SECONDS = 180  # of a machine that is ten times slower for a while
STOP_SECONDS = 30.0


class Daemon:
    """
    `chimera run` on a configuration, with its HTTP face at hand.

    Args:
        config: Configuration file; its `http.listen` is overridden by a free port.
        log: Where stderr and stdout of the process go.
        env: Further environment variables (`CHIMERA_...`).
        program: What to run in place of `python -m chimera`: the rest of Python's command line.
    """

    def __init__(
        self,
        config: Path,
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "chimera"),
    ) -> None:
        self.port = port_for(self)
        self.log = log
        self._config = config
        self._env = dict(env or {})
        self._program = tuple(program)
        self._process: subprocess.Popen[bytes] | None = None
        self.exit_code: int | None = None  # of the last process that ended

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Return the process id of the running daemon."""
        if self._process is None:
            raise RuntimeError("the daemon is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the process; `wait_until` tells when it has caught up."""
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("CHIMERA_")},
            **self._env,
            "CHIMERA_HTTP__LISTEN": f"127.0.0.1:{self.port}",
        }
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, *self._program, "run", "--config", str(self._config)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def stop(self, *, within: float = STOP_SECONDS, how: signal.Signals = signal.SIGTERM) -> int:
        """Send SIGTERM and return the exit code; a daemon that ignores it is killed."""
        return self._end(how, within)

    def kill(self) -> None:
        """Send SIGKILL: the crash that the daemon has to survive."""
        self._end(signal.SIGKILL, STOP_SECONDS)

    def _end(self, how: signal.Signals, within: float) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        if process.poll() is None:
            process.send_signal(how)
        try:
            self.exit_code = process.wait(within)
        except subprocess.TimeoutExpired:
            process.kill()
            self.exit_code = process.wait()
        return self.exit_code

    def wait(self, *, seconds: float) -> int:
        """Wait until the daemon ends by itself; its exit code."""
        if self._process is None:
            raise RuntimeError("the daemon is not running")
        process, self._process = self._process, None
        try:
            self.exit_code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        return self.exit_code

    def wait_until(self, block: int, *, seconds: float = START_SECONDS) -> dict[str, Any]:
        """
        Wait until the daemon is ready and has processed `block`; return the body of /readyz.

        Raises:
            RuntimeError: It died, or took longer than `seconds`; the end of its log is quoted.
        """
        deadline = time.monotonic() + seconds
        body: dict[str, Any] = {}
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"the daemon has ended:\n{self.log_tail()}")
            try:
                _, body = self.get("/readyz")
            except OSError:
                time.sleep(0.05)
                continue
            if body.get("ready") and body["processed_block"] >= block:
                return body
            time.sleep(0.005)
        raise RuntimeError(f"block {block} was not processed: {body}\n{self.log_tail()}")

    def get(self, path: str) -> tuple[int, Any]:
        """Return (status, parsed JSON) of a GET; the raw text where it is not JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            text = response.read().decode()
            kind = response.headers.get("content-type", "")
            return response.status, json.loads(text) if "json" in kind else text
        finally:
            connection.close()

    def positions(self, query: str = "") -> tuple[int, list[dict[str, Any]]]:
        """Return (block, every position), all pages of one cursor."""
        return self._pages("/v1/positions", query)

    def opportunities(self, query: str = "") -> tuple[int, list[dict[str, Any]]]:
        """Return (block, every opportunity), all pages of one cursor."""
        return self._pages("/v1/opportunities", query)

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels; 0 where it has no sample yet."""
        _, text = self.get("/metrics")
        lines = (line for line in str(text).splitlines() if line.startswith(name))
        wanted = (line for line in lines if line[len(name)] in " {")
        return sum(float(line.rsplit(" ", 1)[1]) for line in wanted)

    def told(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of one event in its log so far; the last line may be under way."""
        whole = self.log.read_text(errors="replace").split("\n")[:-1]
        found = (json.loads(line) for line in whole if line.startswith("{"))
        return [line for line in found if line["event"] == event]

    def log_tail(self, lines: int = 25) -> str:
        """Return the last lines of the daemon's log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _pages(self, path: str, query: str) -> tuple[int, list[dict[str, Any]]]:
        items: list[dict[str, Any]] = []
        status, page = self.get(f"{path}?limit=1000{query}")
        while True:
            if status != http.client.OK:
                raise RuntimeError(f"{path}: {status} {page}")
            items += page["items"]
            if page["next_cursor"] is None:
                return page["block"], items
            status, page = self.get(f"{path}?limit=1000{query}&cursor={page['next_cursor']}")
