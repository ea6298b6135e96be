"""A seeded life of a stage: people come and go, prices move, time passes, block by block."""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import NoneType
from typing import TypeVar

from devnet.governance import Governance
from devnet.happenings import Happenings
from devnet.market import Market
from devnet.node import Node, Reverted, Transaction
from devnet.people import BPS, Population
from devnet.prices import Prices
from devnet.reserves import LATECOMER

T = TypeVar("T")

DAY = 86_400
TIMES = ((2, 60), (12, 14), (60, 8), (3_600, 8), (DAY, 5), (7 * DAY, 3), (30 * DAY, 2))
# How often each thing happens, relative to the others.
CHURN = {
    "supply": 10,
    "withdraw": 9,
    "borrow": 10,
    "first_borrow": 4,
    "delegated_borrow": 3,
    "repay": 10,
    "repay_with_a_tokens": 4,
    "set_emode": 4,
    "toggle_collateral": 5,
    "transfer_a_tokens": 6,
    "newcomer": 6,
    "close": 3,
    "reopen": 4,
}
ARRIVALS = {"newcomer", "first_borrow"}  # by which more and more people have debt
PRICE_EVENTS = {"price": 60, "swap_aggregator": 6, "replace_source": 2}
OWNERS_EVENTS = {
    "threshold": 6,
    "wake": 2,
    "emode_category": 4,
    "emode_assets": 2,
    "pause": 3,
    "listing": 0,
}
SCRIPTED_PRICES = {"collapse", "dip", "recovery"}
EVENTS = tuple((PRICE_EVENTS | OWNERS_EVENTS).items())
# What happens in every life, by its block; the rest is chance. Somebody stakes everything on a new
# reserve, its price collapses, and what he has left is taken; later another price dips for a block.
SCRIPT = {
    4: "swap_aggregator",
    6: "replace_source",
    8: "listing",
    10: "emode_assets",
    12: "pause",
    14: "wake",
    16: "emode_category",
    18: "ruin",
    19: "collapse",
    20: "end_of_the_ruined",
    24: "dip",
    25: "recovery",
}
RUIN = {"ruin", "end_of_the_ruined"}
COLLAPSE = 40  # percent of the price that remain
DIP_SYMBOL, DIP = "WETH", 88  # percent, for one block
LEAST, MOST = 70, 135  # percent of its first price between which a price wanders
STEP = 300  # basis points by which a price moves at most, but for a leap now and then
LEAP = 1400
LEAPS = 0.35  # of all moves
SLIDES = 0.2  # how often a slide begins, where none is under way
SLIDE_BLOCKS = (2, 5)
SLIDE_STEP = (200, 600)  # basis points per block, for one asset, in one direction
STABLE_PART = 6  # stable assets move by this part of what volatile ones do
PLAIN = (bool, int, dict, list, tuple, set, Counter, NoneType)  # what a memory is made of


@dataclass(frozen=True, slots=True)
class Moment:
    """One block of a life: what was sent by kind, what of it failed, what happened to the feeds."""

    number: int
    seconds: int
    succeeded: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plans:
    """What was sent for one block: people's transactions by kind, owners' ones, what happens."""

    kinds: dict[str, str]
    owners: frozenset[str]
    events: tuple[str, ...]


