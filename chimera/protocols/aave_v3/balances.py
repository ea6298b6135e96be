"""The accounts of one block while its logs are being read, and who of the users is followed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from chimera.domain.block import Address
from chimera.domain.market import (
    EMPTY,
    FIRST_AMOUNT,
    Account,
    Shape,
    interned,
    with_leg,
    with_terms,
    without_leg,
)
from chimera.errors import Rebuild
from chimera.ports import Accounts
from chimera.protocols.aave_v3.engine import Move

Parts = list[Any]
"""An account taken apart: its shape, the block if anything has moved, None if not, its amounts."""

_account: Callable[[Parts], Account] = partial(tuple.__new__, Account)

SUPPLY, DEBT = 0, 1
SIDES = ("supply", "debt")


class Balances(dict[Address, Parts | None]):
    """
    Accounts as the logs so far have left them, of everybody whom one of them names.

    An account is taken apart at its first log, and put together again at the end of the block: in
    between a log is a sum. Of a user who is not followed there is None: that is decided at the
    first log, too.

    Args:
        accounts: As the block finds them.
        read: Users whose accounts were read. What was read holds the end of this block, so its
            logs must not be added to it.
        block_number: Of the block.
        protocol: Name of the instance, for messages.
    """

    def __init__(
        self, accounts: Accounts, read: Iterable[Address], *, block_number: int, protocol: str
    ) -> None:
        super().__init__(dict.fromkeys(read))
        self._account_of = accounts.get
        self._everybody = accounts.complete
        self._number = block_number
        self._protocol = protocol
        self._reshaped: dict[Address, Parts] = {}  # those whose shape is not interned

    def __missing__(self, user: Address) -> Parts | None:
        """Take an account apart."""
        account = self._account_of(user)
        if account is None and not self._everybody:
            self[user] = None
            return None
        parts = self[user] = list(EMPTY if account is None else account)
        parts[1] = None
        return parts

    def move(  # noqa: PLR0917  (whose balance, and the words of one log)
        self, user: Address, side: int, asset: Address, rule: Move, amount: int, index: int
    ) -> int | None:
        """
        Move a scaled balance as a log of its token says; return by how much, None for a stranger.

        Args:
            user: Whose balance it is.
            side: SUPPLY or DEBT.
            asset: Of the token.
            rule: How the token rounds.
            amount: What the log says that moved.
            index: What the log divides it by.

        Raises:
            Rebuild: It would go under zero.
        """
        parts = self[user]
        if parts is None:
            return None
        shape = parts[0]
        try:
            if side:
                place = FIRST_AMOUNT + len(shape.supplied) + shape.owed.index(asset)
            else:
                place = FIRST_AMOUNT + shape.supplied.index(asset)
        except ValueError:
            place = 0  # there is none yet
        before = parts[place] if place else 0
        delta = rule(before, amount, index)
        if delta:
            after = before + delta
            if place and after > 0:  # no leg begins or ends: nearly every log
                parts[1], parts[place] = self._number, after
            else:
                self._check(user, side, asset, after, delta)
                self._turn(user, parts, side, asset, place, after)
        return delta

    def _check(self, user: Address, side: int, asset: Address, after: int, delta: int) -> None:
        if after < 0:
            raise Rebuild(
                f"{SIDES[side]} of 0x{user.hex()} in {self._protocol}, asset 0x{asset.hex()}, "
                f"would be {after} after a change of {delta}"
            )

    def _turn(  # noqa: PLR0917
        self, user: Address, parts: Parts, side: int, asset: Address, place: int, amount: int
    ) -> None:
        """Begin a leg with this amount, or end the one whose amount stands at `place`."""
        if place:
            del parts[place]
            shape = without_leg(parts[0], side, asset)
        else:
            shape, place = with_leg(parts[0], side, asset)
            parts.insert(place, amount)
        self._reshape(user, parts, shape)

    def _reshape(self, user: Address, parts: Parts, shape: Shape) -> None:
        parts[0], parts[1] = shape, self._number
        self._reshaped[user] = parts

    def switch(self, user: Address, asset: Address, *, enabled: bool) -> None:
        """Count the user's supply of an asset as collateral from here on, or no longer."""
        parts = self[user]
        if parts is not None and (asset in parts[0].enabled) is not enabled:
            shape, own = parts[0], frozenset((asset,))
            counts = shape.enabled | own if enabled else shape.enabled - own
            self._reshape(user, parts, with_terms(shape, counts, shape.mode))

    def set_mode(self, user: Address, mode: int) -> None:
        """Put the user into an eMode."""
        parts = self[user]
        if parts is not None and parts[0].mode != mode:
            self._reshape(user, parts, with_terms(parts[0], parts[0].enabled, mode))

    def changed(self) -> dict[Address, Account]:
        """Return the accounts that any log has changed, as they are at the end of the block."""
        for parts in self._reshaped.values():
            parts[0] = interned(parts[0])
        moved = {
            user: parts
            for user, parts in self.items()
            if parts is not None and parts[1] is not None
        }
        return dict(zip(moved, map(_account, moved.values()), strict=True))
