"""Nobody under the limit is missed while weights drift and accounts come, change and go."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from chimera.domain.block import Address
from chimera.domain.market import Account
from chimera.state import screen as module
from chimera.state import screen_dense
from chimera.state.screen import Screen
from chimera.state.screen_dense import Dense
from chimera.state.screen_patience import Patience
from chimera.state.screen_ragged import Ragged
from chimera.state.screen_ranking import PAGE, Ranking
from chimera.state.screen_weights import Weights
from tests.fakes_state import ALICE, BOB, USDC, WETH, FakeAdapter, FakeMarket, account, address

FINE = 1_000  # parts of a base unit that a price is given in
ASSETS = [address(0xA0000 + number) for number in range(12)]
PEOPLE = [address(0xB0000 + number) for number in range(1_500)]


@dataclass(slots=True)
class Floored(FakeAdapter):
    """Counts whole base units: each value rounded down, and that of collateral times 0.8 again."""

    absolute_band: float = 0.0

    def leg_bands(self, market: FakeMarket) -> tuple[float, float]:
        del market
        return 2.0, 0.0

    def weights(
        self, market: FakeMarket, columns: object, timestamp: int
    ) -> tuple[list[float], list[float]]:
        del timestamp
        assert isinstance(columns, tuple)
        prices = [market.prices[asset] / FINE or float("inf") for asset, _, _ in columns]
        return [0.8 * price for price in prices], prices


def sums(market: FakeMarket, held: Account) -> tuple[int, int]:
    """Return what counts as collateral and as debt, in base units."""
    prices = market.prices
    collateral = (amount * prices[a] // FINE * 8 // 10 for a, amount in held.supplied.items())
    return sum(collateral), sum(amount * prices[a] // FINE for a, amount in held.owed.items())


def is_dead(market: FakeMarket, held: Account) -> bool:
    return not all(market.prices[asset] for asset in (*held.supplied, *held.owed))


class Life:
    """Accounts near 1, dust above all, in a market that jumps; the same for the same seed."""

    def __init__(self, seed: int, *, digits: int = 9, dearest: int = 10**7) -> None:
        self.random = random.Random(seed)  # noqa: S311
        self.digits = digits
        self.prices = {asset: self.random.randrange(1, dearest) for asset in ASSETS}
        self.people = PEOPLE[:600]
        self.accounts = {user: self.account() for user in self.people}

    @property
    def market(self) -> FakeMarket:
        return FakeMarket(dict(self.prices))

    def account(self) -> Account:
        rng = self.random
        held = rng.sample(ASSETS, rng.randint(0, 4))
        supplied = {asset: rng.randrange(1, 10 ** rng.randint(1, self.digits)) for asset in held}
        limit, _ = sums(self.market, account(supplied, {}))
        owed, parts = {}, rng.randint(1, 3)
        for asset in rng.sample(ASSETS, parts):
            worth = limit * rng.choice((1, 2, 3, 3, 4, 5, 7, 10)) // 10 // parts
            amount = -(-worth * FINE // (self.prices[asset] or 1)) + rng.randint(-1, 1)
            owed[asset] = max(1, amount)
        return Account(supplied, owed, frozenset(supplied), rng.choice((0, 0, 1, 2)))

    def step(self) -> dict[Address, Account | None]:
        """Move prices as a block may, and return the accounts that it changes."""
        rng = self.random
        lot = rng.random()
        for asset in rng.sample(ASSETS, rng.randint(0, 3)):
            price = self.prices[asset] or rng.randrange(1, 10**7)
            self.prices[asset] = max(1, price * rng.randint(9_900, 10_100) // 10_000)
        jumper = rng.choice(ASSETS)
        if lot < 0.05:
            self.prices[jumper] = max(1, self.prices[jumper] // 1_000)
        elif lot < 0.1:
            self.prices[jumper] = min(10**10, self.prices[jumper] * 1_000)
        elif lot < 0.15:
            self.prices[jumper] = 0
        else:  # interest: every price a little up
            self.prices = {asset: price + price // 5_000 for asset, price in self.prices.items()}
        changed: dict[Address, Account | None] = {}
        for user in rng.sample(self.people, rng.randint(0, 12)):
            changed[user] = None if rng.random() < 0.3 else self.account()
        for user, held in changed.items():
            if held is None:
                self.accounts.pop(user, None)
            else:
                self.accounts[user] = held
        return changed


def lived(screen: Screen, life: Life, steps: int) -> Iterator[set[Address]]:
    """Live on; yield who is under 1 and missed at each step."""
    screen.load(life.accounts)
    for number in range(steps):
        if number:
            screen.take(life.step().items())
        weights = screen.weigh(life.market, 0)
        found = set(screen.candidates(weights))
        missed = set()
        for user, held in life.accounts.items():
            collateral, debt = sums(life.market, held)
            if (collateral < debt or is_dead(life.market, held)) and user not in found:
                missed.add(user)
            legs = len(held.supplied) + len(held.owed)
            if not is_dead(life.market, held) and collateral * 0.9999 > debt * 1.01 + 2 * legs + 9:
                assert user not in found
        if number % 10 == 0:
            wider = set(screen.candidates(weights, 1.1))
            for user, held in life.accounts.items():
                collateral, debt = sums(life.market, held)
                assert not 10 * collateral < 11 * debt or user in wider
        if number % 3 == 1:
            missed |= missed_near(screen, weights, life)
        yield missed


def missed_near(screen: Screen, weights: Weights, life: Life) -> set[Address]:
    """Return who is under 1.1 and not named as near."""
    near, missed = set(screen.near(weights, 1.1)), set[Address]()
    for user, held in life.accounts.items():
        collateral, debt = sums(life.market, held)
        if 10 * collateral < 11 * debt and user not in near:
            missed.add(user)
    return missed


LAYOUTS = pytest.mark.parametrize("layout", ["matrix", "lists"])


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect how the screen looks: at all accounts, or at some."""
    seen: list[str] = []

    def watch(layout: type, name: str) -> None:
        method: Callable[..., Any] = getattr(layout, name)

        def watched(self: object, *args: Any) -> Any:  # noqa: ANN401
            seen.append(name)
            return method(self, *args)

        monkeypatch.setattr(layout, name, watched)

    for layout in (Dense, Ragged):
        watch(layout, "sums")
        watch(layout, "sums_of")
    return seen


