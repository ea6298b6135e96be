"""What may happen to people at the core pool in one block, as transactions ready to send."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from devnet.actions import near
from devnet.node import Node, Transaction
from devnet.people import Population
from devnet.venus_actions import BANK, VenusActions
from devnet.venus_market import CORE, STABLE_POOL, WAD, VenusMarket
from devnet.venus_people import COLLATERAL, DEBT, STABLES, VenusArrivals
from devnet.venus_truth import VenusTruth, liquidatable

SAMPLE = 6  # people looked at to find one to whom a thing can happen
MARGIN = 100 * WAD  # dollars of borrowing power that have to be left
NEW_KINDS = ("plain", "plain", "stable_pool", "strict_pool", "received", "delegated", "dust")


@dataclass(frozen=True, slots=True)
class Someone:
    """A person as the chain has him at the head: vTokens and debts by symbol."""

    user: str
    pool: int
    entered: tuple[str, ...]
    tokens: dict[str, int]
    rates: dict[str, int]  # exchange rates of what he has
    owed: dict[str, int]
    power: int  # what he may still borrow, dollars in WAD

    @property
    def calm(self) -> bool:
        """Whether he may take on more risk."""
        return self.power > MARGIN


class VenusHappenings:
    """Finds people to whom a thing can happen. An empty list: to nobody in the sample."""

    def __init__(
        self, node: Node, market: VenusMarket, population: Population, rng: random.Random
    ) -> None:
        self._market = market
        self._population = population
        self._rng = rng
        self._truth = VenusTruth(node, market)
        self._act = VenusActions(market)
        self._arrivals = VenusArrivals(market, population, rng)

    def refresh(self, prices: dict[str, int]) -> None:
        """Take note of the prices of the head, by which amounts are chosen."""
        self._arrivals.prices = prices

    # -- supplying -------------------------------------------------------------------------------

    def mint(self) -> list[Transaction]:
        """Supply out of one's own pocket."""
        user, symbol = self._rng.choice(self._population.everyone), self._any_asset()
        amount = self._worth(symbol, 100, 5_000)
        return [*self._act.purse(user, symbol, amount), self._act.mint(user, symbol, amount)]

    def mint_behalf(self) -> list[Transaction]:
        """Supply for someone else."""
        user, symbol = self._rng.choice(self._population.everyone), self._any_asset()
        return [self._act.mint_behalf(user, symbol, self._worth(symbol, 50, 3_000))]

    def redeem(self) -> list[Transaction]:
        """Give a few vTokens back."""
        for one in self._sample():
            if one.calm and one.tokens:
                symbol, tokens = self._rng.choice(list(one.tokens.items()))
                part = near(self._rng, 0.01, 0.1, tokens)
                return [self._act.redeem(one.user, symbol, part)] if part else []
        return []

    def redeem_underlying(self) -> list[Transaction]:
        """Take a little out."""
        for one in self._sample():
            if one.calm and one.tokens:
                symbol, tokens = self._rng.choice(list(one.tokens.items()))
                part = near(self._rng, 0.01, 0.1, tokens * one.rates[symbol] // WAD)
                return [self._act.redeem_underlying(one.user, symbol, part)] if part else []
        return []

    def enter_market(self) -> list[Transaction]:
        """Make something that was set aside count."""
        for one in self._sample(most=4 * SAMPLE):
            if idle := [symbol for symbol in one.tokens if symbol not in one.entered]:
                return [self._act.enter(one.user, idle[:1])]
        return []

    def exit_market(self) -> list[Transaction]:
        """Make a market count no longer that is not needed."""
        for one in self._sample(most=2 * SAMPLE):
            spare = [symbol for symbol in one.entered if symbol not in one.owed]
            if one.calm and spare:
                least = min(spare, key=lambda symbol: self._value(one, symbol))
                if self._value(one, least) < one.power:
                    return [self._act.leave(one.user, least)]
        return []

    def transfer(self) -> list[Transaction]:
        """Give a part away, to someone new or to someone who is here already."""
        for one in self._sample():
            if one.calm and one.tokens:
                symbol, tokens = self._rng.choice(list(one.tokens.items()))
                known = self._rng.choice(self._population.everyone)
                fresh = self._rng.random() < 0.5 or known == one.user
                to = self._population.welcome("received") if fresh else known
                part = near(self._rng, 0.02, 0.1, tokens)
                return [self._act.transfer(one.user, symbol, part, to)] if part else []
        return []

    def stray(self) -> list[Transaction]:
        """Send vTokens to their own contract."""
        for one in self._sample():
            if one.calm and one.tokens:
                symbol, tokens = self._rng.choice(list(one.tokens.items()))
                part = near(self._rng, 0.001, 0.01, tokens) + 1
                return [self._act.stray(one.user, symbol, part)]
        return []

    # -- borrowing -------------------------------------------------------------------------------

    def borrow(self) -> list[Transaction]:
        """Draw more debt."""
        for one in self._sample():
            if one.owed and one.calm:
                return [self._act.borrow(one.user, *self._draw(one))]
        return []

    def first_borrow(self) -> list[Transaction]:
        """Someone who has only ever supplied borrows for the first time."""
        for one in self._sample(self._population.people.get("supplier", [])):
            if not one.owed and one.calm:
                return [self._act.borrow(one.user, *self._draw(one), "first_borrow")]
        return []

    def borrow_behalf(self) -> list[Transaction]:
        """Someone else takes the money."""
        for one in self._sample():
            if one.calm:
                caller = self._population.newcomer()
                return self._act.borrow_behalf(one.user, *self._draw(one), caller)
        return []

    def flash_loan(self) -> list[Transaction]:
        """Take a flash loan and give it back with its fee."""
        user, symbol = self._rng.choice(self._population.everyone), self._rng.choice(STABLES)
        amount = self._worth(symbol, 1_000, 90_000)
        return self._act.flash(user, symbol, amount, 100, "flash_loan")

    def flash_debt(self) -> list[Transaction]:
        """Take a flash loan and keep a part of it as a debt."""
        for one in self._sample():
            if one.calm:
                symbol, amount = self._rng.choice(STABLES), one.power
                keep = self._arrivals.amount(symbol, near(self._rng, 0.3, 0.8, amount))
                return self._act.flash(one.user, symbol, 2 * keep, 50, "flash_debt")
        return []

    def repay(self) -> list[Transaction]:
        """Pay back a part, or all of one debt, oneself."""
        for one in self._sample():
            if one.owed:
                symbol, owed = self._rng.choice(list(one.owed.items()))
                return self._act.repay(one.user, symbol, near(self._rng, 0.05, 1.1, owed) + 1)
        return []

    def repay_behalf(self) -> list[Transaction]:
        """Pay back a part of somebody else's debt."""
        for one in self._sample():
            if one.owed:
                symbol, owed = self._rng.choice(list(one.owed.items()))
                part = near(self._rng, 0.05, 0.6, owed) + 1
                return [self._act.repay_behalf(one.user, symbol, part)]
        return []

    def enter_pool(self) -> list[Transaction]:
        """Choose the stable pool."""
        for one in self._sample(most=4 * SAMPLE):
            if one.pool == CORE and one.calm and set(one.owed) <= set(STABLES):
                return [self._act.choose_pool(one.user, STABLE_POOL)]
        return []

    def leave_pool(self) -> list[Transaction]:
        """Go back to the core pool."""
        for one in self._sample(most=4 * SAMPLE):
            if one.pool != CORE and one.calm:
                return [self._act.choose_pool(one.user, CORE, "leave_pool")]
        return []

    # -- coming and going ------------------------------------------------------------------------

    def newcomer(self) -> list[Transaction]:
        """Someone nobody has seen before supplies and borrows."""
        return [
            Transaction(t.sender, t.to, t.data, "newcomer" if "borrow" in t.kind else "setup")
            for t in self._arrivals.arrive(self._rng.choice(NEW_KINDS))
        ]

    def close(self) -> list[Transaction]:
        """Pay all debts back with something to spare, and take everything out."""
        for one in self._sample():
            if one.owed and one.tokens:
                repaid = [
                    self._act.repay_behalf(one.user, symbol, owed * 21 // 20 + 1, "close")
                    for symbol, owed in one.owed.items()
                ]
                taken = one.tokens.items()
                return [*repaid, *(self._act.redeem(one.user, *item, "close") for item in taken)]
        return []

    # -- what concerns nobody in particular ------------------------------------------------------

    def accrue(self) -> list[Transaction]:
        """Somebody brings a market up to the block."""
        return [self._act.accrue(self._any_asset())]

    def donate(self) -> list[Transaction]:
        """Somebody sends the underlying to the market."""
        symbol = self._any_asset()
        return [self._act.donate(symbol, self._worth(symbol, 1_000, 50_000))]

    def add_reserves(self) -> list[Transaction]:
        """Somebody gives to the reserves."""
        symbol = self._any_asset()
        return [self._act.add_reserves(symbol, self._worth(symbol, 100, 4_000))]

    # -- what is refused in silence --------------------------------------------------------------

    def soft_liquidate(self) -> list[Transaction]:
        """Try to liquidate someone who is well, and by far too much."""
        for one in self._sample():
            held = [symbol for symbol in one.tokens if symbol in one.entered]
            if one.owed and held:
                symbol, owed = self._rng.choice(list(one.owed.items()))
                kind = "soft_liquidate"
                return [self._act.liquidate(one.user, symbol, held[0], owed + 1, kind)]
        return []

    def soft_transfer(self) -> list[Transaction]:
        """Try to hand over more than one has."""
        for one in self._sample():
            for symbol, tokens in one.tokens.items():
                kind = "soft_transfer"
                return [self._act.transfer(one.user, symbol, tokens + 1, BANK, kind)]
        return []

    def soft_exit(self) -> list[Transaction]:
        """Try to leave a market where one owes."""
        for one in self._sample():
            for symbol in one.owed:
                return [self._act.leave(one.user, symbol, "soft_exit")]
        return []

    # -- liquidations ----------------------------------------------------------------------------

    def liquidations(self, most: int) -> list[Transaction]:
        """Liquidate some of those whom the view puts in shortfall, as far as it goes."""
        under = sorted(liquidatable(self._truth.at())) if most else []
        chosen = self._rng.sample(under, min(most, len(under)))
        return [t for one in self._look(chosen) for t in self._liquidation(one)]

    def _liquidation(self, one: Someone) -> list[Transaction]:
        held = [symbol for symbol in one.tokens if symbol in one.entered]
        if not one.owed or not held:
            return []
        collateral = max(held, key=lambda symbol: self._value(one, symbol))
        debt = max(one.owed, key=lambda symbol: self._priced(symbol, one.owed[symbol]))
        reach = self._value(one, collateral) * 2 // 3  # leaves room for any incentive
        half = one.owed[debt] * 4 // 10
        amount = min(half, self._arrivals.amount(debt, reach))
        kind = "liquidate"
        if self._rng.random() < 0.4:
            amount, kind = near(self._rng, 0.1, 0.7, amount), "liquidate_partly"
        return [self._act.liquidate(one.user, debt, collateral, amount, kind)] if amount else []

    # -- looking around --------------------------------------------------------------------------

    def _sample(self, people: Iterable[str] | None = None, most: int = SAMPLE) -> list[Someone]:
        crowd = list(self._population.everyone if people is None else people)
        return self._look(self._rng.sample(crowd, min(most, len(crowd))))

    def _look(self, users: list[str]) -> list[Someone]:
        powers = self._truth.views(users, view="getBorrowingPower")
        positions = self._truth.positions(users)
        names = {one.v_token.address: symbol for symbol, one in self._market.listings.items()}
        found = []
        for user in users:
            power, position = powers[user], positions[user]
            legs = {names[place]: leg for place, leg in position.snapshots.items()}
            found.append(
                Someone(
                    *(user, position.pool, tuple(names[place] for place in position.entered)),
                    {symbol: leg.tokens for symbol, leg in legs.items() if leg.tokens},
                    {symbol: leg.rate for symbol, leg in legs.items()},
                    {symbol: leg.owed for symbol, leg in legs.items() if leg.owed},
                    power[1] if power is not None else 0,
                )
            )
        return found

    def _draw(self, one: Someone) -> tuple[str, int]:
        choices = [symbol for symbol in (*DEBT, "XVS") if symbol in self._market.listings]
        symbol = self._rng.choice(choices if one.pool == CORE else ["USDC"])
        return symbol, self._arrivals.amount(symbol, near(self._rng, 0.2, 0.9, one.power)) - 1 or 1

    def _any_asset(self) -> str:
        choices = [s for s in (*COLLATERAL, "XVS", "XVS") if s in self._market.listings]
        return self._rng.choice(choices)

    def _worth(self, symbol: str, low: int, high: int) -> int:
        return self._arrivals.amount(symbol, self._rng.randint(low, high) * WAD)

    def _priced(self, symbol: str, amount: int) -> int:
        unit = self._market.listings[symbol].asset.unit
        return amount * self._arrivals.prices[symbol] // unit

    def _value(self, one: Someone, symbol: str) -> int:
        return self._priced(symbol, one.tokens.get(symbol, 0) * one.rates[symbol] // WAD)
