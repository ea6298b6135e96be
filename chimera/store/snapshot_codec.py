"""
Accounts as arrays: columns of bytes in place of an object each, so that many are read at once.

Accounts with the same number of amounts share a page. A page begins with the length of its header
and the header in MessagePack. Its arrays follow: the holders in a row, which shape each has, the
block of its last change, and the amounts, all first ones, then all second ones: the lowest 64 bits
of each. What is longer follows by its place among the amounts: who has a second word, the second
words, then the third ones, if any. What the shapes of all pages are made of is said once, in
`Names`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Annotated, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from chimera.domain.block import Address
from chimera.domain.market import FIRST_AMOUNT, Account, Holder, Shape, shape_of

PAGE = 256  # accounts; one is encoded within a millisecond
WORD = 8  # bytes
LENGTH = 4  # bytes
NUMBER, INDEX = np.dtype("<u8"), np.dtype("<u4")

Count = Annotated[int, msgspec.Meta(ge=1)]
Place = Annotated[int, msgspec.Meta(ge=0)]
Item = tuple[Holder, Account]
A = TypeVar("A", tuple[Address, ...], frozenset[Address])


class Page(msgspec.Struct, frozen=True, array_like=True):
    """
    What the arrays of a page are.

    Attributes:
        accounts: How many it has.
        amounts: How many each of them has.
        longer: How many amounts have a second word that is not 0, a third, and so on.
    """

    accounts: Count
    amounts: Place
    longer: tuple[Place, ...]


class Names(msgspec.Struct, frozen=True, array_like=True):
    """
    What the shapes are made of: there are many of them, of few parts.

    Attributes:
        assets: In the order in which they were met.
        sides: The sides of accounts, each as places in `assets`.
        sets: The sets of enabled assets, likewise.
        supplied: For each shape, the place of its supply side in `sides`.
        owed: Of its debt side.
        marks: Of its marks.
        enabled: The place of its enabled assets in `sets`.
        modes: Its mode.
    """

    assets: tuple[bytes, ...]
    sides: tuple[tuple[Place, ...], ...]
    sets: tuple[tuple[Place, ...], ...]
    supplied: tuple[Place, ...]
    owed: tuple[Place, ...]
    marks: tuple[Place, ...]
    enabled: tuple[Place, ...]
    modes: tuple[int, ...]


class Encoder:
    """Writes the accounts of one protocol down, and remembers which shapes it has met."""

    def __init__(self) -> None:
        self._shapes: dict[Shape, int] = {}
        self._assets: dict[Address, int] = {}
        self._sides: dict[tuple[Address, ...], int] = {}
        self._sets: dict[frozenset[Address], int] = {}
        self._places: tuple[list[tuple[int, ...]], ...] = [], []  # of the assets of sides and sets
        self._parts: tuple[list[int], ...] = [], [], [], [], []  # of the shapes

    @property
    def names(self) -> Names:
        """What the shapes of all pages so far are made of."""
        sides, sets = self._places
        return Names(
            tuple(self._assets), tuple(sides), tuple(sets), *(tuple(part) for part in self._parts)
        )

    def page(self, holders: Sequence[Holder], accounts: Sequence[Account]) -> bytes:
        """Write accounts with the same number of amounts down."""
        shapes, blocks = [its[0] for its in accounts], [its[1] for its in accounts]
        for shape in shapes:
            if shape not in self._shapes:
                self._meet(shape)
        places = range(FIRST_AMOUNT, len(accounts[0]))
        lowest, longer = _words([its[place] for place in places for its in accounts])
        lengths = tuple(len(words) for words, _ in longer)
        header = msgspec.msgpack.encode(Page(len(accounts), len(places), lengths))
        content = [
            len(header).to_bytes(LENGTH, "little"),
            header,
            *holders,
            np.array([self._shapes[shape] for shape in shapes], INDEX).tobytes(),
            np.array(blocks, NUMBER).tobytes(),
            lowest.tobytes(),
            *(array.tobytes() for arrays in longer for array in arrays),
        ]
        return b"".join(content)

    def _meet(self, shape: Shape) -> None:
        sides, sets = self._places
        own = (shape.supplied, shape.owed, shape.marks)
        places = [self._place(side, self._sides, sides) for side in own]
        places += [self._place(shape.enabled, self._sets, sets), shape.mode]
        for part, place in zip(self._parts, places, strict=True):
            part.append(place)
        self._shapes[shape] = len(self._shapes)

    def _place(self, assets: A, known: dict[A, int], written: list[tuple[int, ...]]) -> int:
        """Return the place of a side or set among those that are known, and make it known."""
        if assets not in known:
            own = self._assets  # of an enabled set, some may be on no leg
            written.append(tuple([own.setdefault(asset, len(own)) for asset in assets]))
            known[assets] = len(known)
        return known[assets]


def pages_of(items: Iterable[Item]) -> Iterator[tuple[list[Holder], list[Account]]]:
    """
    Sort accounts into pages; who encodes one after the other makes nobody wait for long.

    Two lists each: a collection of garbage would have to look at a pair for each account.
    """
    unfinished: defaultdict[int, tuple[list[Holder], list[Account]]]
    unfinished = defaultdict(lambda: ([], []))
    for holder, account in items:
        holders, accounts = unfinished[len(account)]
        holders.append(holder)
        accounts.append(account)
        if len(accounts) == PAGE:
            yield unfinished.pop(len(account))
    yield from unfinished.values()


class Decoder:
    """
    Reads the pages of one protocol that follow each other, of holders with `size` bytes each.

    Raises:
        ValueError, IndexError: They are not what an `Encoder` writes.
    """

    def __init__(self, names: Names, size: int) -> None:
        self.accounts: dict[Holder, Account] = {}
        self._size = size
        asset = list(map(Address, names.assets)).__getitem__
        sides = [tuple(map(asset, places)) for places in names.sides]
        sets = [frozenset(map(asset, places)) for places in names.sets]
        columns = names.supplied, names.owed, names.marks, names.enabled, names.modes
        if len(set(map(len, columns))) != 1:
            raise ValueError("a shape lacks some of its parts")
        legs = [list(map(sides.__getitem__, places)) for places in columns[:3]]
        enabled = map(sets.__getitem__, names.enabled)
        self._shapes = np.empty(len(names.modes), object)
        self._shapes[:] = list(map(shape_of, *legs, enabled, names.modes))
        self._widths = np.array([list(map(len, side)) for side in legs], INDEX).sum(axis=0)

    def page(self, content: memoryview, at: int) -> int:
        """Read the page that begins at `at`; return where it ends."""
        begin = at + LENGTH
        at = begin + int.from_bytes(content[at:begin], "little")
        page = msgspec.msgpack.decode(content[begin:at], type=Page)
        count = page.accounts
        holders = np.frombuffer(content, f"V{self._size}", count, at).tolist()
        at += count * self._size
        kinds = np.frombuffer(content, INDEX, count, at)
        at += kinds.nbytes
        blocks = np.frombuffer(content, NUMBER, count, at)
        at += blocks.nbytes
        columns, at = _amounts(content, at, page)
        if (self._widths[kinds] != page.amounts).any():
            raise ValueError("an account has another number of amounts than its shape")
        rows = zip(self._shapes[kinds].tolist(), blocks.tolist(), *columns, strict=True)
        self.accounts.update(zip(holders, map(tuple.__new__, repeat(Account), rows), strict=True))
        return at


Numbers = NDArray[np.uint64]
Places = NDArray[np.uint32]


def _words(amounts: Sequence[int]) -> tuple[Numbers, list[tuple[Places, Numbers]]]:
    """Return the lowest words of all, and for each further one who has it, and what it is."""
    size = -(-max(amounts, default=1).bit_length() // (WORD * 8))
    joined = b"".join([amount.to_bytes(size * WORD, "little") for amount in amounts])
    words = np.frombuffer(joined, NUMBER).reshape(-1, size).T
    longer = [(np.flatnonzero(row).astype(INDEX), row[row != 0]) for row in words[1:]]
    return words[0], longer


def _amounts(content: memoryview, at: int, page: Page) -> tuple[list[list[int]], int]:
    """Read the amounts of a page that begin at `at`: all first ones, and so on; and their end."""
    lowest = np.frombuffer(content, NUMBER, page.accounts * page.amounts, at)
    at += lowest.nbytes
    amounts = lowest.astype(object)
    for number, length in enumerate(page.longer, 1):
        places = np.frombuffer(content, INDEX, length, at)
        at += places.nbytes
        words = np.frombuffer(content, NUMBER, length, at)
        at += words.nbytes
        amounts[places] |= words.astype(object) << (WORD * 8 * number)
    if not (lowest.all() or amounts.all()):
        raise ValueError("an account has an amount of 0")
    columns: list[list[int]] = amounts.reshape(page.amounts, page.accounts).tolist()
    return columns, at
