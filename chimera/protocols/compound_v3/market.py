"""What the mirror keeps about one Comet: terms, totals and the prices of the block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from chimera.domain.block import Address
from chimera.domain.market import Account, Market
from chimera.protocols.compound_v3.math import (
    MAX_UINT64,
    Curve,
    Indexes,
    Totals,
    accrued,
    present_value,
)

ABSORB_PAUSED, BUY_PAUSED = 1 << 3, 1 << 4  # of `Totals.pauses`
FIRST_RESERVED = 16  # bits from here on stand in `_reserved`


@dataclass(frozen=True, slots=True)
class Base:
    """The token that is lent: `scale` is one whole of it."""

    token: Address
    symbol: str
    feed: Address
    scale: int


@dataclass(frozen=True, slots=True)
class Collateral:
    """
    One asset that can be borrowed against; factors in 1e18.

    Attributes:
        offset: Its place in the list, and its bit in the accounts' bitmaps.
        scale: One whole token.
        liquidate_factor: Part of its value that counts before an account is liquidatable.
        liquidation_factor: Part of its value that an absorbed account is credited with.
    """

    asset: Address
    symbol: str
    offset: int
    feed: Address
    scale: int
    liquidate_factor: int
    liquidation_factor: int

    def named(self, symbol: str) -> Collateral:
        """Return the same with its token's symbol."""
        return replace(self, symbol=symbol)


@dataclass(frozen=True, slots=True)
class Terms:
    """
    What only an upgrade of the proxy changes.

    Attributes:
        currency: What prices are quoted in.
        collaterals: By asset, in the order of their offsets.
        store_front: Part of the liquidation penalty that buyers get as a discount, 1e18.
        target_reserves: From here on, base token units, nothing is sold.
    """

    base: Base
    currency: str
    collaterals: Mapping[Address, Collateral]
    supply: Curve
    borrow: Curve
    store_front: int
    target_reserves: int

    @property
    def feeds(self) -> tuple[Address, ...]:
        """Every price feed once, that of the base token first."""
        of_collaterals = (collateral.feed for collateral in self.collaterals.values())
        return tuple(dict.fromkeys((self.base.feed, *of_collaterals)))

    def extends(self, older: Terms) -> bool:
        """Tell whether base token and older offsets are as they were, so that bitmaps still fit."""
        kept = tuple(self.collaterals)[: len(older.collaterals)]
        return self.base.token == older.base.token and kept == tuple(older.collaterals)

    def bits(self, account: Account) -> int:
        """Return the account's bitmap: `assetsIn`, and `_reserved` from bit 16 on."""
        return sum(1 << self.collaterals[asset].offset for asset in account.enabled)


@dataclass(frozen=True, slots=True)
class CometMarket(Market):
    """
    One Comet at one block.

    Attributes:
        comet: The proxy.
        terms: Its configuration.
        totals: What `totalsBasic` answered.
        collateral_totals: Units of each collateral that all accounts hold together.
        prices: By token, 8 places; None where the feed is dead.
        cash: Base tokens that the proxy holds.
        corrections: Principals that this block's logs left wrong and `userBasic` put right.
        unannounced: Those of them in a block whose logs explain the accrual by themselves, so that
            nothing pointed at a silent transfer.
        is_exact: Whether every principal of the book was read at this block.
    """

    comet: Address
    terms: Terms
    totals: Totals
    collateral_totals: Mapping[Address, int]
    prices: Mapping[Address, int | None]
    cash: int
    corrections: int = field(default=0, compare=False)
    unannounced: int = field(default=0, compare=False)
    is_exact: bool = field(default=True, compare=False)
    _indexes: dict[int, Indexes] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _counts: dict[Address, tuple[int, int, int]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def counts(self) -> Mapping[Address, tuple[int, int, int]]:
        """Price, scale and liquidate factor of every collateral that has a price."""
        if not self._counts:
            for asset, one in self.terms.collaterals.items():
                price = self.prices[asset]
                if price is not None and one.liquidate_factor <= MAX_UINT64:
                    self._counts[asset] = price, one.scale, one.liquidate_factor
        return self._counts

    def indexes(self, timestamp: int) -> Indexes:
        """
        Return the indexes accrued to `timestamp`; the last ones are remembered.

        Raises:
            Skip: They overflow, so that nothing can be done in the market.
        """
        known = self._indexes.get(timestamp)
        if known is None:
            known = accrued(self.totals, self.terms.supply, self.terms.borrow, timestamp)
            self._indexes.clear()
            self._indexes[timestamp] = known
        return known

    def reserves(self, timestamp: int, *, supply: int = 0, borrow: int = 0) -> int:
        """
        Return the reserves of base, signed, once these principals joined the totals.

        Mirrors Comet.getReserves.
        """
        indexes = self.indexes(timestamp)
        supplied = present_value(self.totals.supply + supply, indexes)
        borrowed = -present_value(-(self.totals.borrow + borrow), indexes)
        return self.cash - supplied + borrowed

    def principal(self, account: Account | None) -> int:
        """Return the signed principal of an account, 0 for None."""
        if account is None:
            return 0
        shape, token = account.shape, self.terms.base.token
        supplied, owed = shape.supply_place(token), shape.debt_place(token)
        return (account[supplied] if supplied else 0) - (account[owed] if owed else 0)

    def priced(self, asset: Address, price: int) -> CometMarket:
        """Return the market as it would be with this price of one token."""
        moved = replace(self, prices={**self.prices, asset: price})
        moved._indexes.update(self._indexes)  # noqa: SLF001  (interest knows no price)
        return moved


def places(scale: int) -> int:
    """Return the decimals of a token by its scale: 6 for 1,000,000."""
    return len(str(scale)) - 1
