"""What the mirror keeps about one pool: reserves, index states, eModes and prices of the block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

from chimera.domain.block import ZERO_ADDRESS, Address
from chimera.domain.market import Market
from chimera.domain.numeric import Bps, Ray
from chimera.protocols.aave_v3.engine import Engine
from chimera.protocols.aave_v3.math import Rates, normalized_debt, normalized_income

K = TypeVar("K")
T = TypeVar("T")

Place = tuple[Address, int]
"""An asset, and the eMode of who has it."""

MOST_PLANS = 1 << 16  # shapes or places remembered; a market has some thousands

PASSING = frozenset({"rates", "debt_totals", "prices", "liquidations_allowed"})
"""The parts of a market that move without governance."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The parts of a reserve's configuration word that a health factor or liquidation reads."""

    threshold: Bps
    bonus: Bps
    decimals: int
    is_active: bool
    is_paused: bool
    protocol_fee: Bps
    mode: int  # eMode category of the asset up to v3.1, 0 for none


@dataclass(frozen=True, slots=True)
class Reserve:
    """
    One listed asset.

    `bit` is its id in the bitmaps of users and eModes, reused after a drop. Nobody is liquidated in
    it until `grace_until` has passed. `stable_debt_token` is the zero address from v3.2 on.
    """

    asset: Address
    symbol: str
    bit: int
    supply_token: Address
    debt_token: Address
    stable_debt_token: Address
    configuration: Configuration
    grace_until: int = 0

    @property
    def unit(self) -> int:
        """One whole token in its smallest unit."""
        return int(10**self.configuration.decimals)


@dataclass(frozen=True, slots=True)
class Mode:
    """
    An eMode category.

    Up to v3.1 it may have a `price_source`, whose price stands in for that of its assets. From v3.2
    on it has bitmaps over the ids of the reserves: what is `collateral` by its terms, what is
    `borrowable` in it, and (v3.6) which collateral has no LTV there.
    """

    threshold: Bps
    bonus: Bps
    price_source: Address = ZERO_ADDRESS
    collateral: int = 0
    borrowable: int = 0
    ltvzero: int = 0


NO_MODE = Mode(Bps(0), Bps(0))  # what the pool's storage holds for any other id


class Indexes(NamedTuple):
    """Normalized income and debt of one reserve at one second."""

    income: Ray
    debt: Ray


@dataclass(frozen=True, slots=True)
class AaveMarket(Market):
    """
    One pool at one block.

    Attributes:
        engine: The arithmetic of the pool's revision.
        provider: PoolAddressesProvider, the entry contract.
        pool: Proxy of the pool.
        configurator: Proxy of the PoolConfigurator.
        oracle: Current AaveOracle.
        base_currency: What prices are quoted in, "USD" or a token's symbol.
        base_decimals: Places of every price and value.
        reserves: By asset.
        rates: Stored index states, by asset.
        debt_totals: Scaled total supply of each vToken, by asset.
        modes: eMode categories by id.
        prices: What the oracle answers for every asset and price source; None where it reverts.
        sentinel: PriceOracleSentinel, or the zero address.
        liquidations_allowed: What the sentinel says of accounts at 0.95 and above.
        dropped: Bits of assets that were dropped; users may still have the collateral bit set.
        heirs: Dropped assets and vacant bits -> the asset that has their bit now.
    """

    engine: Engine
    provider: Address
    pool: Address
    configurator: Address
    oracle: Address
    base_currency: str
    base_decimals: int
    reserves: Mapping[Address, Reserve]
    rates: Mapping[Address, Rates]
    debt_totals: Mapping[Address, int]
    modes: Mapping[int, Mode]
    prices: Mapping[Address, int | None]
    sentinel: Address = ZERO_ADDRESS
    liquidations_allowed: bool = True
    dropped: Mapping[Address, int] = field(default_factory=dict)
    heirs: Mapping[Address, Address] = field(default_factory=dict)
    _indexes: dict[int, dict[Address, Indexes]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _rows: dict[type, tuple[int, dict[Place, Any]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _lasting: dict[Callable[..., Any], Any] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def indexes(self, timestamp: int) -> Mapping[Address, Indexes]:
        """Return the indexes of every reserve at `timestamp`; the last ones are remembered."""
        known = self._indexes.get(timestamp)
        if known is None:
            known = {
                asset: Indexes(
                    normalized_income(rates, timestamp),
                    normalized_debt(self.engine.compound, rates, timestamp),
                )
                for asset, rates in self.rates.items()
            }
            self._indexes.clear()
            self._indexes[timestamp] = known
        return known

    def rows(self, timestamp: int, kind: type[T]) -> dict[Place, T]:
        """Return the rows of a kind at `timestamp`, as far as they were asked for."""
        second, known = self._rows.get(kind, (None, {}))
        if second != timestamp:
            known = {}
            self._rows[kind] = timestamp, known
        return known

    def lasting(self, work_out: Callable[[AaveMarket], T]) -> T:
        """
        Return what follows from the lasting parts of the market, worked out once.

        These are the engine, the contracts, reserves, eModes and heirs: what only governance
        changes.
        """
        known: T | None = self._lasting.get(work_out)
        if known is None:
            known = self._lasting[work_out] = work_out(self)
        return known

    def lasting_for(self, key: K, work_out: Callable[[AaveMarket, K], T]) -> T:
        """Return the same of one shape or place; past `MOST_PLANS` of them all are forgotten."""
        plans: dict[K, T] | None = self._lasting.get(work_out)
        if plans is None:
            plans = self._lasting[work_out] = {}
        known = plans.get(key)
        if known is None:
            if len(plans) >= MOST_PLANS:
                plans.clear()
            known = plans[key] = work_out(self, key)
        return known

    def moved(self, **changes: object) -> AaveMarket:
        """Return the market with these changes; what was worked out goes on while it holds."""
        moved = replace(self, **changes)  # type: ignore[arg-type]
        if all(changes[name] is getattr(self, name) for name in changes.keys() - PASSING):
            object.__setattr__(moved, "_lasting", self._lasting)  # frozen, but it is new
        return moved

    def priced(self) -> tuple[Address, ...]:
        """Return everything whose price decides: the assets, then the eModes' price sources."""
        return priced(self.reserves, self.modes)

    def reserve_of_bit(self, asset: Address) -> Reserve | None:
        """Return the reserve whose collateral bit is set when `asset` is enabled, or None."""
        return self.reserves.get(self.heirs.get(asset, asset))


def priced(reserves: Mapping[Address, Reserve], modes: Mapping[int, Mode]) -> tuple[Address, ...]:
    """Return the assets, then the price sources that are no assets, each once."""
    sources = [mode.price_source for mode in modes.values()]
    return tuple(dict.fromkeys([*reserves, *(s for s in sources if s != ZERO_ADDRESS)]))


def vacant(bit: int) -> Address:
    """Name a bit that no reserve has; whoever has it set uses the asset listed under it next."""
    return Address(bit.to_bytes(20, "big"))
