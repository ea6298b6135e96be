"""Morpho at the head of the chain: whom a life chooses from, and how much is possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from devnet.actions import BANK
from devnet.market import ZERO
from devnet.morpho_core import WAD, Core, Listed, percent
from devnet.morpho_state import State
from devnet.morpho_truth import (
    PRICE_SCALE,
    VIRTUAL_ASSETS,
    VIRTUAL_SHARES,
    Key,
    MorphoTruth,
    Seen,
    Standing,
    factor_of,
)

T = TypeVar("T")

CALM = WAD * 105 // 100  # factor above which someone may take on more risk
CURSOR, MOST_INCENTIVE = percent(300), percent(1_150)
SAMPLE = 8  # people looked at to find one to whom a thing can happen


@dataclass(frozen=True, slots=True)
class Place:
    """A market of the stage, as the chain has it at the head."""

    listed: Listed
    seen: Seen


@dataclass(frozen=True, slots=True)
class One:
    """Someone in one market, as the chain has him at the head."""

    key: Key
    place: Place
    row: Standing

    @property
    def user(self) -> str:
        """Who it is."""
        return self.key[1]

    @property
    def factor(self) -> int | None:
        """The health factor in WAD, None without debt or price."""
        return factor_of(self.row)

    @property
    def calm(self) -> bool:
        """Far from the limit, or without debt."""
        return not self.row.borrow_shares or (self.factor or 0) > CALM

    @property
    def under(self) -> bool:
        """Open to liquidation."""
        return self.factor is not None and self.factor < WAD

    @property
    def room(self) -> int:
        """How much more may be borrowed, loan units."""
        accrued = self.place.seen.accrued
        idle = accrued.supply_assets - accrued.borrow_assets
        return max(0, min((self.row.max_borrow or 0) - self.row.borrowed, idle // 4))


class Head:
    """The stage's own markets, and everybody in them. Hostile ones are left alone."""

    def __init__(self, core: Core, state: State, truth: MorphoTruth) -> None:
        self._core = core
        self._state = state
        self._truth = truth
        self.places: dict[str, Place] = {}
        self.everyone: list[One] = []
        self.lent: list[tuple[Key, int]] = []

    def refresh(self) -> None:
        """Read the head."""
        seen = self._truth.markets()
        ours = {"0x" + market.hex(): listed for market, listed in self._core.listed.items()}
        self.places = {m: Place(ours[m], one) for m, one in seen.items() if m in ours}
        self.everyone = [
            One(key, self.places[key[0]], row)
            for key, row in self._truth.standings(seen).items()
            if key[0] in ours
        ]
        self.lent = [
            (key, shares)
            for key, shares in self._truth.supply_shares().items()
            if key[0] in ours and key[1] not in (BANK, ZERO)
        ]

    @property
    def owing(self) -> list[One]:
        """Everybody with debt."""
        return [one for one in self.everyone if one.row.borrow_shares]

    @property
    def under(self) -> list[One]:
        """Everybody under 1."""
        return [one for one in self.everyone if one.under]

    def place(self) -> Place:
        """Draw a market."""
        return self._state.rng.choice(list(self.places.values()))

    def open_place(self) -> Place:
        """Draw a market that one can borrow from."""
        with_collateral = [one for one in self.places.values() if one.listed.plan.collateral]
        return self._state.rng.choice(with_collateral)

    def roomy(self) -> list[One]:
        """Draw people who owe and may owe more."""
        return [one for one in self.sample(self.owing, 5 * SAMPLE) if one.calm and one.room > 1]

    def sample(self, crowd: Sequence[T], size: int = SAMPLE) -> list[T]:
        """Draw some, in random order."""
        return self._state.rng.sample(crowd, min(size, len(crowd)))


def to_shares(seen: Seen, assets: int) -> int:
    """Return the debt shares that so many loan units are worth, rounded down."""
    totals = seen.accrued
    return (
        assets * (totals.borrow_shares + VIRTUAL_SHARES) // (totals.borrow_assets + VIRTUAL_ASSETS)
    )


def to_assets(seen: Seen, supply_shares: int) -> int:
    """Return the loan units that a lender's shares are worth, rounded down."""
    totals = seen.accrued
    assets = totals.supply_assets + VIRTUAL_ASSETS
    return supply_shares * assets // (totals.supply_shares + VIRTUAL_SHARES)


def seized_for(one: One, shares: int) -> int:
    """Return the collateral that `liquidate` seizes for so many shares of debt."""
    totals, price = one.place.seen.accrued, one.place.seen.price or 1
    assets = totals.borrow_assets + VIRTUAL_ASSETS
    repaid = shares * assets // (totals.borrow_shares + VIRTUAL_SHARES)
    return repaid * incentive(one.place.listed.params.lltv) // WAD * PRICE_SCALE // price


def incentive(lltv: int) -> int:
    """Return the factor by which seized collateral exceeds the repaid debt, WAD."""
    discount = CURSOR * (WAD - lltv) // WAD
    return min(MOST_INCENTIVE, WAD * WAD // (WAD - discount))
