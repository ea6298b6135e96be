"""What a unit of each column is worth at a block, and how far that may have moved since another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chimera.ports import Adapter
from chimera.state.screen_rows import Bools, Floats, Rows

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
        rows: What the rows were when these weights were made.
        values: Base currency units per stored unit; 0 where it is unknown.
        unknown: Rows whose weight float32 cannot hold.
        leg_bands: What rounding may do to a leg of collateral and of debt, base currency units.
    """

    rows: Rows
    values: Doubles
    unknown: Bools
    leg_bands: tuple[float, float]

    def banded(self, band: float) -> Floats:
        """Return the values in float32, collateral less and debt more by this part."""
        against = np.where(self.rows.debts, 1 + band, 1 - band)
        banded: Floats = (self.values * against).astype(np.float32)
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
        debts = self.rows.debts
        debt = float(growth[debts].max(initial=1))
        collateral = growth[~debts]
        least, most = float(collateral.min(initial=1)), float(collateral.max(initial=1))
        return debt / least if least > 0 and most <= LEAP else math.inf


def weigh(
    adapter: Adapter[Any],
    market: Any,  # noqa: ANN401  (the adapter's own)
    timestamp: int,
    rows: Rows,
) -> Weights:
    """Ask the adapter for the weights of these rows at this market and time."""
    collateral, debt = adapter.weights(market, rows.columns, timestamp)
    values = np.where(rows.debts, np.asarray(debt, np.float64), np.asarray(collateral, np.float64))
    unknown = ~(((values >= LIGHTEST) & (values <= HEAVIEST)) | (values == 0))
    values[unknown] = 0
    return Weights(rows, values, unknown, adapter.leg_bands(market))
