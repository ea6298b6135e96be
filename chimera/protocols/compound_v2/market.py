"""What the mirror keeps about one comptroller: its markets, their figures, prices of the block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from chimera.domain.block import Address
from chimera.domain.market import Market
from chimera.domain.numeric import short_decimal
from chimera.errors import Skip
from chimera.protocols.compound_v2 import math
from chimera.protocols.compound_v2.dialect import Dialect
from chimera.protocols.compound_v2.math import RateModel, State
from chimera.protocols.compound_v2.pools import CORE_POOL, Pool, Terms

WAD_PLACES = 18

USUAL_SLOT = 16
"""Where every member of the family keeps `accountBorrows`, for storage that cannot be searched."""

NATIVE = Address(b"\xee" * 20)
"""Stands for the chain's own coin, which has no token contract (ERC-7528)."""


@dataclass(frozen=True, slots=True)
class Listing:
    """
    One market's terms. Factors and shares in WAD.

    Attributes:
        mtoken: The market's contract, by which it is known here.
        underlying: Its token, `NATIVE` for the chain's own coin.
        symbol: Of the underlying.
        decimals: Of the underlying.
        is_listed: Whether the comptroller lists it; one that was taken off still counts.
        factor: By how much its collateral counts (Venus: the liquidation threshold).
        incentive: What a liquidator may seize for each unit repaid.
        reserve_factor: Part of the interest that goes to the reserves.
        seize_share: Part of what is seized that the protocol keeps.
        model: The rate model's contract.
        rates: What the model computes; None where it is not understood and the rate is polled.
        slot: Storage position of `accountBorrows`, proved by the words before it, or None.
        is_seize_paused: Nobody's collateral here may be seized.
        is_liquidation_paused: Nobody's debt here may be liquidated.
        is_forced: Debts here may be liquidated in full, without a shortfall.
    """

    mtoken: Address
    underlying: Address
    symbol: str
    decimals: int
    is_listed: bool
    factor: int
    incentive: int
    reserve_factor: int
    seize_share: int
    model: Address
    rates: RateModel | None
    slot: int | None = None
    is_seize_paused: bool = False
    is_liquidation_paused: bool = False
    is_forced: bool = False


class Figures(NamedTuple):
    """
    What one market contributes to an account, its state being stored or accrued.

    `rate` (mToken to underlying) and `weight` (mToken to collateral that counts) are None where the
    contract cannot tell; `price` is None where the oracle reverts. `has_cash`: the underlying tells
    how much of it the market has.
    """

    borrow_index: int
    rate: int | None
    price: int | None
    weight: int | None
    has_cash: bool = True


class Count(NamedTuple):
    """What one market of sound figures counts for: values are WAD of base currency."""

    weight: int  # of an mToken as collateral
    price: int  # of a unit of the underlying
    borrow_index: int


class Shown(NamedTuple):
    """
    What is published of a leg in one market of sound figures, which are as in `Figures`.

    `asset` and `symbol` are the underlying's, `factor` is a decimal.
    """

    asset: Address
    symbol: str
    price: int
    rate: int
    weight: int
    borrow_index: int
    factor: str


