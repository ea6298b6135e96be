"""
Accounts as arrays: columns of bytes in place of an object each, so that many are read at once.

Accounts with the same number of amounts share a page. A page begins with its length and a header in
MessagePack, which has the shapes that no page before it had. Its arrays follow: the holders in a
row, which shape each has, the block of its last change, and a column for each amount. A column is
as wide as its largest amount needs, in words of 64 bits, the lowest words of all accounts first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from chimera.domain.block import Address
from chimera.domain.market import Account, Holder, Shape, shape_of

PAGE = 256  # accounts; one is encoded within a few milliseconds
WORD = 8  # bytes
LENGTH = 4  # bytes
NUMBER, INDEX = np.dtype("<u8"), np.dtype("<u4")

Count = Annotated[int, msgspec.Meta(ge=1)]
Place = Annotated[int, msgspec.Meta(ge=0)]
Item = tuple[Holder, Account]


class Legs(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A `Shape`, with the places of its assets in `Names`, and of its set of enabled ones."""

    supplied: tuple[Place, ...]
    owed: tuple[Place, ...]
    marks: tuple[Place, ...]
    enabled: Place
    mode: int


class Page(msgspec.Struct, frozen=True, array_like=True):
    """How many accounts a page has, how many words each amount takes, which shapes are new."""

    accounts: Count
    words: tuple[Count, ...]
    legs: tuple[Legs, ...]


class Names(msgspec.Struct, frozen=True, array_like=True):
    """What shapes are made of: assets, and sets of them by their places."""

    assets: tuple[bytes, ...]
    sets: tuple[tuple[Place, ...], ...]


class Encoder:
    """Writes the accounts of one protocol down, and remembers which shapes it has met."""

    def __init__(self) -> None:
        self._shapes: dict[Shape, int] = {}
        self._assets: dict[Address, int] = {}
        self._sets: dict[frozenset[Address], int] = {}

    @property
    def names(self) -> Names:
        """What the shapes of all pages so far are made of."""
        sets = tuple(map(self._places, self._sets))  # some of them may have been on no leg
        return Names(tuple(self._assets), sets)

    def page(self, items: Sequence[Item]) -> bytes:
        """Write accounts with the same number of amounts down."""
        holders, accounts = zip(*items, strict=True)
        shapes, blocks, *amounts = zip(*accounts, strict=True)
        fresh = [shape for shape in dict.fromkeys(shapes) if shape not in self._shapes]
        for shape in fresh:
            self._shapes[shape] = len(self._shapes)
        columns = [_words(column) for column in amounts]
        header = msgspec.msgpack.encode(
            Page(len(items), tuple(map(len, columns)), tuple(map(self._legs, fresh)))
        )
        content = [
            len(header).to_bytes(LENGTH, "little"),
            header,
            *holders,
            np.array([self._shapes[shape] for shape in shapes], INDEX).tobytes(),
            np.array(blocks, NUMBER).tobytes(),
            *(column.tobytes() for column in columns),
        ]
        return b"".join(content)

    def _legs(self, shape: Shape) -> Legs:
        enabled = self._sets.setdefault(shape.enabled, len(self._sets))
        supplied, owed = self._places(shape.supplied), self._places(shape.owed)
        return Legs(supplied, owed, self._places(shape.marks), enabled, shape.mode)

    def _places(self, assets: Iterable[Address]) -> tuple[int, ...]:
        known = self._assets
        return tuple([known.setdefault(asset, len(known)) for asset in assets])


def pages_of(accounts: Mapping[Holder, Account]) -> Iterator[list[Item]]:
    """Sort accounts into pages; who encodes one after the other makes nobody wait for long."""
    unfinished: defaultdict[int, list[Item]] = defaultdict(list)
    for item in accounts.items():
        page = unfinished[len(item[1])]
        page.append(item)
        if len(page) == PAGE:
            yield unfinished.pop(len(item[1]))
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
        self._asset = list(map(Address, names.assets)).__getitem__
        self._sets = [frozenset(map(self._asset, places)) for places in names.sets]
        self._shapes: list[Shape] = []
        self._widths: list[int] = []

    def page(self, content: memoryview, at: int) -> int:
        """Read the page that begins at `at`; return where it ends."""
        begin = at + LENGTH
        at = begin + int.from_bytes(content[at:begin], "little")
        page = msgspec.msgpack.decode(content[begin:at], type=Page)
        count = page.accounts
        for legs in page.legs:
            self._meet(legs)
        holders = np.frombuffer(content, f"V{self._size}", count, at).tolist()
        at += count * self._size
        kinds = np.frombuffer(content, INDEX, count, at).tolist()
        at += count * INDEX.itemsize
        blocks = np.frombuffer(content, NUMBER, count, at).tolist()
        at += count * WORD
        columns = []
        for words in page.words:
            columns.append(_amounts(np.frombuffer(content, NUMBER, words * count, at), words))
            at += words * count * WORD
        if set(map(self._widths.__getitem__, kinds)) != {len(columns)}:
            raise ValueError("an account has another number of amounts than its shape")
        rows = zip(map(self._shapes.__getitem__, kinds), blocks, *columns, strict=True)
        accounts = map(tuple.__new__, repeat(Account), rows)
        self.accounts.update(zip(holders, accounts, strict=True))
        return at

    def _meet(self, legs: Legs) -> None:
        asset = self._asset
        self._shapes.append(
            shape_of(
                tuple(map(asset, legs.supplied)),
                tuple(map(asset, legs.owed)),
                tuple(map(asset, legs.marks)),
                self._sets[legs.enabled],
                legs.mode,
            )
        )
        self._widths.append(len(legs.supplied) + len(legs.owed) + len(legs.marks))


def _words(amounts: Sequence[int]) -> NDArray[np.uint64]:
    """Return a row for each word that the largest amount has, the lowest first."""
    size = -(-max(amounts).bit_length() // (WORD * 8))
    joined = b"".join([amount.to_bytes(size * WORD, "little") for amount in amounts])
    return np.frombuffer(joined, NUMBER).reshape(-1, size).T


def _amounts(column: NDArray[np.uint64], size: int) -> list[int]:
    """Put a column together again: most amounts have one word, and cost nothing more."""
    words = column.reshape(size, -1)
    if not words.any(axis=0).all():
        raise ValueError("an account has an amount of 0")
    amounts: list[int] = words[0].tolist()
    for place in range(1, size):
        higher = words[place].tolist()
        for at in np.flatnonzero(words[place]).tolist():
            amounts[at] |= higher[at] << (WORD * 8 * place)
    return amounts
