"""Who has which slot of the screen, and what becomes of legs when accounts change their shape."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.block import Address
from chimera.domain.market import Account, Column, Shape
from chimera.state import screen as module
from chimera.state import screen_dense, screen_plans
from chimera.state.screen import Screen
from chimera.state.screen_plans import Plans
from chimera.state.screen_roster import Moves, Roster
from chimera.state.screen_rows import Run, numbered
from tests.fakes_state import ALICE, BOB, CAROL, USDC, WETH, FakeAdapter, FakeMarket, address

MARKET = FakeMarket({WETH: 2_000, USDC: 1})
PEOPLE = [address(0xB0000 + number) for number in range(12)]
KINDS = [Account({WETH: 1}, {USDC: 1}, mode=mode) for mode in (0, 0, 1, 2)]


@pytest.fixture(params=["matrix", "lists of legs"])
def screen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Return an empty screen whose matrix grows from block to block with a few accounts."""
    monkeypatch.setattr(module, "DENSE_ROWS", 400 if request.param == "matrix" else 0)
    monkeypatch.setattr(screen_dense, "SHORTEST", 2)
    monkeypatch.setattr(screen_dense, "LONGEST", 5)
    return Screen(FakeAdapter())


def candidates(screen: Screen) -> set[Address]:
    return set(screen.candidates(screen.weigh(MARKET, 0)))


# --- slots ---------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from(PEOPLE), st.sampled_from([*KINDS, None])), max_size=60))
def test_slots_have_no_holes_and_whoever_has_no_mode_comes_first(
    steps: list[tuple[Address, Account | None]],
) -> None:
    roster, seats, expected = Roster(), dict[int, Address](), dict[Address, Account]()
    for user, account in steps:
        if user in expected:
            expected.pop(user)
            gone = roster.slots[user]
            for source, target in roster.leave(user):
                assert target == gone
                seats[target], gone = seats[source], source
            del seats[len(roster)]
            assert gone == len(roster)
        if account is not None:
            expected[user] = account
            for source, target in roster.join(user, account.shape):
                seats[target] = seats[source]
            seats[roster.slots[user]] = user

        assert seats == dict(enumerate(roster.users))
        assert roster.slots == {user: slot for slot, user in seats.items()}
        assert roster.shapes == [expected[user].shape for user in roster.users]
        assert [bool(shape.mode) for shape in roster.shapes] == sorted(
            bool(account.mode) for account in expected.values()
        )
        assert roster.plain == sum(not account.mode for account in expected.values())


def test_a_load_seats_those_with_debt_and_returns_them_by_slot() -> None:
    roster = Roster()
    accounts = {ALICE: KINDS[2], BOB: Account({WETH: 1}), CAROL: KINDS[0]}

    assert roster.load(accounts) == [KINDS[0], KINDS[2]]
    assert roster.users == [CAROL, ALICE]
    assert (roster.slots, roster.plain) == ({CAROL: 0, ALICE: 1}, 1)


def test_neighbours_of_one_kind_are_one_run() -> None:
    kinds = [(0, False), (0, False), (0, True), (2, True), (1, True), (1, False), (0, False)]
    columns = [(address(n), is_debt, mode) for n, (mode, is_debt) in enumerate(kinds)]

    rows = numbered(columns)

    assert rows.runs == (
        Run(0, 2, has_mode=False, is_debt=False),
        Run(2, 3, has_mode=False, is_debt=True),
        Run(3, 5, has_mode=True, is_debt=True),
        Run(5, 6, has_mode=True, is_debt=False),
        Run(6, 7, has_mode=False, is_debt=False),
    )
    assert rows.debts.tolist() == [is_debt for _, is_debt in kinds]
    assert rows.modes.tolist() == [mode > 0 for mode, _ in kinds]


def join_as_if_without_mode(self: Roster, user: Address, shape: Shape) -> Moves:
    return JOIN(self, user, Account({}, dict.fromkeys(shape.owed, 1)).shape)


JOIN = Roster.join


