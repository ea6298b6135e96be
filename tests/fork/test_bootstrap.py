"""First starts of the real daemon: killed in the middle, spared by an import, one at a time."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chimera.state.rebuild import OVERLAP
from devnet.daemon import Daemon
from devnet.proxy import CountingProxy
from devnet.stage import Stage
from devnet.witness import Witness

BORROWERS, QUIET = 60, 300  # people, and blocks after them in which nothing happens
WIDEST = 10  # blocks that the node allows at once
SECONDS = 120.0


class Meagre:
    """A node that allows few blocks at once, and fails for those after `end` if there is one."""

    def __init__(self) -> None:
        self.end: int | None = None

    def __call__(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        if request["method"] != "eth_getLogs" or "fromBlock" not in request["params"][0]:
            return None
        first, last = (int(request["params"][0][name], 16) for name in ("fromBlock", "toBlock"))
        if last - first >= WIDEST:
            return {"error": {"code": -32005, "message": "query exceeds max block range"}}
        if self.end is not None and last > self.end:
            return {"error": {"code": -32603, "message": "internal error"}}
        return None


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage.build(seed=9, borrowers=BORROWERS) as stage:
        stage.node.rpc("anvil_mine", hex(QUIET), hex(2))
        yield stage


@pytest.fixture
def meagre() -> Meagre:
    return Meagre()


@pytest.fixture
def proxy(stage: Stage, meagre: Meagre) -> Iterator[CountingProxy]:
    with CountingProxy(stage.anvil.http, intercept=meagre) as proxy:
        yield proxy


@pytest.fixture
def config(stage: Stage, proxy: CountingProxy, tmp_path: Path) -> Path:
    return stage.write_config(tmp_path / "chimera.toml", ws=proxy.ws, http=proxy.http)


def ranges(proxy: CountingProxy) -> list[tuple[int, int]]:
    """Return the ranges that were searched for borrowers, as they were asked for."""
    asked = [json.loads(r.text)[0] for r in list(proxy.requests) if r.method == "eth_getLogs"]
    found = [its for its in asked if "fromblock" in its]
    return [(int(its["fromblock"], 16), int(its["toblock"], 16)) for its in found]


def searched_to(database: Path) -> int:
    """Return how far the search has got according to the history, 0 before it began."""
    if not database.exists():
        return 0
    with closing(sqlite3.connect(database)) as connection:
        try:
            rows = connection.execute("SELECT scanned_to FROM scans").fetchall()
        except sqlite3.OperationalError:  # the tables are yet to come
            return 0
    return rows[0][0] if rows else 0


def until_searched_to(database: Path, block: int) -> None:
    """Wait for the history, which is written beside the search."""
    deadline = time.monotonic() + SECONDS
    while searched_to(database) < block:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def exact(stage: Stage, daemon: Daemon) -> None:
    """Everybody who owes is in the book, and every figure is the contract's."""
    daemon.wait_until(stage.node.number)
    witness = Witness(stage, daemon)
    block, positions = daemon.positions()
    witness.compare(block, positions)
    assert witness.compared >= BORROWERS
    assert witness.mismatches == []


def test_a_first_start_that_is_killed_goes_on_where_it_was(
    stage: Stage, meagre: Meagre, proxy: CountingProxy, config: Path, tmp_path: Path
) -> None:
    database = config.with_suffix(".db")
    meagre.end = QUIET // 2 + WIDEST  # so that it cannot be done before it is killed
    daemon = Daemon(config, tmp_path / "daemon.log")
    daemon.start()
    until_searched_to(database, QUIET // 2)
    daemon.kill()
    reached = searched_to(database)
    assert reached < stage.node.number
    assert ranges(proxy)[0][0] == 1
    proxy.reset()
    meagre.end = None

    with daemon:
        exact(stage, daemon)
        assert min(ranges(proxy))[0] == reached + 1 - OVERLAP
        until_searched_to(database, stage.node.number)
        assert searched_to(database) == stage.node.number


def chimera(*words: object, config: Path, history: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chimera", *map(str, words), "--config", str(config)],
        env={"CHIMERA_HISTORY__URL": f"sqlite+aiosqlite:///{history}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


def test_an_imported_list_spares_the_search(
    stage: Stage, proxy: CountingProxy, config: Path, tmp_path: Path
) -> None:
    file, theirs, ours = tmp_path / "all.jsonl.gz", tmp_path / "theirs.db", tmp_path / "ours.db"
    env = {"CHIMERA_HISTORY__URL": f"sqlite+aiosqlite:///{theirs}"}
    with Daemon(config, tmp_path / "theirs.log", env=env) as daemon:
        daemon.wait_until(stage.node.number)
        until_searched_to(theirs, stage.node.number)
        exported = chimera("borrowers", "export", file, config=config, history=theirs)
        assert (exported.returncode, exported.stderr) == (0, "")
        refused = chimera("borrowers", "import", file, config=config, history=theirs)
        assert refused.returncode == 2
        assert f"another chimera (process {daemon.pid}) works with" in refused.stderr
    imported = chimera("borrowers", "import", file, config=config, history=ours)
    assert imported.returncode == 0
    assert f"goes on from block {stage.node.number}" in imported.stdout
    proxy.reset()

    env = {"CHIMERA_HISTORY__URL": f"sqlite+aiosqlite:///{ours}"}
    with Daemon(config, tmp_path / "ours.log", env=env) as daemon:
        exact(stage, daemon)

    assert min(ranges(proxy))[0] == stage.node.number + 1 - OVERLAP


def test_a_second_daemon_on_the_same_history_is_refused(
    stage: Stage, config: Path, tmp_path: Path
) -> None:
    with Daemon(config, tmp_path / "first.log") as first:
        first.wait_until(stage.node.number)
        second = Daemon(config, tmp_path / "second.log")
        second.start()

        assert second.wait(seconds=SECONDS) == 2
        assert f"another chimera (process {first.pid}) works with" in second.log_tail(1)
        first.wait_until(stage.mine())
