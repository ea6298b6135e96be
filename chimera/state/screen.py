"""The vectorised first look: which accounts may be under a health factor at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chimera.domain.block import Address
from chimera.domain.market import Account, Column
from chimera.ports import Adapter

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

FLOAT32 = np.finfo(np.float32)
LARGEST, SMALLEST = float(FLOAT32.max), float(FLOAT32.tiny)  # beyond these, precision is lost
EPSILON = float(FLOAT32.eps)


@dataclass(frozen=True, slots=True)
class Weights:
    """
    The two weight vectors of a block; `unknown` are rows whose weight float32 cannot hold.

    `relative` is the slack on both sums that makes up for every rounding of contract and float32.
    """

    collateral: Floats
    debt: Floats
    unknown: tuple[int, ...]
    relative: float


class Ranking:
    """
    Users with a lower bound of their health factor, as a ratio, lowest first.

    The exact factor is never under the bound, which is minus infinity where float32 cannot tell.
    """

    def __init__(self, bounds: Floats, users: Sequence[Address]) -> None:
        self._bounds = bounds
        self._users = users
        self._order = np.argsort(bounds)

    def __iter__(self) -> Iterator[tuple[float, Address]]:
        for start in range(0, len(self._order), 1024):  # readers rarely go far
            slots = self._order[start : start + 1024]
            for bound, slot in zip(self._bounds[slots].tolist(), slots.tolist(), strict=True):
                yield bound, self._users[slot]


class Screen:
    """
    A dense float32 matrix of one protocol: one row per column of the adapter, one slot per account.

    Only accounts with debt have a slot; slots are kept without holes (the last one moves into a
    freed one), so that one product over contiguous memory looks at every account.

    **The band.** An account is passed over only when it is surely at or over the limit::

        collateral * (1 - relative) - absolute  >  debt * limit * (1 + relative)

    Both sides go into one dot product, `weights @ amounts > absolute`, whose float32 error is at
    most (legs + 3) epsilon of collateral + debt, however they cancel. `relative` is the adapter's
    band, yet never under (rows + 8) epsilon, so it covers that error and what the contract's own
    rounding adds; `absolute` covers dust. Whatever is not a number (a dead price, an amount or a
    weight that float32 cannot hold) fails the comparison and goes to the exact integers.
    """

    def __init__(self, adapter: Adapter[Any]) -> None:
        self._adapter = adapter
        self._rows: dict[Column, int] = {}
        self._slots: dict[Address, int] = {}
        self._users: list[Address] = []
        self._matrix: Floats = np.zeros((16, 1024), np.float32)

    def __len__(self) -> int:
        return len(self._users)

    @property
    def users(self) -> Sequence[Address]:
        """Users by slot, a live view."""
        return self._users

    # --- keeping ---------------------------------------------------------------------------------

    def load(self, accounts: Mapping[Address, Account]) -> None:
        """Replace everything by these accounts."""
        self._slots.clear()
        self._users.clear()
        self._matrix = np.zeros((len(self._matrix), max(1024, len(accounts))), np.float32)
        rows: list[int] = []
        slots: list[int] = []
        amounts: list[float] = []
        for user, account in accounts.items():
            if account.owed:
                slot = self._new_slot(user)
                for column, amount in self._adapter.columns(account):
                    rows.append(self._row(column))
                    slots.append(slot)
                    amounts.append(_float(amount))
        if rows:
            np.add.at(self._matrix, (rows, slots), amounts)

    def update(self, user: Address, account: Account | None) -> None:
        """Take over the account as it is now; one without debt (or None) leaves the screen."""
        slot = self._slots.get(user)
        if account is None or not account.owed:
            if slot is not None:
                self._free(user, slot)
            return
        if slot is None:
            slot = self._new_slot(user)
        else:
            self._matrix[:, slot] = 0
        for column, amount in self._adapter.columns(account):
            row = self._row(column)  # which may replace the matrix
            self._matrix[row, slot] += _float(amount)

    def _free(self, user: Address, slot: int) -> None:
        last = len(self._users) - 1
        mover = self._users.pop()
        del self._slots[user]
        if slot != last:
            self._matrix[:, slot] = self._matrix[:, last]
            self._users[slot] = mover
            self._slots[mover] = slot
        self._matrix[:, last] = 0

    def _new_slot(self, user: Address) -> int:
        slot = self._slots[user] = len(self._users)
        self._users.append(user)
        rows, capacity = self._matrix.shape
        if slot >= capacity:
            self._grow(rows, 2 * capacity)
        return slot

    def _row(self, column: Column) -> int:
        row = self._rows.get(column)
        if row is not None:
            return row
        row = self._rows[column] = len(self._rows)
        rows, capacity = self._matrix.shape
        if row >= rows:
            self._grow(2 * rows, capacity)
        return row

    def _grow(self, rows: int, capacity: int) -> None:
        old, self._matrix = self._matrix, np.zeros((rows, capacity), np.float32)
        self._matrix[: old.shape[0], : old.shape[1]] = old

    # --- looking ---------------------------------------------------------------------------------

    def weigh(self, market: Any, timestamp: int) -> Weights:  # noqa: ANN401  (the adapter's own)
        """Ask the adapter for the weights of every row at this market and time."""
        collateral, debt = self._adapter.weights(market, tuple(self._rows), timestamp)
        sides = np.array([collateral, debt], np.float64).reshape(2, -1)
        size = np.abs(sides)
        known = ((size >= SMALLEST) & (size <= LARGEST)) | (size == 0)
        sides[:, ~known.all(axis=0)] = 0
        return Weights(
            collateral=sides[0].astype(np.float32),
            debt=sides[1].astype(np.float32),
            unknown=tuple(np.flatnonzero(~known.all(axis=0)).tolist()),
            relative=max(self._adapter.relative_band, (len(self._rows) + 8) * EPSILON),
        )

    def candidates(self, weights: Weights, limit: float = 1.0) -> list[Address]:
        """
        Return the users whose health factor may be under `limit`; nobody under it is left out.

        Args:
            weights: What `weigh` returned for the block.
            limit: A health factor as a plain ratio, 1.0 or the edge of the watch list.
        """
        amounts, band = self._amounts(weights), weights.relative
        difference = weights.collateral * np.float32(1 - band)
        difference -= weights.debt * np.float32(limit * (1 + band))
        with np.errstate(over="ignore", invalid="ignore"):
            margin = difference @ amounts
            healthy = (margin > np.float32(self._adapter.absolute_band)) & (margin <= LARGEST)
        found = ~healthy | self._unknown(weights)
        return [self._users[slot] for slot in np.flatnonzero(found).tolist()]

    def ranking(self, weights: Weights) -> Ranking:
        """Order every user by a lower bound of the health factor, as they are now."""
        amounts, band = self._amounts(weights), weights.relative
        with np.errstate(all="ignore"):
            collateral = (weights.collateral @ amounts) * (1 - band) - self._adapter.absolute_band
            bounds = collateral / ((weights.debt @ amounts) * (1 + band))
        bounds[~np.isfinite(bounds) | self._unknown(weights)] = -np.inf
        return Ranking(bounds, list(self._users))

    def _amounts(self, weights: Weights) -> Floats:
        if len(weights.debt) != len(self._rows):
            raise ValueError("these weights are older than the newest column: weigh again")
        return self._matrix[: len(weights.debt), : len(self._users)]

    def _unknown(self, weights: Weights) -> Bools:
        rows = self._matrix[list(weights.unknown), : len(self._users)]
        nonzero: Bools = (rows != 0).any(axis=0)
        return nonzero


def _float(amount: int) -> float:
    return float(amount) if amount <= LARGEST else np.nan
