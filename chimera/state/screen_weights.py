"""What a unit of each column is worth at a block, and how far that may have moved since another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chimera.domain.market import Column
from chimera.ports import Adapter
from chimera.state.screen_dense import Bools, Floats

FLOAT32 = np.finfo(np.float32)
LARGEST = float(FLOAT32.max)
EPSILON = float(FLOAT32.eps)
LIGHTEST = 2 * float(FLOAT32.tiny)  # under this, precision is lost
HEAVIEST = LARGEST / 2**31  # a weight that is still a number when multiplied by any limit
LEAP = 2.0  # a collateral that grows by more may leave float32

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """
    The weights of a block, one per row of the screen.

    Attributes:
        values: Base currency units per stored unit; 0 where it is unknown.
        debts: Which rows are debt; the others are collateral.
        unknown: Rows whose weight float32 cannot hold.
        leg_bands: What rounding may do to a leg of collateral and of debt, base currency units.
        numbering: Which columns the rows were when these weights were made.
    """

    values: Doubles
    debts: Bools
    unknown: Bools
    leg_bands: tuple[float, float]
    numbering: int

    def banded(self, band: float) -> Floats:
        """Return the values in float32, collateral less and debt more by this part."""
        banded: Floats = (self.values * np.where(self.debts, 1 + band, 1 - band)).astype(np.float32)
        return banded

    def drift_since(self, past: Weights) -> float:
        """
        Return by what factor any debt can have outgrown any collateral since; 1 at least.

        Rows that are unknown now do not count: whoever holds them has to be looked at anyway. A row
        that was unknown has grown from 0, which makes the drift infinite, as does whatever else
        forbids to conclude anything from the past.
        """
        if self.leg_bands != past.leg_bands:
            return math.inf
        with np.errstate(divide="ignore", invalid="ignore"):
            growth = self.values / past.values
        growth[self.unknown | (self.values == past.values)] = 1
        debt = float(growth[self.debts].max(initial=1))
        collateral = growth[~self.debts]
        least, most = float(collateral.min(initial=1)), float(collateral.max(initial=1))
        return debt / least if least > 0 and most <= LEAP else math.inf


def debts_of(columns: Sequence[Column]) -> Bools:
    """Tell of each column whether it is debt."""
    return np.fromiter((is_debt for _, is_debt, _ in columns), np.bool_, len(columns))


def weigh(  # noqa: PLR0917  (what the adapter is asked, and what the rows are)
    adapter: Adapter[Any],
    market: Any,  # noqa: ANN401  (the adapter's own)
    timestamp: int,
    columns: Sequence[Column],
    debts: Bools,
    numbering: int,
) -> Weights:
    """Ask the adapter for the weights of these columns at this market and time."""
    collateral, debt = adapter.weights(market, columns, timestamp)
    values = np.where(debts, np.asarray(debt, np.float64), np.asarray(collateral, np.float64))
    unknown = ~(((values >= LIGHTEST) & (values <= HEAVIEST)) | (values == 0))
    values[unknown] = 0
    return Weights(values, debts, unknown, adapter.leg_bands(market), numbering)
