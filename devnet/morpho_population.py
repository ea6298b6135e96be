"""The first people at Morpho: borrowers at every distance from the limit, and lenders."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from devnet.actions import BANK, person
from devnet.market import ZERO
from devnet.morpho_actions import MorphoActions
from devnet.morpho_core import COINS, Core, Listed, Params
from devnet.morpho_truth import max_borrow
from devnet.node import Node, Transaction

BPS = 10_000
USD = 10**8
TRANSACTIONS_PER_BLOCK = 150
BORROWERS_PER_LENDER = 6
TWICE = 7  # every so many-th borrower comes to a second market as well
LIQUIDITY = 2_000_000  # USD that the bank lends, where nobody borrows yet
# How far people stay from the limit, basis points of a health factor, and how many of a hundred.
DISTANCES = (((10_000, 10_000), 6), ((10_002, 10_060), 20), ((10_060, 10_400), 24))
FAR = ((10_400, 15_000), (15_000, 30_000))


@dataclass
class People:
    """Who has come, and with what; `number` counts the newcomers of the seed."""

    seed: int
    number: int = 0
    borrowers: list[str] = field(default_factory=list)
    lenders: list[str] = field(default_factory=list)

    def newcomer(self) -> str:
        """Return the address of someone who has never been here."""
        self.number += 1
        return person(self.seed, self.number)


@dataclass(frozen=True, slots=True)
class Stake:
    """What one borrower puts in and takes out, in smallest units."""

    collateral: int
    debt: int


class Populator:
    """Builds what newcomers do. Prices are those of the oracles, scaled by 1e36."""

    def __init__(self, core: Core, people: People, rng: random.Random) -> None:
        self._core = core
        self._people = people
        self._act = MorphoActions(core)
        self._rng = rng

    def stake(self, listed: Listed, price: int) -> Stake:
        """Choose collateral worth some thousand USD, and a debt at some distance of the limit."""
        coin = COINS[listed.plan.collateral]
        dollars = int(min(self._rng.lognormvariate(9.2, 1.2), 300_000) + 100)
        collateral = dollars * USD * 10**coin.decimals // coin.price + 1
        bears = max_borrow(collateral, price, listed.params.lltv) or 0
        low, high = self._distance()
        return Stake(collateral, max(1, bears * BPS // self._rng.randint(low, high) - 1))

    def arrive(
        self, market: Params, user: str, stake: Stake, kind: str = "borrow"
    ) -> list[Transaction]:
        """Return all that one new borrower does, in order."""
        put = self._act.supply_collateral(market, user, stake.collateral, kind="setup")
        return [put, self._act.borrow(market, user, stake.debt, kind=kind)]

    def lend(self, market: Params, user: str, symbol: str) -> Transaction:
        """Return a small lender's supply."""
        coin = COINS[symbol]
        dollars = self._rng.randint(500, 20_000)
        amount = dollars * USD * 10**coin.decimals // coin.price
        return self._act.supply(market, user, amount, kind="setup")

    def _distance(self) -> tuple[int, int]:
        draw = self._rng.randrange(100)
        for distance, share in DISTANCES:
            if draw < share:
                return distance
            draw -= share
        return FAR[draw % 3 == 0]


def populate(node: Node, core: Core, *, seed: int, borrowers: int) -> People:
    """
    Bring `borrowers` people with debt into the markets of a fresh singleton, and some lenders.

    Raises:
        Reverted: Something did not work out as the rules of the market say it must.
    """
    people = People(seed)
    rng = random.Random(seed)
    populator, act = Populator(core, people, rng), MorphoActions(core)
    act.open_purses(node)
    node.settle()
    prices = oracle_prices(node, core)
    stakes = _stakes(core, populator, prices, deck(core, borrowers, rng))
    supplies = _liquidity(core, act, stakes)
    lenders = [listed for listed in core.listed.values() if listed.plan.irm]
    for number in range(1 + borrowers // BORROWERS_PER_LENDER):
        listed = lenders[number % len(lenders)]
        people.lenders.append(people.newcomer())
        supplies.append(populator.lend(listed.params, people.lenders[-1], listed.plan.loan))
    arrivals: list[Transaction] = []
    for place, (market, stake) in enumerate(stakes):
        again = place >= borrowers
        user = people.borrowers[(place - borrowers) * TWICE] if again else people.newcomer()
        people.borrowers += [] if again else [user]
        arrivals += populator.arrive(core.listed[market].params, user, stake)
    settle(node, [*supplies, *arrivals])
    return people


def deck(core: Core, borrowers: int, rng: random.Random) -> list[bytes]:
    """Return one market per person by the plans' shares, and the second ones after them."""
    shares = {market: listed.plan.people for market, listed in core.listed.items()}
    total = sum(shares.values())
    cards = [m for m, share in shares.items() for _ in range(borrowers * share // total)]
    wanted = [market for market, share in shares.items() if share]
    cards += [rng.choice(wanted) for _ in range(borrowers - len(cards))]
    rng.shuffle(cards)
    order = {market: place for place, market in enumerate(wanted)}
    again = (cards[place] for place in range(0, borrowers, TWICE))
    return cards + [wanted[(order[market] + 1) % len(wanted)] for market in again]


def oracle_prices(node: Node, core: Core) -> dict[bytes, int]:
    """Return what the oracle of each listed market answers at the head; idle ones left out."""
    asked = {m: one.params.oracle for m, one in core.listed.items() if one.params.oracle != ZERO}
    data = bytes.fromhex("a035b1fe")  # price()
    answers = node.multicall([(oracle, data) for oracle in asked.values()])
    return {m: int.from_bytes(a or b"") for m, a in zip(asked, answers, strict=True)}


def settle(node: Node, transactions: Sequence[Transaction]) -> None:
    """
    Send and mine, so many to a block.

    Raises:
        Reverted: Something did not work out.
    """
    for start in range(0, len(transactions), TRANSACTIONS_PER_BLOCK):
        for transaction in transactions[start : start + TRANSACTIONS_PER_BLOCK]:
            node.send(transaction)
        node.settle()


def _stakes(
    core: Core, populator: Populator, prices: dict[bytes, int], cards: Sequence[bytes]
) -> list[tuple[bytes, Stake]]:
    return [(market, populator.stake(core.listed[market], prices[market])) for market in cards]


def _liquidity(
    core: Core, act: MorphoActions, stakes: Sequence[tuple[bytes, Stake]]
) -> list[Transaction]:
    wanted = dict.fromkeys(core.listed, 0)
    for market, stake in stakes:
        wanted[market] += stake.debt
    found = []
    for market, debt in wanted.items():
        plan = core.listed[market].plan
        coin = COINS[plan.loan]
        least = LIQUIDITY * USD * 10**coin.decimals // coin.price
        amount = debt * 100 // plan.use + 1 if debt else least
        found.append(act.supply(core.listed[market].params, BANK, amount, kind="setup"))
    return found
