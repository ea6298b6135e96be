"""Contract calls as values: described by protocols, made by whoever holds a chain reader."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from chimera.domain.block import Address


@dataclass(frozen=True, slots=True)
class Call:
    """A read of a contract: target and ABI-encoded call data."""

    to: Address
    data: bytes


Answer = bytes | None
"""What a call returned; `None` when it reverted, `b""` from an address without code."""

Readings = Mapping[Call, Answer]

T = TypeVar("T")

Inquiry = Generator[tuple[Call, ...], Readings, T]
"""
A conversation with the chain that does no I/O: it yields calls, is sent all their answers (taken at
one pinned block), yields the next calls, and returns its result. Whoever holds a reader drives it.
"""


def answer(inquiry: Inquiry[T], readings: Readings) -> T:
    """
    Drive an inquiry from answers that are already there.

    Raises:
        KeyError: A call is not among `readings`.
    """
    try:
        calls = next(inquiry)
        while True:
            calls = inquiry.send({call: readings[call] for call in calls})
    except StopIteration as done:
        result: T = done.value
        return result
