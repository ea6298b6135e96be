"""The vectorised first look: which accounts may be under a health factor at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

import numpy as np

from chimera.domain.block import Address
from chimera.domain.market import Account, Column, Shape
from chimera.ports import Adapter
from chimera.state.screen_dense import Bools, Dense, Floats, Slots
from chimera.state.screen_patience import Patience, short_of
from chimera.state.screen_ragged import Ragged
from chimera.state.screen_ranking import Ranking
from chimera.state.screen_weights import EPSILON, LARGEST, Weights, debts_of, weigh

MOST_SHAPES = 1 << 16  # remembered; a market has some thousands
DENSE_ROWS = 40  # columns up to which one product over everything beats gathering legs
FEW = 256  # accounts that are looked at one by one whatever there is else

Amounts = Callable[[Account], Iterable[int]]
"""Takes the amounts of all legs out of an account."""

Legs = tuple[Slots, Slots, Floats]
"""Of some accounts: the row of each leg; how many legs each account has; amounts of all legs."""


class Screen:
    """
    The amounts of one protocol in float32: one row per column of the adapter, one slot per account.

    Only accounts with debt have a slot; slots are kept without holes (the last one moves into a
    freed one). Up to `DENSE_ROWS` columns the amounts are a matrix; past that, by itself and until
    the next load, each account has a list of its legs: then memory and time no longer depend on
    how many columns there are. Rows that nobody uses any more are dropped when new ones need room,
    so there are never many more of them than of those in use.

    **The band.** Let C and D be the sums of weight times amount of collateral and debt, n the legs
    of the account, c and d what rounding does to a leg of either (`leg_bands`). The adapter
    promises that the contract finds no more debt than D + d n, and that whoever is under a limit
    (of 1 at least) has ::

        C - c n - absolute_band  <  limit * (D + d n)

    `unit_band` stands in the amounts: so many stored units less of collateral, yet half of it at
    least, and more of debt. Hence an account is passed over only when ::

        C (1 - relative)  >  limit * (D (1 + relative) + S),  S = absolute_band + max(c, d) * n

    or when D (1 + relative) + d n < 1: the contract counts whole units, so it counts no debt.

    `relative` is for float32. Each sum has at most m terms other than 0: all rows of a matrix, or
    the legs of the longest list. In whichever order, and with however many terms at once it is
    added up, the error of a sum of terms that are not negative is at most (m + 2) / 2 epsilon of
    it: half an epsilon each for the weight, the amount and the product, and for m - 1 additions.
    `relative` is the adapter's band, yet never under (m + 8) epsilon: that leaves 7 epsilon on both
    sides for the five operations of `borne` and for the comparison. Whatever is not a number (a
    dead price, an amount or a weight that float32 cannot hold) fails the comparison and goes to the
    exact integers, with the accounts that hold it and no others.

    **Whom a block costs anything.** Those who are near the limit, who have changed, or hold what
    has no price. All others were found to bear more than the weights have drifted since, see
    `Patience`: far from the limit or dust, they are one comparison each. Only when too many are in
    doubt are the sums of all accounts made again.
    """

    def __init__(self, adapter: Adapter[Any]) -> None:
        self._adapter = adapter
        self._rows: dict[Column, int] = {}
        self._columns: tuple[Column, ...] = ()  # by row
        self._debts: Bools = debts_of(())
        self._room = DENSE_ROWS  # rows before those that nobody uses are looked for
        self._numbering = 0
        self._slots: dict[Address, int] = {}
        self._users: list[Address] = []
        self._layout: Dense | Ragged = Dense(0, 0)
        self._patience = Patience(0)
        self._sheets: dict[Shape, tuple[tuple[Column, ...], Amounts]] = {}
        self._plans: dict[Shape, tuple[tuple[int, ...], Amounts]] = {}  # the same by row

    def __len__(self) -> int:
        return len(self._users)

    @property
    def users(self) -> Sequence[Address]:
        """Users by slot, a live view."""
        return self._users

    # --- keeping ---------------------------------------------------------------------------------

    def load(self, accounts: Mapping[Address, Account]) -> None:
        """Replace everything by these accounts."""
        owing = {user: account for user, account in accounts.items() if account[0].owed}
        self._users = list(owing)
        self._slots = {user: slot for slot, user in enumerate(self._users)}
        # Collateral first: the rows of one side are then next to each other.
        self._number(sorted(self._columns_of(owing.values()), key=itemgetter(1)))
        rows, legs, amounts = self._legs(owing.values())
        count, room = len(self._rows), len(owing)
        self._layout = Dense(count, room) if count <= DENSE_ROWS else Ragged(room)
        self._room = self._room_after(count)
        slots = np.arange(room)
        self._layout.fill(rows, np.repeat(slots, legs), amounts)
        self._patience = Patience(room)
        self._patience.changed(slots, legs)
        self._forget_shapes()  # most are not seen again for long

    def update(self, user: Address, account: Account | None) -> None:
        """Take over one account as it is now."""
        self.take([(user, account)])

    def take(self, changed: Iterable[tuple[Address, Account | None]]) -> None:
        """Take over accounts as they are now; one without debt (or None) leaves the screen."""
        owing: dict[Address, Account] = {}
        for user, account in changed:
            if account is not None and account[0].owed:
                owing[user] = account
            elif (slot := self._slots.get(user)) is not None:
                self._free(user, slot)
        found = [(user, self._slots.get(user)) for user in owing]
        slots = [self._new_slot(user) if slot is None else slot for user, slot in found]
        unplanned = [account for account in owing.values() if account[0] not in self._plans]
        if not self._columns_of(unplanned).keys() <= self._rows.keys():
            self._add_rows(self._columns_of(owing.values()))
        rows, legs, amounts = self._legs(owing.values())
        places = np.array(slots, np.intp)
        self._layout.put_all(places, rows, np.repeat(places, legs), amounts)
        self._patience.changed(places, legs)

    def _columns_of(self, accounts: Iterable[Account]) -> dict[Column, None]:
        """Return all columns of these accounts, and learn where their shapes have the amounts."""
        if len(self._sheets) > MOST_SHAPES:
            self._forget_shapes()
        found: dict[Column, None] = {}
        for shape, account in {account[0]: account for account in accounts}.items():
            if shape not in self._sheets:
                self._sheets[shape] = _sheet(self._adapter, account)
            found |= dict.fromkeys(self._sheets[shape][0])
        return found

    def _legs(self, accounts: Iterable[Account]) -> Legs:
        """Return the legs of these accounts, whose columns all have rows."""
        rows: list[int] = []
        legs: list[int] = []
        amounts: list[int] = []
        for account in accounts:
            plan = self._plans.get(account[0])
            if plan is None:
                plan = self._plans[account[0]] = self._plan(account[0])
            rows += plan[0]
            legs.append(len(plan[0]))
            amounts += plan[1](account)
        at = np.array(rows, np.intp)
        return at, np.array(legs, np.intp), self._floats(at, amounts)

    def _plan(self, shape: Shape) -> tuple[tuple[int, ...], Amounts]:
        columns, amounts_of = self._sheets[shape]
        return tuple([self._rows[column] for column in columns]), amounts_of

    def _floats(self, rows: Slots, amounts: Sequence[int]) -> Floats:
        exact = np.array(amounts, np.float64)
        if band := self._adapter.unit_band:
            less = np.maximum(exact - band, exact / 2)
            exact = np.where(self._debts[rows], exact + band, less)
        exact[exact > LARGEST] = np.nan
        return exact.astype(np.float32)

    def _forget_shapes(self) -> None:
        self._sheets.clear()
        self._plans.clear()

    def _free(self, user: Address, slot: int) -> None:
        last = len(self._users) - 1
        mover = self._users.pop()
        del self._slots[user]
        if slot == last:
            self._layout.clear(slot)
        else:
            self._layout.move(last, slot)
            self._patience.move(last, slot)
            self._users[slot] = mover
            self._slots[mover] = slot

    def _new_slot(self, user: Address) -> int:
        slot = self._slots[user] = len(self._users)
        self._users.append(user)
        self._layout.reserve(0, slot + 1)
        self._patience.reserve(slot + 1)
        return slot

    def _add_rows(self, columns: Iterable[Column]) -> None:
        wanted = dict.fromkeys((*self._rows, *columns))
        if len(wanted) > self._room:
            self._drop_unused_rows()
            wanted = dict.fromkeys((*self._rows, *columns))
            if len(wanted) > DENSE_ROWS * 3 // 4 and isinstance(self._layout, Dense):
                self._layout = _ragged(self._layout, len(self._users))
            self._room = self._room_after(len(wanted))
        self._layout.reserve(len(wanted), 0)
        self._number(wanted)

    def _number(self, columns: Iterable[Column]) -> None:
        self._columns = tuple(columns)
        self._rows = {column: row for row, column in enumerate(self._columns)}
        self._debts = debts_of(self._columns)
        self._numbering += 1
        self._plans.clear()
        self._patience.forget()

    def _room_after(self, rows: int) -> int:
        # Looking for unused rows passes over all accounts: rows grow by a part in between.
        return DENSE_ROWS if isinstance(self._layout, Dense) else rows + rows // 4 + 64

    def _drop_unused_rows(self) -> None:
        used = self._layout.used(len(self._rows))
        self._layout.keep(used)
        self._rows = {column: 0 for column, row in self._rows.items() if used[row]}

    # --- looking ---------------------------------------------------------------------------------

    def weigh(self, market: Any, timestamp: int) -> Weights:  # noqa: ANN401  (the adapter's own)
        """Ask the adapter for the weights of every row at this market and time."""
        return weigh(self._adapter, market, timestamp, self._columns, self._debts, self._numbering)

    def candidates(self, weights: Weights, limit: float = 1.0) -> list[Address]:
        """
        Return the users whose health factor may be under `limit`; nobody under it is left out.

        Args:
            weights: What `weigh` returned for the block.
            limit: A health factor as a plain ratio: 1.0, or the edge of the watch list above it.
        """
        self._check(weights)
        count, limit = len(self._users), max(limit, 1.0)
        doubtful = self._patience.doubtful(weights, limit, count)
        if doubtful is None or len(doubtful) > FEW + count // 64:  # then all at once costs less
            found = short_of(self._measure(weights, None), limit)
        else:
            found = doubtful[short_of(self._measure(weights, doubtful), limit)]
        if weights.unknown.any():
            found = np.union1d(found, np.flatnonzero(self._unknown(weights)))
        return [self._users[slot] for slot in found.tolist()]

    def _measure(self, weights: Weights, slots: Slots | None) -> Floats:
        """Return what all accounts bear from these weights on, or those in these slots."""
        with np.errstate(all="ignore"):
            sums = self._sums(weights, slots)
            return self._patience.measure(weights, sums, self._adapter.absolute_band, slots)

    def _sums(self, weights: Weights, slots: Slots | None) -> tuple[Floats, Floats]:
        """Return collateral and debt per account, both with the band."""
        terms = self._layout.terms(len(self._rows))
        banded = weights.banded(max(self._adapter.relative_band, (terms + 8) * EPSILON))
        if slots is None:
            return self._layout.sums(banded, self._debts, len(self._users))
        return self._layout.sums_of(banded, self._debts, slots)

    def ranking(self, weights: Weights) -> Ranking:
        """
        Order every user by a lower bound of the health factor, as they are now.

        What rounding takes of the collateral is a part of the slack that stands with the debt: it
        is taken off both.
        """
        self._check(weights)
        with np.errstate(all="ignore"):
            bounds = self._patience.bounds(
                weights, self._sums(weights, None), self._adapter.absolute_band
            )
        bounds[self._unknown(weights)] = -np.inf
        return Ranking(bounds, list(self._users))

    def _check(self, weights: Weights) -> None:
        if weights.numbering != self._numbering:
            raise ValueError("these weights are older than the newest column: weigh again")

    def _unknown(self, weights: Weights) -> Bools:
        return self._layout.holders(weights.unknown, len(self._users))


def _ragged(dense: Dense, slots: int) -> Ragged:
    ragged = Ragged(slots)
    ragged.fill(*dense.cells())
    return ragged


def _sheet(adapter: Adapter[Any], account: Account) -> tuple[tuple[Column, ...], Amounts]:
    """Return the columns of all accounts of this shape, and what takes the amounts out of them."""
    cells = adapter.cells(account[0])
    if cells is None:
        columns = tuple(column for column, _ in adapter.columns(account))
        return columns, lambda its: [amount for _, amount in adapter.columns(its)]
    columns, places = zip(*cells, strict=True)
    return columns, _amounts_at(places)


@lru_cache(maxsize=1 << 12)
def _amounts_at(places: tuple[int, ...]) -> Amounts:
    if len(places) == 1:  # then a getter does not make a tuple
        return lambda account: (account[places[0]],)
    return itemgetter(*places)
