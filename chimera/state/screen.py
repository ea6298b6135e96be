"""The vectorised first look: which accounts may be under a health factor at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chimera.domain.block import Address
from chimera.domain.market import Account, Cells, Column, Shape
from chimera.ports import Adapter
from chimera.state.screen_dense import Bools, Dense, Floats, Integers
from chimera.state.screen_ragged import Ragged

FLOAT32 = np.finfo(np.float32)
LARGEST, SMALLEST = float(FLOAT32.max), float(FLOAT32.tiny)  # beyond these, precision is lost
EPSILON = float(FLOAT32.eps)
HEAVIEST = LARGEST / 2**31  # a weight that is still a number when multiplied by any limit
MOST_PLANS = 1 << 16  # shapes remembered; a market has some thousands
DENSE_ROWS = 40  # columns up to which one product over everything beats gathering legs


@dataclass(frozen=True, slots=True)
class Weights:
    """
    The two weight vectors of a block; `unknown` are rows whose weight float32 cannot hold.

    `numbering` tells which columns the rows were when these weights were made.
    """

    collateral: Floats
    debt: Floats
    unknown: Bools
    numbering: int


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
    The amounts of one protocol in float32: one row per column of the adapter, one slot per account.

    Only accounts with debt have a slot; slots are kept without holes (the last one moves into a
    freed one). Up to `DENSE_ROWS` columns the amounts are a matrix; past that, by itself and until
    the next load, each account has a list of its legs: then memory and time no longer depend on
    how many columns there are. Rows that nobody uses any more are dropped when new ones need room,
    so there are never many more of them than of those in use.

    **The band.** An account is passed over only when it is surely at or over the limit::

        collateral * (1 - relative) - slack  >  debt * limit * (1 + relative)

    Both sides go into one sum of products, `weight * amount` over `n` terms, compared with
    `slack`: `n` are all rows of a matrix, or the legs of the longest list (a term of amount 0 is
    0, and adding it is exact). In whichever order and with however many terms at once it is added
    up, its float32 error is at most (n + 3) epsilon of collateral + debt, however they cancel: half
    an epsilon each for the two roundings of the weight, for the amount and for the product, and for
    n - 1 additions. `relative` is the adapter's band, yet never under (n + 8) epsilon, so it covers
    that error and what the contract's own rounding adds. `slack` is the adapter's absolute band,
    which covers dust, times the limit if that is over 1: so much may be the debt's. Whatever is not
    a number (a dead price, an amount or a weight that float32 cannot hold) fails the comparison and
    goes to the exact integers, with the accounts that hold it and no others.
    """

    def __init__(self, adapter: Adapter[Any]) -> None:
        self._adapter = adapter
        self._rows: dict[Column, int] = {}
        self._room = DENSE_ROWS  # rows before those that nobody uses are looked for
        self._numbering = 0
        self._slots: dict[Address, int] = {}
        self._users: list[Address] = []
        self._layout: Dense | Ragged = Dense(0, 0)
        self._plans: dict[Shape, Sequence[tuple[int, int]]] = {}  # row and place of each leg

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
        self._rows.clear()
        self._renumbered()
        owing = [(user, account) for user, account in accounts.items() if account.is_open]
        for slot, (user, _) in enumerate(owing):
            self._slots[user] = slot
        self._users.extend(self._slots)
        for column in self._plan(owing):
            self._rows.setdefault(column, len(self._rows))
        self._plan(owing)
        legs = self._legs(owing)
        count, room = len(self._rows), len(self._users)
        self._layout = Dense(count, room) if count <= DENSE_ROWS else Ragged(room)
        self._room = self._room_after(len(self._rows))
        self._layout.fill(*legs)
        self._plans.clear()  # most shapes are not seen again for long

    def update(self, user: Address, account: Account | None) -> None:
        """Take over one account as it is now."""
        self.take([(user, account)])

    def take(self, changed: Iterable[tuple[Address, Account | None]]) -> None:
        """Take over accounts as they are now; one without debt (or None) leaves the screen."""
        owing = []
        for user, account in changed:
            if account is not None and account.is_open:
                owing.append((user, account))
            elif (slot := self._slots.get(user)) is not None:
                self._free(user, slot)
        for user, _ in owing:
            if user not in self._slots:
                self._new_slot(user)
        columns = self._plan(owing)
        if columns:
            self._add_rows(columns)
            self._plan(owing)
        slots = [self._slots[user] for user, _ in owing]
        self._layout.put_all(slots, *self._legs(owing))

    def _legs(
        self, accounts: Iterable[tuple[Address, Account]]
    ) -> tuple[Integers, Integers, Floats]:
        """Return row, slot and amount of every leg; all columns have rows."""
        rows: list[int] = []
        slots: list[int] = []
        amounts: list[int] = []
        for user, account in accounts:
            slot, plan = self._slots[user], self._plans.get(account.shape)
            if plan is None:
                rows.extend(self._rows[column] for column, _ in self._adapter.columns(account))
                amounts.extend(amount for _, amount in self._adapter.columns(account))
            else:
                rows.extend([row for row, _ in plan])
                amounts.extend([account[place] for _, place in plan])
            slots.extend([slot] * (len(rows) - len(slots)))
        return np.array(rows, np.int32), np.array(slots, np.int32), _floats(amounts)

    def _plan(self, accounts: Sequence[tuple[Address, Account]]) -> Sequence[Column]:
        """Learn where new shapes have their amounts; return all columns if rows lack."""
        if len(self._plans) > MOST_PLANS:
            self._plans.clear()
        cells: dict[Shape, Cells | None] = {}
        lacking = False
        for _, account in accounts:
            shape = account.shape
            if shape in self._plans or cells.get(shape) is not None:
                continue
            cells[shape] = found = self._adapter.cells(shape)
            columns = found if found is not None else self._adapter.columns(account)
            lacking |= any(column not in self._rows for column, _ in columns)
        if lacking:
            return list(dict.fromkeys(c for _, a in accounts for c, _ in self._adapter.columns(a)))
        for shape, found in cells.items():
            if found is not None:
                self._plans[shape] = [(self._rows[column], place) for column, place in found]
        return ()

    def _free(self, user: Address, slot: int) -> None:
        last = len(self._users) - 1
        mover = self._users.pop()
        del self._slots[user]
        if slot == last:
            self._layout.clear(slot)
        else:
            self._layout.move(last, slot)
            self._users[slot] = mover
            self._slots[mover] = slot

    def _new_slot(self, user: Address) -> int:
        slot = self._slots[user] = len(self._users)
        self._users.append(user)
        self._layout.reserve(0, slot + 1)
        return slot

    def _add_rows(self, columns: Sequence[Column]) -> None:
        wanted = dict.fromkeys((*self._rows, *columns))
        if len(wanted) > self._room:
            self._drop_unused_rows()
            wanted = dict.fromkeys((*self._rows, *columns))
            if len(wanted) > DENSE_ROWS * 3 // 4 and isinstance(self._layout, Dense):
                self._layout = _ragged(self._layout, len(self._users))
            self._room = self._room_after(len(wanted))
        self._rows = {column: row for row, column in enumerate(wanted)}
        self._layout.reserve(len(self._rows), 0)
        self._renumbered()

    def _renumbered(self) -> None:
        self._numbering += 1
        self._plans.clear()

    def _room_after(self, rows: int) -> int:
        # Looking for unused rows passes over all accounts: rows grow by a part in between.
        return DENSE_ROWS if isinstance(self._layout, Dense) else rows + rows // 4 + 64

    def _drop_unused_rows(self) -> None:
        used = self._layout.used(len(self._rows))
        self._layout.keep(used)
        left = [column for column, row in self._rows.items() if used[row]]
        self._rows = {column: row for row, column in enumerate(left)}

    # --- looking ---------------------------------------------------------------------------------

    def weigh(self, market: Any, timestamp: int) -> Weights:  # noqa: ANN401  (the adapter's own)
        """Ask the adapter for the weights of every row at this market and time."""
        collateral, debt = self._adapter.weights(market, tuple(self._rows), timestamp)
        sides = np.array([collateral, debt], np.float64).reshape(2, -1)
        size = np.abs(sides)
        known = ((size >= SMALLEST) & (size <= HEAVIEST)) | (size == 0)
        unknown = ~known.all(axis=0)
        sides[:, unknown] = 0
        return Weights(
            collateral=sides[0].astype(np.float32),
            debt=sides[1].astype(np.float32),
            unknown=unknown,
            numbering=self._numbering,
        )

    def candidates(self, weights: Weights, limit: float = 1.0) -> list[Address]:
        """
        Return the users whose health factor may be under `limit`; nobody under it is left out.

        Args:
            weights: What `weigh` returned for the block.
            limit: A health factor as a plain ratio, 1.0 or the edge of the watch list.
        """
        self._check(weights)
        band = self._relative_band()
        with np.errstate(over="ignore", invalid="ignore"):
            difference = weights.collateral * np.float32(1 - band)
            difference -= weights.debt * np.float32(limit * (1 + band))
            margin = self._sums(difference)
            slack = np.float32(self._adapter.absolute_band * max(limit, 1.0))
            healthy = (margin > slack) & (margin <= LARGEST)
        found = ~healthy | self._unknown(weights)
        return [self._users[slot] for slot in np.flatnonzero(found).tolist()]

    def ranking(self, weights: Weights) -> Ranking:
        """
        Order every user by a lower bound of the health factor, as they are now.

        What rounding takes or adds may be all on one side, so the slack is on both.
        """
        self._check(weights)
        band, slack = self._relative_band(), self._adapter.absolute_band
        with np.errstate(all="ignore"):
            collateral = self._sums(weights.collateral) * (1 - band) - slack
            bounds = collateral / (self._sums(weights.debt) * (1 + band) + slack)
        bounds[~np.isfinite(bounds) | self._unknown(weights)] = -np.inf
        return Ranking(bounds, list(self._users))

    def _relative_band(self) -> float:
        terms = self._layout.terms(len(self._rows))
        return max(self._adapter.relative_band, (terms + 8) * EPSILON)

    def _check(self, weights: Weights) -> None:
        if weights.numbering != self._numbering:
            raise ValueError("these weights are older than the newest column: weigh again")

    def _sums(self, weights: Floats) -> Floats:
        return self._layout.sums(weights, len(self._users))

    def _unknown(self, weights: Weights) -> Bools:
        return self._layout.holders(weights.unknown, len(self._users))


def _ragged(dense: Dense, slots: int) -> Ragged:
    ragged = Ragged(slots)
    ragged.fill(*dense.cells())
    return ragged


def _floats(amounts: Sequence[int]) -> Floats:
    exact = np.array(amounts, np.float64)
    exact[exact > LARGEST] = np.nan
    return exact.astype(np.float32)
