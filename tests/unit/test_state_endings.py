"""Holders are found by the last bits of their addresses, without a walk over all of them."""

from __future__ import annotations

from hashlib import shake_128

import pytest

from chimera.domain.block import Address
from chimera.domain.endings import MOST_ENDINGS
from chimera.domain.market import Account, Holder
from chimera.state.endings import Endings
from chimera.state.shelf import Shelf
from tests.fakes_state import FakeMarket, address

TURNS = [1 << bits for bits in range(MOST_ENDINGS.bit_length())]
LENDER, BORROWER = Account(supplied={address(1): 5}), Account(owed={address(1): 5})


def holders(count: int, size: int = 20) -> set[Holder]:
    seeds = (place.to_bytes(4, "big") for place in range(count))
    return {Holder(shake_128(count.to_bytes(4, "big") + seed).digest(size)) for seed in seeds}


def assert_found(endings: Endings, expected: set[Holder]) -> None:
    assert len(endings) == len(expected)
    assert all(holder in endings for holder in expected)
    for turns in TURNS:
        counts = [0] * turns
        for holder in expected:
            counts[int.from_bytes(holder, "big") % turns] += 1
        assert endings.crowds(turns) == counts
        number = 0xFEDCBA987
        alike = {one for one in expected if int.from_bytes(one, "big") % turns == number % turns}
        found = endings.alike(number, turns)
        assert set(found) == alike
        assert len(found) == len(alike)


@pytest.mark.parametrize("size", [20, 52])
def test_those_who_end_alike_are_found_and_counted_in_any_number_of_bits(size: int) -> None:
    everybody = holders(3000, size)

    assert_found(Endings(everybody), everybody)


def test_whoever_comes_or_goes_is_counted_in_every_number_of_bits() -> None:
    everybody, newcomers = holders(500), holders(300)
    gone = set(sorted(everybody)[::3])
    endings = Endings(everybody)

    for holder in gone:
        endings.remove(holder)
    for holder in newcomers:
        endings.add(holder)

    assert_found(endings, (everybody - gone) | newcomers)
    with pytest.raises(KeyError):
        endings.remove(min(gone))


def test_a_shelf_keeps_apart_who_owes_and_who_does_not_while_accounts_change() -> None:
    shelf = Shelf("p", FakeMarket(), dict.fromkeys(holders(200), LENDER), complete=False)
    owing, idle = shelf.endings(owing=True), shelf.endings(owing=False)
    users = sorted(shelf.users)

    for user in users[:50]:
        shelf.put(user, BORROWER)
    for user in users[25:75]:
        shelf.put(user, None)
    shelf.put(users[0], LENDER)
    shelf.put(address(9), Account())  # an incomplete book also knows users who hold nothing
    shelf.put(address(8), None)

    expected: set[Address] = {*users[75:], users[0], address(9)}
    assert_found(endings_of(owing), set(users[1:25]))
    assert_found(endings_of(idle), expected)
    assert len(owing) + len(idle) == len(shelf.users)


def endings_of(found: object) -> Endings:
    assert isinstance(found, Endings)
    return found
