"""What a change makes of an account, however short its way: the same as of its parts."""

from __future__ import annotations

from random import Random

import pytest

from chimera.domain.block import Address
from chimera.domain.changes import (
    Change,
    CollateralSwitched,
    DebtMoved,
    DebtSet,
    MarkMoved,
    ModeSet,
    SupplyMoved,
)
from chimera.domain.market import Account
from chimera.errors import Rebuild
from chimera.state.shelf import changed
from tests.fakes_state import address

USER, ASSETS = address(1), [address(number) for number in range(11, 15)]
CHANGES = 20_000


def made_up(random: Random) -> Change:
    asset, delta = random.choice(ASSETS), random.randint(-2, 2)
    changes: list[Change] = [
        SupplyMoved(USER, asset, delta),
        DebtMoved(USER, asset, delta),
        MarkMoved(USER, asset, delta),
        CollateralSwitched(USER, asset, enabled=random.random() < 0.5),
        ModeSet(USER, random.randint(0, 1)),
        DebtSet(USER, asset, random.randint(0, 2), random.randint(0, 2)),
    ]
    return random.choice(changes)


def by_parts(old: Account, change: Change) -> Account | None:
    """The account by its constructor, whose block says nothing here; None under zero."""
    sides: dict[type, dict[Address, int]] = {
        SupplyMoved: old.supplied,
        DebtMoved: old.owed,
        MarkMoved: old.marks,
    }
    enabled, mode = set(old.enabled), old.mode
    match change:
        case SupplyMoved() | DebtMoved() | MarkMoved():
            side = sides[type(change)]
            side[change.asset] = side.get(change.asset, 0) + change.delta
            if side[change.asset] < 0:
                return None
        case CollateralSwitched():
            (enabled.add if change.enabled else enabled.discard)(change.asset)
        case ModeSet():
            mode = change.mode
        case DebtSet():
            sides[DebtMoved][change.asset] = change.amount
            sides[MarkMoved][change.asset] = change.mark
    return Account(
        sides[SupplyMoved], sides[DebtMoved], frozenset(enabled), mode, 0, sides[MarkMoved]
    )


def test_a_change_makes_what_its_parts_make() -> None:
    random, account, refused = Random(8), Account(), 0  # noqa: S311  (a seeded life, no secret)
    for number in range(1, CHANGES):
        change = made_up(random)
        expected = by_parts(account, change)
        if expected is None:
            refused += 1
            with pytest.raises(Rebuild, match="would be -"):
                changed(account, change, number, "p")
            continue
        new = changed(account, change, number, "p")

        assert new.but(updated_block=0) == expected
        assert new.shape is expected.shape
        assert (new is account) == (account.but(updated_block=0) == expected)
        assert new.updated_block == (account.updated_block if new is account else number)
        account = new

    assert refused > CHANGES // 100
