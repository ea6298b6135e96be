"""One Anvil node as a child process: its own port, its own home, gone without a trace."""

from __future__ import annotations

import http.client
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parent.parent
CHAIN_ID = 31337
GENESIS_TIME = 1_750_000_000
GAS_LIMIT = 10_000_000_000
HISTORY = 512  # block states kept in memory; older ones cannot be called
START_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0
MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
LISTENING = re.compile(r"Listening on ([0-9.]+):(\d+)")


class AnvilError(Exception):
    """The node could not be started, or is not there any more. Carries what it printed."""


def anvil_binary() -> Path:
    """
    Return the native Anvil binary inside `node_modules` for this platform.

    The wrapper script in `.bin` is not used: a signal to it may miss the real process.

    Raises:
        AnvilError: The npm parts are not installed, or not for this platform.
    """
    system, machine = platform.system().lower(), platform.machine().lower()
    package = f"anvil-{system}-{MACHINES.get(machine, machine)}"
    suffix = ".exe" if system == "windows" else ""
    binary = ROOT / "node_modules" / "@foundry-rs" / package / "bin" / f"anvil{suffix}"
    if not binary.is_file():
        raise AnvilError(f"{binary} is missing: run `npm ci` in {ROOT}")
    return binary


class Anvil:
    """
    A local chain for the length of a `with` block.

    Nothing is mined until a test asks for it, unless `block_time` (seconds) is given. Every sender
    is impersonated, gas costs nothing unless `base_fee` (wei) is set. The node writes into a
    temporary home only, which is removed at the end together with the process.

    Attributes:
        http: URL for JSON-RPC requests.
        ws: URL for subscriptions.
        pid: Process id of the node itself.
        home: The temporary home, which exists as long as the node does.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        block_time: int | None = None,
        chain_id: int = CHAIN_ID,
        base_fee: int = 0,
        history: int = HISTORY,
        genesis_time: int = GENESIS_TIME,
        extra: Sequence[str] = (),
    ) -> None:
        self._arguments = [
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--chain-id", str(chain_id), "--hardfork", "prague"),
            *("--prune-history", str(history), "--timestamp", str(genesis_time)),
            *("--gas-limit", str(GAS_LIMIT), "--disable-code-size-limit"),
            *("--block-base-fee-per-gas", str(base_fee), "--disable-min-priority-fee"),
            *("--order", "fifo", "--accounts", "1", "--auto-impersonate"),
            *("--no-request-size-limit", "--color", "never"),
            *(("--no-mining",) if block_time is None else ("--block-time", str(block_time))),
            *extra,
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self.home = Path()

    @property
    def http(self) -> str:
        """The address for requests."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def ws(self) -> str:
        """The address for subscriptions."""
        return f"ws://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        """The port the node really listens on."""
        return self._port

    @property
    def pid(self) -> int:
        """The process id of the running node."""
        if self._process is None:
            raise AnvilError("the node is not running")
        return self._process.pid

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

    def start(self) -> None:
        """
        Start the node and return once it answers.

        The port is read from what this very child printed after it had bound it, so another node
        on a taken port can never be mistaken for ours.

        Raises:
            AnvilError: It died (the message has its output) or did not come up in time.
        """
        binary = anvil_binary()
        self.home = Path(tempfile.mkdtemp(prefix="chimera-anvil-"))
        environment = {**os.environ, "HOME": str(self.home), "TMPDIR": str(self.home)}
        try:
            with self._log.open("wb") as output:
                self._process = subprocess.Popen(
                    [str(binary), *self._arguments],
                    env=environment,
                    cwd=self.home,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            self._port = self._await_port()
            self._quieten()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the node and remove its home. A node that is gone already is no error."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.home != Path():
            shutil.rmtree(self.home, ignore_errors=True)

    def check_alive(self) -> None:
        """
        Return while the child runs.

        Raises:
            AnvilError: It has ended; the message has its exit code and its last output.
        """
        code = None if self._process is None else self._process.poll()
        if self._process is None or code is not None:
            raise AnvilError(f"anvil ended with code {code}: {self._output()[-2000:].strip()}")

    @property
    def _log(self) -> Path:
        return self.home / "anvil.log"

    def _output(self) -> str:
        return self._log.read_text(errors="replace") if self._log.is_file() else ""

    def _await_port(self) -> int:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            self.check_alive()
            if found := LISTENING.search(self._output()):
                return int(found[2])
            time.sleep(0.01)
        raise AnvilError(f"anvil did not listen within {START_TIMEOUT} s: {self._output()[-2000:]}")

    def _quieten(self) -> None:
        body = {"jsonrpc": "2.0", "id": 1, "method": "anvil_setLoggingEnabled", "params": [False]}
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=START_TIMEOUT)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/", json.dumps(body), headers)
            connection.getresponse().read()
        except OSError as error:
            raise AnvilError(f"anvil listens but does not answer: {error}") from error
        finally:
            connection.close()
