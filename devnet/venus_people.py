"""The first people of the core pool: borrowers of every kind, and suppliers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from devnet.actions import near
from devnet.node import Node, Transaction
from devnet.people import BORROWERS_PER_LOT, Basket, Newcomers, Population, deck, settle
from devnet.venus_actions import BANK, VenusActions
from devnet.venus_market import POOL_LIMITS, STABLE_POOL, STRICT_POOL, WAD, Asset, VenusMarket

TRANSACTIONS_PER_BLOCK = 400
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
COLLATERAL = ("WETH", "WETH", "USDC", "WBTC", "DAI", "CARDS")
DEBT = ("USDC", "USDC", "DAI", "WETH", "WBTC", "CARDS")
STABLES = ("USDC", "DAI")
POOL_MEMBERS = {STABLE_POOL: ("USDC", "DAI"), STRICT_POOL: ("WETH", "USDC")}


class VenusArrivals(Newcomers):
    """Builds all that one new person does. Prices are dollars per whole token, mantissas."""

    room, closest, close = 9_990, 1.01, 1.06

    def __init__(self, market: VenusMarket, population: Population, rng: random.Random) -> None:
        super().__init__(population, rng, {})
        self._market = market
        self._act = VenusActions(market)

    def unit(self, symbol: str) -> int:
        """Return one whole token in its smallest unit."""
        return self._asset(symbol).unit

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
        return arrivals[kind](self.population.welcome(kind))

    def basket(self, symbols: Sequence[str], pool: int = 0) -> Basket:
        """Choose amounts of these assets, worth a few hundred to some hundred thousand dollars."""
        amounts, limit, bearing = {}, 0, 0
        for symbol in symbols:
            asset = self._asset(symbol)
            dollars = int(self.dollars()) + 200
            amounts[symbol] = self.amount(symbol, dollars * WAD)
            worth = amounts[symbol] * self.prices[symbol] // asset.unit
            factor, threshold = asset.factor, asset.threshold
            if symbol in POOL_MEMBERS.get(pool, ()):
                factor, threshold = POOL_LIMITS
            limit += worth * factor // 100
            bearing += worth * threshold // 100
        return Basket(amounts, limit, bearing)

    def amount(self, symbol: str, worth: int) -> int:
        """Return the smallest units that are worth about so much (dollars, WAD), at least one."""
        return worth * self._asset(symbol).unit // self.prices[symbol] + 1

    def _asset(self, symbol: str) -> Asset:
        return self._market.listings[symbol].asset

    def _opens(self, user: str, basket: Basket) -> list[Transaction]:
        supplies = [self._act.mint_behalf(user, *item) for item in basket.amounts.items()]
        return [*supplies, self._act.enter(user, list(basket.amounts))]

    def _borrows(self, user: str, debts: dict[str, int]) -> list[Transaction]:
        return [self._act.borrow(user, *item) for item in debts.items() if item[1]]

    def _plain(self, user: str) -> list[Transaction]:
        basket = self.basket(self.some(COLLATERAL, 3))
        debts = self.debts(basket, self.some(DEBT, 2))
        return [*self._opens(user, basket), *self._borrows(user, debts)]

    def _stable_pool(self, user: str) -> list[Transaction]:
        basket = self.basket(self.some(("USDC", "DAI", "WETH"), 3), STABLE_POOL)
        return self._pooled(user, STABLE_POOL, basket, self.some(STABLES, 2))

    def _strict_pool(self, user: str) -> list[Transaction]:
        # WBTC is no member: what is supplied of it counts for nothing in this pool.
        basket = self.basket(self.some(POOL_MEMBERS[STRICT_POOL], 2), STRICT_POOL)
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
        kept, other = self.rng.sample(("WETH", "USDC", "WBTC", "DAI"), 2)
        aside, basket = self.basket([other]), self.basket([kept])
        supplies = [self._act.mint_behalf(user, *item) for item in aside.amounts.items()]
        # A debt in the market set aside would enter it, and its collateral would count.
        debts = self.debts(basket, self.some([one for one in DEBT if one != other], 1))
        return [*supplies, *self._opens(user, basket), *self._borrows(user, debts)]

    def _same_asset(self, user: str) -> list[Transaction]:
        symbol = self.rng.choice(COLLATERAL)
        basket = self.basket([symbol])
        debts = self.debts(basket, [symbol])
        return [*self._opens(user, basket), *self._borrows(user, debts)]

    def _received(self, user: str) -> list[Transaction]:
        giver = self.population.welcome("supplier")
        symbol = self.rng.choice(("WETH", "WBTC", "USDC"))
        basket = self.basket([symbol])
        amount, asset = basket.amounts[symbol], self._asset(symbol)
        tokens = amount * WAD // asset.first_rate
        return [
            self._act.mint_behalf(giver, symbol, 2 * amount),
            self._act.transfer(giver, symbol, tokens, user),
            self._act.enter(user, [symbol]),
            *self._borrows(user, self.debts(basket, self.some(DEBT, 1))),
        ]

    def _delegated(self, user: str) -> list[Transaction]:
        caller = self.population.newcomer()
        basket = self.basket(self.some(COLLATERAL, 2))
        debts = self.debts(basket, self.some(DEBT, 1))
        lent = [
            one
            for symbol, amount in debts.items()
            if amount
            for one in self._act.borrow_behalf(user, symbol, amount, caller)
        ]
        return [*self._opens(user, basket), *lent]

    def _dust(self, user: str) -> list[Transaction]:
        supply = self._act.mint_behalf(user, "WETH", near(self.rng, 1e-5, 4e-5, 10**18))
        symbol, amount = self.rng.choice((("DAI", 1), ("USDC", 7), ("WBTC", 1), ("USDC", 1)))
        entered = self._act.enter(user, ["WETH"])
        return [supply, entered, self._act.borrow(user, symbol, amount)]

    def _supplier(self, user: str) -> list[Transaction]:
        return self._opens(user, self.basket(self.some(COLLATERAL, 3)))


def populate(node: Node, market: VenusMarket, *, seed: int, borrowers: int) -> Population:
    """
    Bring `borrowers` people with debt to a fresh pool (8 or more), and some suppliers.

    Raises:
        Reverted: Something did not work out as the limits of the pool say it must.
    """
    population = Population(seed)
    rng = random.Random(seed)
    arrivals = VenusArrivals(market, population, rng)
    arrivals.prices = {symbol: one.asset.price for symbol, one in market.listings.items()}
    actions = VenusActions(market)
    for listing in market.listings.values():
        actions.open_purses(node, listing)
    lent = lend(market, 1 + borrowers // BORROWERS_PER_LOT)
    for supply in lent:
        node.send(supply)
    node.settle()
    kinds = deck(SHARES, borrowers, rng)
    settle(node, map(arrivals.arrive, kinds), population, enough=TRANSACTIONS_PER_BLOCK)
    return population


def lend(market: VenusMarket, times: int) -> list[Transaction]:
    """Return the bank's own supplies, out of which everyone borrows."""
    actions = VenusActions(market)
    return [
        actions.mint_behalf(BANK, symbol, times * one.asset.liquidity * one.asset.unit, "setup")
        for symbol, one in market.listings.items()
    ]
