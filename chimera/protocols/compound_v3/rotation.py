"""
Whose principal is read at which block, since base can move between accounts without a log.

Turns go by the last bits of the address and of the block's number, so that nobody loses a turn
because others come or go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from chimera.domain.block import Address, Block
from chimera.ports import Accounts

BOUND = 500  # reads of accounts per block
ROTATING = 100  # of them, at the least, for those without debt
MOST_TURNS = 1 << 12


@dataclass(frozen=True, slots=True)
class Group:
    """
    Users of one kind, and how many of them to read at a block: those of `users` not in `without`.

    A view and an exception, not a set of its own: there may be very many.
    """

    users: AbstractSet[Address]
    without: AbstractSet[Address]
    room: int

    def __len__(self) -> int:
        return len(self.users) - sum(user in self.users for user in self.without)

    def ending(self, number: int, turns: int) -> list[Address]:
        """Return those whose address ends like `number`; `turns` is a power of two."""
        mask = turns - 1
        end = number & mask
        return [
            user
            for user in self.users
            if (user[-2] << 8 | user[-1]) & mask == end and user not in self.without
        ]


def turn(accounts: Accounts, block: Block) -> tuple[Address, ...]:
    """
    Return whom to read at `block`: everybody while `BOUND` allows.

    Above that all borrowers, if that leaves room for the others to take turns; else the riskiest,
    and the other borrowers take turns, too.
    """
    if len(accounts.keys()) <= BOUND:
        return tuple(sorted(accounts.keys()))
    return tuple(user for group in _groups(accounts) for user in _turn(group, block.number))


def left_out(accounts: Accounts, asked: AbstractSet[Address], block: Block) -> tuple[Address, ...]:
    """Return up to `BOUND` more, borrowers first, when a block shows a silent action."""
    borrowers = _turn(Group(accounts.open, asked, BOUND), block.number)
    others = Group(accounts.keys(), asked | accounts.open, BOUND - len(borrowers))
    return (*borrowers, *_turn(others, block.number))


def exact_within(accounts: Accounts) -> int:
    """Return in how many blocks everybody's turn comes, 0 where that is every block."""
    if len(accounts.keys()) <= BOUND:
        return 0
    return max(_period(group) for group in _groups(accounts))


def _groups(accounts: Accounts) -> Iterator[Group]:
    borrowers, most = accounts.open, BOUND - ROTATING
    if len(borrowers) <= most:
        yield Group(borrowers, frozenset(), most)
        yield Group(accounts.keys(), borrowers, BOUND - len(borrowers))
        return
    risky = accounts.near & borrowers
    room = min(len(risky), most // 2)
    yield Group(risky, frozenset(), room)
    yield Group(borrowers, risky, most - room)
    yield Group(accounts.keys(), borrowers, ROTATING)


def _turn(group: Group, number: int) -> list[Address]:
    """
    Return those whose address ends like the block's number, in as many bits as make them fit.

    Whoever is read at one number is so at every number that ends alike in more bits: so turns come
    in time also while the number of bits changes.
    """
    turns = _turns(group)
    chosen = group.ending(number, turns)
    while len(chosen) > group.room and turns < MOST_TURNS:
        turns *= 2
        chosen = group.ending(number, turns)
    if len(chosen) <= group.room:
        return sorted(chosen)
    if group.room == 0:
        return []
    parts = -(-len(chosen) // group.room)  # made to end alike: they alternate
    start = number // turns % parts * group.room
    return sorted(chosen)[start : start + group.room]


def _period(group: Group) -> int:
    """Return in how many blocks each of these has had a turn."""
    turns = _turns(group)
    while (crowd := _crowd(group, turns)) > group.room and turns < MOST_TURNS:
        turns *= 2
    return turns * -(-crowd // group.room) if crowd else 0


def _turns(group: Group) -> int:
    """Return the power of two by which the group fits into its room, if it spreads evenly."""
    turns, count = 1, len(group)
    while turns * group.room < count and turns < MOST_TURNS:
        turns *= 2
    return turns


def _crowd(group: Group, turns: int) -> int:
    """Return how many have the fullest turn."""
    ends = Counter(int.from_bytes(user[-2:], "big") % turns for user in group.ending(0, 1))
    return max(ends.values(), default=0)
