"""The shapes of requests and answers; what stands inside them are the documents of `domain`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from chimera.api.parameters import AddressText, CursorText, WadText
from chimera.domain.health import Step
from chimera.domain.notices import ProtocolStatus, RedisState, Status, Trouble
from chimera.domain.opportunity import Opportunity
from chimera.domain.position import Position

MOST_ITEMS = 1000  # of one page
USUAL_ITEMS = 100

Name = Annotated[str, Field(min_length=1, max_length=128)]
Limit = Annotated[int, Field(ge=1, le=MOST_ITEMS)]


class Asked(BaseModel):
    """Base of everything a client may ask: an unknown name is refused, for it is a typo."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PositionsAsked(Asked):
    """Which positions to list."""

    protocol: Name | None = None
    user: AddressText | None = None
    asset: AddressText | None = Field(default=None, description="on either side")
    max_health_factor: WadText | None = Field(default=None, description="this or lower")
    limit: Limit = USUAL_ITEMS
    cursor: CursorText | None = None


class OpportunitiesAsked(Asked):
    """Which episodes to list."""

    state: Literal["open", "closed"] | None = None
    protocol: Name | None = None
    limit: Limit = USUAL_ITEMS
    cursor: CursorText | None = None


class RebuildAsked(Asked):
    """What to read anew: one protocol or all; discovery again from a block on, if given."""

    protocol: Name | None = None
    from_block: Annotated[int, Field(ge=0, strict=True)] | None = None


class PositionsPage(BaseModel):
    """Positions, all valued at `block`, lowest health factor first."""

    block: int
    items: list[Position]
    next_cursor: str | None


class OpportunitiesPage(BaseModel):
    """Episodes as they stand at `block`, newest first."""

    block: int
    items: list[Opportunity]
    next_cursor: str | None


class Explanation(BaseModel):
    """Every input and step of a health factor, and the rule that decides about the account."""

    protocol: str
    user: str
    block: int
    health_factor: str | None
    steps: list[Step]
    verdict: str


class Readiness(BaseModel):
    """The daemon's state."""

    ready: bool
    chain_id: int
    head: int
    processed_block: int
    lag_blocks: int
    redis: RedisState
    breaker: str
    reasons: list[str]
    protocols: dict[str, ProtocolStatus]
    degraded: bool
    complete_up_to: int
    complete_since: int
    faults: list[Trouble]

    @classmethod
    def of(cls, status: Status) -> Readiness:
        """Write a status as the body of /readyz."""
        return cls(
            ready=status.ready,
            chain_id=status.chain_id,
            head=status.head,
            processed_block=status.processed_block,
            lag_blocks=status.lag_blocks,
            redis=status.redis,
            breaker=status.breaker,
            reasons=list(status.reasons),
            protocols=dict(status.protocols),
            degraded=status.degraded,
            complete_up_to=status.complete_up_to,
            complete_since=status.complete_since,
            faults=list(status.faults),
        )


class Rebuilt(BaseModel):
    """What a rebuild did."""

    accounts: int
    mismatches: int
    milliseconds: int


class Fault(BaseModel):
    """Why a request failed: a word for programs, a sentence for people."""

    code: str
    message: str


class Failed(BaseModel):
    """The body of every answer that is an error."""

    error: Fault


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document the errors that a route may answer with."""
    return {status: {"model": Failed} for status in statuses}
