"""The first people of a stage: borrowers of every kind, and suppliers who do not borrow yet."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from devnet.actions import BANK, Actions, near, person
from devnet.market import Market
from devnet.node import Node, Transaction
from devnet.reserves import EMODE_ETH, EMODE_LTV, EMODE_THRESHOLD, LATECOMER, Reserve

BPS = 10_000
USD = 10**8
ROOM = 9_985  # how much of the LTV limit is used at most, basis points
TRANSACTIONS_PER_BLOCK = 150
BORROWERS_PER_LOT = 500  # for so many, the bank lends another lot of every reserve
ISOLATED = "LINK"
RUINED = "ruined"  # staked everything on one asset, which then collapsed
# Of a hundred borrowers, so many are of each kind; every kind has at least one.
SHARES = {
    "plain": 56,
    "emode": 12,
    "switched_off": 8,
    "delegated": 8,
    "received": 6,
    "isolated": 6,
    "dust": 4,
}
BORROWERS_PER_SUPPLIER = 12  # one more person who does not borrow yet, for this many who do
PLAIN_COLLATERAL = ("WETH", "WETH", "USDC", "WBTC", "wstETH", "DAI", "EURS")
PLAIN_DEBT = ("USDC", "USDC", "DAI", "WETH", "WBTC", "EURS", "LINK")
STABLE = ("USDC", "DAI")


@dataclass
class Population:
    """Who lives on the stage, by kind; `next_person` numbers the newcomers."""

    seed: int
    people: dict[str, list[str]] = field(default_factory=dict)
    next_person: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def everyone(self) -> list[str]:
        """All of them by kind, but the ruined, to whom nothing shall happen by chance."""
        kinds = ((kind, users) for kind, users in self.people.items() if kind != RUINED)
        return [user for _, users in kinds for user in users]

    def newcomer(self) -> str:
        """Return the address of someone who has never been here."""
        self.next_person += 1
        return person(self.seed, self.next_person)

    def welcome(self, kind: str) -> str:
        """Return a newcomer and remember him as one of `kind`."""
        user = self.newcomer()
        self.people.setdefault(kind, []).append(user)
        return user


@dataclass(frozen=True, slots=True)
class Basket:
    """What someone supplies: amounts per symbol, with what they allow and bear in USD."""

    amounts: dict[str, int]
    limit: int  # what may be borrowed
    bearing: int  # what may be owed before liquidation


class Populator:
    """Builds the transactions of each kind of person. Prices are USD with 8 decimals."""

    def __init__(self, market: Market, prices: dict[str, int], population: Population) -> None:
        self._market = market
        self.prices = prices
        self._population = population
        self._act = Actions(market)
        self.rng = random.Random(population.seed)

    @property
    def _reserves(self) -> dict[str, Reserve]:
        return {symbol: listing.reserve for symbol, listing in self._market.listings.items()}

    def arrive(self, kind: str) -> list[Transaction]:
        """Return all that one new person of this kind does, in order."""
        arrivals: dict[str, Callable[[str], list[Transaction]]] = {
            "plain": self._plain,
            "emode": self._emode,
            "switched_off": self._switched_off,
            "delegated": self._delegated,
            "received": self._received,
            "isolated": self._isolated,
            "dust": self._dust,
            "supplier": self._supplier,
            RUINED: self._ruined,
        }
        return arrivals[kind](self._population.welcome(kind))

    def lend(self, times: int) -> list[Transaction]:
        """Return the bank's own supplies, out of which everyone borrows."""
        return [
            self._act.supply(BANK, symbol, times * reserve.liquidity * reserve.unit)
            for symbol, reserve in self._reserves.items()
            if not reserve.dormant
        ]

    def basket(self, symbols: Sequence[str], *, emode: bool = False) -> Basket:
        """Choose amounts of these assets, worth a few hundred to some hundred thousand USD."""
        amounts, limit, bearing = {}, 0, 0
        for symbol in symbols:
            reserve = self._reserves[symbol]
            worth = int(min(self.rng.lognormvariate(9.6, 1.1), 400_000) + 200) * USD
            amounts[symbol] = worth * reserve.unit // self.prices[symbol] + 1
            ltv, threshold = reserve.ltv, reserve.threshold
            if emode:
                ltv, threshold = EMODE_LTV, EMODE_THRESHOLD
            limit += worth * ltv // BPS
            bearing += worth * threshold // BPS
        return Basket(amounts, limit, bearing)

    def debts(self, basket: Basket, symbols: Sequence[str]) -> dict[str, int]:
        """Choose debts in these assets: a third of all people stay close to the limit."""
        choice = self.rng.random()
        low, high = ((1.03, 1.08), (1.08, 1.5), (1.5, 3.0))[(choice > 0.35) + (choice > 0.8)]
        health = int(self.rng.uniform(low, high) * BPS)
        owed = min(basket.bearing * BPS // health, basket.limit * ROOM // BPS)
        shares = self._shares(len(symbols))
        return {
            symbol: owed * share // BPS * self._reserves[symbol].unit // self.prices[symbol]
            for symbol, share in zip(symbols, shares, strict=True)
        }

    def _shares(self, parts: int) -> list[int]:
        cuts = sorted(self.rng.randint(1500, 8500) for _ in range(parts - 1))
        edges = [0, *cuts, BPS]
        return [after - before for before, after in itertools.pairwise(edges)]

    def _some(self, choices: Sequence[str], most: int) -> list[str]:
        distinct = list(dict.fromkeys(self.rng.sample(choices, len(choices))))
        return distinct[: self.rng.randint(1, most)]

    def _supplies(self, user: str, basket: Basket) -> list[Transaction]:
        return [self._act.supply(user, *item) for item in basket.amounts.items()]

    def _borrows(self, user: str, debts: dict[str, int], caller: str = "") -> list[Transaction]:
        kind = "delegated_borrow" if caller else "borrow"
        return [
            self._act.borrow(user, symbol, amount, kind, caller)
            for symbol, amount in debts.items()
            if amount
        ]

    def _plain(self, user: str) -> list[Transaction]:
        basket = self.basket(self._some(PLAIN_COLLATERAL, 3))
        debts = self.debts(basket, self._some(PLAIN_DEBT, 2))
        return [*self._supplies(user, basket), *self._borrows(user, debts)]

    def _emode(self, user: str) -> list[Transaction]:
        members = [symbol for symbol, reserve in self._reserves.items() if reserve.emode]
        basket = self.basket(self._some(members, 2), emode=True)
        debts = self.debts(basket, ["WETH"])
        enter, supplies = self._act.set_emode(user, EMODE_ETH), self._supplies(user, basket)
        if all(self._reserves[symbol].ltv for symbol in basket.amounts):
            return [*supplies, enter, *self._borrows(user, debts)]
        return [enter, *supplies, *self._borrows(user, debts)]

    def _switched_off(self, user: str) -> list[Transaction]:
        kept, off = self.rng.sample(("WETH", "USDC", "WBTC", "DAI"), 2)
        basket, aside = self.basket([kept]), self.basket([off])
        debts = self.debts(basket, self._some(PLAIN_DEBT, 2))
        switch = self._act.use_as_collateral(user, off, enabled=False)
        supplies = [*self._supplies(user, basket), *self._supplies(user, aside)]
        return [*supplies, switch, *self._borrows(user, debts)]

    def _delegated(self, user: str) -> list[Transaction]:
        caller = self._population.newcomer()
        basket = self.basket(self._some(PLAIN_COLLATERAL, 2))
        debts = self.debts(basket, self._some(PLAIN_DEBT, 1))
        allowed = [self._act.delegate(user, *item, caller) for item in debts.items()]
        return [*self._supplies(user, basket), *allowed, *self._borrows(user, debts, caller)]

    def _received(self, user: str) -> list[Transaction]:
        giver = self._population.welcome("supplier")
        basket = self.basket([self.rng.choice(("WETH", "WBTC", "USDC"))])
        gifts = [self._act.transfer(giver, *item, user) for item in basket.amounts.items()]
        given = {symbol: 2 * amount for symbol, amount in basket.amounts.items()}
        supplies = [self._act.supply(giver, *item) for item in given.items()]
        debts = self.debts(basket, self._some(PLAIN_DEBT, 1))
        if not self._market.edition.enables_received:
            given_to = self._act.use_as_collateral
            gifts += [given_to(user, symbol, enabled=True) for symbol in basket.amounts]
        return [*supplies, *gifts, *self._borrows(user, debts)]

    def _isolated(self, user: str) -> list[Transaction]:
        basket = self.basket([ISOLATED])
        debts = self.debts(basket, self._some(STABLE, 2))
        enable = self._act.use_as_collateral(user, ISOLATED, enabled=True)
        return [*self._supplies(user, basket), enable, *self._borrows(user, debts)]

    def _dust(self, user: str) -> list[Transaction]:
        supply = self._act.supply(user, "WETH", near(self.rng, 1e-5, 4e-5, 10**18))
        symbol, amount = self.rng.choice((("DAI", 1), ("USDC", 7), ("EURS", 1), ("USDC", 1)))
        return [supply, self._act.borrow(user, symbol, amount)]

    def _ruined(self, user: str) -> list[Transaction]:
        basket = self.basket([LATECOMER.symbol])
        owed = basket.limit * 9 // 10
        shares = zip(("USDC", "DAI"), (owed * 8 // 10, owed * 2 // 10), strict=True)
        debts = {
            symbol: part * self._reserves[symbol].unit // self.prices[symbol]
            for symbol, part in shares
        }
        return [*self._supplies(user, basket), *self._borrows(user, debts)]

    def _supplier(self, user: str) -> list[Transaction]:
        return self._supplies(user, self.basket(self._some(PLAIN_COLLATERAL, 3)))


def populate(node: Node, market: Market, *, seed: int, borrowers: int) -> Population:
    """
    Bring `borrowers` people with debt onto a fresh market (7 or more), and some suppliers.

    Raises:
        Reverted: Something did not work out as the limits of the market say it must.
    """
    population = Population(seed)
    tokens = {symbol: one.token.address for symbol, one in market.listings.items()}
    answers = node.read(market.oracle, "getAssetsPrices", list(tokens.values()))
    prices = dict(zip(tokens, answers, strict=True))
    populator = Populator(market, prices, population)
    Actions(market).open_purses(node)
    node.settle()
    _settle(node, populator.lend(1 + borrowers // BORROWERS_PER_LOT), population)
    pending: list[Transaction] = []
    for kind in deck(borrowers, populator.rng):
        pending += populator.arrive(kind)
        if len(pending) >= TRANSACTIONS_PER_BLOCK:
            _settle(node, pending, population)
            pending = []
    _settle(node, pending, population)
    return population


def deck(borrowers: int, rng: random.Random) -> list[str]:
    """Return one kind per person, in random order: `borrowers` by shares, and some suppliers."""
    total = sum(SHARES.values())
    kinds = [k for k, share in SHARES.items() for _ in range(max(1, borrowers * share // total))]
    kinds += ["plain"] * (borrowers - len(kinds))
    kinds += ["supplier"] * (1 + borrowers // BORROWERS_PER_SUPPLIER)
    rng.shuffle(kinds)
    return kinds


def _settle(node: Node, transactions: Sequence[Transaction], population: Population) -> None:
    for transaction in transactions:
        node.send(transaction)
        population.counts[transaction.kind] += 1
    node.settle()
