"""How much worse the weights may become before an account has to be looked at again."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chimera.state.screen_dense import Block
from chimera.state.screen_rows import Floats, Slots
from chimera.state.screen_weights import EPSILON, LARGEST, LEAP, Weights

NEVER = np.float32(-np.inf)  # looked at since it changed
MOST = np.float32(LARGEST / LEAP**2)  # a sum of collateral that stays a number for two leaps


class Patience:
    """
    What each account was found to bear, one number per slot.

    Let C be the sum of collateral at some weights, D that of debt, each with the relative band r
    against the account; S its slack (see `Screen`), d what rounding adds to a leg of debt. What the
    account bears is ::

        p = max( C (1 - r) / (D (1 + r) + S),  1 / (D (1 + r) + d * legs) )

    or, as q and the limit are 1 at least, the first of both alone where the second is no more than
    1.

    Let later weights drift by q: no debt's has grown more than g-fold, no collateral's has fallen
    below the part f of what it was, g >= 1 >= f, and q = g / f. If p > q * limit, then either

        C' (1 - r) >= f C (1 - r) > f q limit (D (1 + r) + S) >= limit (D' (1 + r) + S),

    since f q = g >= 1: the account is surely not under the limit; or D' + d * legs <= q (D + ...)
    is under 1, and what the contract counts as debt is an integer under 1, none. So one comparison
    of q with p replaces the sums over all legs, until an account changes.

    Everybody is measured at the weights `since`. Who is measured again at others, w, is known to
    bear p from w on, hence p / drift(w -> since) from `since` on: drifts multiply at most.

    Whose collateral comes near the end of float32 bears nothing, and `drift_since` is infinite for
    a leap of a collateral's weight: nobody is passed over whose sum is no number any more.
    """

    def __init__(self, slots: int, slack: float) -> None:
        """
        Know nothing as yet.

        Args:
            slots: Room for so many.
            slack: What rounding does to an account, besides what it does to its legs.
        """
        self._each: Floats = np.zeros((3, max(slots, 1024)), np.float32)
        self._bears: Floats  # by slot: p, legs and S
        self._legs: Floats
        self._slacks: Floats
        self._bears, self._legs, self._slacks = self._each
        self._slack = np.float32(slack)
        self._leg_bands = 0.0, 0.0
        self._since: Weights | None = None

    # --- keeping ---------------------------------------------------------------------------------

    def reserve(self, slots: int) -> None:
        """Make room for so many slots."""
        have = len(self._bears)
        if slots > have:
            more = np.zeros((3, max(slots - have, have)), np.float32)
            self._each = np.concatenate((self._each, more), axis=1)
            self._bears, self._legs, self._slacks = self._each

    def changed(self, slots: Slots, legs: Slots) -> None:
        """Note that the accounts in these slots are others now, of so many legs."""
        self._bears[slots] = NEVER
        self._legs[slots] = legs
        self._slacks[slots] = self._slack_of(legs.astype(np.float32))

    def move(self, source: int, target: int) -> None:
        """Give what is known of one slot to another."""
        self._each[:, target] = self._each[:, source]

    def _slack_of(self, legs: Floats) -> Floats:
        slacks: Floats = legs * np.float32(max(self._leg_bands)) + self._slack
        return slacks

    def _follow(self, leg_bands: tuple[float, float]) -> None:
        if leg_bands != self._leg_bands:
            self._leg_bands = leg_bands
            self._slacks[:] = self._slack_of(self._legs)

    def forget(self) -> None:
        """Measure everybody anew: the rows have other numbers."""
        self._since = None

    # --- looking ---------------------------------------------------------------------------------

    def doubtful(self, weights: Weights, limit: float, count: int, most: int) -> Slots | None:
        """
        Return who is not known to be safe; None if that is not known, or if they are too many.

        Args:
            weights: Of now.
            limit: Health factor as a ratio, 1 at least.
            count: How many slots there are.
            most: More than so many are too many.
        """
        drift = limit * self.drift(weights)
        if not drift < LARGEST:
            return None
        safe = self._bears[:count] > _over(drift)
        if count - np.count_nonzero(safe) > most:
            return None
        return np.flatnonzero(~safe)

    def drift(self, weights: Weights) -> float:
        """Return how far weights have got worse since everybody was measured, or infinity."""
        return np.inf if self._since is None else weights.drift_since(self._since)

    def recovery(self, weights: Weights) -> float:
        """Return how much better weights are than when everybody was measured, or infinity."""
        return np.inf if self._since is None else self._since.drift_since(weights)

    def measure_all(self, weights: Weights, sums: Iterable[Block], count: int) -> Floats:
        """
        Return what all accounts bear from these weights on, and remember it.

        Args:
            weights: Of now.
            sums: Collateral and debt of everybody, with the relative band; overwritten.
            count: How many slots there are.
        """
        self._since = None  # until all are measured
        self._follow(weights.leg_bands)
        for place, collateral, debt in sums:
            out, slacks = self._bears[place], self._slacks[place]
            self._measure(collateral, debt, self._legs[place], slacks, out)
        self._since = weights
        return self._bears[:count]

    def measure(self, weights: Weights, sums: tuple[Floats, Floats], slots: Slots) -> Floats:
        """Return the same of the accounts in some slots, whose sums these are; remember it, too."""
        self._follow(weights.leg_bands)
        legs = self._legs[slots]
        bears: Floats = np.empty_like(legs)
        self._measure(*sums, legs, self._slacks[slots], bears)
        if self._since is not None:
            back = np.float32(self.recovery(weights) * (1 + EPSILON))
            self._bears[slots] = np.fmax(self._bears[slots], bears / back)
        return bears

    def _measure(
        self, collateral: Floats, debt: Floats, legs: Floats, slacks: Floats, out: Floats
    ) -> None:
        """Work out p, minus infinity where float32 cannot tell; `debt` is overwritten."""
        np.add(debt, slacks, out=out)
        np.divide(collateral, out, out=out)
        if self._leg_bands[1]:
            debt += legs * np.float32(self._leg_bands[1])
        if not np.minimum.reduce(debt, initial=1) >= 1:  # some may be too small to count
            np.maximum(out, np.divide(np.float32(1), debt, out=debt), out=out)
        if not np.maximum.reduce(collateral, initial=0) <= MOST:
            out[~(collateral <= MOST)] = NEVER

    def bounds(self, weights: Weights, sums: Iterable[Block], count: int) -> Floats:
        """Return lower bounds of all health factors, infinite where no debt counts."""
        found = np.empty(count, np.float32)
        for place, collateral, debt in sums:
            legs = self._legs[place]
            for_collateral, for_debt = (legs * np.float32(band) for band in weights.leg_bands)
            owed = debt + for_debt
            bounds = np.subtract(collateral, for_collateral + self._slack) / owed
            bounds[owed < 1] = np.inf
            bounds[~np.isfinite(collateral + owed)] = NEVER
            found[place] = bounds
        return found


def short_of(bears: Floats, growth: float) -> Slots:
    """Return the places of those that do not bear this growth, or of which that is unknown."""
    return np.flatnonzero(~(bears > _over(growth)))


def _over(growth: float) -> np.float32:
    return np.float32(growth * (1 + EPSILON))
