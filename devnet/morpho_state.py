"""What a life at Morpho remembers from one block to the next."""

from __future__ import annotations

import copy
import random
from collections import Counter
from dataclasses import dataclass, field

from devnet.morpho_core import Plan
from devnet.morpho_population import People
from devnet.morpho_truth import Key

LASTING = {"people", "rng"}  # others hold on to these
Sent = tuple[str, str, str]  # sender, target, calldata as the node writes them


@dataclass(frozen=True, slots=True)
class Due:
    """A price that has been decided on already: of a feed, or of the oracle in hand."""

    step: int
    symbol: str
    price: int
    kind: str


@dataclass
class State:
    """
    Everything of a life that is not on the chain.

    Attributes:
        answers: Last price of each feed (USD, 8 decimals).
        hand: Last price of the oracle in hand (scaled by 1e36).
        plans: Markets that will be created.
        deck: Names of happenings, drawn from the end.
        due: Prices to come.
        closed: Accounts that have left.
        friends: Who has authorised whom.
        pending: What the last step returned, by how the node will show it.
        succeeded: Transactions that went well so far, by kind.
        failed: Those that the contracts refused (which is part of life), by kind.
    """

    people: People
    rng: random.Random
    answers: dict[str, int]
    hand: int
    plans: list[Plan]
    steps: int = 0
    deck: list[str] = field(default_factory=list)
    moves: list[str] = field(default_factory=list)
    due: list[Due] = field(default_factory=list)
    closed: list[Key] = field(default_factory=list)
    friends: list[tuple[str, str]] = field(default_factory=list)
    pending: dict[Sent, list[str]] = field(default_factory=dict)
    succeeded: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    def remember(self) -> State:
        """Return a copy, for `restore` after the chain has been taken back."""
        return copy.deepcopy(self)

    def restore(self, kept: State) -> None:
        """Become again what `remember` returned. People and chance stay the same objects."""
        again = copy.deepcopy(kept)
        vars(self.people).update(vars(again.people))
        self.rng.setstate(again.rng.getstate())
        rest = {name: value for name, value in vars(again).items() if name not in LASTING}
        vars(self).update(rest)
