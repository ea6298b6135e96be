"""A real daemon is recorded; its recording, replayed without a node, says what the daemon said."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import chimera as chimera_package
from chimera.app.recording import markets_of, snapshot
from chimera.app.replaying import Player
from chimera.domain.block import Address
from chimera.replay.frames import Start, Taken
from chimera.replay.recording import Recording
from devnet.actions import Actions
from devnet.daemon import Daemon
from devnet.stage import Stage
from devnet.town import MORPHO, NEW, OLD, VENUS, Town
from tests.fakes_replay import changed_line

BORROWERS = 15  # of each market
BLOCKS = 14
PATIENCE = 60.0  # seconds
LEAPS = {0: 2, 6: 86_400}  # seconds, where chance shall not decide
# Anvil answers about a block that it has just dropped; comparing then reads the book anew.
MIRROR_ALONE = {"reconcile": {"enabled": False}}
STARTED = (
    "import runpy, sys; sys.argv = [{program!r}, *{before!r}, 'record', '--out', {out!r},"
    " *sys.argv[2:]]; runpy.run_path({program!r}, run_name='__main__')"
)
CHIMERA = Path(chimera_package.__file__).with_name("__main__.py")
SABOTAGED = Path(__file__).with_name("sabotaged.py")


@dataclass
class Recorded:
    """Two runs of a daemon on one chain: one was stopped, one was killed."""

    stopped: Path
    killed: Path
    exit_code: int | None
    first: dict[str, dict[str, Any]]  # flags by id, as the daemon gave them out
    second: dict[str, dict[str, Any]]
    config: Path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    folder = tmp_path_factory.mktemp("recorded")
    out = folder / "out"
    with Town.build(seed=11, borrowers=BORROWERS) as town:
        config = town.write_config(folder / "town.toml", extra=MIRROR_ALONE)
        program = recording_to(out)
        with Daemon(config, folder / "daemon.log", program=program) as daemon:
            first = live(town, daemon)
            exit_code = daemon.stop()
            [stopped] = out.iterdir()
            daemon.start()
            began = town.node.number
            daemon.wait_until(began)
            shock(town, daemon)
            second = flags_of(daemon)
            [killed] = set(out.iterdir()) - {stopped}
            on_disk(killed, town.node.number - began)  # which no block waits for
            daemon.kill()
        yield Recorded(stopped, killed, exit_code, first, second, config)


def on_disk(recording: Path, blocks: int) -> None:
    """Wait until so many blocks stand in a recording that is being written."""
    deadline = time.monotonic() + PATIENCE
    while written(recording).count(b'"kind":"block"') < blocks:
        assert time.monotonic() < deadline, f"not all of {blocks} blocks were recorded"
        time.sleep(0.05)


def written(recording: Path) -> bytes:
    """Return the whole lines of a recording."""
    text = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(recording.read_bytes())
    return text[: text.rfind(b"\n")]


def recording_to(out: Path, program: Path = CHIMERA, before: Sequence[str] = ()) -> tuple[str, str]:
    """Return what makes `Daemon` record in place of just running."""
    return "-c", STARTED.format(out=str(out), program=str(program), before=list(before))


def live(town: Town, daemon: Daemon) -> dict[str, dict[str, Any]]:
    daemon.wait_until(town.node.number)
    for step in range(BLOCKS):
        daemon.wait_until(town.step(seconds=LEAPS.get(step)))
    ancestor = town.node.number
    shock(town, daemon)
    town.node.reorg(town.node.number - ancestor)  # the same heights, without the shock
    town.node.mine(2)
    daemon.wait_until(town.node.mine(2))
    return flags_of(daemon)


def shock(town: Town, daemon: Daemon) -> None:
    """Have somebody flagged by two blocks."""
    for stage in (town.old, town.new):
        stage.life.shock("WBTC", -4000)
    daemon.wait_until(town.node.mine(2))


def flags_of(daemon: Daemon) -> dict[str, dict[str, Any]]:
    return {flag["id"]: flag for flag in daemon.opportunities()[1]}


def chimera(*arguments: str, seed: int = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chimera", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={"PYTHONHASHSEED": str(seed), "PATH": ""},
    )


@cache
def replayed(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return what the command says of flags, and its last line."""
    done = chimera("replay", str(path), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    *flags, end = (json.loads(line) for line in done.stdout.splitlines())
    return flags, end


def test_flags_are_those_that_the_daemon_published(recorded: Recorded) -> None:
    told, end = replayed(recorded.stopped)

    last = {one["flag"]["id"]: one["flag"] for one in told}
    assert last.keys() == recorded.first.keys()
    closed = {key: flag for key, flag in recorded.first.items() if flag["state"] == "closed"}
    assert {key: last[key] for key in closed} == closed
    assert end["open"] == len(recorded.first) - len(closed)
    assert {"reorged", "recovered"} <= {flag["closed_reason"] for flag in closed.values()}
    assert (end["ended"], end["rollbacks"], recorded.exit_code) == ("stopped", 1, 0)
    assert end["blocks"] > BLOCKS


def test_a_killed_daemon_leaves_a_recording_up_to_its_last_block(recorded: Recorded) -> None:
    told, end = replayed(recorded.killed)

    flagged = {one["flag"]["id"] for one in told if one["event"] == "flagged"}
    assert flagged == recorded.second.keys() - recorded.first.keys()
    assert flagged
    assert end["ended"] == "cut off"


def test_the_same_file_is_the_same_output_byte_for_byte(recorded: Recorded) -> None:
    once, again = (chimera("replay", str(recorded.stopped), seed=seed) for seed in (1, 2))

    assert once.stdout == again.stdout
    assert once.stdout.count("flagged") > 1
    assert "state " in once.stdout.splitlines()[-1]


def test_the_replayed_accounts_are_those_that_a_new_start_reads(recorded: Recorded) -> None:
    """The killed run began where the stopped one ended, from the chain itself."""

    ours, read = asyncio.run(final(recorded.stopped, recorded.killed))

    assert ours.block == read.block
    assert set(ours.shelves) == {OLD, NEW, MORPHO, VENUS}
    for name, shelf in ours.shelves.items():
        assert balances(shelf.accounts) == balances(read.shelves[name].accounts), name
        assert len(balances(shelf.accounts)) >= BORROWERS


async def final(path: Path, following: Path) -> tuple[Start, Start]:
    """Return how a replay ends, and how the recording after it begins."""
    recording = Recording(path)
    player = Player(recording)
    await player.begin()
    for frame in recording.frames():
        if isinstance(frame, Taken):
            await player.take(frame)
    rooms = player.rooms
    await rooms.chain.close()
    return snapshot(rooms), Recording(following).start(markets_of(rooms.chain.adapters))


def balances(accounts: Any) -> dict[Address, Any]:  # noqa: ANN401
    return {
        holder: (account.supplied, account.owed, account.enabled, account.mode, account.marks)
        for holder, account in accounts.items()
        if account.owed
    }


def test_what_was_mended_while_recording_is_mended_in_the_replay(tmp_path: Path) -> None:
    """The daemon loses logs once, before they reach the recording; it reads the account anew."""
    out = tmp_path / "out"
    extra = {"reconcile": {"enabled": True, "calls": 20}}
    with Stage.build(seed=23, borrowers=20) as stage:
        config = stage.write_config(tmp_path / "scene.toml", extra=extra)
        sabotage = recording_to(out, SABOTAGED, ["lose_every_move"])
        with Daemon(config, tmp_path / "daemon.log", program=sabotage) as daemon:
            daemon.wait_until(stage.node.number)
            user = min(stage.truth.borrowers_now())
            unit = stage.market.listings["WETH"].reserve.unit
            stage.node.send(Actions(stage.market).supply(user, "WETH", unit))
            while not daemon.told("account_mended"):
                number = stage.life.quiet()
                daemon.wait_until(number)
                compared(daemon, number)
                assert stage.node.number < 200
        [broken] = out.iterdir()
        with Daemon(config, tmp_path / "daemon.log", program=recording_to(out)) as daemon:
            daemon.wait_until(stage.node.number)
        [following] = set(out.iterdir()) - {broken}

    ours, read = asyncio.run(final(broken, following))

    assert ours.block == read.block
    assert b'"mistrusted":{"aave":["' in gzip.decompress(broken.read_bytes())
    assert balances(ours.shelves["aave"].accounts) == balances(read.shelves["aave"].accounts)


def compared(daemon: Daemon, number: int) -> None:
    """Wait until the daemon has compared accounts at this block."""
    deadline = time.monotonic() + PATIENCE
    while (daemon.get("/readyz")[1]["protocols"]["aave"]["last_reconciled_block"] or 0) < number:
        assert time.monotonic() < deadline, f"nothing was compared at block {number}"
        time.sleep(0.01)


def test_what_the_subscription_said_can_be_printed(recorded: Recorded) -> None:
    done = chimera("replay", str(recorded.stopped), "--heard")

    heard = [line for line in done.stdout.splitlines() if line.startswith("heard ")]
    events = {json.loads(line.removeprefix("heard "))["event"] for line in heard}
    assert events >= {"connected", "head", "log"}


def test_a_recording_names_no_node(recorded: Recorded) -> None:
    with gzip.open(recorded.stopped) as lines:
        first = lines.readline()

    assert b"127.0.0.1" not in first
    assert b"://" not in first


def test_a_damaged_file_is_a_fault(recorded: Recorded, tmp_path: Path) -> None:
    content = bytearray(recorded.stopped.read_bytes())
    content[len(content) // 2] ^= 0xFF
    damaged = tmp_path / "damaged.gz"
    damaged.write_bytes(content)

    done = chimera("replay", str(damaged))

    assert done.returncode == 1
    assert "is damaged" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_truncated_file_is_replayed_as_far_as_it_goes(recorded: Recorded, tmp_path: Path) -> None:
    content = recorded.stopped.read_bytes()
    cut = tmp_path / "cut.gz"
    cut.write_bytes(content[: len(content) * 9 // 10])

    _, whole = replayed(recorded.stopped)
    _, end = replayed(cut)

    assert end["ended"] == "cut off"
    assert 0 < end["blocks"] < whole["blocks"]


def test_another_version_is_refused(recorded: Recorded, tmp_path: Path) -> None:
    newer = tmp_path / "newer.gz"
    newer.write_bytes(recorded.stopped.read_bytes())

    done = chimera("replay", str(changed_line(newer, 0, lambda line: line.update(version=2))))

    assert done.returncode == 2
    assert "replay it with the version that wrote it" in done.stderr
