"""The published face of an account: what stands in Redis and in HTTP answers alike."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

VERSION = 1  # of the document's shape


@dataclass(frozen=True, slots=True)
class CollateralView:
    """One collateral leg of a `Position`; `value` is a decimal string in the base currency."""

    asset: str
    symbol: str
    amount: int
    value: str
    liquidation_threshold: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class DebtView:
    """One debt leg of a `Position`; `value` is a decimal string in the base currency."""

    asset: str
    symbol: str
    amount: int
    value: str


@dataclass(frozen=True, slots=True)
class Position:
    """
    One account in one market, valued at `block`. Field by field the document of interfaces.

    Addresses are EIP-55 strings, amounts integers in the token's smallest unit, values and ratios
    decimal strings. `health_factor` has 18 places, and is None without debt or with an `error`.
    """

    block: int
    protocol: str
    user: str
    health_factor: str | None
    collateral_asset: str | None
    debt_asset: str | None
    collateral_amount: int
    debt_amount: int
    liquidation_threshold: str
    last_update_block: int
    blocks_unhealthy: int
    collateral: tuple[CollateralView, ...]
    debt: tuple[DebtView, ...]
    base_currency: str
    error: str | None = None
    version: int = VERSION

    def document(self) -> dict[str, Any]:
        """Return the JSON document; `block` comes first, where the cache's script looks for it."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Position:
        """
        Read a document back, ignoring fields that are not ours.

        Raises:
            KeyError, TypeError, ValueError: It is not a position.
        """
        known = {name: document[name] for name in cls.__slots__ if name in document}
        known["collateral"] = tuple(_leg(CollateralView, leg) for leg in document["collateral"])
        known["debt"] = tuple(_leg(DebtView, leg) for leg in document["debt"])
        position = cls(**known)
        if not isinstance(position.block, int) or not isinstance(position.user, str):
            msg = "block must be an integer and user a string"
            raise TypeError(msg)
        return position


def _leg(kind: type[Any], document: dict[str, Any]) -> Any:  # noqa: ANN401  (one of two views)
    return kind(**{name: document[name] for name in kind.__slots__ if name in document})
