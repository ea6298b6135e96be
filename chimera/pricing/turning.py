"""The price at which an account turns, found by asking the contract's own arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

HIGHEST = 2**200  # no oracle answers more
FINENESS = 1024  # the first look goes this part of the price away; each further one twice as far

Unhealthy = Callable[[int], bool | None]
"""Whether the account is under 1 at a price; None where it has no health factor then."""


@dataclass(frozen=True, slots=True)
class Turn:
    """
    Where the health factor crosses 1.

    Attributes:
        price: The last price at which it is 1 or more, base currency units.
        under: On which side of it, from the very next unit on, it is under 1.
    """

    price: int
    under: Literal["below", "above"]


def turning(unhealthy: Unhealthy, price: int) -> Turn | None:
    """
    Find the price nearest to `price` at which the account turns; None if none does.

    Exact to one unit: the account is at 1 or more at the price, and under 1 one unit beyond. Where
    a contract truncates its average threshold, health moves in teeth of up to a basis point; then
    it is one of the crossings within that tooth.
    """
    now = unhealthy(price)
    if now is None:
        return None
    found = [_crossing(unhealthy, price, looks, now=now) for looks in (_down(price), _up(price))]
    turns = [turn for turn in found if turn is not None]
    return min(turns, key=lambda turn: abs(turn.price - price), default=None)


def _down(price: int) -> Iterator[int]:
    step = max(1, price // FINENESS)
    while step < price - 1:
        yield price - step
        step *= 2
    if price > 1:
        yield 1


def _up(price: int) -> Iterator[int]:
    step = max(1, price // FINENESS)
    while price + step < HIGHEST:
        yield price + step
        step *= 2


def _crossing(unhealthy: Unhealthy, price: int, looks: Iterator[int], *, now: bool) -> Turn | None:
    same = price
    for look in looks:
        there = unhealthy(look)
        if there is None:
            return None
        if there is not now:
            return _bisected(unhealthy, same, look, now=now)
        same = look
    return None


def _bisected(unhealthy: Unhealthy, same: int, other: int, *, now: bool) -> Turn | None:
    while abs(other - same) > 1:
        middle = (same + other) // 2
        there = unhealthy(middle)
        if there is None:
            return None
        if there is now:
            same = middle
        else:
            other = middle
    healthy, under = (other, same) if now else (same, other)
    return Turn(healthy, "below" if under < healthy else "above")
