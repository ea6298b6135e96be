"""The screen's amounts as a dense matrix: for markets of few columns."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Slots = npt.NDArray[np.intp]
"""Places of accounts, or of rows."""


class Dense:
    """
    A float32 matrix: one row per column of the adapter, one slot per account.

    What no account uses is 0. A sum is one product over contiguous memory, of as many terms as
    there are rows. Two legs of an account in the same row are added up.
    """

    def __init__(self, rows: int, slots: int) -> None:
        self._matrix: Floats = np.zeros((max(rows, 16), max(slots, 1024)), np.float32)
        self._sums: Floats = np.empty((2, max(slots, 1024)), np.float32)

    def terms(self, rows: int) -> int:
        """Return of how many products a sum over `rows` rows consists."""
        return rows

    # --- keeping ---------------------------------------------------------------------------------

    def fill(self, rows: Slots, slots: Slots, amounts: Floats) -> None:
        """Add these legs, which may be many."""
        np.add.at(self._matrix, (rows, slots), amounts)

    def put_all(self, accounts: Slots, rows: Slots, slots: Slots, amounts: Floats) -> None:
        """Replace the legs of the accounts in these slots."""
        self._matrix[:, accounts] = 0
        np.add.at(self._matrix, (rows, slots), amounts)

    def clear(self, slot: int) -> None:
        """Forget the legs of one account."""
        self._matrix[:, slot] = 0

    def move(self, source: int, target: int) -> None:
        """Give the legs of one slot to another; the first has none then."""
        self._matrix[:, target] = self._matrix[:, source]
        self._matrix[:, source] = 0

    def reserve(self, rows: int, slots: int) -> None:
        """Make room for so many rows and slots."""
        have_rows, have_slots = self._matrix.shape
        if rows > have_rows or slots > have_slots:
            shape = (_grown(have_rows, rows), _grown(have_slots, slots))
            old, self._matrix = self._matrix, np.zeros(shape, np.float32)
            self._matrix[:have_rows, :have_slots] = old
            self._sums = np.empty((2, shape[1]), np.float32)

    def used(self, rows: int) -> Bools:
        """Tell of each row whether any account has a leg there."""
        found: Bools = (self._matrix[:rows] != 0).any(axis=1)
        return found

    def keep(self, rows: Bools) -> None:
        """Drop the other rows, which nobody uses; those that are left are numbered anew."""
        kept = self._matrix[: len(rows)][rows]
        self._matrix[: len(kept)] = kept
        self._matrix[len(kept) :] = 0

    def cells(self) -> tuple[Slots, Slots, Floats]:
        """Return every leg: rows, slots and amounts."""
        rows, slots = np.nonzero(self._matrix)
        return rows, slots, self._matrix[rows, slots]

    # --- looking ---------------------------------------------------------------------------------

    def sums(self, weights: Floats, debts: Bools, count: int) -> tuple[Floats, Floats]:
        """
        Return weight times amount, added up per account: of its collateral, and of its debt.

        Args:
            weights: Of every row.
            debts: Which rows are debt.
            count: How many slots, from the first on.

        Returns:
            Arrays that are used again at the next call.
        """
        sums: list[Floats | None] = [None, None]
        edges = np.flatnonzero(np.diff(debts)) + 1
        # Rows of one side are mostly neighbours: each is read once, and as fast as memory allows.
        for first, end in pairwise((0, *edges.tolist(), len(weights))):
            if first < end:
                side, rows = int(debts[first]), self._matrix[first:end, :count]
                known = sums[side]
                if known is None:
                    sums[side] = np.dot(weights[first:end], rows, out=self._sums[side, :count])
                else:
                    known += weights[first:end] @ rows
        collateral, debt = (np.zeros(count, np.float32) if one is None else one for one in sums)
        return collateral, debt

    def sums_of(self, weights: Floats, debts: Bools, slots: Slots) -> tuple[Floats, Floats]:
        """Return the same of the accounts in these slots, which are few and in order."""
        part = self._matrix[: len(weights)].take(slots, axis=1)
        return weights[~debts] @ part[~debts], weights[debts] @ part[debts]

    def holders(self, rows: Bools, count: int) -> Bools:
        """Tell of each of the first `count` slots whether it has a leg in one of these rows."""
        found: Bools = (self._matrix[: len(rows)][rows, :count] != 0).any(axis=0)
        return found


def _grown(have: int, wanted: int) -> int:
    return have if wanted <= have else max(wanted, 2 * have)
