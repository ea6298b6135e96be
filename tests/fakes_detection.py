"""A chain of observations, and the rules of detection told the slow way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from chimera.domain.block import Address, Block, BlockHash
from chimera.domain.market import Key
from chimera.domain.numeric import Wad
from chimera.domain.opportunity import Observation, Opportunity, Underwater

USERS = {
    name: Address(sha256(name.encode()).digest()[:20]) for name in ("alice", "bob", "carol", "dave")
}
PROTOCOL = "aave"


def key(name: str, protocol: str = PROTOCOL) -> Key:
    return protocol, USERS[name]


def wad(text: str) -> Wad:
    whole, _, fraction = text.partition(".")
    return Wad(int(whole + fraction.ljust(18, "0")))


def underwater(name: str, health: str, protocol: str = PROTOCOL) -> Underwater:
    return Underwater(
        protocol=protocol,
        user="0x" + USERS[name].hex(),
        health_factor=wad(health),
        collateral_value=f"{health}00",
        debt_value="1000",
        liquidatable=True,
        reason=None,
        best=None,
    )


def block(number: int, fork: str = "", parent: Block | None = None) -> Block:
    def digest(height: int) -> BlockHash:
        return BlockHash(sha256(f"{height}{fork}".encode()).digest())

    above = digest(number - 1) if parent is None else parent.hash
    return Block(number, digest(number), above, 1_700_000_000 + 2 * number)


def sighting(
    at: Block,
    *,
    unpriced: Iterable[str] = (),
    liquidated: Iterable[str] = (),
    **health: str,
) -> Observation:
    """Tell what a block shows: every named account and its health factor."""
    return Observation(
        block=at,
        underwater={
            key(name): underwater(name, text)
            for name, text in health.items()
            if wad(text) < wad("1")
        },
        unpriced=frozenset(map(key, unpriced)),
        liquidated=frozenset(map(key, liquidated)),
    )


@dataclass
class FakeChain:
    """A canonical chain that grows, forks, and remembers what every block showed."""

    start: int = 100
    observations: list[Observation] = field(default_factory=list)
    forks: int = 0

    @property
    def head(self) -> Block:
        return self.observations[-1].block

    def mine(
        self,
        *,
        unpriced: Iterable[str] = (),
        liquidated: Iterable[str] = (),
        **health: str,
    ) -> Observation:
        parent = self.head if self.observations else None
        number = self.start if parent is None else parent.number + 1
        fork = f"/{self.forks}" if self.forks else ""
        seen = sighting(
            block(number, fork, parent), unpriced=unpriced, liquidated=liquidated, **health
        )
        self.observations.append(seen)
        return seen

    def drop(self, depth: int) -> Block:
        """Take `depth` blocks away and return the new head; what follows is another fork."""
        self.forks += 1
        if depth:
            del self.observations[-depth:]
        return self.head


@dataclass(frozen=True)
class Told:
    """An episode as the slow model has it; everything but the id."""

    key: Key
    first: int
    flagged: int
    blocks: int
    health: str
    closed: int | None = None
    reason: str | None = None


def told(opportunity: Opportunity) -> Told:
    """Bring an episode of the detector into the model's shape."""
    return Told(
        key=(opportunity.protocol, Address(bytes.fromhex(opportunity.user[2:]))),
        first=opportunity.first_unhealthy_block,
        flagged=opportunity.flagged_block,
        blocks=opportunity.blocks_unhealthy,
        health=opportunity.health_factor,
        closed=opportunity.closed_block,
        reason=opportunity.closed_reason,
    )


def episodes_of(chain: Iterable[Observation], confirmation_blocks: int) -> list[Told]:
    """Read the rules of interfaces off a canonical chain, account by account, block by block."""
    seen = list(chain)
    keys = {k for observation in seen for k in observation.underwater}
    return [told for k in sorted(keys) for told in _episodes(k, seen, confirmation_blocks)]


def _episodes(account: Key, chain: list[Observation], confirmation_blocks: int) -> list[Told]:
    found: list[Told] = []
    run: list[Observation] = []
    for observation in chain:
        if account in observation.underwater:
            run.append(observation)
            continue
        if len(run) >= confirmation_blocks:
            found.append(_episode(account, run, confirmation_blocks, observation))
        run = []
    if len(run) >= confirmation_blocks:
        found.append(_episode(account, run, confirmation_blocks, None))
    return found


def _episode(
    account: Key, run: list[Observation], confirmation_blocks: int, end: Observation | None
) -> Told:
    health = str(run[-1].underwater[account].health_factor).rjust(19, "0")
    reason = None
    if end is not None:
        reason = "unpriced" if account in end.unpriced else "recovered"
        reason = "liquidated" if account in end.liquidated else reason
    return Told(
        key=account,
        first=run[0].block.number,
        flagged=run[confirmation_blocks - 1].block.number,
        blocks=len(run),
        health=f"{health[:-18]}.{health[-18:]}",
        closed=None if end is None else end.block.number,
        reason=reason,
    )
