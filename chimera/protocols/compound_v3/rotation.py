"""Whose principal is read at which block, since base can move between accounts without a log."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from chimera.domain.block import Address, Block
from chimera.ports import Accounts

BOUND = 500  # reads of accounts per block
ROTATING = 100  # of them, at the least, for those who are not read at every block


def turn(accounts: Accounts, block: Block) -> tuple[Address, ...]:
    """
    Return whom to read at `block`: everybody while `BOUND` allows.

    Else those whose debt a silent transfer could change first: all borrowers if that leaves room to
    rotate, or the riskiest of them. All others take turns by the number of the block.
    """
    everybody = accounts.keys()
    if len(everybody) <= BOUND:
        return tuple(sorted(everybody))
    always, rest = _parts(accounts)
    room = BOUND - len(always)
    return (*always, *_slice(rest, room, block.number))


def left_out(accounts: Accounts, asked: AbstractSet[Address], block: Block) -> tuple[Address, ...]:
    """Return up to `BOUND` more, borrowers first, when a block shows a silent action."""
    borrowers = sorted(accounts.open - asked)
    if len(borrowers) >= BOUND:
        return _slice(borrowers, BOUND, block.number)
    others = sorted(accounts.keys() - asked - accounts.open)
    return (*borrowers, *_slice(others, BOUND - len(borrowers), block.number))


def exact_within(accounts: Accounts) -> int:
    """Return in how many blocks everybody's turn comes, 0 where that is every block."""
    if len(accounts.keys()) <= BOUND:
        return 0
    always, rest = _parts(accounts)
    return -(-len(rest) // (BOUND - len(always)))


def _parts(accounts: Accounts) -> tuple[list[Address], list[Address]]:
    most = BOUND - ROTATING
    first = accounts.open if len(accounts.open) <= most else accounts.near
    always = sorted(first & accounts.keys())[:most]
    return always, sorted(accounts.keys() - set(always))


def _slice(users: Sequence[Address], room: int, number: int) -> tuple[Address, ...]:
    if len(users) <= room:
        return tuple(users)
    turns = -(-len(users) // room)
    start = number % turns * room
    return tuple(users[start : start + room])
