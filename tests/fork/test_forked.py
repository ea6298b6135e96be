"""The daemon on a fork: a market whose whole life lies before the chain that it follows.

The fork is that of another local chain, and with CHIMERA_FORK_URL (`make fork`) that of a real one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from devnet.daemon import Daemon
from devnet.fork import Fork, endpoint, heaviest_collateral, origin_of
from devnet.life import Life
from devnet.prices import Prices
from devnet.stage import FROM_BLOCK, Stage
from devnet.truth import Truth, health_of
from devnet.witness import Witness, answered, spoken

WAD = 10**18
BORROWERS = 40
PATIENCE = 900.0  # seconds: a fork fetches every word of state from its origin
FORK_URL = os.environ.get("CHIMERA_FORK_URL", "")
CHAINS = ["local", "endpoint"] if FORK_URL else ["local"]


@dataclass
class Followed:
    """What was seen on a fork, block by block; `under` is who the contract has under 1."""

    fork: Fork
    daemon: Daemon
    compared: int = 0
    mismatches: list[str] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    under: dict[int, set[str]] = field(default_factory=dict)
    flagged: dict[int, set[str]] = field(default_factory=dict)

    def attend(self, block: int) -> list[dict[str, Any]]:
        """Wait for a block, and hold every account against the contract's own view there."""
        self.daemon.wait_until(block, seconds=PATIENCE)
        at, listed = self.daemon.positions()
        assert at == block
        found = {position["user"]: position for position in listed if position["debt"]}
        truth = self.fork.accounts(sorted(found), block)
        for user, account in truth.items():
            said, expected = spoken(found[user]), answered(account)
            if said != expected:
                self.mismatches.append(f"block {block}: {user}: {said} instead of {expected}")
        self.compared += len(truth)
        health = {user: health_of(account) for user, account in truth.items()}
        self.under[block] = {user for user, it in health.items() if it is not None and it < WAD}
        _, flags = self.daemon.opportunities("&state=open")
        self.flagged[block] = {flag["user"] for flag in flags}
        self.blocks.append(block)
        return list(found.values())


@dataclass
class Lived:
    """What one visit to a fork left behind, for the tests to look at."""

    followed: Followed
    fork_block: int
    borrowers_before: set[str]
    found_before: set[str]
    shocked: int


@pytest.fixture(scope="module", params=CHAINS)
def lived(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Lived:
    folder = tmp_path_factory.mktemp("fork")
    with ExitStack() as stack:
        if request.param == "endpoint":
            origin = endpoint(FORK_URL)
        else:
            stage = stack.enter_context(Stage.build(seed=21, borrowers=BORROWERS))
            stage.life.run(3)
            block = stage.node.number
            origin = origin_of(stage.node, stage.provider, block=block, from_block=FROM_BLOCK)
            stage.life.shock("WETH", -5000)  # later than the fork: nobody there may notice
        fork = stack.enter_context(Fork.of(origin))
        config = fork.write_config(folder / "fork.toml")
        daemon = stack.enter_context(Daemon(config, folder / "daemon.log"))
        return live(Followed(fork, daemon))


def live(followed: Followed) -> Lived:
    fork = followed.fork
    forked_at = fork.origin.block
    positions = followed.attend(forked_at)
    before = fork.borrowers(forked_at)
    for seconds in (2, 12, 86_400):
        followed.attend(fork.node.mine(seconds))
    shocked = fork.shock(heaviest_collateral(positions), 40)
    followed.attend(shocked)
    for _ in range(2):
        followed.attend(fork.node.mine())
    found = {position["user"].lower() for position in positions}
    return Lived(followed, forked_at, before, found, shocked)


def test_borrowers_are_found_in_logs_from_before_the_fork(lived: Lived) -> None:
    assert lived.borrowers_before
    assert lived.borrowers_before <= lived.found_before


def test_every_account_equals_the_contract_before_and_after_the_fork(lived: Lived) -> None:
    assert lived.followed.mismatches == []
    assert lived.followed.compared >= len(lived.borrowers_before) * len(lived.followed.blocks)


def test_every_block_that_is_mined_on_the_fork_is_followed(lived: Lived) -> None:
    first = lived.fork_block
    assert lived.followed.blocks == list(range(first, first + 7))


def test_who_falls_under_1_on_the_fork_is_flagged_at_the_second_block(lived: Lived) -> None:
    under, flagged = lived.followed.under, lived.followed.flagged
    before, shocked = lived.shocked - 1, lived.shocked
    assert under[shocked] - under[before]
    assert flagged[shocked] == under[before] & under[shocked]
    assert flagged[shocked + 1] == under[shocked] & under[shocked + 1]


@pytest.fixture
def branches(tmp_path: Path) -> Iterator[tuple[Stage, Stage, Daemon]]:
    """A stage, a fork of it with a life of its own, and a daemon on the fork."""
    with Stage.build(seed=22, borrowers=BORROWERS) as stage:
        block = stage.node.number
        origin = origin_of(stage.node, stage.provider, block=block, from_block=FROM_BLOCK)
        with Fork.of(origin) as fork:
            prices = Prices(fork.node, stage.market)
            branch = replace(
                stage,
                anvil=fork.anvil,
                node=fork.node,
                prices=prices,
                truth=Truth(fork.node, stage.market),
                life=Life(fork.node, stage.market, stage.population, prices, 23),
            )
            config = branch.write_config(tmp_path / "branch.toml")
            with Daemon(config, tmp_path / "daemon.log") as daemon:
                yield stage, branch, daemon


def test_life_goes_on_on_the_fork_and_is_mirrored(branches: tuple[Stage, Stage, Daemon]) -> None:
    stage, branch, daemon = branches
    left_at = stage.node.number
    witness = Witness(branch, daemon)
    witness.attend(left_at)
    for step in range(8):
        witness.attend(branch.life.step(seconds=30 * 86_400 if step == 3 else None).number)
    witness.attend(branch.life.shock("WETH", -1500))
    witness.attend(branch.life.quiet())
    assert witness.mismatches == []
    assert witness.missed_and_extra() == (set(), set())
    assert witness.rule.episodes()
    assert stage.node.number == left_at


def test_a_reorg_back_to_the_fork_point_is_followed(branches: tuple[Stage, Stage, Daemon]) -> None:
    _, branch, daemon = branches
    forked_at = branch.node.number
    witness = Witness(branch, daemon)
    witness.attend(forked_at)
    fork_point = branch.node.snapshot()
    witness.attend(branch.life.shock("WETH", -2500))
    witness.attend(branch.life.quiet())
    assert witness.rule.episodes()
    branch.node.revert(fork_point)
    witness.rule.forget_above(forked_at)
    for _ in range(3):
        witness.see(branch.mine())
    witness.attend(branch.mine(seconds=12))
    assert witness.mismatches == []
    assert witness.missed_and_extra() == (set(), set())
