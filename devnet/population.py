"""The first people of a pool: borrowers of every kind, and suppliers who do not borrow yet."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from devnet.actions import BANK, Actions, near
from devnet.market import Market
from devnet.node import Node, Transaction
from devnet.people import (
    BORROWERS_PER_LOT,
    BPS,
    RUINED,
    Basket,
    Newcomers,
    Population,
    deck,
    settle,
)
from devnet.reserves import EMODE_ETH, EMODE_LTV, EMODE_THRESHOLD, LATECOMER, Reserve

USD = 10**8
TRANSACTIONS_PER_BLOCK = 150
ISOLATED = "LINK"
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
PLAIN_COLLATERAL = ("WETH", "WETH", "USDC", "WBTC", "wstETH", "DAI", "EURS")
PLAIN_DEBT = ("USDC", "USDC", "DAI", "WETH", "WBTC", "EURS", "LINK")
STABLE = ("USDC", "DAI")


class Populator(Newcomers):
    """Builds the transactions of each kind of person. Prices are USD with 8 decimals."""

    room, closest, close = 9_985, 1.03, 1.08

    def __init__(self, market: Market, prices: dict[str, int], population: Population) -> None:
        super().__init__(population, random.Random(population.seed), prices)
        self._market = market
        self._act = Actions(market)

    @property
    def _reserves(self) -> dict[str, Reserve]:
        return {symbol: listing.reserve for symbol, listing in self._market.listings.items()}

    def unit(self, symbol: str) -> int:
        """Return one whole token in its smallest unit."""
        return self._reserves[symbol].unit

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
        return arrivals[kind](self.population.welcome(kind))

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
            worth = int(self.dollars() + 200) * USD
            amounts[symbol] = worth * reserve.unit // self.prices[symbol] + 1
            ltv, threshold = reserve.ltv, reserve.threshold
            if emode:
                ltv, threshold = EMODE_LTV, EMODE_THRESHOLD
            limit += worth * ltv // BPS
            bearing += worth * threshold // BPS
        return Basket(amounts, limit, bearing)

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
        basket = self.basket(self.some(PLAIN_COLLATERAL, 3))
        debts = self.debts(basket, self.some(PLAIN_DEBT, 2))
        return [*self._supplies(user, basket), *self._borrows(user, debts)]

    def _emode(self, user: str) -> list[Transaction]:
        members = [symbol for symbol, reserve in self._reserves.items() if reserve.emode]
        basket = self.basket(self.some(members, 2), emode=True)
        debts = self.debts(basket, ["WETH"])
        enter, supplies = self._act.set_emode(user, EMODE_ETH), self._supplies(user, basket)
        if all(self._reserves[symbol].ltv for symbol in basket.amounts):
            return [*supplies, enter, *self._borrows(user, debts)]
        return [enter, *supplies, *self._borrows(user, debts)]

    def _switched_off(self, user: str) -> list[Transaction]:
        kept, off = self.rng.sample(("WETH", "USDC", "WBTC", "DAI"), 2)
        basket, aside = self.basket([kept]), self.basket([off])
        debts = self.debts(basket, self.some(PLAIN_DEBT, 2))
        switch = self._act.use_as_collateral(user, off, enabled=False)
        supplies = [*self._supplies(user, basket), *self._supplies(user, aside)]
        return [*supplies, switch, *self._borrows(user, debts)]

    def _delegated(self, user: str) -> list[Transaction]:
        caller = self.population.newcomer()
        basket = self.basket(self.some(PLAIN_COLLATERAL, 2))
        debts = self.debts(basket, self.some(PLAIN_DEBT, 1))
        allowed = [self._act.delegate(user, *item, caller) for item in debts.items()]
        return [*self._supplies(user, basket), *allowed, *self._borrows(user, debts, caller)]

    def _received(self, user: str) -> list[Transaction]:
        giver = self.population.welcome("supplier")
        basket = self.basket([self.rng.choice(("WETH", "WBTC", "USDC"))])
        gifts = [self._act.transfer(giver, *item, user) for item in basket.amounts.items()]
        given = {symbol: 2 * amount for symbol, amount in basket.amounts.items()}
        supplies = [self._act.supply(giver, *item) for item in given.items()]
        debts = self.debts(basket, self.some(PLAIN_DEBT, 1))
        if not self._market.edition.enables_received:
            given_to = self._act.use_as_collateral
            gifts += [given_to(user, symbol, enabled=True) for symbol in basket.amounts]
        return [*supplies, *gifts, *self._borrows(user, debts)]

    def _isolated(self, user: str) -> list[Transaction]:
        basket = self.basket([ISOLATED])
        debts = self.debts(basket, self.some(STABLE, 2))
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
        return self._supplies(user, self.basket(self.some(PLAIN_COLLATERAL, 3)))


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
    lent = populator.lend(1 + borrowers // BORROWERS_PER_LOT)
    settle(node, [lent], population, enough=TRANSACTIONS_PER_BLOCK)
    kinds = deck(SHARES, borrowers, populator.rng)
    settle(node, map(populator.arrive, kinds), population, enough=TRANSACTIONS_PER_BLOCK)
    return population