def test_a_slot_among_those_of_another_mode_is_refused(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its legs would not be added up."""
    screen.update(ALICE, KINDS[2])
    monkeypatch.setattr(Roster, "join", join_as_if_without_mode)

    with pytest.raises(ValueError, match="another mode"):
        screen.update(BOB, KINDS[2])


# --- legs ----------------------------------------------------------------------------------------


def test_a_leg_that_is_gone_does_not_count_any_more(screen: Screen) -> None:
    both = Account({WETH: 1_000, USDC: 500_000}, {USDC: 1_700_000}, mode=1)
    screen.load({ALICE: both, BOB: both})
    assert candidates(screen) == set()

    screen.update(ALICE, both.but(supplied={WETH: 1_000}))
    assert candidates(screen) == {ALICE}

    screen.update(ALICE, both)
    assert candidates(screen) == set()


def test_another_mode_takes_the_legs_along(screen: Screen) -> None:
    well, ill = ({WETH: 1_000}, {USDC: 1_500_000}), ({WETH: 1_000}, {USDC: 1_700_000})
    screen.load({ALICE: Account(*well), BOB: Account(*ill), CAROL: Account(*well, mode=1)})
    for mode in (1, 0, 2, 1, 0):
        screen.update(BOB, Account(*ill, mode=mode))
        assert candidates(screen) == {BOB}
        screen.update(CAROL, Account(*well, mode=mode))
        assert candidates(screen) == {BOB}
        screen.update(ALICE, Account(*ill, mode=mode))
        assert candidates(screen) == {ALICE, BOB}
        screen.update(ALICE, Account(*well, mode=2 - mode))


def test_a_screen_that_lived_is_as_if_loaded(screen: Screen) -> None:
    rng = random.Random(17)  # noqa: S311
    assets = [address(0xA0000 + number) for number in range(14)]
    market, accounts = FakeMarket(dict.fromkeys(assets, 7)), dict[Address, Account]()
    for step in range(1_500):
        changed: dict[Address, Account | None] = {}
        for user in rng.sample(PEOPLE, rng.randint(0, 5)):
            supplied = {a: rng.randrange(1, 10**9) for a in rng.sample(assets, rng.randint(0, 12))}
            owed = {a: rng.randrange(1, 10**9) for a in rng.sample(assets, rng.randint(0, 3))}
            before = accounts.pop(user, None)
            if before is not None and rng.random() < 0.6:  # the same legs
                supplied = {a: rng.randrange(1, 10**9) for a in before.supplied}
                owed = {a: rng.randrange(1, 10**9) for a in before.owed}
            account = Account(supplied, owed, frozenset(supplied), rng.choice((0, 0, 1, 5)))
            changed[user] = account if rng.random() < 0.9 else None
            if owed and changed[user]:
                accounts[user] = account
        screen.take(changed.items())
        if step % 10 == 0:
            loaded = Screen(FakeAdapter())
            loaded.load(accounts)
            assert bounds_of(screen, market) == pytest.approx(bounds_of(loaded, market), rel=1e-4)
            screen.candidates(screen.weigh(market, 0))


def bounds_of(screen: Screen, market: FakeMarket) -> dict[Address, float]:
    return {user: bound for bound, user in screen.ranking(screen.weigh(market, 0))}


def test_shapes_that_are_forgotten_in_the_middle_of_a_block_are_worked_out_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(screen_plans, "MOST_SHAPES", 3)
    screen = Screen(FakeAdapter())
    screen.update(ALICE, Account({WETH: 1_000}, {USDC: 1_000}))
    people = {
        user: Account({WETH: 1_000, address(number): 1}, {USDC: 1_700_000}, mode=number % 3)
        for number, user in enumerate(PEOPLE, 1)
    }

    screen.take([(ALICE, Account({WETH: 1_000}, {USDC: 1_700_000})), *people.items()])

    market = FakeMarket({**dict.fromkeys(map(address, range(1, 13)), 1), **MARKET.prices})
    assert set(screen.candidates(screen.weigh(market, 0))) == {ALICE, *PEOPLE}


def test_no_more_shapes_are_remembered_than_the_bound_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(screen_plans, "MOST_SHAPES", 3)
    accounts = [Account({}, {address(number): 1}) for number in range(1, 11)]
    plans = Plans(FakeAdapter())
    rows = plans.number(accounts)
    plans.legs(accounts, rows)
    assert len(plans) <= 3

    for account in accounts:
        assert plans.fit([account], rows)
        plans.legs([account], rows)
        assert len(plans) <= 3


def test_rows_are_numbered_by_kind_and_plans_tell_them() -> None:
    plans = Plans(FakeAdapter())
    accounts = [
        Account({WETH: 5}, {USDC: 6}, mode=1),
        Account({WETH: 7, USDC: 8}, {WETH: 9}),
        Account({USDC: 3}, {USDC: 4}),
    ]

    rows = plans.number(accounts)
    legs = plans.legs(accounts, rows)

    assert [run[2:] for run in rows.runs] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert legs.counts.tolist() == [2, 3, 2]
    assert [rows.columns[row] for row in legs.rows] == [
        column for account in accounts for column, _ in FakeAdapter().columns(account)
    ]
    assert legs.amounts.tolist() == [
        amount for account in accounts for _, amount in FakeAdapter().columns(account)
    ]
    assert not plans.fit([Account({ALICE: 1}, {USDC: 1})], rows)


@dataclass(slots=True)
class Doubled(FakeAdapter):
    """Has two amounts in one column."""

    def columns(self, account: Account) -> Iterator[tuple[Column, int]]:
        del account
        yield from (((USDC, True, 0), 1), ((USDC, True, 0), 2))


@dataclass(slots=True)
class Modeless(FakeAdapter):
    """Forgets the mode of debts."""

    def columns(self, account: Account) -> Iterator[tuple[Column, int]]:
        del account
        yield (USDC, True, 0), 1


@pytest.mark.parametrize(
    ("adapter", "why"), [(Doubled(), "two amounts in one column"), (Modeless(), "another mode")]
)
def test_an_adapter_that_would_lose_amounts_is_refused(adapter: FakeAdapter, why: str) -> None:
    screen = Screen(adapter)

    with pytest.raises(ValueError, match=why):
        screen.load({ALICE: Account({}, {USDC: 1}, mode=1)})
