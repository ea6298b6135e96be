"""Where the amounts of an account go in the screen: worked out once per shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from chimera.domain.market import Account, Column, Shape
from chimera.ports import Adapter
from chimera.state.screen_rows import Bools, Floats, Rows, Slots, kind_of
from chimera.state.screen_weights import LARGEST, Doubles

MOST_SHAPES = 1 << 16  # remembered; a market has some thousands

Amounts = Callable[[Account], Iterable[int]]
"""Takes the amounts of all legs out of an account."""

Sheet = tuple[tuple[Column, ...], Amounts]
"""Of all accounts of a shape: the column of each leg, each once, and what takes their amounts."""

Plan = tuple[tuple[int, ...], int, Amounts]
"""The same by row, and how many legs there are."""


class Legs(NamedTuple):
    """Of some accounts: how many legs each has; row and amount of each leg, one after the other."""

    counts: Slots
    rows: Slots
    amounts: Floats


class Plans:
    """What all accounts of a shape have in common; with a bound on how many are remembered."""

    def __init__(self, adapter: Adapter[Any]) -> None:
        self._adapter = adapter
        self._sheets: dict[Shape, Sheet] = {}
        self._plans: dict[Shape, Plan] = {}

    def __len__(self) -> int:
        return max(len(self._sheets), len(self._plans))

    def forget(self) -> None:
        """Forget all shapes."""
        self._sheets.clear()
        self._plans.clear()

    def renumber(self) -> None:
        """Forget rows, but not columns."""
        self._plans.clear()

    def columns_of(self, accounts: Iterable[Account]) -> dict[Column, None]:
        """Return all columns of these accounts."""
        kinds = {account[0]: account for account in accounts}
        found: dict[Column, None] = {}
        for account in kinds.values():
            found |= dict.fromkeys(self._sheet(account)[0])
        return found

    def lacking(self, accounts: Iterable[Account], rows: Rows) -> bool:
        """Tell whether any column of these accounts has no row yet."""
        unplanned = [account for account in accounts if account[0] not in self._plans]
        return not self.columns_of(unplanned).keys() <= rows.numbers.keys()

    def legs(self, accounts: Iterable[Account], rows: Rows) -> Legs:
        """Return the legs of these accounts, whose columns all have rows."""
        counts: list[int] = []
        at: list[int] = []
        amounts: list[int] = []
        plans = self._plans
        for account in accounts:
            known = plans.get(account[0])
            if known is None:
                known = plans[account[0]] = self._plan(account, rows)
            its_rows, count, amounts_of = known
            counts.append(count)
            at += its_rows
            amounts += amounts_of(account)
        legs = np.array(at, np.intp)
        exact = np.fromiter(amounts, np.float64, len(amounts))
        return Legs(np.array(counts, np.intp), legs, self._floats(exact, rows.debts[legs]))

    def _plan(self, account: Account, rows: Rows) -> Plan:
        columns, amounts_of = self._sheet(account)
        return tuple([rows.numbers[column] for column in columns]), len(columns), amounts_of

    def _sheet(self, account: Account) -> Sheet:
        known = self._sheets.get(account[0])
        if known is None:
            if len(self._sheets) >= MOST_SHAPES:
                self.forget()
            known = self._sheets[account[0]] = _sheet(self._adapter, account)
        return known

    def _floats(self, exact: Doubles, debts: Bools) -> Floats:
        if band := self._adapter.unit_band:
            less = np.maximum(exact - band, exact / 2)
            exact = np.where(debts, exact + band, less)
        exact[exact > LARGEST] = np.nan
        return exact.astype(np.float32)


def _sheet(adapter: Adapter[Any], account: Account) -> Sheet:
    cells = adapter.cells(account[0])
    if cells is None:
        columns = tuple(column for column, _ in adapter.columns(account))
        return _checked(columns, account[0]), lambda its: [n for _, n in adapter.columns(its)]
    columns, places = zip(*cells, strict=True)
    return _checked(columns, account[0]), _amounts_at(places)


def _checked(columns: tuple[Column, ...], shape: Shape) -> tuple[Column, ...]:
    """Return the columns, if nothing in them would be lost: neither overwritten nor left out."""
    if len(set(columns)) < len(columns):
        raise ValueError("an account has two amounts in one column")
    if any(kind_of(column)[0] != bool(shape.mode) for column in columns):
        raise ValueError("an account has an amount in a column of another mode than its own")
    return columns


@lru_cache(maxsize=1 << 12)
def _amounts_at(places: tuple[int, ...]) -> Amounts:
    first, end = places[0], places[0] + len(places)
    if places == tuple(range(first, end)):  # as with nearly all: then a slice takes them at once
        return itemgetter(slice(first, end))
    return itemgetter(*places)
