"""
Who is under 1 now: the screen and its exact confirmation, next to exact integers for everybody.

All sides answer the same question about the same accounts, and the answers are compared: a screen
that misses somebody fails the measurement. Three sides look at everybody: the barest loop over
integers that is still exact, which is what the screen has to beat; objects with `Decimal`, as one
would write it first; and `np.dot` over as many bytes, which is what the memory allows at all.

The screen is measured on two kinds of blocks. On a calm one three prices move by up to 0.1 %, and
only those are looked at of whom that may be the end. In a storm every price jumps by 60 %, so that
nothing is left of what was known, and everybody is summed up anew. A book with a fifth of dust (a
cent and less, all of it healthy) shows what that costs. What keeps the screen in step is measured,
too: to load it, and to take over the accounts that a block has changed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from itertools import cycle

import numpy as np

from benchmarks.measuring import Goal, Row, Samples, Turn, in_turns, row_of
from benchmarks.synthetic import START, Mirror, address, load_mirror, make_mirror
from chimera.domain.block import Address
from chimera.domain.market import FIRST_AMOUNT, Account, Shape
from chimera.domain.numeric import BPS, RAY, WAD
from chimera.protocols.aave_v3.market import AaveMarket
from chimera.state.screen import Screen

MOST = 100_000  # accounts that are made up; a larger book has each of them several times
SIZES = (10_000, MOST, 10 * MOST)
ROUNDS = {10_000: 10, MOST: 3, 10 * MOST: 1}
OFTEN = 60  # screens per round
NOW = START + 2
CALM, STORM = 0.001, 1.6  # by which part prices move, and how many times as high they get
DUST = 5  # one of so many accounts, where there is dust
CHANGED = 110  # accounts that a block of 200 logs changes
OTHER_LEGS = 0.1  # the part of them that then has another debt
CRUMBS = 10**6  # into so many parts the median account is divided to become dust

Answers = Callable[[], set[Address]]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a leg of an asset is multiplied with."""

    index: int
    price: int
    unit: int
    threshold: int


@dataclass(slots=True)
class Person:
    """An account as one would write it first: an object with numbers that need no scale."""

    supplied: dict[Address, Decimal]
    owed: dict[Address, Decimal]
    mode: int


def measure() -> list[Row]:
    """Measure every size, dust, and how accounts get there."""
    first = make_mirror(MOST)
    rows = []
    for size in SIZES:
        rows += _measure(first if size == MOST else _of_size(first, size))
    return rows + _measure_dust(first) + _measure_keeping(first)


def _of_size(mirror: Mirror, size: int) -> Mirror:
    """Return a book of some of the accounts, or of all of them several times."""
    held = list(mirror.accounts.values())
    return load_mirror(
        mirror.market, {address(7, number): held[number % MOST] for number in range(size)}
    )


# --- blocks --------------------------------------------------------------------------------------


def _calm(mirror: Mirror) -> Callable[[], AaveMarket]:
    """Return what gives the market of the next block: three prices are others, but not by much."""
    rng, market = random.Random(5), mirror.market
    assets, markets = list(market.reserves), [market]
    for _ in range(64):
        moved = market
        for asset in rng.sample(assets, 3):
            price = (market.prices[asset] or 0) * rng.uniform(1 - CALM, 1 + CALM)
            moved = mirror.adapter.priced(moved, asset, round(price))
        markets.append(moved)
    return cycle(markets).__next__


def _storm(mirror: Mirror) -> Callable[[], AaveMarket]:
    """Return the same for blocks at which every price jumps, up and down again."""
    high = mirror.market
    for asset, price in mirror.market.prices.items():
        high = mirror.adapter.priced(high, asset, round((price or 0) * STORM))
    return cycle([high, mirror.market]).__next__


# --- the sides -----------------------------------------------------------------------------------


def _measure(mirror: Mirror) -> list[Row]:
    size = len(mirror.accounts)
    screen = Screen(mirror.adapter)
    screen.load(mirror.accounts)
    market = mirror.market
    bare, decimals = _by_bare_integers(mirror), _by_decimals(mirror)
    under = bare()
    if any(side() != under for side in (decimals, _by_screen(mirror, screen, lambda: market))):
        raise RuntimeError("the screen and the exact integers disagree")
    turns = [
        Turn(bare),
        Turn(decimals),
        Turn(_product(mirror), OFTEN),
        Turn(_by_screen(mirror, screen, _calm(mirror)), OFTEN),
        Turn(_by_screen(mirror, screen, _storm(mirror)), OFTEN),
    ]
    return _rows(size, in_turns(turns, ROUNDS[size]), len(under))