@dataclass(frozen=True, slots=True)
class CompoundMarket(Market):
    """
    One comptroller at one block.

    Attributes:
        dialect: Which member of the family it is.
        comptroller: Its proxy, the entry contract.
        oracle: Current price oracle.
        close_factor: Part of one debt that a call may repay, WAD.
        incentive: The comptroller's own, for markets without one.
        is_paused: Seizing (Venus: everything) is paused.
        block_number: The block it stands at, by which interest may run.
        listings: Terms, by mToken.
        states: Stored figures, by mToken.
        prices: What the oracle answers, by mToken; WAD times 10 to (18 - decimals) per unit.
        rates: Polled borrow rates, of markets whose model is not understood.
        pools: Pools of risk besides the core pool, by number: the mode of their accounts.
    """

    dialect: Dialect
    comptroller: Address
    oracle: Address
    close_factor: int
    incentive: int
    is_paused: bool
    block_number: int
    listings: Mapping[Address, Listing]
    states: Mapping[Address, State]
    prices: Mapping[Address, int | None]
    rates: Mapping[Address, int | None] = field(default_factory=dict)
    pools: Mapping[int, Pool] = field(default_factory=dict)
    _stored: dict[tuple[Address, int], Figures] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _counts: dict[int, dict[Address, Count]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _shown: dict[int, dict[Address, Shown]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _accrued: dict[Address, State | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _accrued_at: list[int] = field(default_factory=list, init=False, repr=False, compare=False)

    def terms(self, mtoken: Address, mode: int) -> Terms:
        """Return factor and incentive of a market for the members of a pool."""
        listing = self.listings[mtoken]
        core = Terms(listing.factor, listing.incentive)
        pool = self.pools.get(mode)
        return core if mode == CORE_POOL or pool is None else pool.terms_of(mtoken, core)

    def figures(self, mtoken: Address, mode: int) -> Figures:
        """Return the figures by what the market stores, as the views use them."""
        known = self._stored.get((mtoken, mode))
        if known is None:
            known = self.figures_of(mtoken, self.states[mtoken], mode)
            self._stored[mtoken, mode] = known
        return known

    def remember_figures(self, other: CompoundMarket) -> None:
        """Take over what another one has worked out about the markets that are the same in both."""
        if other.pools != self.pools:
            return
        same = {
            mtoken
            for mtoken, state in self.states.items()
            if state is other.states.get(mtoken)
            and self.prices[mtoken] == other.prices[mtoken]
            and self.listings[mtoken] is other.listings[mtoken]
        }
        for key, figures in other._stored.items():
            if key[0] in same:
                self._stored[key] = figures

    def counts(self, mode: int) -> Mapping[Address, Count]:
        """
        Return what the markets count for, to the members of a pool, by what is stored.

        Left out are the markets about which the contract cannot tell, or that have no price.
        """
        known = self._counts.get(mode)
        if known is None:
            known = self._counts[mode] = {}
            for mtoken in self.listings:
                index, _, price, weight, _ = self.figures(mtoken, mode)
                if price and weight is not None:
                    known[mtoken] = Count(weight, price, index)
        return known

    def shown(self, mode: int) -> Mapping[Address, Shown]:
        """Return what is published of legs in the markets that `counts` has."""
        known = self._shown.get(mode)
        if known is None:
            known = self._shown[mode] = {}
            for mtoken in self.counts(mode):
                listing, factor = self.listings[mtoken], self.terms(mtoken, mode).factor
                index, rate, price, weight, _ = self.figures(mtoken, mode)
                if rate is not None and price is not None and weight is not None:
                    written = short_decimal(factor, WAD_PLACES)
                    known[mtoken] = Shown(
                        listing.underlying, listing.symbol, price, rate, weight, index, written
                    )
        return known

    def figures_of(self, mtoken: Address, state: State, mode: int) -> Figures:
        """Return the figures of a market in this state, for the members of a pool."""
        price, factor = self.prices[mtoken], self.terms(mtoken, mode).factor
        try:
            rate = math.exchange_rate(state)
        except Skip:
            return Figures(state.index, None, price, None, state.cash is not None)
        try:
            weight = None if price is None else math.weight_of(factor, rate, price)
        except Skip:
            weight = None
        return Figures(state.index, rate, price, weight)

    def moment(self, timestamp: int) -> int:
        """Return what interest runs by: the time, or the block that the market stands at."""
        return timestamp if self.dialect.by_timestamp else self.block_number

    def accrued(self, mtoken: Address, timestamp: int) -> State:
        """
        Return what the market would store after `accrueInterest` at `timestamp`.

        Raises:
            Skip: That call reverts.
        """
        if self._accrued_at != [timestamp]:
            self._accrued.clear()
            self._accrued_at[:] = [timestamp]
        if mtoken not in self._accrued:
            try:
                self._accrued[mtoken] = self._accrue(mtoken, timestamp)
            except Skip:
                self._accrued[mtoken] = None
        state = self._accrued[mtoken]
        if state is None:
            raise Skip(f"interest of {self.listings[mtoken].symbol} cannot be added")
        return state

    def _accrue(self, mtoken: Address, timestamp: int) -> State:
        listing, state = self.listings[mtoken], self.states[mtoken]
        moment = self.moment(timestamp)
        if state.accrued == moment:
            return state
        return math.accrued(state, listing.reserve_factor, self.borrow_rate(mtoken), moment)

    def borrow_rate(self, mtoken: Address) -> int:
        """
        Return the rate that the next accrual uses.

        Raises:
            Skip: The rate model reverts.
        """
        model, state = self.listings[mtoken].rates, self.states[mtoken]
        if model is not None:
            return math.borrow_rate(model, state.cash, state.borrows, state.reserves)
        polled = self.rates.get(mtoken)
        if polled is None:
            raise Skip(f"the rate model of {self.listings[mtoken].symbol} reverts")
        return polled
