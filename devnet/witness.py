"""Holds what the daemon says against what the contracts say, block by block, to the last digit."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from devnet.daemon import Daemon
from devnet.rule import Episode, Rule, episodes_of
from devnet.stage import Stage
from devnet.truth import AccountData, health_of

USD = 10**8
BPS = 10_000
WAD_PLACES = 18
REORG_SECONDS = 60.0


class Witness:
    """
    Compares every borrower at every block, and the flags with the rule.

    Attributes:
        rule: The rule of detection, fed by the contracts' answers alone.
        compared: Accounts compared so far, one for each block.
        mismatches: What differed, as sentences with both figures.
    """

    def __init__(self, stage: Stage, daemon: Daemon) -> None:
        self._stage = stage
        self._daemon = daemon
        self.rule = Rule()
        self.compared = 0
        self.mismatches: list[str] = []

    def attend(self, block: int) -> list[dict[str, Any]]:
        """Wait until the daemon has processed `block`, compare everything, return its positions."""
        self._daemon.wait_until(block)
        at, positions = self._daemon.positions()
        if at != block:
            raise RuntimeError(f"positions are of block {at}, the chain stands still at {block}")
        self.compare(block, positions)
        self._compare_flags(block, positions)
        return positions

    def see(self, block: int) -> None:
        """Feed the rule with a block that the daemon is not asked about."""
        users = self._stage.truth.borrowers_now(block)
        factors = self._stage.truth.health_factors(users, block)
        self.rule.see(block, {user.lower(): factor for user, factor in factors.items()})

    def reorg(self, depth: int) -> None:
        """
        Replace the last blocks by empty ones, feed the rule with them, wait for the daemon.

        A node that mines while it is asked about its head may answer from the next block's state.

        Raises:
            RuntimeError: The daemon has ended, or does not take them.
        """
        head, before = self._stage.node.number, self._taken()
        self._stage.node.reorg(depth)
        self.rule.forget_above(head - depth)
        for block in range(head - depth + 1, head + 1):
            self.see(block)
        deadline = time.monotonic() + REORG_SECONDS
        while True:
            self._daemon.wait_until(head)
            blocks, rebuilds = self._taken()
            if blocks >= before[0] + depth or rebuilds > before[1]:
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"a reorg of {depth} was not followed")
            time.sleep(0.01)
        self._daemon.wait_until(head)

    def _taken(self) -> tuple[float, float]:
        """Blocks that were applied so far, and how often the mirror was read anew instead."""
        counters = "chimera_blocks_total", "chimera_rebuilds_total"
        blocks, rebuilds = map(self._daemon.metric, counters)
        return blocks, rebuilds

    def compare(self, block: int, positions: Iterable[Mapping[str, Any]]) -> None:
        """Compare positions that are valued at `block` with the pool's own views at that block."""
        found = {p["user"].lower(): p for p in positions if p["debt"]}
        borrowers = {user.lower() for user in self._stage.truth.borrowers_now(block)}
        for user in sorted(borrowers ^ set(found)):
            whose = "the daemon lacks it" if user in borrowers else "the chain has no such debt"
            self._note(f"block {block}: borrower {user}: {whose}")
        truth = self._stage.truth.account_data(sorted(borrowers), block)
        for user, account in truth.items():
            if user in found:
                self._compare_account(block, found[user], account)
        self.rule.see(block, {user: health_of(account) for user, account in truth.items()})

    def missed_and_extra(self) -> tuple[set[Episode], set[Episode]]:
        """Return the episodes that the daemon lacks, and those that the rule does not know."""
        _, opportunities = self._daemon.opportunities()
        identities = [opportunity["id"] for opportunity in opportunities]
        if len(set(identities)) != len(identities):
            self._note("two opportunities have one id")
        said = episodes_of({**o, "user": o["user"].lower()} for o in opportunities)
        expected = self.rule.episodes()
        return expected - said, said - expected

    def _compare_flags(self, block: int, positions: Iterable[Mapping[str, Any]]) -> None:
        """Open flags must be one for each account, with the figures of this very block."""
        _, flags = self._daemon.opportunities("&state=open")
        found = {position["user"]: position for position in positions}
        users = [flag["user"] for flag in flags]
        if len(set(users)) != len(users):
            self._note(f"block {block}: an account is flagged twice")
        for flag in flags:
            said = flag["health_factor"], flag["blocks_unhealthy"]
            position = found[flag["user"]]
            length = block - flag["first_unhealthy_block"] + 1
            expected = position["health_factor"], length
            if said != expected or position["blocks_unhealthy"] != length:
                self._note(f"block {block}: flag of {flag['user']}: {said} instead of {expected}")

    def _compare_account(
        self, block: int, position: Mapping[str, Any], account: AccountData | None
    ) -> None:
        self.compared += 1
        said, expected = spoken(position), answered(account)
        for name, value in expected.items():
            if said[name] != value:
                self._note(
                    f"block {block}: {position['user']} {name}: "
                    f"{said[name]} instead of {value} as the contract says"
                )

    def _note(self, sentence: str) -> None:
        self.mismatches.append(sentence)


def spoken(position: Mapping[str, Any]) -> dict[str, object]:
    """Return what a position says, in the terms of Pool.getUserAccountData."""
    if position["error"] is not None:
        return dict.fromkeys(("health", "collateral", "debt", "threshold"))
    counted = [leg for leg in position["collateral"] if leg["enabled"]]
    return {
        "health": position["health_factor"],
        "collateral": sum(Fraction(leg["value"]) for leg in counted) * USD,
        "debt": sum(Fraction(leg["value"]) for leg in position["debt"]) * USD,
        "threshold": Fraction(position["liquidation_threshold"]) * BPS,
    }


def answered(account: AccountData | None) -> dict[str, object]:
    """Return the contract's answer in the same terms; nothing where its view reverts."""
    if account is None:
        return dict.fromkeys(("health", "collateral", "debt", "threshold"))
    health = health_of(account)
    return {
        "health": None if health is None else _places(health),
        "collateral": Fraction(account.total_collateral),
        "debt": Fraction(account.total_debt),
        "threshold": Fraction(account.liquidation_threshold),
    }


def _places(health: int) -> str:
    digits = str(health).rjust(WAD_PLACES + 1, "0")
    return f"{digits[:-WAD_PLACES]}.{digits[-WAD_PLACES:]}"