@LAYOUTS
@pytest.mark.parametrize("seed", range(3))
def test_nobody_is_missed_in_three_hundred_blocks(
    layout: str, seed: int, passes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if layout == "lists":
        monkeypatch.setattr(module, "DENSE_ROWS", 0)
    if layout == "matrix":
        monkeypatch.setattr(module, "DENSE_ROWS", 100)  # twelve assets, two sides, three modes
        monkeypatch.setattr(screen_dense, "SHORTEST", 97)
        monkeypatch.setattr(screen_dense, "LONGEST", 97)
    life = Life(seed)

    assert not any(lived(Screen(Floored()), life, 300))
    assert passes.count("sums_of") > 20
    assert passes.count("sums") > 20


@LAYOUTS
def test_whoever_is_looked_at_apart_is_remembered_by_the_weights_of_then(
    layout: str, passes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights go to and fro: what was found out half way must not be taken for more."""
    if layout == "lists":
        monkeypatch.setattr(module, "DENSE_ROWS", 0)
    rng, screen = random.Random(4), Screen(Floored())  # noqa: S311
    people = {
        user: account({ASSETS[0]: 10**6}, {ASSETS[1]: rng.randrange(500_000, 805_000)})
        for user in PEOPLE
    }
    screen.load(people)
    screen.candidates(screen.weigh(FakeMarket({ASSETS[0]: FINE, ASSETS[1]: FINE}), 0))
    passes.clear()
    for _ in range(60):
        price = {ASSETS[0]: FINE, ASSETS[1]: FINE + rng.randint(-20, 15)}
        user = rng.choice(PEOPLE)
        people[user] = account({ASSETS[0]: 10**6}, {ASSETS[1]: rng.randrange(700_000, 850_000)})
        screen.update(user, people[user])
        found = set(screen.candidates(screen.weigh(FakeMarket(price), 0)))
        for user, held in people.items():
            collateral, debt = sums(FakeMarket(price), held)
            assert collateral >= debt or user in found
            assert collateral * 0.999 < debt * 1.001 or user not in found
    assert passes.count("sums_of") > 20


def no_drift(_self: Weights, _past: Weights) -> float:
    return 1.0


def half_the_drift(self: Weights, past: Weights) -> float:
    drift = DRIFT(self, past)
    return 1 + (drift - 1) / 2


def nothing_at_all(*_args: object) -> None:
    """Forget to note what has happened."""


def one_leg(_adapter: Floored, _market: FakeMarket) -> tuple[float, float]:
    return 0.5, 0.0


DRIFT = Weights.drift_since
SABOTAGE = {
    "no drift": (Weights, "drift_since", no_drift),
    "half the drift": (Weights, "drift_since", half_the_drift),
    "changes go unnoticed": (Patience, "changed", nothing_at_all),
    "moves go unnoticed": (Patience, "move", nothing_at_all),
    "a quarter of the bands": (Floored, "leg_bands", one_leg),
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_each_rule_is_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DENSE_ROWS", 100)
    monkeypatch.setattr(screen_dense, "SHORTEST", 97)
    monkeypatch.setattr(screen_dense, "LONGEST", 97)
    owner, method, instead = SABOTAGE[name]
    monkeypatch.setattr(owner, method, instead)
    lives = [Life(1), Life(2), *(Life(seed, digits=4, dearest=900) for seed in range(4))]

    assert any(missed for life in lives for missed in lived(Screen(Floored()), life, 100))


def test_dust_costs_nothing_while_the_market_is_calm() -> None:
    """Each of them is healthy, and too little for a band that is the same for everybody."""
    screen = Screen(Floored())
    dust = {user: account({ASSETS[0]: 30_000}, {ASSETS[1]: 10_000}) for user in PEOPLE}
    unseen = {address(0xC0000 + n): account({}, {ASSETS[1]: 1}) for n in range(500)}
    screen.load(dust | unseen)  # 24 units against 10, and debts of less than a unit

    for growth in range(0, 200, 10):
        market = FakeMarket({ASSETS[0]: 1_000 - growth, ASSETS[1]: 1_000 + growth})
        market = FakeMarket({asset: price // 1_000 or 1 for asset, price in market.prices.items()})
        assert screen.candidates(screen.weigh(market, 0)) == []


def test_a_debt_that_does_not_count_is_looked_at_once_it_may() -> None:
    screen = Screen(Floored())
    screen.load({ALICE: account({}, {ASSETS[1]: 1}), BOB: account({ASSETS[0]: 9}, {ASSETS[0]: 1})})

    def found(price: int) -> list[Address]:
        market = FakeMarket({ASSETS[0]: 10**9, ASSETS[1]: price})
        return screen.candidates(screen.weigh(market, 0))

    assert [found(price) for price in (1, 500, 900)] == [[], [], []]
    assert found(FINE) == [ALICE]
    assert found(FINE * 9 // 10) == []
    bounds = {user: bound for bound, user in screen.ranking(screen.weigh(market_of(900), 0))}
    assert bounds[ALICE] == np.inf


def market_of(price: int) -> FakeMarket:
    return FakeMarket({ASSETS[0]: 10**9, ASSETS[1]: price})


def test_other_bands_make_everybody_be_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an upgrade of the pool."""
    screen, market = Screen(Floored()), FakeMarket({ASSETS[0]: FINE, ASSETS[1]: FINE})
    screen.load({ALICE: account({ASSETS[0]: 20}, {ASSETS[1]: 10})})
    assert screen.candidates(screen.weigh(market, 0)) == []

    monkeypatch.setattr(Floored, "leg_bands", lambda _self, _market: (5.0, 5.0))
    assert screen.candidates(screen.weigh(market, 0)) == [ALICE]


def test_collateral_that_leaves_float32_between_two_looks_is_seen() -> None:
    screen = Screen(Floored())
    screen.load({ALICE: account({ASSETS[0]: 10**20}, {ASSETS[1]: 1}), BOB: dull()})
    prices: Mapping[Address, int] = {ASSETS[0]: 10**14 * FINE, ASSETS[1]: FINE, ASSETS[2]: FINE}
    assert screen.candidates(screen.weigh(FakeMarket(prices), 0)) == []

    for doublings in range(1, 30):
        dearer = {**prices, ASSETS[0]: 2**doublings * prices[ASSETS[0]]}
        found = screen.candidates(screen.weigh(FakeMarket(dearer), 0))
        assert BOB not in found
        if 10**34 * 2**doublings > 2**127:
            assert found == [ALICE]


def dull() -> Account:
    return account({ASSETS[2]: 10**6}, {ASSETS[1]: 1_000})


@pytest.mark.parametrize("count", [0, 1, PAGE, PAGE + 1, 5 * PAGE + 7])
def test_pages_of_a_ranking_are_in_order_whoever_reads_how_far(count: int) -> None:
    rng = np.random.default_rng(count)
    bounds = rng.choice([-np.inf, np.inf, 1.0, *rng.random(500)], count).astype(np.float32)
    users = [Address(number.to_bytes(20, "big")) for number in range(count)]
    ranking = Ranking(bounds, users)

    first = [pair for pair, _ in zip(ranking, range(PAGE + 3), strict=False)]
    everybody = list(ranking)

    assert everybody[: len(first)] == first
    assert [bound for bound, _ in everybody] == sorted(bounds.tolist())
    assert sorted(user for _, user in everybody) == users
    assert list(ranking) == everybody


@pytest.mark.filterwarnings("error")
def test_prices_that_drift_further_than_a_float32_reaches_leave_everybody_in_doubt() -> None:
    screen = Screen(Floored())
    screen.load({ALICE: account({WETH: 5}, {USDC: 1})})
    cheap, dear = (FakeMarket({WETH: FINE, USDC: price}) for price in (1e-30, 1e12))  # type: ignore[dict-item]

    screen.candidates(screen.weigh(cheap, 0))

    assert set(screen.candidates(screen.weigh(dear, 0))) == {ALICE}
