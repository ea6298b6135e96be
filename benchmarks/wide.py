"""
The screen of a market of very many columns, as lists of legs, next to the matrix it replaces.

Morpho Blue has two columns per market and one leg of each kind per account: 100,000 accounts in
2,000 columns would be a matrix of 800 MB. Three questions: what a look at all accounts costs in
lists of legs, how that compares with a matrix of as many accounts at 12 columns and at 40, and
what a changed account costs. The weights are made beforehand: they are the adapter's cost.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import cycle
from types import SimpleNamespace
from typing import Any

from benchmarks.measuring import Goal, Row, Turn, in_turns, row_of
from benchmarks.synthetic import address
from chimera.domain.block import Address
from chimera.domain.market import Account, Cells, Column, Shape
from chimera.state.screen import Screen

ACCOUNTS = 100_000
COLUMNS = 2_000
ROUNDS, OFTEN = 10, 20
CHANGES = 200  # accounts that a lively block changes

Accounts = dict[Address, Account]


class Adapter(SimpleNamespace):
    """Just enough of an adapter for a screen."""

    relative_band = 4e-6
    absolute_band = 0.0
    unit_band = 0.0

    def columns(self, account: Account) -> Iterator[tuple[Column, int]]:
        """Yield collateral and debt."""
        yield from (((asset, False, 0), amount) for asset, amount in account.supplied.items())
        yield from (((asset, True, 0), amount) for asset, amount in account.owed.items())

    def cells(self, shape: Shape) -> Cells:
        """Tell where the amounts stand."""
        return (
            *(((asset, False, 0), place) for asset, place in shape.supply_places.items()),
            *(((asset, True, 0), place) for asset, place in shape.debt_places.items()),
        )

    def leg_bands(self, market: object) -> tuple[float, float]:
        """Nothing is rounded."""
        del market
        return 0.0, 0.0

    def weights(
        self, market: float, columns: Sequence[Column], timestamp: int
    ) -> tuple[Sequence[float], Sequence[float]]:
        """Everything is worth what the market says, and bears four fifths of that."""
        del timestamp
        collateral = [0.0 if is_debt else 0.8 * market for _, is_debt, _ in columns]
        return collateral, [market if is_debt else 0.0 for _, is_debt, _ in columns]


def measure() -> list[Row]:
    """Measure 2,000 columns as lists, and 12 and 40 columns as a matrix."""
    wide, narrow, full = (isolated(COLUMNS), isolated(12), isolated(40))
    screens = [loaded(accounts) for accounts in (wide, narrow, full)]
    turns = [Turn(look(screen), OFTEN) for screen in screens]
    turns += [Turn(change(screens[0], wide)), Turn(change(screens[1], narrow))]
    lists, dense, fullest, slow, quick = in_turns(turns, ROUNDS)
    of = f"{ACCOUNTS:,} accounts"
    base = row_of(f"{of} x 12 columns, matrix, per account", dense, per=ACCOUNTS)
    changed = row_of("change an account, matrix of 12", quick, per=CHANGES)
    return [
        base,
        row_of(f"{of} x 40 columns, matrix, per account", fullest, per=ACCOUNTS, against=base),
        row_of(
            f"{of} x {COLUMNS:,} columns, lists of 2 legs, per account",
            lists,
            per=ACCOUNTS,
            against=base,
            goals=[Goal(12e-9)],
        ),
        changed,
        row_of("change an account, lists of 2 legs", slow, per=CHANGES, against=changed),
    ]


def isolated(columns: int) -> Accounts:
    """Make up accounts of one collateral and one debt, in one of so many markets each."""
    rng = random.Random(columns)
    accounts = {}
    for number in range(ACCOUNTS):
        asset = address(3, rng.randrange(columns // 2))
        owed = rng.randrange(10**6, 10**24)
        factor = rng.randrange(90, 100) if rng.random() < 0.0002 else rng.randrange(105, 300)
        accounts[address(4, number)] = Account({asset: owed * factor // 80}, {asset: owed})
    return accounts


def loaded(accounts: Accounts) -> Screen:
    """Return a screen of these accounts, of which some are under 1."""
    adapter: Any = Adapter()
    screen = Screen(adapter)
    screen.load(accounts)
    found = set(screen.candidates(screen.weigh(1.0, 0)))
    for user, account in accounts.items():
        (held,), (owed,) = account.supplied.values(), account.owed.values()
        if held * 4 < owed * 5 and user not in found:
            raise RuntimeError("the screen passes over an account under 1")
    return screen


def look(screen: Screen) -> Any:  # noqa: ANN401
    """Return what names the candidates at blocks so stormy that all accounts are summed up."""
    weights = cycle([screen.weigh(1.0, 0), screen.weigh(1.6, 0)])
    return lambda: screen.candidates(next(weights))


def change(screen: Screen, accounts: Accounts) -> Any:  # noqa: ANN401
    """Return what takes over a block's changed accounts."""
    pairs = cycle(accounts.items())

    return lambda: screen.take([next(pairs) for _ in range(CHANGES)])
