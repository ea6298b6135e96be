"""What may happen to people in one block of a life, each as transactions ready to send."""

from __future__ import annotations

import random
from collections.abc import Iterable

from devnet.actions import MAX, Actions, near
from devnet.market import Market
from devnet.node import Node, Transaction
from devnet.people import RUINED, Population
from devnet.population import PLAIN_COLLATERAL, PLAIN_DEBT, STABLE, Populator
from devnet.reserves import EMODE_ETH, EMODE_ONLY, LATECOMER
from devnet.truth import WAD, AccountData, Holding, Truth, health_of

CALM = WAD * 13 // 10  # health factor above which someone may take on more risk
DORMANT = "cbETH"  # the reserve that becomes usable only when somebody wakes it
# An isolated asset beside another collateral cannot be switched on, nor one without a threshold.
NEVER_ON = {"LINK", EMODE_ONLY.symbol}
SAMPLE = 6  # people looked at to find one to whom a thing can happen


class Someone:
    """A person as the chain has him at the head."""

    def __init__(
        self, user: str, account: AccountData, holdings: dict[str, Holding], emode: int
    ) -> None:
        self.user = user
        self.emode = emode
        self.available = account.available_borrows
        self.health = health_of(account)
        self.supplied = {s: h.supplied for s, h in holdings.items() if h.supplied}
        self.owed = {s: h.owed for s, h in holdings.items() if h.owed}
        self.collateral = [s for s, h in holdings.items() if h.supplied and h.is_collateral]
        self.idle = [s for s, h in holdings.items() if h.supplied and not h.is_collateral]

    @property
    def calm(self) -> bool:
        """Far from liquidation, or without debt at all."""
        return self.health is None or self.health > CALM

    @property
    def isolated(self) -> bool:
        """Borrows against an isolated asset."""
        return self.collateral == ["LINK"]


