"""The screen's amounts as short lists of legs: for markets of very many columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from chimera.state.screen_dense import Block
from chimera.state.screen_rows import Bools, Floats, Rows, Slots

Integers = npt.NDArray[np.int32]

Cell = tuple[int, float]
"""One leg of an account: the row of its column, and the amount."""

HEAD = 8  # legs in the arrays; an account with more keeps the rest apart, or all would pay for it


class Ragged:
    """
    Per account a list of legs, each a row and an amount, as contiguous arrays leg by leg.

    `index[leg, slot]` and `amount[leg, slot]` hold the first legs; lists that are shorter end in
    legs of amount 0 in row 0. The few accounts with more than `HEAD` legs have the others in a
    tail of their own. A sum gathers `weights[index] * amount` leg by leg, so it consists of as many
    terms as the longest list, however many rows there are.
    """

    def __init__(self, slots: int) -> None:
        self._index: Integers = np.zeros((1, max(slots, 1024)), np.int32)
        self._amount: Floats = np.zeros((1, max(slots, 1024)), np.float32)
        self._tail: dict[int, Sequence[Cell]] = {}
        self._packed: tuple[Integers, Integers, Floats] | None = None  # the tail as arrays
        self._most = 0  # legs that any account has had

    def terms(self, rows: int) -> int:
        """Return of how many products a sum consists at most."""
        del rows
        return self._most

    # --- keeping ---------------------------------------------------------------------------------

    def put(self, rows: Slots, slots: Slots, amounts: Floats) -> None:
        """Take these legs of accounts that have none, or had as many before."""
        order = np.argsort(slots, kind="stable")
        rows, slots, amounts = rows[order], slots[order], amounts[order]
        leg = np.arange(len(slots)) - np.searchsorted(slots, slots)  # its place in its own list
        self._note_legs(int(leg.max(initial=-1)) + 1)
        head = leg < HEAD
        self._index[leg[head], slots[head]] = rows[head]
        self._amount[leg[head], slots[head]] = amounts[head]
        tails: dict[int, list[Cell]] = {}
        for number in np.flatnonzero(~head).tolist():
            cell = int(rows[number]), float(amounts[number])
            tails.setdefault(int(slots[number]), []).append(cell)
        for slot, cells in tails.items():
            self._set_tail(slot, cells)

    def clear(self, slot: int) -> None:
        """Forget the legs of one account."""
        self._index[:, slot] = 0
        self._amount[:, slot] = 0
        self._set_tail(slot, ())

    def move(self, source: int, target: int) -> None:
        """Give the legs of one slot to another; the first has none then."""
        self._index[:, target] = self._index[:, source]
        self._amount[:, target] = self._amount[:, source]
        self._set_tail(target, self._tail.get(source, ()))
        self.clear(source)

    def reserve(self, rows: int, slots: int) -> None:
        """Make room for so many slots; rows take none."""
        del rows
        have = self._index.shape[1]
        if slots > have:
            self._resize(self._index.shape[0], max(slots, 2 * have))

    def used(self, rows: int) -> Bools:
        """Tell of each row whether any account has a leg there."""
        found = np.zeros(rows, np.bool_)
        found[self._index[self._amount != 0]] = True
        found[self._tail_arrays()[0]] = True
        return found

    def keep(self, rows: Bools) -> None:
        """Drop the other rows, which nobody uses; those that are left are numbered anew."""
        names = (np.cumsum(rows) - 1).clip(0).astype(np.int32)
        self._index = names.take(self._index)
        for slot, cells in list(self._tail.items()):
            self._set_tail(slot, tuple((int(names[row]), amount) for row, amount in cells))

    def _note_legs(self, count: int) -> None:
        self._most = max(self._most, count)
        legs, slots = self._index.shape
        if min(count, HEAD) > legs:
            self._resize(min(count, HEAD), slots)

    def _resize(self, legs: int, slots: int) -> None:
        have_legs, have_slots = self._index.shape
        index, self._index = self._index, np.zeros((legs, slots), np.int32)
        amount, self._amount = self._amount, np.zeros((legs, slots), np.float32)
        self._index[:have_legs, :have_slots] = index
        self._amount[:have_legs, :have_slots] = amount

    def _set_tail(self, slot: int, cells: Sequence[Cell]) -> None:
        if cells:
            self._tail[slot] = cells
        elif self._tail.pop(slot, None) is None:
            return
        self._packed = None

    def _tail_arrays(self) -> tuple[Integers, Integers, Floats]:
        if self._packed is None:
            flat = [(row, slot, amount) for slot, c in self._tail.items() for row, amount in c]
            rows, slots, amounts = zip(*flat, strict=True) if flat else ((), (), ())
            self._packed = (
                np.array(rows, np.int32),
                np.array(slots, np.int32),
                np.array(amounts, np.float32),
            )
        return self._packed

    # --- looking ---------------------------------------------------------------------------------

    def sums(self, weights: Floats, rows: Rows, plain: int, count: int) -> Iterator[Block]:
        """
        Yield weight times amount, added up per account: of its collateral, and of its debt.

        Args:
            weights: Of every row.
            rows: What they are.
            plain: How many slots are of accounts without a mode: here no matter.
            count: How many slots there are in all.

        Yields:
            All slots at once.
        """
        del plain
        tail = self._tail_arrays()
        index, amount = self._index[:, :count], self._amount[:, :count]
        yield slice(0, count), *_sides(weights, rows.debts, index, amount, tail)

    def sums_of(self, weights: Floats, debts: Bools, slots: Slots) -> tuple[Floats, Floats]:
        """Return the same of the accounts in these slots, which are few and in order."""
        rows, owners, amounts = self._tail_arrays()
        place = np.searchsorted(slots, owners).clip(max=max(len(slots) - 1, 0))
        mine = slots[place] == owners if len(slots) else np.zeros(len(owners), np.bool_)
        tail = rows[mine], place[mine], amounts[mine]
        index, amount = self._index.take(slots, axis=1), self._amount.take(slots, axis=1)
        return _sides(weights, debts, index, amount, tail)

    def holders(self, rows: Bools, count: int) -> Bools:
        """Tell of each of the first `count` slots whether it has a leg in one of these rows."""
        found = np.zeros(count, np.bool_)
        if rows.any():
            for index, amount in zip(self._index, self._amount, strict=True):
                found |= rows.take(index[:count]) & (amount[:count] != 0)
            tail_rows, slots, _ = self._tail_arrays()
            found[slots[rows[tail_rows]]] = True
        return found


def _sides(
    weights: Floats,
    debts: Bools,
    index: Integers,
    amount: Floats,
    tail: tuple[Integers, Integers | Slots, Floats],
) -> tuple[Floats, Floats]:
    """Add up both sides; debts have the sign, so that each leg is looked up once."""
    count = index.shape[1]
    collateral, debt = np.zeros(count, np.float32), np.zeros(count, np.float32)
    if not len(weights):
        return collateral, debt
    signed = np.where(debts, -weights, weights)
    part, owed = np.empty(count, np.float32), np.empty(count, np.float32)
    for rows, amounts in zip(index, amount, strict=True):
        signed.take(rows, out=part, mode="clip")  # all are within: clipping saves a copy
        part *= amounts
        debt -= np.minimum(part, 0, out=owed)
        collateral += np.maximum(part, 0, out=part)
    rows, owners, amounts = tail
    part = signed[rows] * amounts
    np.add.at(collateral, owners, np.maximum(part, 0))
    np.subtract.at(debt, owners, np.minimum(part, 0))
    return collateral, debt