def _by_screen(mirror: Mirror, screen: Screen, market_of: Callable[[], AaveMarket]) -> Answers:
    factor, accounts = mirror.adapter.factor, mirror.accounts

    def answer() -> set[Address]:
        market = market_of()
        found = set()
        for user in screen.candidates(screen.weigh(market, NOW)):
            exact = factor(market, accounts[user], NOW)
            if exact is not None and exact < WAD:
                found.add(user)
        return found

    return answer


def _by_bare_integers(mirror: Mirror) -> Answers:
    """Return the loop over integers: which amounts are multiplied with what is known beforehand."""
    income, debt = _terms(mirror.market)
    plans: dict[Shape, tuple[list[tuple[int, Terms]], list[tuple[int, Terms]]]] = {}
    for account in mirror.accounts.values():
        shape = account.shape
        if shape not in plans:
            plans[shape] = (
                [
                    (place, income[asset, shape.mode])
                    for asset, place in shape.supply_places.items()
                ],
                [(place, debt[asset]) for asset, place in shape.debt_places.items()],
            )
    flat = {
        shape: tuple([(p, t.index, t.price, t.unit, t.threshold) for p, t in legs] for legs in plan)
        for shape, plan in plans.items()
    }
    return lambda: {
        user for user, account in mirror.accounts.items() if _is_under(account, *flat[account[0]])
    }


Flat = list[tuple[int, int, int, int, int]]


