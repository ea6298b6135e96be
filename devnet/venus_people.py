"""The first people of the core pool: borrowers of every kind, and suppliers."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from devnet.actions import near, person
from devnet.node import Node, Transaction
from devnet.venus_actions import BANK, VenusActions
from devnet.venus_market import POOL_LIMITS, STABLE_POOL, STRICT_POOL, WAD, Asset, VenusMarket

TRANSACTIONS_PER_BLOCK = 400
BORROWERS_PER_LOT = 500  # for so many, the bank lends another lot of everything
# Of a hundred borrowers, so many are of each kind; every kind has at least one.
SHARES = {
    "plain": 46,
    "stable_pool": 12,
    "strict_pool": 6,
    "aside": 10,
    "same_asset": 6,
    "received": 8,
    "delegated": 8,
    "dust": 4,
}
BORROWERS_PER_SUPPLIER = 12  # one more person who does not borrow yet, for this many who do
COLLATERAL = ("WETH", "WETH", "USDC", "WBTC", "DAI", "CARDS")
DEBT = ("USDC", "USDC", "DAI", "WETH", "WBTC", "CARDS")
STABLES = ("USDC", "DAI")
POOL_MEMBERS = {STABLE_POOL: ("USDC", "DAI"), STRICT_POOL: ("WETH", "USDC")}
ROOM = 9_990  # how much of what may be borrowed is used at most, basis points
BPS = 10_000


@dataclass
class VenusPopulation:
    """Who lives on the stage, by kind; `next_person` numbers the newcomers."""

    seed: int
    people: dict[str, list[str]] = field(default_factory=dict)
    next_person: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def everyone(self) -> list[str]:
        """All of them, by kind."""
        return [user for users in self.people.values() for user in users]

    def newcomer(self) -> str:
        """Return the address of someone who has never been here (but may know another market)."""
        self.next_person += 1
        return person(self.seed, self.next_person)

    def welcome(self, kind: str) -> str:
        """Return a newcomer and remember him as one of `kind`."""
        user = self.newcomer()
        self.people.setdefault(kind, []).append(user)
        return user


@dataclass(frozen=True, slots=True)
class Basket:
    """What someone supplies: amounts by symbol, with what they allow and bear, dollars in WAD."""

    amounts: dict[str, int]
    power: int  # what may be borrowed
    bearing: int  # what may be owed before liquidation


class VenusArrivals:
    """Builds all that one new person does. Prices are dollars per whole token, mantissas."""

    def __init__(
        self, market: VenusMarket, population: VenusPopulation, rng: random.Random
    ) -> None:
        self._market = market
        self._population = population
        self._act = VenusActions(market)
        self._rng = rng
        self.prices: dict[str, int] = {}

    def arrive(self, kind: str) -> list[Transaction]:
        """Return what one new person of this kind does, in order."""
        arrivals: dict[str, Callable[[str], list[Transaction]]] = {
            "plain": self._plain,
            "stable_pool": self._stable_pool,
            "strict_pool": self._strict_pool,
            "aside": self._aside,
            "same_asset": self._same_asset,
            "received": self._received,
            "delegated": self._delegated,
            "dust": self._dust,
            "supplier": self._supplier,
        }
        return arrivals[kind](self._population.welcome(kind))

    def basket(self, symbols: Sequence[str], pool: int = 0) -> Basket:
        """Choose amounts of these assets, worth a few hundred to some hundred thousand dollars."""
        amounts, power, bearing = {}, 0, 0
        for symbol in symbols:
            asset = self._asset(symbol)
            dollars = int(min(self._rng.lognormvariate(9.6, 1.1), 400_000)) + 200
            amounts[symbol] = self.amount(symbol, dollars * WAD)
            worth = amounts[symbol] * self.prices[symbol] // asset.unit
            factor, threshold = asset.factor, asset.threshold
            if symbol in POOL_MEMBERS.get(pool, ()):
                factor, threshold = POOL_LIMITS
            power += worth * factor // 100
            bearing += worth * threshold // 100
        return Basket(amounts, power, bearing)

    def amount(self, symbol: str, worth: int) -> int:
        """Return the smallest units that are worth about so much (dollars, WAD), at least one."""
        return worth * self._asset(symbol).unit // self.prices[symbol] + 1

    def debts(self, basket: Basket, symbols: Sequence[str]) -> dict[str, int]:
        """Choose debts in these assets: a third of all people stay close to the limit."""
        choice = self._rng.random()
        low, high = ((1.01, 1.06), (1.06, 1.5), (1.5, 3.0))[(choice > 0.35) + (choice > 0.8)]
        health = int(self._rng.uniform(low, high) * BPS)
        owed = min(basket.bearing * BPS // health, basket.power * ROOM // BPS)
        shares = self._shares(len(symbols))
        return {
            symbol: owed * share // BPS * self._asset(symbol).unit // self.prices[symbol]
            for symbol, share in zip(symbols, shares, strict=True)
        }

    def _asset(self, symbol: str) -> Asset:
        return self._market.listings[symbol].asset

    def _shares(self, parts: int) -> list[int]:
        cuts = sorted(self._rng.randint(1500, 8500) for _ in range(parts - 1))
        edges = [0, *cuts, BPS]
        return [after - before for before, after in itertools.pairwise(edges)]

    def _some(self, choices: Sequence[str], most: int) -> list[str]:
        distinct = list(dict.fromkeys(self._rng.sample(choices, len(choices))))
        return distinct[: self._rng.randint(1, most)]

    def _opens(self, user: str, basket: Basket) -> list[Transaction]:
        supplies = [self._act.mint_behalf(user, *item) for item in basket.amounts.items()]
        return [*supplies, self._act.enter(user, list(basket.amounts))]

    def _borrows(self, user: str, debts: dict[str, int]) -> list[Transaction]:
        return [self._act.borrow(user, *item) for item in debts.items() if item[1]]

    def _plain(self, user: str) -> list[Transaction]:
        basket = self.basket(self._some(COLLATERAL, 3))
        debts = self.debts(basket, self._some(DEBT, 2))
        return [*self._opens(user, basket), *self._borrows(user, debts)]

    def _stable_pool(self, user: str) -> list[Transaction]:
        basket = self.basket(self._some(("USDC", "DAI", "WETH"), 3), STABLE_POOL)
        return self._pooled(user, STABLE_POOL, basket, self._some(STABLES, 2))

    def _strict_pool(self, user: str) -> list[Transaction]:
        # WBTC is no member: what is supplied of it counts for nothing in this pool.
        basket = self.basket(self._some(POOL_MEMBERS[STRICT_POOL], 2), STRICT_POOL)
        extra = self._act.mint_behalf(user, "WBTC", self.amount("WBTC", 900 * WAD))
        useless = [extra, self._act.enter(user, ["WBTC"])]
        return [*useless, *self._pooled(user, STRICT_POOL, basket, ["USDC"])]

    def _pooled(
        self, user: str, pool: int, basket: Basket, symbols: Sequence[str]
    ) -> list[Transaction]:
        debts = self.debts(basket, symbols)
        chosen = self._act.choose_pool(user, pool)
        return [*self._opens(user, basket), chosen, *self._borrows(user, debts)]

    def _aside(self, user: str) -> list[Transaction]:
        kept, other = self._rng.sample(("WETH", "USDC", "WBTC", "DAI"), 2)
        aside, basket = self.basket([other]), self.basket([kept])
        supplies = [self._act.mint_behalf(user, *item) for item in aside.amounts.items()]
        # A debt in the market set aside would enter it, and its collateral would count.
        debts = self.debts(basket, self._some([one for one in DEBT if one != other], 1))
        return [*supplies, *self._opens(user, basket), *self._borrows(user, debts)]

    def _same_asset(self, user: str) -> list[Transaction]:
        symbol = self._rng.choice(COLLATERAL)
        basket = self.basket([symbol])
        debts = self.debts(basket, [symbol])
        return [*self._opens(user, basket), *self._borrows(user, debts)]

    def _received(self, user: str) -> list[Transaction]:
        giver = self._population.welcome("supplier")
        symbol = self._rng.choice(("WETH", "WBTC", "USDC"))
        basket = self.basket([symbol])
        amount, asset = basket.amounts[symbol], self._asset(symbol)
        tokens = amount * WAD // asset.first_rate
        return [
            self._act.mint_behalf(giver, symbol, 2 * amount),
            self._act.transfer(giver, symbol, tokens, user),
            self._act.enter(user, [symbol]),
            *self._borrows(user, self.debts(basket, self._some(DEBT, 1))),
        ]

    def _delegated(self, user: str) -> list[Transaction]:
        caller = self._population.newcomer()
        basket = self.basket(self._some(COLLATERAL, 2))
        debts = self.debts(basket, self._some(DEBT, 1))
        lent = [
            one
            for symbol, amount in debts.items()
            if amount
            for one in self._act.borrow_behalf(user, symbol, amount, caller)
        ]
        return [*self._opens(user, basket), *lent]

    def _dust(self, user: str) -> list[Transaction]:
        supply = self._act.mint_behalf(user, "WETH", near(self._rng, 1e-5, 4e-5, 10**18))
        symbol, amount = self._rng.choice((("DAI", 1), ("USDC", 7), ("WBTC", 1), ("USDC", 1)))
        entered = self._act.enter(user, ["WETH"])
        return [supply, entered, self._act.borrow(user, symbol, amount)]

    def _supplier(self, user: str) -> list[Transaction]:
        return self._opens(user, self.basket(self._some(COLLATERAL, 3)))


def populate(node: Node, market: VenusMarket, *, seed: int, borrowers: int) -> VenusPopulation:
    """
    Bring `borrowers` people with debt to a fresh pool (8 or more), and some suppliers.

    Raises:
        Reverted: Something did not work out as the limits of the pool say it must.
    """
    population = VenusPopulation(seed)
    rng = random.Random(seed)
    arrivals = VenusArrivals(market, population, rng)
    arrivals.prices = {symbol: one.asset.price for symbol, one in market.listings.items()}
    actions = VenusActions(market)
    for listing in market.listings.values():
        actions.open_purses(node, listing)
    for lent in lend(market, 1 + borrowers // BORROWERS_PER_LOT):
        node.send(lent)
    node.settle()
    pending: list[Transaction] = []
    for kind in deck(borrowers, rng):
        pending += arrivals.arrive(kind)
        if len(pending) >= TRANSACTIONS_PER_BLOCK:
            _settle(node, pending, population)
            pending = []
    _settle(node, pending, population)
    return population


def lend(market: VenusMarket, times: int) -> list[Transaction]:
    """Return the bank's own supplies, out of which everyone borrows."""
    actions = VenusActions(market)
    return [
        actions.mint_behalf(BANK, symbol, times * one.asset.liquidity * one.asset.unit, "setup")
        for symbol, one in market.listings.items()
    ]


def deck(borrowers: int, rng: random.Random) -> list[str]:
    """Return one kind per person, in random order: `borrowers` by shares, and some suppliers."""
    total = sum(SHARES.values())
    kinds = [k for k, share in SHARES.items() for _ in range(max(1, borrowers * share // total))]
    kinds += ["plain"] * (borrowers - len(kinds))
    kinds += ["supplier"] * (1 + borrowers // BORROWERS_PER_SUPPLIER)
    rng.shuffle(kinds)
    return kinds


def _settle(node: Node, transactions: Sequence[Transaction], population: VenusPopulation) -> None:
    for transaction in transactions:
        node.send(transaction)
        population.counts[transaction.kind] += 1
    node.settle()
