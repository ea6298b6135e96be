"""The vectorised first look: which accounts may be under a health factor at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from chimera.domain.block import Address
from chimera.domain.market import Account, Column, Shape
from chimera.ports import Adapter
from chimera.state.screen_dense import Block, Dense
from chimera.state.screen_patience import Patience, short_of
from chimera.state.screen_plans import Plans
from chimera.state.screen_ragged import Ragged
from chimera.state.screen_ranking import Ranking
from chimera.state.screen_roster import Moves, Roster
from chimera.state.screen_rows import Bools, Floats, Slots, numbered
from chimera.state.screen_weights import EPSILON, Weights, weigh

DENSE_ROWS = 40  # columns up to which one product over everything beats gathering legs
SPARE = 1.005  # times as good or as bad may weights be for `near`, until all are measured anew
FEW = 256  # accounts that are looked at one by one whatever there is else


class Screen:
    """
    The amounts of one protocol in float32: one row per column of the adapter, one slot per account.

    Only accounts with debt have a slot, see `Roster`. Up to `DENSE_ROWS` columns the amounts are a
    matrix; past that, by itself and until the next load, each account has a list of its legs: then
    memory and time no longer depend on how many columns there are. Rows that nobody uses any more
    are dropped when new ones need room, so there are never many more of them than of those in use.

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
    sides for the operations of `Patience` and for the comparison. Whatever is not a number (a
    dead price, an amount or a weight that float32 cannot hold) fails the comparison and goes to the
    exact integers, with the accounts that hold it and no others.

    **Whom a block costs anything.** Those who are near the limit, who have changed, or hold what
    has no price. All others were found to bear more than the weights have drifted since, see
    `Patience`: far from the limit or dust, they are one comparison each. Only when too many are in
    doubt are the sums of all accounts made again.
    """

    def __init__(self, adapter: Adapter[Any]) -> None:
        self._adapter = adapter
        self._rows = numbered(())
        self._room = DENSE_ROWS  # rows before those that nobody uses are looked for
        self._roster = Roster()
        self._plans = Plans(adapter)
        self._layout: Dense | Ragged = Dense(0, 0)
        self._patience = Patience(0, adapter.absolute_band)

    def __len__(self) -> int:
        return len(self._roster)

    @property
    def users(self) -> Sequence[Address]:
        """Users by slot, a live view."""
        return self._roster.users

    # --- keeping ---------------------------------------------------------------------------------

    def load(self, accounts: Mapping[Address, Account]) -> None:
        """Replace everything by these accounts."""
        owing = self._roster.load(accounts)
        self._rows = self._plans.number(owing)
        count, room = len(self._rows.columns), len(owing)
        self._layout = Dense(count, room) if count <= DENSE_ROWS else Ragged(room)
        self._room = self._room_after(count)
        self._patience = Patience(room, self._adapter.absolute_band)
        self._put(np.arange(room), owing)

    def update(self, user: Address, account: Account | None) -> None:
        """Take over one account as it is now."""
        self.take([(user, account)])

    def take(self, changed: Iterable[tuple[Address, Account | None]]) -> None:
        """Take over accounts as they are now; one without debt (or None) leaves the screen."""
        slots, shapes = self._roster.slots, self._roster.shapes
        owing: dict[Address, Account] = {}
        reshaped: dict[Address, Account] = {}
        for user, account in changed:
            slot = slots.get(user)
            if account is not None and slot is not None and shapes[slot] is account[0]:
                owing[user] = account
            elif account is not None and account[0].owed:
                owing[user] = reshaped[user] = account
                self._reshape(user, slot, account[0])
            elif slot is not None:
                self._leave(user)
        if not self._plans.fit(reshaped.values(), self._rows):
            self._add_rows(self._plans.columns_of(owing.values()))
        places = np.fromiter(map(slots.__getitem__, owing), np.intp, len(owing))
        self._put(places, owing.values())

    def _put(self, places: Slots, accounts: Iterable[Account]) -> None:
        counts, rows, amounts = self._plans.legs(accounts, self._rows)
        slots = np.repeat(places, counts)
        if ((slots >= self._roster.plain) != self._rows.modes[rows]).any():
            raise ValueError("an account has an amount in a column of another mode than its own")
        self._layout.put(rows, slots, amounts)
        self._patience.changed(places, counts)

    def _reshape(self, user: Address, slot: int | None, shape: Shape) -> None:
        """Give a user a slot without legs, for legs of another shape than before."""
        if slot is not None:
            if bool(shape.mode) == (slot >= self._roster.plain):
                self._layout.clear(slot)
                self._roster.shapes[slot] = shape
                return
            self._leave(user)
        self._layout.reserve(0, len(self._roster) + 1)
        self._patience.reserve(len(self._roster) + 1)
        self._follow(self._roster.join(user, shape))

    def _leave(self, user: Address) -> None:
        self._follow(self._roster.leave(user))
        self._layout.clear(len(self._roster))  # the last one's, who has filled a hole, or has left

    def _follow(self, moves: Moves) -> None:
        for source, target in moves:
            self._layout.move(source, target)
            self._patience.move(source, target)

    def _add_rows(self, columns: Iterable[Column]) -> None:
        wanted = dict.fromkeys((*self._rows.columns, *columns))
        if len(wanted) > self._room:
            wanted = dict.fromkeys((*self._drop_unused_rows(), *columns))
            if len(wanted) > DENSE_ROWS * 3 // 4 and isinstance(self._layout, Dense):
                self._layout = _ragged(self._layout, len(self._roster))
            self._room = self._room_after(len(wanted))
        self._layout.reserve(len(wanted), 0)
        self._rows = numbered(wanted)
        self._plans.forget()
        self._patience.forget()

    def _room_after(self, rows: int) -> int:
        # Looking for unused rows passes over all accounts: rows grow by a part in between.
        return DENSE_ROWS if isinstance(self._layout, Dense) else rows + rows // 4 + 64

    def _drop_unused_rows(self) -> list[Column]:
        """Drop the rows that nobody uses; return the columns that are left."""
        columns = self._rows.columns
        used = self._layout.used(len(columns))
        self._layout.keep(used)
        return [column for column, is_used in zip(columns, used, strict=True) if is_used]

    # --- looking ---------------------------------------------------------------------------------

    def weigh(self, market: Any, timestamp: int) -> Weights:  # noqa: ANN401  (the adapter's own)
        """Ask the adapter for the weights of every row at this market and time."""
        return weigh(self._adapter, market, timestamp, self._rows)

    def candidates(self, weights: Weights, limit: float = 1.0) -> list[Address]:
        """
        Return the users whose health factor may be under `limit`; nobody under it is left out.

        Args:
            weights: What `weigh` returned for the block.
            limit: A health factor as a plain ratio: 1.0, or the edge of the watch list above it.
        """
        self._check(weights)
        count, limit = len(self._roster), max(limit, 1.0)
        # Past so many, all at once costs less.
        doubtful = self._patience.doubtful(weights, limit, count, FEW + count // 64)
        with np.errstate(all="ignore"):
            if doubtful is None:
                sums = self._sums(weights)
                bears = self._patience.measure_all(weights, sums, count)
                found = short_of(bears, limit)
            else:
                banded, debts = self._banded(weights), self._rows.debts
                few = self._layout.sums_of(banded, debts, doubtful)
                bears = self._patience.measure(weights, few, doubtful)
                found = doubtful[short_of(bears, limit)]
        return self._named(weights, found)

    def near(self, weights: Weights, limit: float) -> list[Address]:
        """
        Return the users whose health factor may be under `limit`, with some who are a little over.

        What an account bears says how near it is. That is one comparison, unless the weights have
        moved by more than `SPARE` since everybody was measured: then everybody is measured anew.
        """
        self._check(weights)
        count, limit, patience = len(self._roster), max(limit, 1.0), self._patience
        found: Slots | None = None
        if patience.drift(weights) <= SPARE and patience.recovery(weights) <= SPARE:
            found = patience.doubtful(weights, limit, count, count)
        if found is None:
            with np.errstate(all="ignore"):
                bears = patience.measure_all(weights, self._sums(weights), count)
                found = short_of(bears, limit)
        return self._named(weights, found)

    def _named(self, weights: Weights, found: Slots) -> list[Address]:
        """Name those in these slots, and whoever holds what has no price."""
        if weights.unknown.any():
            found = np.union1d(found, np.flatnonzero(self._unknown(weights)))
        users = self._roster.users
        return [users[slot] for slot in found.tolist()]

    def _sums(self, weights: Weights) -> Iterator[Block]:
        """Return collateral and debt of everybody, both with the band."""
        count, plain = len(self._roster), self._roster.plain
        return self._layout.sums(self._banded(weights), self._rows, plain, count)

    def _banded(self, weights: Weights) -> Floats:
        terms = self._layout.terms(len(self._rows.columns))
        return weights.banded(max(self._adapter.relative_band, (terms + 8) * EPSILON))

    def ranking(self, weights: Weights) -> Ranking:
        """
        Order every user by a lower bound of the health factor, as they are now.

        What rounding takes of the collateral is a part of the slack that stands with the debt: it
        is taken off both.
        """
        self._check(weights)
        with np.errstate(all="ignore"):
            bounds = self._patience.bounds(weights, self._sums(weights), len(self._roster))
        bounds[self._unknown(weights)] = -np.inf
        return Ranking(bounds, self._roster.users)

    def _check(self, weights: Weights) -> None:
        if weights.rows is not self._rows:
            raise ValueError("these weights are older than the newest column: weigh again")

    def _unknown(self, weights: Weights) -> Bools:
        return self._layout.holders(weights.unknown, len(self._roster))


def _ragged(dense: Dense, slots: int) -> Ragged:
    ragged = Ragged(slots)
    ragged.put(*dense.cells())
    return ragged
