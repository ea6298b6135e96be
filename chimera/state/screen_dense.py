"""The screen's amounts as a dense matrix: for markets of few columns."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chimera.state.screen_rows import Bools, Floats, Rows, Run, Slots

BLOCK = 1 << 14  # accounts whose sums, and what is made of them, stay in the processor's cache

Block = tuple[slice, Floats, Floats]
"""Neighbouring slots, and the sums of their collateral and their debt."""


class Dense:
    """
    A float32 matrix: one row per column of the adapter, one slot per account.

    What no account uses is 0. A sum is one product over contiguous memory, of as many terms as
    there are rows at most. Rows of a mode and accounts without one are not multiplied, nor the
    other way round: there is nothing.
    """

    def __init__(self, rows: int, slots: int) -> None:
        self._matrix: Floats = np.zeros((max(rows, 16), max(slots, 1024)), np.float32)
        self._sums: Floats = np.empty((2, BLOCK), np.float32)

    def terms(self, rows: int) -> int:
        """Return of how many products a sum over `rows` rows consists."""
        return rows

    # --- keeping ---------------------------------------------------------------------------------

    def put(self, rows: Slots, slots: Slots, amounts: Floats) -> None:
        """Take these legs of accounts that have no others, or only had others in these rows."""
        self._matrix[rows, slots] = amounts

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

    def sums(self, weights: Floats, rows: Rows, plain: int, count: int) -> Iterator[Block]:
        """
        Yield weight times amount, added up per account: of its collateral, and of its debt.

        Args:
            weights: Of every row.
            rows: What they are.
            plain: How many slots are of accounts without a mode.
            count: How many slots there are in all.

        Yields:
            All slots, by block; the sums are overwritten by those of the next one.
        """
        for has_mode, first, end in ((False, 0, plain), (True, plain, count)):
            runs = [run for run in rows.runs if run.has_mode == has_mode]
            for start in range(first, end, BLOCK):
                stop = min(start + BLOCK, end)
                collateral, debt = self._sums[:, : stop - start]
                self._sum(weights, [run for run in runs if not run.is_debt], start, collateral)
                self._sum(weights, [run for run in runs if run.is_debt], start, debt)
                yield slice(start, stop), collateral, debt

    def _sum(self, weights: Floats, runs: list[Run], start: int, out: Floats) -> None:
        if not runs:
            out[:] = 0
            return
        stop = start + len(out)
        for number, (first, end, _, _) in enumerate(runs):
            part = self._matrix[first:end, start:stop]
            if number:
                out += weights[first:end] @ part
            else:
                np.dot(weights[first:end], part, out=out)

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
