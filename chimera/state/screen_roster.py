"""Who has which slot of the screen."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from chimera.domain.block import Address
from chimera.domain.market import Account, Shape

Moves = tuple[tuple[int, int], ...]
"""From which slot to which other one accounts move, in this order."""


class Roster:
    """
    Accounts by slot, without holes: first those without a mode, then those that have one.

    Hence only a part of all slots has anything in the rows of a mode, and the other part in those
    without.

    Attributes:
        users: By slot.
        shapes: By slot, of the accounts whose legs are in the layout.
        slots: By user.
        plain: How many have no mode.
    """

    def __init__(self) -> None:
        self.users: list[Address] = []
        self.shapes: list[Shape] = []
        self.slots: dict[Address, int] = {}
        self.plain = 0

    def __len__(self) -> int:
        return len(self.users)

    def load(self, accounts: Mapping[Address, Account]) -> list[Account]:
        """Replace everybody by those of these accounts that have debt; return them by slot."""
        plain: dict[Address, Account] = {}
        others: dict[Address, Account] = {}
        for user, account in accounts.items():
            shape = account[0]
            if shape.owed:
                (others if shape.mode else plain)[user] = account
        self.plain = len(plain)
        owing = [*plain.values(), *others.values()]
        self.users = [*plain, *others]
        self.shapes = [account[0] for account in owing]
        self.slots = dict(zip(self.users, range(len(owing)), strict=True))
        return owing

    def join(self, user: Address, shape: Shape) -> Moves:
        """Give a slot to a user without one; return who has to make room before that."""
        slot = end = len(self.users)
        self.users.append(user)
        self.shapes.append(shape)
        moves: Moves = ()
        if not shape.mode:
            slot = self.plain
            self.plain += 1
            if slot < end:
                moves = self._moved((slot, end))
        self._seat(user, shape, slot)
        return moves

    def leave(self, user: Address) -> Moves:
        """Take a user's slot away; return who fills the hole, and the last one's after that."""
        slot = self.slots.pop(user)
        holes = [slot]
        if slot < self.plain:
            self.plain -= 1
            holes.append(self.plain)
        holes.append(len(self.users) - 1)
        moves = self._moved(*((source, hole) for hole, source in pairwise(holes)))
        self.users.pop()
        self.shapes.pop()
        return moves

    def _moved(self, *moves: tuple[int, int]) -> Moves:
        real = tuple((source, target) for source, target in moves if source != target)
        for source, target in real:
            self._seat(self.users[source], self.shapes[source], target)
        return real

    def _seat(self, user: Address, shape: Shape, slot: int) -> None:
        self.users[slot], self.shapes[slot], self.slots[user] = user, shape, slot
