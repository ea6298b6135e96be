"""What the daemon says about itself: its state, for people and for other programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

RedisState = Literal["connected", "fallback", "disabled"]


@dataclass(frozen=True, slots=True)
class ProtocolStatus:
    """
    One followed protocol: accounts in the book, those with debt, and what checks found.

    Attributes:
        last_reconciled_block: Newest block at which some of its accounts were compared.
        mismatches: Accounts that differed from the contract's own view, since the start.
        exact_within_blocks: In how many blocks every account is read again, where logs do not tell
            all; 0 where they do.
    """

    accounts: int
    borrowers: int
    last_reconciled_block: int | None = None
    mismatches: int = 0
    exact_within_blocks: int = 0


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that was wrong: its name, a sentence, and from when to when (seconds, 1970)."""

    reason: str
    about: str
    since: int
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """
    The body of /readyz.

    Attributes:
        complete_up_to: Block up to which every block was applied, from `complete_since` on.
        complete_since: Block at which the book was last read as a whole instead of followed there.
    """

    ready: bool
    chain_id: int
    head: int
    processed_block: int
    lag_blocks: int
    redis: RedisState
    breaker: str
    reasons: tuple[str, ...] = ()
    protocols: Mapping[str, ProtocolStatus] = field(default_factory=dict)
    degraded: bool = False
    complete_up_to: int = 0
    complete_since: int = 0
    faults: tuple[Trouble, ...] = ()


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What a rebuild did: accounts read, entries that differed from the chain, seconds x 1000."""

    accounts: int
    mismatches: int
    milliseconds: int
