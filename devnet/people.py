"""The first people of a stage: how many come of each kind, and what a newcomer dares."""

from __future__ import annotations

import itertools
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from devnet.actions import person
from devnet.node import Node, Transaction

BPS = 10_000
BORROWERS_PER_LOT = 500  # for so many, the bank lends another lot of everything
BORROWERS_PER_SUPPLIER = 12  # one more person who does not borrow yet, for this many who do
RUINED = "ruined"  # staked everything on one asset, which then collapsed


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
    """What someone supplies: amounts by symbol, with what they allow and bear, in the base."""

    amounts: dict[str, int]
    limit: int  # what may be borrowed
    bearing: int  # what may be owed before liquidation


class Newcomers(ABC):
    """
    Chooses what newcomers hold and owe; a market's own kinds of people build on it.

    Args:
        population: Who is here already.
        rng: Decides everything.
        prices: Of whole tokens by symbol, in the base of the market.
    """

    room: int  # how much of what may be borrowed is used at most, basis points
    closest: float  # health factor that nobody begins under
    close: float  # a third of all people stay under this one

    def __init__(self, population: Population, rng: random.Random, prices: dict[str, int]) -> None:
        self.population = population
        self.rng = rng
        self.prices = prices

    @abstractmethod
    def unit(self, symbol: str) -> int:
        """Return one whole token in its smallest unit."""

    def some(self, choices: Sequence[str], most: int) -> list[str]:
        """Choose up to so many of these; what stands there twice is chosen more often."""
        distinct = list(dict.fromkeys(self.rng.sample(choices, len(choices))))
        return distinct[: self.rng.randint(1, most)]

    def dollars(self) -> float:
        """Choose what one supply is worth: a few hundred to some hundred thousand dollars."""
        return min(self.rng.lognormvariate(9.6, 1.1), 400_000)

    def debts(self, basket: Basket, symbols: Sequence[str]) -> dict[str, int]:
        """Choose debts in these assets: a third of all people stay close to the limit."""
        choice = self.rng.random()
        bands = ((self.closest, self.close), (self.close, 1.5), (1.5, 3.0))
        low, high = bands[(choice > 0.35) + (choice > 0.8)]
        health = int(self.rng.uniform(low, high) * BPS)
        owed = min(basket.bearing * BPS // health, basket.limit * self.room // BPS)
        shares = self._shares(len(symbols))
        return {
            symbol: owed * share // BPS * self.unit(symbol) // self.prices[symbol]
            for symbol, share in zip(symbols, shares, strict=True)
        }

    def _shares(self, parts: int) -> list[int]:
        cuts = sorted(self.rng.randint(1500, 8500) for _ in range(parts - 1))
        edges = [0, *cuts, BPS]
        return [after - before for before, after in itertools.pairwise(edges)]


def deck(shares: Mapping[str, int], borrowers: int, rng: random.Random) -> list[str]:
    """
    Return one kind per person, in random order: `borrowers` by `shares`, and some suppliers.

    Every kind has at least one; what the shares leave over is plain.
    """
    total = sum(shares.values())
    kinds = [k for k, share in shares.items() for _ in range(max(1, borrowers * share // total))]
    kinds += ["plain"] * (borrowers - len(kinds))
    kinds += ["supplier"] * (1 + borrowers // BORROWERS_PER_SUPPLIER)
    rng.shuffle(kinds)
    return kinds


def settle(
    node: Node, arrivals: Iterable[Sequence[Transaction]], population: Population, *, enough: int
) -> None:
    """Let people arrive, each with all that he does, in blocks of `enough` transactions."""
    pending: list[Transaction] = []
    for arrival in arrivals:
        pending += arrival
        if len(pending) >= enough:
            _send(node, pending, population)
            pending = []
    _send(node, pending, population)


def _send(node: Node, transactions: Iterable[Transaction], population: Population) -> None:
    for transaction in transactions:
        node.send(transaction)
        population.counts[transaction.kind] += 1
    node.settle()
