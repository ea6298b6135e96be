"""Contract calls as values: described by protocols, made by whoever holds a chain reader."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TypeVar

import msgspec

from chimera.domain.block import Address


class Call(msgspec.Struct, frozen=True, gc=False):
    """
    A read of a contract: target and ABI-encoded call data.

    Millions are made and looked up when a large book is read, hence no dataclass.
    """

    to: Address
    data: bytes


class Slot(Call, frozen=True, gc=False):
    """A read of one word of a contract's storage: `data` is the slot's key, 32 bytes."""


class BoundedCall(Call, frozen=True, gc=False):
    """
    A read of a contract that nobody vouches for: made by itself, with `gas` to burn at most.

    Its answer is None also when the gas runs out, and when there are more than `LONGEST_ANSWER`
    bytes of it.
    """

    gas: int = 1_000_000


LONGEST_ANSWER = 4096
"""Bytes of an answer to a `BoundedCall`."""

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


def unanswered(inquiry: Inquiry[T], readings: Readings) -> tuple[Call, ...]:
    """Drive an inquiry by `readings` up to the first questions that they do not answer."""
    try:
        questions = next(inquiry)
        while True:
            missing = tuple(call for call in questions if call not in readings)
            if missing:
                return missing
            questions = inquiry.send({call: readings[call] for call in questions})
    except StopIteration:
        return ()
