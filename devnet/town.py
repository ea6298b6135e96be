"""Four markets of three families on one chain, and people who live in all of them at once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from devnet.aave import VERSIONS
from devnet.anvil import Anvil
from devnet.configuration import write_config
from devnet.life import TIMES
from devnet.market import DEPLOYER
from devnet.morpho import MorphoStage
from devnet.node import Node
from devnet.stage import Stage
from devnet.truth import health_of
from devnet.venus import VenusStage

OLD, NEW, MORPHO, VENUS = "aave-old", "aave-new", "morpho", "venus"  # names in the configuration
GENTLE = 3  # actions of each market in a block, beside what its owners and prices do

Account = tuple[str, str]
"""(published protocol, user in lower case)."""


class Told(NamedTuple):
    """A health factor in WAD, None where no debt counts; `fails` where the view gives none."""

    factor: int | None
    fails: bool


Truth = Mapping[Account, Told]
"""What the contracts say of everybody with debt."""


@dataclass
class Town:
    """
    One chain with Aave v3.0.2, Aave v3.6.0, Morpho Blue and Venus, each with its own people.

    `with Town.build(...) as town:` starts it and leaves nothing behind.
    """

    anvil: Anvil
    node: Node
    old: Stage
    new: Stage
    morpho: MorphoStage
    venus: VenusStage
    chance: random.Random

    @classmethod
    @contextmanager
    def build(cls, *, seed: int, borrowers: int) -> Iterator[Town]:
        """
        Start a node, deploy every market and bring in `borrowers` people with debt to each.

        Args:
            seed: Decides who comes and how life goes on.
            borrowers: Of each market.
        """
        with ExitStack() as stack:
            anvil = stack.enter_context(Anvil())
            node = stack.enter_context(Node(anvil.http))
            node.install_multicall3(DEPLOYER)
            old, new = (
                Stage.on(anvil, node, version=version, seed=seed + place, borrowers=borrowers)
                for place, version in enumerate(VERSIONS)
            )
            morpho = MorphoStage(node, seed=seed + 2, borrowers=borrowers)
            venus = VenusStage(node, seed=seed + 3, borrowers=borrowers)
            yield cls(anvil, node, old, new, morpho, venus, random.Random(seed))

    def step(self, *, seconds: int | None = None) -> int:
        """Live one block in every market, by default after a random time. Its number."""
        # Owners' calls that must not fail are sent by the lives themselves, in this order.
        plans = [(stage.life, stage.life.begin(GENTLE)) for stage in (self.old, self.new)]
        for transaction in (*self.morpho.act(GENTLE), *self.venus.step_transactions(GENTLE)):
            self.node.send(transaction)
        elapsed = self._time() if seconds is None else seconds
        number = self.node.mine(elapsed)
        for life, plan in plans:
            life.finish(plan, number, elapsed)
        self.morpho.mined(number)
        self.venus.mined(number)
        return number

    def _time(self) -> int:
        seconds, weights = zip(*TIMES, strict=True)
        return int(self.chance.choices(seconds, weights)[0])

    @property
    def happened(self) -> Mapping[str, Counter[str]]:
        """What has succeeded so far, by market and kind."""
        return {
            OLD: self.old.life.succeeded,
            NEW: self.new.life.succeeded,
            MORPHO: self.morpho.state.succeeded,
            VENUS: self.venus.succeeded,
        }

    def truth(self, block: int, *, venus: bool = True) -> Truth:
        """Return what the contracts say of everybody with debt at `block`; Venus can be spared."""
        found: dict[Account, Told] = {}
        for name, stage in ((OLD, self.old), (NEW, self.new)):
            told = stage.truth.account_data(stage.truth.borrowers_now(block), block)
            for user, data in told.items():
                found[name, user.lower()] = Told(health_of(data), data is None)
        for (market, user), factor in self.morpho.truth.health(block).items():
            found[f"{MORPHO}.{market}", user.lower()] = Told(factor, factor is None)
        for user, sums in (self.venus.truth.sums(block) if venus else {}).items():
            factor = None if sums is None else sums.health_factor
            found[VENUS, user.lower()] = Told(factor, sums is None)
        return found

    def users(self) -> set[str]:
        """Return everybody who has ever borrowed anywhere."""
        ever: list[Callable[[], list[str]]] = [
            self.old.truth.borrowers_ever,
            self.new.truth.borrowers_ever,
            self.venus.truth.borrowers_ever,
        ]
        elsewhere = {user for people in ever for user in people()}
        return elsewhere | {user for _, user in self.morpho.truth.holders_ever()}

    def write_config(
        self,
        path: Path,
        *,
        ws: str = "",
        http: str = "",
        redis_url: str = "",
        extra: Mapping[str, Mapping[str, object]] | None = None,
    ) -> Path:
        """Write a configuration with which one daemon follows all of it."""
        return write_config(
            path,
            ws=ws or self.anvil.ws,
            http=http or self.anvil.http,
            protocols=[
                self.old.entry(OLD),
                self.new.entry(NEW),
                self.morpho.protocol(MORPHO),
                self.venus.entry(VENUS),
            ],
            redis_url=redis_url,
            extra=extra,
        )
