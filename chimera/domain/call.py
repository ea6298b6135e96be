"""Contract calls as values: described by protocols, made by whoever holds a chain reader."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TypeVar, overload

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


WORD_BYTES = 32

LONGEST_ANSWER = 4096
"""Bytes of an answer to a `BoundedCall`."""

Answer = bytes | None
"""What a call returned; `None` when it reverted, `b""` from an address without code."""

Readings = Mapping[Call, Answer]


class Grid(Sequence[Call]):
    """
    The same questions about each of many: rows of calls that differ in the last argument only.

    Whoever takes it as the sequence of its calls, row by row, needs to know no more. A large book
    is read by millions of calls, and each of them is made only if somebody looks at it.

    Args:
        questions: Of each row, without the last argument; the data of all has the same length.
        arguments: The last arguments, a word of 32 bytes each.

    Raises:
        ValueError: The lengths are otherwise.
    """

    def __init__(self, questions: Sequence[Call], arguments: Sequence[bytes]) -> None:
        if len({len(question.data) for question in questions}) > 1:
            raise ValueError("the questions of a grid are of different lengths")
        if any(len(argument) != WORD_BYTES for argument in arguments):
            raise ValueError("an argument of a grid is no word")
        self.questions, self.arguments = tuple(questions), tuple(arguments)

    def __len__(self) -> int:
        return len(self.questions) * len(self.arguments)

    def __iter__(self) -> Iterator[Call]:
        for argument in self.arguments:
            for question in self.questions:
                yield Call(question.to, question.data + argument)

    @overload
    def __getitem__(self, place: int) -> Call: ...

    @overload
    def __getitem__(self, place: slice) -> list[Call]: ...

    def __getitem__(self, place: int | slice) -> Call | list[Call]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        row, column = divmod(range(len(self))[place], len(self.questions))
        question = self.questions[column]
        return Call(question.to, question.data + self.arguments[row])

    def rows(self, start: int, stop: int) -> Grid:
        """Return the part of the grid from row `start` on, up to row `stop`."""
        return Grid(self.questions, self.arguments[start:stop])


class Words(Mapping[Call, Answer]):
    """
    The answers to a grid, where every call has returned exactly one word.

    Args:
        grid: The calls.
        content: What they returned, in a row.
    """

    def __init__(self, grid: Grid, content: bytes) -> None:
        self.content, self.grid = content, grid

    @cached_property
    def _answers(self) -> dict[Call, Answer]:
        places = range(0, len(self.content), WORD_BYTES)
        words = [self.content[at : at + WORD_BYTES] for at in places]
        return dict(zip(self.grid, words, strict=True))

    def __getitem__(self, call: Call) -> Answer:
        return self._answers[call]

    def __iter__(self) -> Iterator[Call]:
        return iter(self._answers)

    def __len__(self) -> int:
        return len(self._answers)


T = TypeVar("T")

Inquiry = Generator[Sequence[Call], Readings, T]
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
