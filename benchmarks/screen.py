"""
Who is under 1 now: the screen and its exact confirmation, next to exact integers for everybody.

All sides answer the same question about the same accounts, and the answers are compared: a screen
that misses somebody fails the measurement. There are two exact sides: the adapter's own `health`,
which also explains what a view would answer, and the barest loop that is still exact, which is
what the screen has to beat. `np.dot` over as many bytes is what the memory allows at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.measuring import Goal, Row, Samples, Turn, in_turns, row_of
from benchmarks.synthetic import START, Mirror, make_mirror
from chimera.domain.block import Address
from chimera.domain.market import Account
from chimera.domain.numeric import BPS, RAY, WAD
from chimera.state.screen import Screen

SIZES = (10_000, 100_000)
ROUNDS = {10_000: 10, 100_000: 4}
OFTEN = 50  # screens per round
NOW = START + 2

Answers = Callable[[], set[Address]]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a leg of an asset is multiplied with."""

    index: int
    price: int
    unit: int
    threshold: int


def measure() -> list[Row]:
    """Measure every size."""
    return [row for size in SIZES for row in _measure(size)]


def _measure(size: int) -> list[Row]:
    mirror = make_mirror(size)
    screen = Screen(mirror.adapter)
    screen.load(mirror.accounts)
    answers = [_by_adapter(mirror), _by_bare_integers(mirror), _by_screen(mirror, screen)]
    first, *others = [answer() for answer in answers]
    if any(other != first for other in others):
        raise RuntimeError("the screen and the exact integers disagree")
    turns = [
        Turn(answers[0]),
        Turn(answers[1]),
        Turn(answers[2], OFTEN),
        Turn(lambda: screen.candidates(screen.weigh(mirror.market, NOW)), OFTEN),
        Turn(_product(mirror), OFTEN),
    ]
    return _rows(f"{size:,}", size, in_turns(turns, ROUNDS[size]), len(first))


def _by_adapter(mirror: Mirror) -> Answers:
    health, market = mirror.adapter.health, mirror.market
    return lambda: {
        user
        for user, account in mirror.accounts.items()
        if health(market, account, NOW).is_unhealthy
    }


def _by_screen(mirror: Mirror, screen: Screen) -> Answers:
    health, market, accounts = mirror.adapter.health, mirror.market, mirror.accounts
    return lambda: {
        user
        for user in screen.candidates(screen.weigh(market, NOW))
        if health(market, accounts[user], NOW).is_unhealthy
    }


def _by_bare_integers(mirror: Mirror) -> Answers:
    market, indexes = mirror.market, mirror.market.indexes(NOW)
    income, debt = {}, {}
    for asset, reserve in market.reserves.items():
        price, unit = market.prices[asset] or 0, reserve.unit
        for mode in (0, *market.modes):
            covered = mode != 0 and reserve.configuration.mode == mode
            terms = market.modes[mode] if covered else reserve.configuration
            income[asset, mode] = Terms(indexes[asset].income, price, unit, terms.threshold)
        debt[asset] = Terms(indexes[asset].debt, price, unit, 0)
    return lambda: {
        user for user, account in mirror.accounts.items() if _is_under(account, income, debt)
    }


def _is_under(
    account: Account, income: dict[tuple[Address, int], Terms], debt: dict[Address, Terms]
) -> bool:
    collateral = weighted = owed = 0
    for asset, scaled in account.supplied.items():
        if asset in account.enabled:
            terms = income[asset, account.mode]
            value = (scaled * terms.index + RAY // 2) // RAY * terms.price // terms.unit
            collateral += value
            weighted += value * terms.threshold
    for asset, scaled in account.owed.items():
        terms = debt[asset]
        owed += (scaled * terms.index + RAY // 2) // RAY * terms.price // terms.unit
    average = weighted // collateral if collateral else 0
    adjusted = (collateral * average + BPS // 2) // BPS
    return (adjusted * WAD + owed // 2) // owed < WAD


def _product(mirror: Mirror) -> Callable[[], object]:
    columns = {c for a in mirror.accounts.values() for c, _ in mirror.adapter.columns(a)}
    rng = np.random.default_rng(1)
    weights = rng.random(len(columns), np.float32)
    amounts = rng.random((len(columns), len(mirror.accounts)), np.float32)
    return lambda: np.dot(weights, amounts)


def _rows(name: str, size: int, found: list[Samples], under: int) -> list[Row]:
    adapter, bare, ours, alone, product = found
    last = size == SIZES[-1]
    exact = row_of(f"{name}: exact integers for all, bare loop", bare)
    dot = row_of(f"{name}: np.dot over as many bytes", product)
    hundredfold = [Goal(100, "ratio", at_least=True)] if last else []
    third = [Goal(1 / 3, "ratio", at_least=True)] if last else []
    whole = f"{name}: screen and confirm, the same {under} found"
    return [
        row_of(f"{name}: exact integers for all, adapter.health", adapter),
        exact,
        dot,
        row_of(whole, ours, against=exact, goals=hundredfold),
        row_of(whole, ours, against=dot, goals=third),
        row_of(f"{name}: screen alone", alone, against=dot),
        row_of(f"{name}: screen and confirm, per account", ours, per=size),
    ]
