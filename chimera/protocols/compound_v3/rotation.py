"""
Whose principal is read at which block, since base can move between accounts without a log.

Turns go by the last bits of the address and of the block's number, so that nobody loses a turn
because others come or go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from chimera.domain.block import Address, Block
from chimera.domain.endings import MOST_ENDINGS, Endings
from chimera.ports import Accounts
from chimera.protocols.compound_v3.market import CometMarket

BOUND = 500  # reads of accounts per block
ROTATING = 100  # of them, at the least, for those without debt
MOST_TURNS = MOST_ENDINGS


@dataclass(frozen=True, slots=True)
class Few:
    """Users who are few enough to look at each of them."""

    users: AbstractSet[Address]

    def __len__(self) -> int:
        return len(self.users)

    def __contains__(self, user: Address) -> bool:
        return user in self.users

    def alike(self, number: int, turns: int) -> Sequence[Address]:
        """Return those who end like `number`, see `ports.Endings`."""
        return [user for user in self.users if _ending(user, turns) == number % turns]

    def crowds(self, turns: int) -> Sequence[int]:
        """Return how many end in each way, see `ports.Endings`."""
        ends = Counter(_ending(user, turns) for user in self.users)
        return [ends[end] for end in range(turns)]


@dataclass(frozen=True, slots=True)
class Group:
    """
    Users of one kind, and how many of them to read at a block: those of `users` but for `without`.

    Nobody looks at all of `users`, for there may be very many; `without` are some of them.
    """

    users: Endings
    without: AbstractSet[Address]
    room: int

    def __len__(self) -> int:
        return len(self.users) - len(self.without)

    def ending(self, number: int, turns: int) -> list[Address]:
        """Return those whose address ends like `number`; `turns` is a power of two."""
        return [user for user in self.users.alike(number, turns) if user not in self.without]

    def crowd(self, turns: int) -> int:
        """Return how many have the fullest turn."""
        crowds = list(self.users.crowds(turns))
        for user in self.without:
            crowds[_ending(user, turns)] -= 1
        return max(crowds)


def _ending(user: Address, turns: int) -> int:
    return (user[-2] << 8 | user[-1]) % turns


def _group(users: Endings, without: AbstractSet[Address], room: int) -> Group:
    return Group(users, frozenset(user for user in without if user in users), room)


class Turns:
    """
    Who was asked at the blocks that build on a market: the same for polls and every round of needs.

    `Accounts.near` may be looked up anew at any moment. With another market the accounts are others
    as well, and whoever is asked is found anew. Of each book, what its newest market led to.
    """

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Accounts, _Kept] = WeakKeyDictionary()

    def at(self, market: CometMarket, accounts: Accounts, block: Block) -> AbstractSet[Address]:
        """Return whom to read at `block`, in the order of `turn`."""
        kept = self._kept.get(accounts)
        if kept is None or kept.market is not market:
            kept = self._kept[accounts] = _Kept(market, {})
        if block not in kept.asked:
            kept.asked[block] = dict.fromkeys(turn(accounts, block))
        return kept.asked[block].keys()


@dataclass(frozen=True, slots=True)
class _Kept:
    market: CometMarket
    asked: dict[Block, dict[Address, None]]


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
    borrowers = _turn(_group(accounts.endings(owing=True), asked, BOUND), block.number)
    room = BOUND - len(borrowers)
    others = _turn(_group(accounts.endings(owing=False), asked, room), block.number)
    return (*borrowers, *others)


def exact_within(accounts: Accounts) -> int:
    """Return in how many blocks everybody's turn comes, 0 where that is every block."""
    if len(accounts.keys()) <= BOUND:
        return 0
    return max(_period(group) for group in _groups(accounts))


def _groups(accounts: Accounts) -> Iterator[Group]:
    borrowers, others = accounts.endings(owing=True), accounts.endings(owing=False)
    most, nobody = BOUND - ROTATING, frozenset[Address]()
    if len(borrowers) <= most:
        yield Group(borrowers, nobody, most)
        yield Group(others, nobody, BOUND - len(borrowers))
        return
    risky = accounts.near & accounts.open
    room = min(len(risky), most // 2)
    yield Group(Few(risky), nobody, room)
    yield Group(borrowers, risky, most - room)
    yield Group(others, nobody, ROTATING)


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
    while (crowd := group.crowd(turns)) > group.room and turns < MOST_TURNS:
        turns *= 2
    return turns * -(-crowd // group.room) if crowd else 0


def _turns(group: Group) -> int:
    """Return the power of two by which the group fits into its room, if it spreads evenly."""
    turns, count = 1, len(group)
    while turns * group.room < count and turns < MOST_TURNS:
        turns *= 2
    return turns
