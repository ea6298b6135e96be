"""
Accounts at the edge of 1, and whether the fast ways say of each what the slow one does.

A family makes up scenes: a market, and accounts whose debt is all that they may owe, give or take a
few units, from dust of one unit up to figures that overflow, in markets some of whose prices are
dead. `judge` holds the screen with `factor` on its suspects against `health` of everybody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from random import Random
from typing import Any, Protocol

from chimera.domain.market import Account, Holder
from chimera.domain.numeric import WAD
from chimera.errors import Skip
from chimera.ports import Adapter
from chimera.state.screen import Screen

NEAR = WAD // 10**6  # of 1


@dataclass(frozen=True, slots=True)
class Scene:
    """Accounts of one market at one time."""

    adapter: Adapter[Any]
    market: Any  # the family's own
    timestamp: int
    accounts: Mapping[Holder, Account]


class Family(Protocol):
    """A module that makes up scenes."""

    def scenes(self, random: Random) -> Iterator[Scene]:
        """Yield one after the other, without end."""


@dataclass(slots=True)
class Tally:
    """
    What was found.

    Attributes:
        accounts: How many were judged.
        under: How many are under 1 by the slow way.
        near: How many are within a millionth of 1.
        reverting: Of how many the contract cannot tell.
        suspects: How many the screen pointed at.
        missed: Under 1, or without a figure, and not found so.
        extra: Found under 1, or without a figure, and not so.
        differing: Whose factor, or reason to have none, the fast way has otherwise.
    """

    accounts: int = 0
    under: int = 0
    near: int = 0
    reverting: int = 0
    suspects: int = 0
    missed: int = 0
    extra: int = 0
    differing: int = 0

    def add(self, other: Tally) -> None:
        """Take in another one."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


Said = int | str | None
"""A health factor, None for no debt, or why there is none."""


def judge(scene: Scene) -> Tally:
    """Judge one scene."""
    slow = {holder: _slowly(scene, account) for holder, account in scene.accounts.items()}
    fast = {holder: _quickly(scene, account) for holder, account in scene.accounts.items()}
    screen = Screen(scene.adapter)
    screen.load(scene.accounts)
    suspects = screen.candidates(screen.weigh(scene.market, scene.timestamp))
    wanted = {holder for holder, said in slow.items() if _is_reported(said)}
    found = {holder for holder in suspects if _is_reported(fast[holder])}
    return Tally(
        accounts=len(slow),
        under=sum(isinstance(said, int) and said < WAD for said in slow.values()),
        near=sum(isinstance(said, int) and abs(said - WAD) < NEAR for said in slow.values()),
        reverting=sum(isinstance(said, str) for said in slow.values()),
        suspects=len(suspects),
        missed=len(wanted - found),
        extra=len(found - wanted),
        differing=sum(slow[holder] != fast[holder] for holder in slow),
    )


def judged(family: Family, random: Random, accounts: int) -> Tally:
    """Judge scenes of a family until there were so many accounts."""
    tally = Tally()
    for scene in family.scenes(random):
        tally.add(judge(scene))
        if tally.accounts >= accounts:
            break
    return tally


def _is_reported(said: Said) -> bool:
    return isinstance(said, str) or (said is not None and said < WAD)


def _slowly(scene: Scene, account: Account) -> Said:
    health = scene.adapter.health(scene.market, account, scene.timestamp)
    return health.factor if health.error is None else health.error


def _quickly(scene: Scene, account: Account) -> Said:
    try:
        return scene.adapter.factor(scene.market, account, scene.timestamp)
    except Skip as reverts:
        return str(reverts)
