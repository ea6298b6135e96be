"""Starts of the real daemon with the file of accounts: believed, refused, never half written."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chimera.app.snapshots import RANDOM, RISKIEST
from chimera.domain.block import Address
from chimera.domain.market import FIRST_AMOUNT
from chimera.store.snapshot_file import (
    LENGTH_BYTES,
    Draft,
    Header,
    block_of,
    read_content,
    read_snapshot,
)
from devnet.daemon import Daemon
from devnet.proxy import CountingProxy
from devnet.stage import Stage
from devnet.witness import Witness
from tests.fakes_state import address

BORROWERS = 150


class Scene:
    """A market with flagged accounts, and the daemon that has flagged them and was stopped."""

    def __init__(self, stage: Stage, proxy: CountingProxy, folder: Path) -> None:
        config = stage.write_config(
            folder / "market.toml",
            ws=proxy.ws,
            http=proxy.http,
            extra={"reconcile": {"enabled": False}},
        )
        self.stage, self.proxy = stage, proxy
        self.daemon = Daemon(config, folder / "daemon.log")
        self.witness = Witness(stage, self.daemon)
        self.file = folder / "market.db.31337.snapshot"
        self.daemon.start()
        self.witness.attend(stage.node.number)
        self.witness.attend(stage.life.shock("WETH", -1200))
        self.witness.attend(stage.life.quiet())
        self.flags = self.open_flags()
        assert self.flags
        assert self.daemon.stop() == 0

    def open_flags(self) -> dict[str, dict[str, Any]]:
        _, flags = self.daemon.opportunities("&state=open")
        return {flag["id"]: flag for flag in flags}

    def start_again(self) -> int:
        """Start, agree with the contracts about everything, and say how many were read."""
        self.proxy.reset()
        self.daemon.start()
        self.daemon.wait_until(self.stage.node.number)
        people = [position["user"] for position in self.daemon.positions()[1]]
        assert len(people) >= BORROWERS
        asked = sum(self.proxy.per_account_requests([user]) > 0 for user in people)
        self.witness.attend(self.stage.life.quiet())
        assert self.witness.mismatches == []
        assert self.witness.missed_and_extra() == (set(), set())
        return asked

    def told(self, event: str) -> list[dict[str, Any]]:
        return self.daemon.told(event)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage.build(seed=5, borrowers=BORROWERS) as stage:
        yield stage


@pytest.fixture
def scene(stage: Stage, tmp_path: Path) -> Iterator[Scene]:
    with stage.undone(), CountingProxy(stage.anvil.http) as proxy:
        scene = Scene(stage, proxy, tmp_path)
        try:
            yield scene
        finally:
            scene.daemon.stop()


def test_a_start_reads_no_account_but_a_sample(scene: Scene) -> None:
    assert scene.start_again() <= RISKIEST + RANDOM
    assert scene.flags.keys() <= {flag["id"] for flag in scene.daemon.opportunities()[1]}
    assert scene.daemon.stop() == 0
    for missed in (scene.stage.life.shock("WBTC", -2500), scene.stage.life.quiet()):
        scene.witness.see(missed)

    assert scene.start_again() <= RISKIEST + RANDOM + len(scene.told("opportunity_flagged"))
    assert [line["read"] for line in scene.told("protocol_read")] == [BORROWERS, 0, 0]
    assert scene.told("snapshot_not_used") == scene.told("snapshot_disagrees") == []


def test_a_file_that_lies_or_is_of_another_branch_is_not_believed(scene: Scene) -> None:
    riskiest = min(scene.flags.values(), key=lambda flag: int(flag["health_factor"].split(".")[1]))
    lie_about(scene.file, Address(bytes.fromhex(riskiest["user"][2:])))
    assert scene.start_again() >= BORROWERS
    [line] = scene.told("snapshot_disagrees")
    assert line["accounts"] == [riskiest["user"].lower()]

    assert scene.daemon.stop() == 0
    scene.stage.node.reorg(1)
    scene.witness.rule.forget_above(scene.stage.node.number - 1)
    scene.witness.see(scene.stage.node.number)
    assert scene.start_again() >= BORROWERS
    [line] = scene.told("snapshot_not_used")
    assert "is not among those to go on from" in line["reason"]


def lie_about(file: Path, user: Address) -> None:
    """Change one amount in the last place, and make the digest right."""
    content = read_content(file)
    end = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
    header = msgspec.msgpack.decode(content[LENGTH_BYTES:end], type=Header)
    accounts, _ = read_snapshot(content, header).protocols["aave"]
    true = accounts[user]
    accounts[user] = true.with_amount(FIRST_AMOUNT, true[FIRST_AMOUNT] + 1, true.updated_block)
    draft = Draft(header.identity, block_of(header))
    list(draft.add(accounts.items(), b""))
    draft.save(file)


DIES_WHILE_IT_WRITES = """
import os, signal, sys
from pathlib import Path
from chimera.domain.market import Account
from chimera.store.snapshot_file import Draft, Identity
from tests.fakes_state import WETH, address, first_block

def save(accounts):
    draft = Draft(Identity("1", 1, ()), first_block())
    list(draft.add(accounts.items(), b""))
    draft.save(Path(sys.argv[1]))

class Dying:
    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def write(self, content):
        self.file.write(content)

    def writelines(self, lines):
        self.file.write(lines[0])
        self.file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

save({address(1): Account({WETH: 1})})
honest = Path.open
Path.open = lambda path, mode: Dying(honest(path, mode))
save({address(2): Account({WETH: 2})})
"""


def test_a_kill_while_it_is_written_leaves_the_file_before(tmp_path: Path) -> None:
    file = tmp_path / "book.snapshot"
    writer = subprocess.run(
        [sys.executable, "-c", DIES_WHILE_IT_WRITES, str(file)],
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )

    assert writer.returncode == -signal.SIGKILL
    content = bytes(read_content(file))
    assert [content.count(bytes(address(number))) for number in (1, 2)] == [1, 0]
