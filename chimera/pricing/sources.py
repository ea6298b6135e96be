"""What kinds of price sources there are, and how one is told from another."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from chimera.domain.block import Address


class Kind(StrEnum):
    """How a source comes to its price."""

    FEED = "plain feed"  # Chainlink's: a proxy before an aggregator, or an aggregator itself
    RATIO = "ratio"  # a base feed times a ratio that a contract tells
    CAPPED_STABLE = "capped stable"  # a feed, but never more than a cap (CAPO)
    CAPPED_RATIO = "capped ratio"  # base feed times a ratio whose growth is capped (CAPO)
    COMPOSITE = "composite"  # two feeds multiplied or divided
    WRAPPED = "wrapped"  # another feed, behind rules of its own
    FIXED = "fixed"  # a constant that somebody may set
    MARKET_ORACLE = "market oracle"  # of an isolated market: one token in another, by feeds
    UNKNOWN = "unknown"  # answers, but in no way that we know; asked at every block like all
    ABSENT = "no source"  # nothing there


@dataclass(frozen=True, slots=True)
class Probes:
    """
    What one contract answered when it was asked to be each kind.

    Addresses are None where the call reverts or does not answer one; amounts likewise.

    Attributes:
        has_code: Whether anything is there (any answer at all, or a revert).
        answer: Of latestAnswer, else of the last round; in the source's decimals.
        updated: When the last round was written, seconds; None without rounds.
        fixed: What the getters of a constant answer, or the only price of a market's oracle.
        scale: What a market's oracle multiplies its feeds by; `base_feed` is the first of them.
    """

    has_code: bool = True
    answer: int | None = None
    updated: int | None = None
    description: str = ""
    aggregator: Address | None = None
    asset_to_usd: Address | None = None
    base_to_usd: Address | None = None
    ratio_provider: Address | None = None
    composed_of: tuple[Address, ...] = ()
    base: Address | None = None
    ratio: int | None = None
    wrapped: Address | None = None
    fixed: int | None = None
    is_capped: bool = False
    scale: int | None = None
    base_feed: Address | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """
    One price source, understood as far as it can be.

    Attributes:
        address: The contract that the protocol's oracle asks.
        kind: How it comes to its price.
        answer: What it answers, in its own decimals; None where it does not.
        updated: When its last round, or that of the feed beneath, was written; None if unknown.
        beneath: The feed that it rests on, None without one that is known.
        is_capped: Whether the cap holds the price down now.
    """

    address: Address
    kind: Kind
    answer: int | None
    updated: int | None = None
    description: str = ""
    beneath: Address | None = None
    is_capped: bool = False

    @property
    def is_alive(self) -> bool:
        """Tell whether it answers a price that a protocol can use."""
        return self.answer is not None and self.answer > 0


def classified(address: Address, found: Probes) -> Source:
    """Name the kind of a source by what it answered; the most particular one first."""
    kind, beneath = _kind(found)
    return Source(
        address=address,
        kind=kind,
        answer=found.fixed if found.answer is None else found.answer,
        updated=found.updated,
        description=found.description,
        beneath=beneath,
        is_capped=found.is_capped,
    )


def _kind(found: Probes) -> tuple[Kind, Address | None]:
    if not found.has_code:
        return Kind.ABSENT, None
    if found.scale is not None and found.fixed is not None:
        return Kind.MARKET_ORACLE, found.base_feed
    composed = found.composed_of[0] if len(found.composed_of) > 1 else None
    rests_on = (
        (Kind.CAPPED_RATIO, found.base_to_usd if found.ratio_provider is not None else None),
        (Kind.CAPPED_STABLE, found.asset_to_usd),
        (Kind.COMPOSITE, composed),
        (Kind.RATIO, found.base if found.ratio is not None else None),
        (Kind.WRAPPED, found.wrapped),
    )
    for kind, feed in rests_on:
        if feed is not None:
            return kind, feed
    if found.aggregator is not None or found.updated is not None:
        return Kind.FEED, None
    is_fixed = found.fixed is not None and found.fixed == found.answer
    return (Kind.FIXED if is_fixed else Kind.UNKNOWN), None