def _is_under(account: Account, supplied: Flat, borrowed: Flat) -> bool:
    collateral = weighted = owed = 0
    for place, index, price, unit, threshold in supplied:
        value = (account[place] * index + RAY // 2) // RAY * price // unit
        collateral += value
        weighted += value * threshold
    for place, index, price, unit, _ in borrowed:
        owed += (account[place] * index + RAY // 2) // RAY * price // unit
    average = weighted // collateral if collateral else 0
    adjusted = (collateral * average + BPS // 2) // BPS
    return owed != 0 and (adjusted * WAD + owed // 2) // owed < WAD


def _by_decimals(mirror: Mirror) -> Answers:
    income, debt = _terms(mirror.market)
    income_worth = {key: _worth(terms) * terms.threshold / BPS for key, terms in income.items()}
    debt_worth = {asset: _worth(terms) for asset, terms in debt.items()}
    people = {
        user: Person(
            {asset: Decimal(amount) for asset, amount in account.supplied.items()},
            {asset: Decimal(amount) for asset, amount in account.owed.items()},
            account.mode,
        )
        for user, account in mirror.accounts.items()
    }

    def is_under(person: Person) -> bool:
        mode = person.mode
        bearing = sum(n * income_worth[asset, mode] for asset, n in person.supplied.items())
        return bearing / sum(n * debt_worth[asset] for asset, n in person.owed.items()) < 1

    return lambda: {user for user, person in people.items() if is_under(person)}


def _terms(market: AaveMarket) -> tuple[dict[tuple[Address, int], Terms], dict[Address, Terms]]:
    indexes = market.indexes(NOW)
    income, debt = {}, {}
    for asset, reserve in market.reserves.items():
        price, unit = market.prices[asset] or 0, reserve.unit
        for mode in (0, *market.modes):
            covered = mode != 0 and reserve.configuration.mode == mode
            terms = market.modes[mode] if covered else reserve.configuration
            income[asset, mode] = Terms(indexes[asset].income, price, unit, terms.threshold)
        debt[asset] = Terms(indexes[asset].debt, price, unit, 0)
    return income, debt


def _worth(terms: Terms) -> Decimal:
    return Decimal(terms.index) * terms.price / (RAY * terms.unit)


def _product(mirror: Mirror) -> Callable[[], object]:
    """Return the products of as many bytes as a sum over everybody reads: zeros are left out."""
    rng, parts = np.random.default_rng(1), []
    for has_mode in (False, True):
        shapes = [a[0] for a in mirror.accounts.values() if bool(a[0].mode) == has_mode]
        rows = {column for shape in set(shapes) for column, _ in mirror.adapter.cells(shape) or ()}
        amounts = rng.random((len(rows), len(shapes)), np.float32)
        parts.append((rng.random(len(rows), np.float32), amounts))
    return lambda: [np.dot(*part) for part in parts]


def _rows(size: int, found: list[Samples], under: int) -> list[Row]:
    bare, decimals, product, calm, storm = found
    name = f"{size:,}"
    exact = row_of(f"{name}: exact integers for all, bare loop", bare)
    dot = row_of(f"{name}: np.dot over as many bytes", product)
    often = [Goal(300, "ratio", at_least=True)] if size == MOST else []
    third = [Goal(1 / 3, "ratio", at_least=True)] if size == MOST else []
    each = [Goal(5e-9)] if size > MOST else []
    rows = [exact, row_of(f"{name}: Decimal objects for all", decimals), dot]
    for kind, samples in (("a calm block", calm), ("a storm", storm)):
        ours = f"{name}: screen and confirm, {kind}"
        whole = f"{ours}, the same {under} found"
        rows += [
            row_of(whole, samples, against=exact, goals=often),
            row_of(whole, samples, against=dot, goals=third),
            row_of(
                f"{name}: screen and confirm, {kind}, per account", samples, per=size, goals=each
            ),
        ]
    return rows


# --- keeping -------------------------------------------------------------------------------------


def _measure_keeping(mirror: Mirror) -> list[Row]:
    screen = Screen(mirror.adapter)
    blocks = cycle(_changes(mirror))
    turns = [
        Turn(lambda: screen.load(mirror.accounts)),
        Turn(lambda: screen.take(next(blocks)), OFTEN),
    ]
    load, take = in_turns(turns, 5)
    return [
        row_of(f"{MOST:,}: load", load, goals=[Goal(0.15)]),
        row_of(f"{MOST:,}: take a changed account", take, per=CHANGED, goals=[Goal(1.5e-6)]),
    ]


def _changes(mirror: Mirror) -> list[list[tuple[Address, Account]]]:
    """Make up what blocks change: mostly one amount, now and then which legs there are."""
    rng, users = random.Random(3), list(mirror.accounts)
    assets = list(mirror.market.reserves)
    blocks = []
    for _ in range(OFTEN):
        block = []
        for user in rng.sample(users, CHANGED):
            account = mirror.accounts[user]
            place = rng.randrange(FIRST_AMOUNT, len(account))
            if not account.mode and rng.random() < OTHER_LEGS:
                account = account.but(owed={**account.owed, rng.choice(assets): 10**6})
            block.append((user, account.with_amount(place, account[place] + 1, 0)))
        blocks.append(block)
    return blocks


# --- dust ----------------------------------------------------------------------------------------


def _measure_dust(mirror: Mirror) -> list[Row]:
    dusty = load_mirror(mirror.market, _with_dust(mirror))
    clean, dirty = (Screen(mirror.adapter), Screen(mirror.adapter))
    clean.load(mirror.accounts)
    dirty.load(dusty.accounts)
    looks = _by_screen(mirror, clean, _calm(mirror)), _by_screen(dusty, dirty, _calm(dusty))
    if looks[1]() != _by_bare_integers(dusty)():
        raise RuntimeError("the screen and the exact integers disagree about dust")
    dust = [account for user, account in dusty.accounts.items() if account != mirror.accounts[user]]
    market_of, factor = _calm(dusty), mirror.adapter.factor
    turns = [
        Turn(
            lambda: [factor(market, account, NOW) for market in [market_of()] for account in dust]
        ),
        *(Turn(look, OFTEN) for look in looks),
    ]
    exact, without, with_it = in_turns(turns, 5)
    base = row_of(f"{len(dust):,} accounts of dust: exact integers for each", exact)
    found = len(dirty.candidates(dirty.weigh(mirror.market, NOW)))
    what = f"{MOST:,} with that dust: screen and confirm, a calm block, {found} confirmed"
    return [
        base,
        row_of(f"{MOST:,} without dust: screen and confirm, a calm block", without),
        row_of(what, with_it, against=base, goals=[Goal(10, "ratio", at_least=True)]),
    ]


def _with_dust(mirror: Mirror) -> dict[Address, Account]:
    """Divide some accounts by a million, which leaves a cent to most; only healthy ones count."""
    dust = {
        user: account.but(
            supplied={a: max(1, n // CRUMBS) for a, n in account.supplied.items()},
            owed={a: max(1, n // CRUMBS) for a, n in account.owed.items()},
        )
        for user, account in mirror.accounts.items()
    }
    under = _by_bare_integers(load_mirror(mirror.market, dust))() | _by_bare_integers(mirror)()
    healthy = [user for user in dust if user not in under][: len(dust) // DUST]
    return {**mirror.accounts, **{user: dust[user] for user in healthy}}
