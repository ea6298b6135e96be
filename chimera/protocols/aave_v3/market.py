"""What the mirror keeps about one pool: reserves, index states, eModes and prices of the block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chimera.domain.block import ZERO_ADDRESS, Address
from chimera.domain.market import Market
from chimera.domain.numeric import Bps, Ray
from chimera.protocols.aave_v3.math import Engine, Rates, normalized_debt, normalized_income


@dataclass(frozen=True, slots=True)
class Configuration:
    """The parts of a reserve's configuration word that a health factor or liquidation reads."""

    threshold: Bps
    bonus: Bps
    decimals: int
    is_active: bool
    is_paused: bool
    protocol_fee: Bps
    mode: int  # eMode category of the asset, 0 for none


@dataclass(frozen=True, slots=True)
class Reserve:
    """One listed asset. `bit` is its id in the bitmaps of the users, reused after a drop."""

    asset: Address
    symbol: str
    bit: int
    supply_token: Address
    debt_token: Address
    stable_debt_token: Address
    configuration: Configuration

    @property
    def unit(self) -> int:
        """One whole token in its smallest unit."""
        return int(10**self.configuration.decimals)


@dataclass(frozen=True, slots=True)
class Mode:
    """An eMode category. With a `price_source`, its price stands in for that of its assets."""

    threshold: Bps
    bonus: Bps
    price_source: Address


NO_MODE = Mode(Bps(0), Bps(0), ZERO_ADDRESS)  # what the pool's storage holds for any other id


@dataclass(frozen=True, slots=True)
class Indexes:
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
        dropped: Bits of assets that were dropped; users may still have the collateral bit set.
        heirs: Dropped assets (or placeholders) -> the asset that has their bit now.
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
    dropped: Mapping[Address, int] = field(default_factory=dict)
    heirs: Mapping[Address, Address] = field(default_factory=dict)
    _indexes: dict[int, dict[Address, Indexes]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def indexes(self, timestamp: int) -> Mapping[Address, Indexes]:
        """Return the indexes of every reserve at `timestamp`; the last ones are remembered."""
        known = self._indexes.get(timestamp)
        if known is None:
            known = {
                asset: Indexes(
                    normalized_income(rates, timestamp),
                    normalized_debt(self.engine, rates, timestamp),
                )
                for asset, rates in self.rates.items()
            }
            self._indexes.clear()
            self._indexes[timestamp] = known
        return known

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


def placeholder(bit: int) -> Address:
    """Name a bit that no reserve has, to keep it for the asset that may be listed under it."""
    return Address(bit.to_bytes(20, "big"))
