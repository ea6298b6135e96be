"""Both layouts of the screen against exact fractions and each other, and the way between them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from chimera.domain.block import Address
from chimera.domain.market import Account, Column
from chimera.state import screen as module
from chimera.state.screen import Screen
from chimera.state.screen_dense import Dense
from chimera.state.screen_ragged import HEAD, Ragged
from tests.fakes_state import ALICE, BOB, FakeAdapter, FakeMarket, account, address

LAYOUTS = ("matrix", "lists")
CLOSE = Fraction(3, 10**5)  # wider than the band of 64 terms, on both sums


@dataclass(slots=True)
class Plain(FakeAdapter):
    """The fake's health without any rounding, and without a haircut in the weights."""

    absolute_band: float = 0.0

    def weights(
        self, market: FakeMarket, columns: object, timestamp: int
    ) -> tuple[list[float], list[float]]:
        del timestamp
        assert isinstance(columns, tuple)
        prices = [(float(market.prices[asset]), debt) for asset, debt, _ in columns]
        return (
            [0.0 if debt else price * 0.8 for price, debt in prices],
            [price if debt else 0.0 for price, debt in prices],
        )


@dataclass(frozen=True, slots=True)
class City:
    """Many isolated markets: asset 2 n is collateral, asset 2 n + 1 is debt."""

    prices: dict[Address, int]
    accounts: dict[Address, Account]

    @property
    def market(self) -> FakeMarket:
        return FakeMarket(self.prices)