class Life:
    """
    Goes on from wherever the chain is. The same seed on the same chain lives the same life.

    Attributes:
        full: True lets nobody borrow for the first time: those who have debt may leave and return.
        succeeded: Transactions that went well so far, by kind.
        failed: Those that the contracts refused (which is part of life), by kind.
    """

    def __init__(
        self, node: Node, market: Market, population: Population, prices: Prices, seed: int
    ) -> None:
        self._node = node
        self._market = market
        self._prices = prices
        self._rng = random.Random(seed)
        self._people = Happenings(node, market, population, self._rng)
        self._owners = Governance(node, market, prices, self._rng)
        self._first: dict[str, int] = {}
        self._steps = 0
        self._before_dip = 0
        self._sliding: tuple[str, int, int] | None = None  # symbol, direction, blocks left
        self._restlessness: tuple[tuple[str, int], ...] = ()
        self.full = False
        self.succeeded: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._learn_feeds()

    def step(self, *, seconds: int | None = None, actions: int = 6) -> Moment:
        """Live one block with about `actions` actions, by default after a random time."""
        plans = self.begin(actions)
        elapsed = self._pick(TIMES) if seconds is None else seconds
        return self.finish(plans, self._node.mine(elapsed), elapsed)

    def begin(self, actions: int = 6) -> Plans:
        """Send what belongs into the next block; whoever mines it calls `finish` afterwards."""
        sent_before = len(self._node.waiting)
        self._steps += 1
        self._people.refresh()
        churn = [t for _ in range(actions) for t in self._churn()]
        churn += self._people.liquidations(self._rng.choice((0, 0, 1, 2)))
        if (scripted := SCRIPT.get(self._steps, "")) in RUIN:
            ruin: Callable[[], list[Transaction]] = getattr(self._people, scripted)
            churn += ruin()
        prices_first = self._rng.random() < 0.5
        events: list[str] = []
        if prices_first:
            events = self._events()
        kinds = {self._node.send(t): t.kind for t in churn}
        if not prices_first:
            events = self._events()
        owners = set(self._node.waiting[sent_before:]) - kinds.keys()
        return Plans(kinds, frozenset(owners), tuple(events))

    def run(self, steps: int) -> list[Moment]:
        """Live so many blocks."""
        return [self.step() for _ in range(steps)]

    def shock(self, symbol: str, bps: int, *, seconds: int = 2) -> int:
        """Move a price by `bps` basis points (down: negative) in a block of its own. Its number."""
        answer = self._prices.answer(symbol)
        self._prices.set(symbol, answer * (BPS + bps) // BPS)
        return self._node.mine(seconds)

    def cure(self, symbol: str, *, seconds: int = 2) -> int:
        """Bring a price back to where the stage began, in a block of its own. Its number."""
        self._prices.set(symbol, self._first[symbol])
        return self._node.mine(seconds)

    def quiet(self, seconds: int = 2) -> int:
        """Let a block pass in which nothing happens. Its number."""
        return self._node.mine(seconds)

    def remember(self) -> list[dict[str, object]]:
        """Return what life knows of its chain, for `restore` after that has been taken back."""
        return [
            {name: copy.copy(value) for name, value in vars(actor).items() if type(value) in PLAIN}
            for actor in (self, self._people, self._owners)
        ]

    def restore(self, memory: list[dict[str, object]]) -> None:
        """Know only what `remember` returned. Chance goes on."""
        for actor, known in zip((self, self._people, self._owners), memory, strict=True):
            vars(actor).update(known)

    @contextmanager
    def same_chance(self) -> Iterator[None]:
        """Take chance back after the block: what comes then does not depend on what it lived."""
        state = self._rng.getstate()
        try:
            yield
        finally:
            self._rng.setstate(state)

    def _churn(self) -> list[Transaction]:
        kinds = ((kind, weight) for kind, weight in CHURN.items() if not self._is_shut_to(kind))
        happening: Callable[[], list[Transaction]] = getattr(self._people, self._pick(tuple(kinds)))
        return happening()

    def _is_shut_to(self, kind: str) -> bool:
        return self.full and kind in ARRIVALS

    def finish(self, plans: Plans, number: int, seconds: int) -> Moment:
        """
        Take stock of block `number`, mined `seconds` after the one before it.

        Raises:
            Reverted: An owner's transaction failed.
        """
        self._owners.mined()
        self._learn_feeds()
        moment = Moment(number, seconds, events=plans.events)
        for identity, fine in self._node.statuses(number).items():
            if kind := plans.kinds.get(identity):
                (moment.succeeded if fine else moment.failed)[kind] += 1
            elif not fine and identity in plans.owners:
                raise Reverted(f"an owner's transaction failed in block {number}: {plans.events}")
        moment.succeeded.update(plans.events)
        self.succeeded.update(moment.succeeded)
        self.failed.update(moment.failed)
        return moment

    def _events(self) -> list[str]:
        events = [*self._owners.routine(), *self._slide()]
        scripted = SCRIPT.get(self._steps, "")
        if scripted in SCRIPTED_PRICES:
            self._script_price(scripted)
            return [*events, scripted]
        chance = (self._pick(EVENTS) for _ in range(self._rng.choice((0, 1, 1, 2))))
        happening = [scripted] if scripted in dict(EVENTS) else list(chance)
        for kind in happening:
            self._happen(kind)
        return [*events, *happening]

    def _happen(self, kind: str) -> None:
        if kind in OWNERS_EVENTS:
            decide: Callable[[], None] = getattr(self._owners, kind)
            decide()
            self._people.awake = self._owners.awake
            return
        change = {
            "price": self._prices.set,
            "swap_aggregator": self._prices.swap_aggregator,
            "replace_source": self._prices.replace_source,
        }[kind]
        symbol = self._pick(self._restlessness)
        change(symbol, self._wander(symbol))

    def _script_price(self, kind: str) -> None:
        symbol = LATECOMER.symbol if kind == "collapse" else DIP_SYMBOL
        answer = self._prices.answer(symbol)
        if kind == "collapse":
            answer = answer * COLLAPSE // 100
            self._first[symbol] = answer  # around which it wanders from now on
        elif kind == "dip":
            self._before_dip, answer = answer, answer * DIP // 100
        else:
            answer = self._before_dip
        self._prices.set(symbol, answer)

    def _learn_feeds(self) -> None:
        for symbol in self._prices.movable:
            self._first.setdefault(symbol, self._prices.answer(symbol))
        self._restlessness = tuple(
            (symbol, 3 if self._market.listings[symbol].reserve.volatile else 1)
            for symbol in self._first
        )

    def _slide(self) -> list[str]:
        if self._sliding is None and self._rng.random() < SLIDES:
            volatile = [s for s, weight in self._restlessness if weight > 1]
            direction = self._rng.choice((-1, -1, 1))
            self._sliding = (
                self._rng.choice(volatile),
                direction,
                self._rng.randint(*SLIDE_BLOCKS),
            )
        if self._sliding is None:
            return []
        symbol, direction, left = self._sliding
        self._sliding = (symbol, direction, left - 1) if left > 1 else None
        self._prices.set(symbol, self._moved(symbol, direction * self._rng.randint(*SLIDE_STEP)))
        return ["price"]

    def _wander(self, symbol: str) -> int:
        most = LEAP if self._rng.random() < LEAPS else STEP
        if not self._market.listings[symbol].reserve.volatile:
            most //= STABLE_PART
        return self._moved(symbol, self._rng.randint(-most, most))

    def _moved(self, symbol: str, bps: int) -> int:
        answer = self._prices.answer(symbol) * (BPS + bps) // BPS
        first = self._first[symbol]
        return min(max(answer, first * LEAST // 100), first * MOST // 100)

    def _pick(self, choices: Sequence[tuple[T, int]]) -> T:
        return self._rng.choices([c for c, _ in choices], [weight for _, weight in choices])[0]
