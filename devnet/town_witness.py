"""Holds one daemon against every contract of a town: health factors, accounts and flags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from devnet.daemon import Daemon
from devnet.rule import Episode, Rule, episodes_of
from devnet.town import Told, Town, Truth

PLACES = 18


class TownWitness:
    """
    Compares everybody with debt, in every market, at every block.

    Attributes:
        rule: The rule of detection, fed by the contracts' answers alone.
        compared: Accounts compared so far by market, one for each block.
        mismatches: What differed, as sentences with both figures.
    """

    def __init__(self, town: Town, daemon: Daemon) -> None:
        self._town = town
        self._daemon = daemon
        self.rule = Rule()
        self.compared: Counter[str] = Counter()
        self.mismatches: list[str] = []

    def attend(self, block: int) -> Truth:
        """Wait until the daemon has processed `block` and compare; return what contracts say."""
        self._daemon.wait_until(block)
        at, positions = self._daemon.positions()
        if at != block:
            raise RuntimeError(f"positions are of block {at}, the chain stands still at {block}")
        truth = self._town.truth(block)
        said = {(p["protocol"], p["user"].lower()): p for p in positions if p["debt"]}
        for key in sorted(said.keys() ^ truth.keys()):
            whose = "the daemon lacks it" if key in truth else "the chain has no such debt"
            self.mismatches.append(f"block {block}: {key}: {whose}")
        for key in sorted(said.keys() & truth.keys()):
            self._compare(block, key, said[key], truth[key])
        self._compare_flags(block, {key: p["health_factor"] for key, p in said.items()})
        self.rule.see(block, {_joint(*key): told.factor for key, told in truth.items()})
        return truth

    def missed_and_extra(self) -> tuple[set[Episode], set[Episode]]:
        """Return the episodes that the daemon lacks, and those that the rule does not know."""
        _, opportunities = self._daemon.opportunities()
        said = episodes_of(
            {**o, "user": _joint(o["protocol"], o["user"].lower())} for o in opportunities
        )
        expected = self.rule.episodes()
        return expected - said, said - expected

    def _compare(
        self, block: int, key: tuple[str, str], position: Mapping[str, Any], told: Told
    ) -> None:
        self.compared[key[0].partition(".")[0]] += 1
        expected = None if told.factor is None else _places(told.factor)
        said = position["health_factor"], position["error"] is not None
        if said != (expected, told.fails):
            self.mismatches.append(
                f"block {block}: {key}: {said[0]} (error {position['error']}) instead of "
                f"{expected} as the contracts say, whose view {'fails' * told.fails or 'answers'}"
            )

    def _compare_flags(self, block: int, said: Mapping[tuple[str, str], str | None]) -> None:
        _, flags = self._daemon.opportunities("&state=open")
        keys = [(flag["protocol"], flag["user"].lower()) for flag in flags]
        if len(set(keys)) != len(keys):
            self.mismatches.append(f"block {block}: an account is flagged twice")
        for key, flag in zip(keys, flags, strict=True):
            if flag["health_factor"] != said.get(key):
                self.mismatches.append(
                    f"block {block}: flag of {key}: {flag['health_factor']} instead of "
                    f"{said.get(key)}, as its position has it"
                )


def _joint(protocol: str, user: str) -> str:
    return f"{protocol}:{user}"


def _places(factor: int) -> str:
    digits = str(factor).rjust(PLACES + 1, "0")
    return f"{digits[:-PLACES]}.{digits[-PLACES:]}"