class Happenings:
    """Finds people to whom a thing can happen. An empty list: to nobody in the sample."""

    def __init__(
        self, node: Node, market: Market, population: Population, rng: random.Random
    ) -> None:
        self._node = node
        self._market = market
        self._population = population
        self._rng = rng
        self._truth = Truth(node, market)
        self._act = Actions(market)
        self._populator = Populator(market, {}, population)
        self._populator.rng = rng
        self.closed: list[str] = []
        self.prices: dict[str, int] = {}
        self.awake = False

    def refresh(self) -> None:
        """Read the prices of the head, by which amounts are chosen."""
        tokens = {symbol: one.token.address for symbol, one in self._market.listings.items()}
        answers = self._node.read(self._market.oracle, "getAssetsPrices", list(tokens.values()))
        self.prices.update(zip(tokens, answers, strict=True))
        self._populator.prices = self.prices

    # -- what people do of their own accord ------------------------------------------------------

    def supply(self) -> list[Transaction]:
        """Add to a position, out of one's own pocket."""
        user = self._rng.choice(self._population.everyone)
        choices = (*PLAIN_COLLATERAL, "LINK", DORMANT, EMODE_ONLY.symbol, *2 * [LATECOMER.symbol])
        symbol = self._rng.choice(self._listed(choices))
        amount = self._worth(symbol, 100, 5_000)
        own = [self._act.mint(user, symbol, amount), self._act.approve(user, symbol)]
        return [*own, self._act.supply(user, symbol, amount, payer=user)]

    def withdraw(self) -> list[Transaction]:
        """Take a little out."""
        for one in self._sample():
            if one.calm and one.supplied:
                symbol, amount = self._rng.choice(list(one.supplied.items()))
                part = near(self._rng, 0.01, 0.12, amount)
                return [self._act.withdraw(one.user, symbol, part)] if part else []
        return []

    def borrow(self) -> list[Transaction]:
        """Draw more debt."""
        for one in self._sample():
            if one.owed and one.calm and one.available > 10**9:
                symbol, amount = self._draw(one)
                return [self._act.borrow(one.user, symbol, amount)]
        return []

    def first_borrow(self) -> list[Transaction]:
        """Someone who has only ever supplied borrows for the first time."""
        for one in self._sample(self._population.people.get("supplier", [])):
            if not one.owed and one.available > 10**9:
                symbol, amount = self._draw(one)
                return [self._act.borrow(one.user, symbol, amount, "first_borrow")]
        return []

    def delegated_borrow(self) -> list[Transaction]:
        """Someone else takes the money, the delegator owes."""
        for one in self._sample():
            if one.calm and one.available > 10**9:
                symbol, amount = self._draw(one)
                caller = self._population.newcomer()
                allowed = self._act.delegate(one.user, symbol, amount, caller)
                kind = "delegated_borrow"
                return [allowed, self._act.borrow(one.user, symbol, amount, kind, caller)]
        return []

    def repay(self) -> list[Transaction]:
        """Pay back a part, or all of one debt."""
        for one in self._sample():
            if one.owed:
                symbol, owed = self._rng.choice(list(one.owed.items()))
                return [self._act.repay(one.user, symbol, near(self._rng, 0.05, 1.1, owed) + 1)]
        return []

    def repay_with_a_tokens(self) -> list[Transaction]:
        """Supply what one owes, then pay with the aTokens."""
        for one in self._sample():
            if one.owed:
                symbol, owed = self._rng.choice(list(one.owed.items()))
                part = near(self._rng, 0.1, 0.6, owed) + 1
                own = self._act.supply(one.user, symbol, 2 * part, "setup")
                return [own, self._act.repay_with_a_tokens(one.user, symbol, part)]
        return []

    def set_emode(self) -> list[Transaction]:
        """Enter the efficiency mode, or leave it."""
        for one in self._sample():
            if one.emode and one.calm:
                return [self._act.set_emode(one.user, 0)]
            if not one.emode and set(one.owed) <= {"WETH", "wstETH"} and not one.isolated:
                return [self._act.set_emode(one.user, EMODE_ETH)]
        return []

    def toggle_collateral(self) -> list[Transaction]:
        """Switch an asset off where it is not needed, or on where it is not used."""
        for one in self._sample():
            usable = [symbol for symbol in one.idle if symbol not in self._useless]
            if usable and not one.isolated:
                return [self._act.use_as_collateral(one.user, usable[0], enabled=True)]
            if len(one.collateral) > 1 and one.calm:
                least = min(one.collateral, key=lambda symbol: self._value(symbol, one.supplied))
                return [self._act.use_as_collateral(one.user, least, enabled=False)]
        return []

    def transfer_a_tokens(self) -> list[Transaction]:
        """Give a part away, to someone new or to someone who is here already."""
        for one in self._sample():
            if one.calm and one.supplied:
                symbol, amount = self._rng.choice(list(one.supplied.items()))
                known = self._rng.choice(self._population.everyone)
                fresh = self._rng.random() < 0.5 or known == one.user
                to = self._population.welcome("received") if fresh else known
                part = near(self._rng, 0.02, 0.15, amount)
                return [self._act.transfer(one.user, symbol, part, to)] if part else []
        return []

    # -- coming and going ------------------------------------------------------------------------

    def newcomer(self) -> list[Transaction]:
        """Someone nobody has seen before supplies and borrows."""
        kind = self._rng.choice(("plain", "plain", "emode", "isolated", "delegated", "dust"))
        return [
            Transaction(t.sender, t.to, t.data, "newcomer" if "borrow" in t.kind else "setup")
            for t in self._populator.arrive(kind)
        ]

    def ruin(self) -> list[Transaction]:
        """Someone stakes everything on the reserve whose price is about to collapse."""
        return self._populator.arrive(RUINED)

    def close(self) -> list[Transaction]:
        """Repay everything and leave."""
        for one in self._sample():
            if one.owed and one.supplied:
                self.closed.append(one.user)
                repays = [
                    self._act.repay(one.user, symbol, owed * 21 // 20 + 1, "close")
                    for symbol, owed in one.owed.items()
                ]
                leave = [
                    self._act.withdraw(one.user, symbol, kind="close") for symbol in one.supplied
                ]
                return [*repays, *leave]
        return []

    def reopen(self) -> list[Transaction]:
        """Someone who had left comes back with a new position."""
        if not self.closed:
            return []
        one = self._look([self.closed.pop(0)])[0]
        collateral, debt = ("WETH", "WETH") if one.emode else ("WETH", "USDC")
        amount = self._worth(collateral, 1_000, 50_000)
        owed = amount * self.prices["WETH"] // self.prices[debt] * 7 // 10
        owed = owed * self._unit(debt) // self._unit(collateral)
        supply = self._act.supply(one.user, collateral, amount, "setup")
        return [supply, self._act.borrow(one.user, debt, owed, "reopen")]

    # -- the third party -------------------------------------------------------------------------

    def liquidations(self, most: int) -> list[Transaction]:
        """Liquidate some of those who are under 1: fully, partly, for aTokens."""
        unhealthy = self._truth.unhealthy() if most else []
        chosen = self._rng.sample(unhealthy, min(most, len(unhealthy)))
        return [self._liquidate(one) for one in self._look(chosen) if one.collateral and one.owed]

    def end_of_the_ruined(self) -> list[Transaction]:
        """Take all the collateral of those who owe more than they have: bad debt stays."""
        return [
            self._act.liquidate(user, LATECOMER.symbol, "USDC", MAX, receive_a_token=False)
            for user in self._population.people.get(RUINED, [])
        ]

    def _liquidate(self, one: Someone) -> Transaction:
        collateral = max(one.collateral, key=lambda symbol: self._value(symbol, one.supplied))
        debt = max(one.owed, key=lambda symbol: self._value(symbol, one.owed))
        how = self._rng.random()
        part = near(self._rng, 0.1, 0.4, one.owed[debt]) + 1
        amount = MAX if how < 0.45 else part
        return self._act.liquidate(one.user, collateral, debt, amount, receive_a_token=how > 0.75)

    # -- looking around --------------------------------------------------------------------------

    def _sample(self, people: Iterable[str] | None = None) -> list[Someone]:
        crowd = list(self._population.everyone if people is None else people)
        return self._look(self._rng.sample(crowd, min(SAMPLE, len(crowd))))

    def _look(self, users: list[str]) -> list[Someone]:
        pool = self._market.pool
        accounts = self._truth.account_data(users)
        holdings = self._truth.holdings(users)
        calls = [(pool.address, pool.artifact.encode("getUserEMode", user)) for user in users]
        modes = [int.from_bytes(answer or b"") for answer in self._node.multicall(calls)]
        return [
            Someone(user, account, holdings[user], mode)
            for user, mode in zip(users, modes, strict=True)
            if (account := accounts[user]) is not None
        ]

    @property
    def _useless(self) -> set[str]:
        return NEVER_ON if self.awake else {*NEVER_ON, DORMANT}

    def _draw(self, one: Someone) -> tuple[str, int]:
        choices = self._listed((*PLAIN_DEBT, *2 * [LATECOMER.symbol], *self.awake * [DORMANT]))
        if one.emode:
            choices = ("WETH", "wstETH")
        elif one.isolated:
            choices = STABLE
        symbol = self._rng.choice(choices)
        worth = near(self._rng, 0.2, 0.95, one.available)
        return symbol, worth * self._unit(symbol) // self.prices[symbol] + 1

    def _listed(self, symbols: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(symbol for symbol in symbols if symbol in self._market.listings)

    def _worth(self, symbol: str, low: int, high: int) -> int:
        dollars = self._rng.randint(low, high)
        return dollars * 10**8 * self._unit(symbol) // self.prices[symbol] + 1

    def _value(self, symbol: str, amounts: dict[str, int]) -> int:
        return amounts[symbol] * self.prices[symbol] // self._unit(symbol)

    def _unit(self, symbol: str) -> int:
        return self._market.listings[symbol].reserve.unit
