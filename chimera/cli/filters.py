"""What a listing is asked for: checked as usage, sent as text, or applied to what Redis holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import typer

from chimera.api.parameters import address_of, wad_of
from chimera.domain.market import MARKET_FOLLOWS, instance_of
from chimera.domain.position import Position


def an_address(text: str | None) -> str | None:
    """Check an option or argument that is an address (a Typer callback)."""
    return _checked(text, address_of)


def a_decimal(text: str | None) -> str | None:
    """Check an option that is a decimal of 0 or more (a Typer callback)."""
    return _checked(text, wad_of)


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of `positions`, as they were typed."""

    protocol: str | None = None
    user: str | None = None
    asset: str | None = None
    max_health_factor: str | None = None

    def query(self) -> dict[str, str]:
        """Return them as parameters of a request."""
        given = {
            "protocol": self.protocol,
            "user": self.user,
            "asset": self.asset,
            "max_health_factor": self.max_health_factor,
        }
        return {name: text for name, text in given.items() if text is not None}

    def beginning(self, count: int) -> dict[str, Any]:
        """Return how Redis is asked for `count` of the lowest alone; {} where that cannot be."""
        market = self.protocol is not None and MARKET_FOLLOWS in self.protocol
        if self.user is not None or self.asset is not None or market:
            return {}
        bound = None if self.max_health_factor is None else float(self.max_health_factor)
        return {"count": count, "bound": bound, "instance": self.protocol}

    def applied(self, positions: Iterable[Position], limit: int) -> list[Position]:
        """Choose and order as the daemon would: lowest health factor first, no debt last."""
        return sorted(filter(self._wants, positions), key=_rank)[:limit]

    def _wants(self, position: Position) -> bool:
        bound = self.max_health_factor
        factor = position.health_factor
        return (
            self.protocol in (None, position.protocol, instance_of(position.protocol))
            and (self.user is None or self.user.lower() == position.user.lower())
            and (self.asset is None or self.asset.lower() in _assets(position))
            and (bound is None or (factor is not None and wad_of(factor) <= wad_of(bound)))
        )


def _checked(text: str | None, parse: Callable[[str], object]) -> str | None:
    if text is not None:
        try:
            parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    return text


def _assets(position: Position) -> set[str]:
    supplied = {leg.asset.lower() for leg in position.collateral}
    return supplied | {leg.asset.lower() for leg in position.debt}


def _rank(position: Position) -> tuple[bool, int, str, str]:
    factor = position.health_factor
    health = 0 if factor is None else wad_of(factor)
    return factor is None, health, position.protocol, position.user
