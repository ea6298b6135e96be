"""Morpho Blue in one hand: the singleton on somebody's chain, people in it, and their life."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

from devnet.morpho_core import HAND, LATER, Core, deploy, first_price
from devnet.morpho_hostile import Hostile, send_hostile
from devnet.morpho_life import MorphoLife, MorphoMoment, first_answers
from devnet.morpho_population import populate
from devnet.morpho_state import State
from devnet.morpho_truth import MorphoTruth
from devnet.node import Node, Transaction

BLOCK_SECONDS = 2


class MorphoStage:
    """
    A singleton with its people, on a chain that others may share.

    Building it mines some blocks. From then on it mines nothing by itself: `act` returns what
    happens next, the caller sends it, mines a block for everybody, and tells `mined` its number.

    Attributes:
        node: Where it lives.
        core: Its contracts and its own markets.
        truth: What the contracts say, for tests to compare with.
        state: What its life remembers, with all that succeeded or failed so far.
        hostile: Markets that do harm, by id.
    """

    def __init__(self, node: Node, seed: int = 7, borrowers: int = 60) -> None:
        """
        Deploy everything and bring in the people.

        Args:
            node: Its chain may be fresh, or carry other protocols already.
            seed: Decides who comes and how life goes on.
            borrowers: People with debt; one in seven of them has a second account, and some
                lenders come on top.

        Raises:
            Reverted: Something did not work out.
        """
        self.node = node
        self.core: Core = deploy(node)
        self.truth = MorphoTruth(node, self.core)
        people = populate(node, self.core, seed=seed, borrowers=borrowers)
        hand = next(one.plan for one in self.core.listed.values() if one.plan.oracle == HAND)
        chance = random.Random(f"life {seed}")
        self.state = State(people, chance, first_answers(), first_price(hand), list(LATER))
        self._life = MorphoLife(node, self.core, self.state, self.truth)
        self.hostile: dict[bytes, Hostile] = {}

    @property
    def address(self) -> str:
        """The singleton: what the configuration names."""
        return self.core.morpho.address

    @property
    def from_block(self) -> int:
        """The block of its deployment."""
        return self.core.from_block

    def protocol(self, name: str = "morpho") -> dict[str, object]:
        """Return the keys of its `[[protocols]]` table."""
        return {
            "name": name,
            "kind": "morpho_blue",
            "address": self.address,
            "from_block": self.from_block,
        }

    def act(self, actions: int = 6) -> list[Transaction]:
        """Return the next block's transactions, in order. The chain has to stand still."""
        found = self._life.act(actions)
        self._life.expect(found)
        return found

    def mined(self, number: int) -> MorphoMoment:
        """Take note of a block; what `act` has returned before and is not in it is forgotten."""
        return self._life.mined(number)

    def step(self, *, seconds: int = BLOCK_SECONDS, actions: int = 6) -> MorphoMoment:
        """Live one block alone on the chain."""
        for transaction in self.act(actions):
            self.node.send(transaction)
        return self.mined(self.node.mine(seconds))

    def priced(self, symbol: str, price: int) -> Transaction:
        """Return what sets a price: of a feed in USD (8 decimals), of `HAND` scaled by 1e36."""
        return self._life.priced(symbol, price, "price")

    def add_hostile(self, kind: str, *, turned: bool = True) -> bytes:
        """
        Send what makes a market that does harm, one of `devnet.morpho_hostile.KINDS`. Its id.

        Nothing is mined: it takes effect with the caller's next block. Not `turned`, its oracle
        stays honest until `self.hostile[id].turn()` is sent.

        Raises:
            ValueError: There is no such kind.
        """
        hostile = send_hostile(self.node, self.core, self.state.people, kind)
        if turned:
            self.node.send(hostile.turn())
        self.hostile[hostile.params.id] = hostile
        return hostile.params.id

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Take back everything that happens inside the block, what life remembers included."""
        identity, state = self.node.snapshot(), self.state.remember()
        listed, hostile = dict(self.core.listed), dict(self.hostile)
        try:
            yield
        finally:
            self.node.revert(identity)
            self.state.restore(state)
            self.core.listed, self.hostile = listed, hostile
