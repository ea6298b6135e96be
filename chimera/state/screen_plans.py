"""Where the amounts of an account go in the screen: worked out once per shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from chimera.domain.market import Account, Column, Shape
from chimera.ports import Adapter
from chimera.state.screen_rows import Bools, Floats, Rows, Slots, kind_of, numbered
from chimera.state.screen_weights import LARGEST, Doubles

MOST_SHAPES = 1 << 16  # remembered; a market has some thousands

Amounts = Callable[[Account], Iterable[int]]
"""Takes the amounts of all legs out of an account."""

Sheet = tuple[tuple[Column, ...], Amounts]
"""Of all accounts of a shape: the column of each leg, each once, and what takes their amounts."""

Plan = tuple[tuple[int, ...], Amounts]
"""The same by row."""


class Legs(NamedTuple):
    """Of some accounts: how many legs each has; row and amount of each leg, one after the other."""

    counts: Slots
    rows: Slots
    amounts: Floats


class Plans:
    """What all accounts of a shape have in common; with a bound on how many are remembered."""

    def __init__(self, adapter: Adapter[Any]) -> None:
        self._adapter = adapter
        self._plans: dict[Shape, Plan] = {}

    def __len__(self) -> int:
        return len(self._plans)

    def forget(self) -> None:
        """Forget all plans: rows have other numbers."""
        self._plans.clear()

    def number(self, accounts: Iterable[Account]) -> Rows:
        """Number all columns of these accounts, the rows of one kind next to each other."""
        numbers: dict[Column, int] = {}
        plans: dict[Shape, Plan] = {}
        for shape, account in {account[0]: account for account in accounts}.items():
            columns, amounts_of = _sheet(self._adapter, account)
            found = tuple([numbers.setdefault(column, len(numbers)) for column in columns])
            plans[shape] = found, amounts_of
        rows = numbered(sorted(numbers, key=kind_of))
        rank = [rows.numbers[column] for column in numbers]
        for shape, (found, amounts_of) in plans.items():
            plans[shape] = tuple([rank[number] for number in found]), amounts_of
        self._plans = plans
        return rows

    def columns_of(self, accounts: Iterable[Account]) -> dict[Column, None]:
        """Return all columns of these accounts, each once."""
        sheets = (_sheet(self._adapter, account) for account in accounts)
        return dict.fromkeys(column for columns, _ in sheets for column in columns)

    def fit(self, accounts: Iterable[Account], rows: Rows) -> bool:
        """Tell whether all columns of these accounts have rows."""
        try:
            for account in accounts:
                if account[0] not in self._plans:
                    self._plan(account, rows)
        except KeyError:
            return False
        return True

    def legs(self, accounts: Iterable[Account], rows: Rows) -> Legs:
        """Return the legs of these accounts, whose columns all have rows."""
        counts: list[int] = []
        at: list[int] = []
        amounts: list[int] = []
        plans = self._plans
        for account in accounts:
            its_rows, amounts_of = plans.get(account[0]) or self._plan(account, rows)
            counts.append(len(its_rows))
            at += its_rows
            amounts += amounts_of(account)
        if len(plans) > MOST_SHAPES:
            plans.clear()
        legs = np.array(at, np.intp)
        exact = np.fromiter(amounts, np.float64, len(amounts))
        return Legs(np.array(counts, np.intp), legs, self._floats(exact, rows.debts[legs]))

    def _plan(self, account: Account, rows: Rows) -> Plan:
        columns, amounts_of = _sheet(self._adapter, account)
        found = tuple([rows.numbers[column] for column in columns]), amounts_of
        self._plans[account[0]] = found
        return found

    def _floats(self, exact: Doubles, debts: Bools) -> Floats:
        if band := self._adapter.unit_band:
            less = np.maximum(exact - band, exact / 2)
            exact = np.where(debts, exact + band, less)
        exact[exact > LARGEST] = np.nan
        return exact.astype(np.float32)


def _sheet(adapter: Adapter[Any], account: Account) -> Sheet:
    cells = adapter.cells(account[0])
    if cells is None:
        columns = tuple([column for column, _ in adapter.columns(account)])
        amounts: Amounts = lambda its: [amount for _, amount in adapter.columns(its)]  # noqa: E731
    else:
        columns, places = zip(*cells, strict=True)
        amounts = _amounts_at(places)
    if len(set(columns)) < len(columns):
        raise ValueError("an account has two amounts in one column: one would be lost")
    return columns, amounts


@lru_cache(maxsize=1 << 12)
def _amounts_at(places: tuple[int, ...]) -> Amounts:
    first, end = places[0], places[0] + len(places)
    if places == tuple(range(first, end)):  # as with nearly all: then a slice takes them at once
        return itemgetter(slice(first, end))
    return itemgetter(*places)
