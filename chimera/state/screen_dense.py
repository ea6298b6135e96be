"""The screen's amounts as a dense matrix: for markets of few columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from chimera.state.screen_rows import Bools, Floats, Rows, Run, Slots

SHORTEST = 1 << 10  # slots of a block
LONGEST = 25_024  # no power of two: rows that far apart would share their places in the cache

Block = tuple[slice, Floats, Floats]
"""Neighbouring slots, and the sums of their collateral and their debt."""


class Dense:
    """
    A float32 matrix: one row per column of the adapter, one slot per account.

    What no account uses is 0. The matrix is cut into blocks of slots: neighbouring rows of a block
    are contiguous memory, so their product with weights is made as fast as that can be read, and
    what is made of a block's sums finds them in the processor's cache.
    A sum has as many terms as there are rows at most: rows of a mode and accounts without one are
    not multiplied, nor the other way round, as there is nothing.
    """

    def __init__(self, rows: int, slots: int) -> None:
        self._blocks: npt.NDArray[np.float32] = _blocks(max(rows, 16), slots)
        self._sums = self._fitting_sums()

    def terms(self, rows: int) -> int:
        """Return of how many products a sum over `rows` rows consists."""
        return rows

    # --- keeping ---------------------------------------------------------------------------------

    def put(self, rows: Slots, slots: Slots, amounts: Floats) -> None:
        """Take these legs of accounts that have no others, or only had others in these rows."""
        self._blocks.reshape(-1)[self._places(rows, slots)] = amounts

    def clear(self, slot: int) -> None:
        """Forget the legs of one account."""
        self._legs(slot)[:] = 0

    def move(self, source: int, target: int) -> None:
        """Give the legs of one slot to another; the first has none then."""
        self._legs(target)[:] = self._legs(source)
        self.clear(source)

    def reserve(self, rows: int, slots: int) -> None:
        """Make room for so many rows and slots."""
        count, have_rows, length = self._blocks.shape
        if rows <= have_rows and slots <= count * length:
            return
        old = self._blocks
        more_rows, more_slots = _grown(have_rows, rows), _grown(count * length, slots)
        self._blocks = _blocks(more_rows, more_slots)
        if self._blocks.shape[2] == length:
            self._blocks[:count, :have_rows] = old
        else:  # there was a single one as yet
            self._blocks[0, :have_rows, :length] = old[0]
            self._sums = self._fitting_sums()

    def used(self, rows: int) -> Bools:
        """Tell of each row whether any account has a leg there."""
        found: Bools = (self._blocks[:, :rows] != 0).any(axis=(0, 2))
        return found

    def keep(self, rows: Bools) -> None:
        """Drop the other rows, which nobody uses; those that are left are numbered anew."""
        kept = self._blocks[:, : len(rows)][:, rows]
        self._blocks[:, : kept.shape[1]] = kept
        self._blocks[:, kept.shape[1] :] = 0

    def cells(self) -> tuple[Slots, Slots, Floats]:
        """Return every leg: rows, slots and amounts."""
        blocks, rows, places = np.nonzero(self._blocks)
        amounts = self._blocks[blocks, rows, places]
        return rows, blocks * self._blocks.shape[2] + places, amounts

    def _fitting_sums(self) -> tuple[Floats, Floats]:
        length = self._blocks.shape[2]
        return np.empty(length, np.float32), np.empty(length, np.float32)

    def _places(self, rows: Slots, slots: Slots) -> Slots:
        """Return where in memory cells are."""
        _, rows_each, length = self._blocks.shape
        blocks, places = np.divmod(slots, length)
        found: Slots = (blocks * rows_each + rows) * length + places
        return found

    def _legs(self, slot: int) -> Floats:
        block, place = divmod(slot, self._blocks.shape[2])
        legs: Floats = self._blocks[block, :, place]
        return legs

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
        length = self._blocks.shape[2]
        of_both = rows.runs
        of_plain = [run for run in of_both if not run.has_mode]
        of_modes = [run for run in of_both if run.has_mode]
        for start, whole in zip(range(0, count, length), self._blocks, strict=False):
            stop = min(start + length, count)
            runs = of_plain if stop <= plain else of_modes if start >= plain else of_both
            # To copy a short part costs less than to multiply all.
            block = whole if 3 * (stop - start) > length else whole[:, : stop - start]
            self._sum(weights, block, runs)
            collateral, debt = self._sums
            yield slice(start, stop), collateral[: stop - start], debt[: stop - start]

    def _sum(self, weights: Floats, block: Floats, runs: Iterable[Run]) -> None:
        both = [side[: block.shape[1]] for side in self._sums]
        begun = set[bool]()
        for first, end, _, is_debt in runs:
            if is_debt in begun:
                both[is_debt] += np.dot(weights[first:end], block[first:end])
            else:
                np.dot(weights[first:end], block[first:end], out=both[is_debt])
                begun.add(is_debt)
        for is_debt in {False, True} - begun:
            both[is_debt][:] = 0

    def sums_of(self, weights: Floats, debts: Bools, slots: Slots) -> tuple[Floats, Floats]:
        """Return the same of the accounts in these slots, which are few and in order."""
        every = np.arange(len(weights))[:, None]
        part = self._blocks.reshape(-1).take(self._places(every, slots))
        return weights[~debts] @ part[~debts], weights[debts] @ part[debts]

    def holders(self, rows: Bools, count: int) -> Bools:
        """Tell of each of the first `count` slots whether it has a leg in one of these rows."""
        found: Bools = (self._blocks[:, : len(rows)][:, rows] != 0).any(axis=1)
        return found.reshape(-1)[:count]


def _blocks(rows: int, slots: int) -> npt.NDArray[np.float32]:
    """Return as many blocks as needed; only a single one is shorter than the longest."""
    length = SHORTEST
    while length < min(slots, LONGEST):
        length = min(2 * length, LONGEST)
    return np.zeros((max(-(-slots // length), 1), rows, length), np.float32)


def _grown(have: int, wanted: int) -> int:
    return have if wanted <= have else max(wanted, 2 * have)
