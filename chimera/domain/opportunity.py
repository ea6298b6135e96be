"""What the detector sees of a block, and the episodes that it makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from chimera.domain.block import Block
from chimera.domain.market import Key
from chimera.domain.numeric import Wad

ClosedReason = Literal["recovered", "liquidated", "reorged", "unpriced"]


@dataclass(frozen=True, slots=True)
class BestPair:
    """A `Pair` as it is published: EIP-55 addresses, `gross_bonus` as a decimal string."""

    collateral_asset: str
    debt_asset: str
    max_repay: int
    seize: int
    gross_bonus: str


@dataclass(frozen=True, slots=True)
class Underwater:
    """An account under 1 at a block, with all its flag will say. Values are decimal strings."""

    protocol: str
    user: str  # EIP-55
    health_factor: Wad
    collateral_value: str
    debt_value: str
    liquidatable: bool
    reason: str | None
    best: BestPair | None


@dataclass(frozen=True, slots=True)
class Observation:
    """
    One block as the detector sees it.

    Attributes:
        underwater: Every account under 1, by key. All others are not.
        unpriced: Accounts with debt whose health factor is unknown; their streak ends.
        liquidated: Accounts that were liquidated in this block.
        unfollowed: Protocol instances that nobody follows any more; nothing is known of them.
    """

    block: Block
    underwater: Mapping[Key, Underwater]
    unpriced: frozenset[Key] = frozenset()
    liquidated: frozenset[Key] = frozenset()
    unfollowed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Opportunity:
    """One episode under 1, from the block that flagged it to the block that ended it."""

    id: str
    protocol: str
    user: str  # EIP-55
    health_factor: str  # 18 places
    first_unhealthy_block: int
    flagged_block: int
    blocks_unhealthy: int
    state: Literal["open", "closed"]
    closed_block: int | None
    closed_reason: ClosedReason | None
    liquidatable: bool
    reason: str | None
    collateral_value: str
    debt_value: str
    best: BestPair | None

    def document(self) -> dict[str, Any]:
        """Return the JSON document of interfaces."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Opportunity:
        """Read a document back, ignoring fields that are not ours."""
        known = {name: document[name] for name in cls.__slots__ if name in document}
        best = document.get("best")
        known["best"] = None if best is None else BestPair(**best)
        return cls(**known)


@dataclass(frozen=True, slots=True)
class Streak:
    """Blocks in a row under 1: the first of them, and how many up to the newest block."""

    first_block: int
    length: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a restart resumes: a processed block, and the streaks as they stood after it."""

    block: Block
    streaks: Mapping[Key, Streak]