def screen_in(layout: str, monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.setattr(module, "DENSE_ROWS", 10**9 if layout == "matrix" else 0)
    return Screen(Plain())


def exact(market: FakeMarket, held: Account) -> Fraction:
    """Health without any rounding."""
    collateral = sum(amount * market.prices[asset] for asset, amount in held.supplied.items())
    debt = sum(amount * market.prices[asset] for asset, amount in held.owed.items())
    return Fraction(collateral * 4, debt * 5)


def asset(number: int) -> Address:
    return address(0xA0000 + number)


def person(number: int) -> Address:
    return address(0xB0000 + number)


def city(rng: random.Random, *, columns: int, people: int, most_legs: int = 1) -> City:
    """People within a few billionths of 1, on either side of it."""
    prices = {asset(number): rng.randrange(1, 10**12) for number in range(columns)}
    prices[asset(columns)] = 1  # what brings the debt to the unit
    accounts = {}
    for number in range(people):
        held = rng.sample(range(0, columns, 2), rng.randint(1, most_legs))
        supplied = {asset(n): rng.randrange(1, 10 ** rng.randint(6, 24)) for n in held}
        bearing = sum(amount * prices[a] for a, amount in supplied.items()) * 4 // 5
        owed = {}
        for n in rng.sample(held, rng.randint(0, len(held) - 1)) if most_legs > 1 else ():
            part = bearing // rng.randint(2, 5)
            if amount := part // prices[asset(n + 1)]:
                owed[asset(n + 1)] = amount
                bearing -= amount * prices[asset(n + 1)]
        owed[asset(columns)] = max(1, bearing + rng.randint(-2, 2))
        accounts[person(number)] = account(supplied, owed)
    return City(prices, accounts)


def judge(
    screen: Screen,
    market: FakeMarket,
    accounts: Mapping[Address, Account],
    close: Fraction = CLOSE,
) -> set[Address]:
    """Hold candidates and bounds against the exact figures; return the candidates."""
    weights = screen.weigh(market, 0)
    found = set(screen.candidates(weights))
    bounds = {user: bound for bound, user in screen.ranking(weights)}
    assert bounds.keys() == accounts.keys()
    for user, held in accounts.items():
        factor = exact(market, held)
        assert Fraction(bounds[user]) <= factor
        assert Fraction(bounds[user]) > factor * (1 - close)
        if factor < 1:
            assert user in found
        if factor > 1 + close:
            assert user not in found
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("columns", "most_legs"), [(12, 4), (400, 1), (60, 25)])
def test_of_ten_thousand_near_1_none_is_passed_over(
    layout: str, columns: int, most_legs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(columns)  # noqa: S311
    here = city(rng, columns=columns, people=10_000, most_legs=min(most_legs, columns // 2))
    screen = screen_in(layout, monkeypatch)
    screen.load(here.accounts)

    under = [user for user, held in here.accounts.items() if exact(here.market, held) < 1]
    assert 2_000 < len(under) < 8_000
    assert judge(screen, here.market, here.accounts, 4 * CLOSE) >= set(under)


def spread(rng: random.Random, here: City) -> dict[Address, Account]:
    """Take everybody away from 1 by more than either layout's band."""
    return {
        user: account(
            held.supplied,
            {a: max(1, n * rng.choice([90, 99, 101, 120]) // 100) for a, n in held.owed.items()},
        )
        for user, held in here.accounts.items()
    }


def test_both_layouts_name_the_same_accounts_outside_of_their_bands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = random.Random(3)  # noqa: S311
    here = city(rng, columns=60, people=3_000, most_legs=3)
    accounts = spread(rng, here)
    found = []
    for layout in LAYOUTS:
        screen = screen_in(layout, monkeypatch)
        screen.load(accounts)
        found.append(judge(screen, here.market, accounts))

    sure = {u for u, a in accounts.items() if abs(exact(here.market, a) - 1) > Fraction(1, 1000)}
    assert found[0] & sure == found[1] & sure
    assert 500 < len(found[0]) < 2_500


@pytest.mark.parametrize("layout", LAYOUTS)
def test_accounts_that_come_one_by_one_are_as_if_loaded(
    layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(8)  # noqa: S311
    here = city(rng, columns=200, people=1_500, most_legs=HEAD + 5)
    grown, loaded = screen_in(layout, monkeypatch), Screen(Plain())
    order = list(here.accounts)
    rng.shuffle(order)
    for user in order:
        grown.update(user, here.accounts[user])
    loaded.load(here.accounts)

    judge(grown, here.market, here.accounts, 4 * CLOSE)
    bounds = [
        {user: bound for bound, user in one.ranking(one.weigh(here.market, 0))}
        for one in (grown, loaded)
    ]
    assert bounds[0].keys() == bounds[1].keys()
    for user, bound in bounds[0].items():
        assert bound == pytest.approx(bounds[1][user], rel=float(4 * CLOSE))


def layout_of(screen: Screen) -> type:
    return type(screen._layout)  # which one it is is the point here


def rows_of(screen: Screen, market: FakeMarket) -> int:
    return len(screen.weigh(market, 0).values)


def one_leg(number: int, owed: int) -> Account:
    return account({asset(2 * number): 1_000}, {asset(2 * number + 1): owed})


def all_at(price: int, count: int) -> FakeMarket:
    return FakeMarket({asset(number): price for number in range(count)})


def test_a_load_of_forty_columns_is_a_matrix_and_of_one_more_is_not() -> None:
    screen = Screen(Plain())
    people = {person(number): one_leg(number, 700) for number in range(20)}

    screen.load(people)
    assert layout_of(screen) is Dense

    screen.load(people | {ALICE: account({}, {asset(4): 1})})
    assert layout_of(screen) is Ragged

    screen.load(people)
    assert layout_of(screen) is Dense
    assert rows_of(screen, all_at(3, 40)) == 40


def test_the_forty_first_column_changes_the_layout_and_loses_nobody() -> None:
    screen, market = Screen(Plain()), all_at(7, 200)
    accounts = {}
    for number in range(60):
        accounts[person(number)] = one_leg(number, 790 + number % 20)
        screen.update(person(number), accounts[person(number)])
        judge(screen, market, accounts)
        assert layout_of(screen) is (Dense if number < 20 else Ragged)


def test_switching_while_accounts_come_change_and_go() -> None:
    rng = random.Random(21)  # noqa: S311
    screen, market = Screen(Plain()), all_at(11, 120)
    accounts: dict[Address, Account] = {}
    layouts = set()
    for step in range(3_000):
        user = person(rng.randrange(40))
        if user in accounts and rng.random() < 0.3:
            del accounts[user]
            screen.update(user, rng.choice([None, account({asset(1): 5})]))
        else:
            held = rng.sample(range(min(120, HEAD + 4 + step // 20)), rng.randint(1, HEAD + 3))
            accounts[user] = account(
                {asset(number): rng.randrange(1, 10**9) for number in held},
                {asset(number): rng.randrange(1, 10**9) for number in held[:3]},
            )
            screen.update(user, accounts[user])
        layouts.add(layout_of(screen))
        if step % 10 == 0:
            assert set(screen.users) == accounts.keys()
            judge(screen, market, accounts)

    assert layouts == {Dense, Ragged}


def ever_new_columns(screen: Screen, lasting: int) -> Iterator[int]:
    """Let one account move from column to column for ever, beside some that come and stay."""
    market, accounts = all_at(5, 10_000), {}
    for number in range(5_000):
        user = person(number) if number < 2 * lasting and number % 2 else ALICE
        accounts[user] = one_leg(number, 700 if number % 3 else 900)
        screen.update(user, accounts[user])
        if number % 97 == 0:
            yield rows_of(screen, market)
            judge(screen, market, accounts)


def test_columns_that_nobody_uses_any_more_leave_the_matrix() -> None:
    screen = Screen(Plain())

    assert max(ever_new_columns(screen, 5)) <= 40
    assert layout_of(screen) is Dense


def test_columns_that_nobody_uses_any_more_leave_the_lists() -> None:
    screen = Screen(Plain())

    assert max(ever_new_columns(screen, 300)) <= 604 * 5 // 4 + 64
    assert layout_of(screen) is Ragged


def test_columns_of_the_longest_lists_stay() -> None:
    """What stands beyond the first legs is in use, too, and keeps its number."""
    screen, market = Screen(Plain()), all_at(5, 10_000)
    wide = account({asset(n): 100 for n in range(60)}, {asset(n): 50 for n in range(60, 120)})
    screen.update(BOB, wide)
    for number in range(200, 3_000):
        screen.update(ALICE, one_leg(number, 1))
    judge(screen, market, {BOB: wide, ALICE: one_leg(2_999, 1)}, 4 * CLOSE)

    screen.update(BOB, one_leg(7, 801))
    judge(screen, market, {BOB: one_leg(7, 801), ALICE: one_leg(2_999, 1)}, 4 * CLOSE)


def test_weights_do_not_outlive_the_numbers_of_their_rows() -> None:
    screen, market = Screen(Plain()), all_at(5, 1_000)
    for number in range(30):
        screen.update(person(number), one_leg(number, 1))
    weights = screen.weigh(market, 0)
    rows = len(weights.values)
    for number in range(30):
        screen.update(person(number), None)
    for number in range(200):  # until as many rows are in use, but others
        screen.update(person(number), one_leg(100 + number, 1))
        if rows_of(screen, market) >= rows:
            break

    with pytest.raises(ValueError, match="weigh again"):
        screen.candidates(weights)
    with pytest.raises(ValueError, match="weigh again"):
        screen.ranking(weights)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_dead_price_concerns_its_holders_only_wherever_the_leg_stands(
    layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen, market = screen_in(layout, monkeypatch), all_at(5, 100)
    legs = {asset(number): 1_000 for number in range(2 * HEAD)}
    screen.update(ALICE, account(legs, {asset(90): 1}))
    screen.update(BOB, one_leg(40, 1))
    for dead in (0, HEAD - 1, HEAD, 2 * HEAD - 1, 90):
        prices = {**market.prices, asset(dead): 10**45}
        screen_weights = screen.weigh(FakeMarket(prices), 0)
        assert screen.candidates(screen_weights) == [ALICE]
        assert [u for b, u in screen.ranking(screen_weights) if b == -np.inf] == [ALICE]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("place", [0, 1, 40, 41])
def test_a_price_near_the_largest_number_concerns_its_holders_only(
    layout: str, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may open a market with any price: it must not send everybody to the integers."""
    screen, market = screen_in(layout, monkeypatch), all_at(5, 100)
    screen.update(ALICE, one_leg(0, 1))
    screen.update(BOB, one_leg(20, 1))
    holder = ALICE if place < 2 else BOB
    for price in (2 * 10**38, 3 * 10**38, 34 * 10**37, 10**30):
        weights = screen.weigh(FakeMarket({**market.prices, asset(place): price}), 0)
        for limit in (1.0, 1.1, 999_999_999.0):
            found = screen.candidates(weights, limit)
            assert holder in found
            assert limit > 100 or found == [holder]


def test_a_leg_more_widens_the_band_and_a_row_more_does_not() -> None:
    """Two thousand rows would make a band of a quarter of a thousandth."""
    screen = Screen(Plain())
    people = {person(number): one_leg(number, 799) for number in range(1_000)}
    people[ALICE] = account({asset(0): 1_000_000}, {asset(1): 799_990})
    screen.load(people)

    assert screen.candidates(screen.weigh(all_at(5, 2_000), 0)) == []


@dataclass(slots=True)
class Sharp(Plain):
    """An adapter that rounds nowhere, so that the band is the screen's own."""

    relative_band: float = 0.0


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("first", ["loaded", "updated"])
def test_the_band_grows_with_the_legs_of_the_longest_list(
    layout: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 units of the last place over 1 are within reach of 101 terms, and not of two."""
    screen_in(layout, monkeypatch)
    screen, market = Screen(Sharp()), all_at(1, 200)
    owed = 10**9
    just = owed * 10 // 8 * (2**23 + 60) // 2**23
    short, wide = account({asset(0): just}, {asset(1): owed}), account({}, {asset(1): owed})
    wide = account({asset(number): just // 100 for number in range(2, 102)}, wide.owed)
    few, many = {ALICE: short}, {BOB: wide}
    if first == "loaded":
        screen.load(few | many)
    for user, held in (few | many).items():
        screen.update(user, held)
    assert set(screen.candidates(screen.weigh(market, 0))) == {ALICE, BOB}

    screen.load(few)
    assert screen.candidates(screen.weigh(market, 0)) == []


def columns_of(held: Account) -> list[Column]:
    return [column for column, _ in Plain().columns(held)]


def test_the_accounts_of_these_tests_have_more_legs_than_the_arrays() -> None:
    rng = random.Random(60)  # noqa: S311
    here = city(rng, columns=60, people=100, most_legs=25)

    assert max(len(columns_of(held)) for held in here.accounts.values()) > 2 * HEAD
