"""The comptroller and its markets of one block while its logs are being read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from eth_utils.address import to_checksum_address

from chimera.domain import abi
from chimera.domain.block import ZERO_ADDRESS, Address, BlockBatch, Log
from chimera.domain.changes import Change, SupplyMoved
from chimera.errors import Rebuild
from chimera.ports import Accounts
from chimera.protocols.compound_v2 import calls, reading
from chimera.protocols.compound_v2.lacking import Extras
from chimera.protocols.compound_v2.market import CompoundMarket, Listing
from chimera.protocols.compound_v2.math import RateModel, State
from chimera.protocols.compound_v2.pools import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """What the first topic of a log means, by the kind of contract that emits it."""

    comptroller: dict[bytes, Handler]
    mtoken: dict[bytes, Handler]
    model: dict[bytes, Handler]


@dataclass(slots=True)
class Figures:
    """What one mToken stores, on the move: see `State`, whose cash is read at the block's end."""

    borrows: int
    reserves: int
    supply: int
    index: int
    accrued: int

    @classmethod
    def of(cls, state: State) -> Figures:
        """Start from what is stored."""
        return cls(state.borrows, state.reserves, state.supply, state.index, state.accrued)

    def settled(self, cash: int | None) -> State:
        """Return what is stored in the end."""
        parts = (self.borrows, self.reserves, self.supply, self.index, self.accrued)
        return State(cash, *parts)


class Draft:
    """
    The market while its block is being read, and who of the users in it is followed.

    Of a market that this block lists nothing is known before its end. Its logs move accounts; its
    own figures are those that were read.
    """

    def __init__(
        self,
        market: CompoundMarket,
        accounts: Accounts,
        batch: BlockBatch,
        found: Extras,
        tables: Tables,
    ) -> None:
        self.dialect = market.dialect
        self.batch = batch
        self.extras = found
        self.accounts = accounts
        self.oracle = market.oracle
        self.close_factor = market.close_factor
        self.incentive = market.incentive
        self.is_paused = market.is_paused
        self.listings = dict(market.listings)
        self.states = market.states
        self._moved: dict[Address, Figures] = {}  # of the markets that this block moves
        self.pools = dict(market.pools)
        self.moment = batch.block.timestamp if self.dialect.by_timestamp else batch.block.number
        # By market: place and amount of the last Transfer to itself.
        self.sent_back: dict[Address, tuple[int, int]] = {}
        self.reduced: set[Address] = set()  # markets that have paid reserves out in this block
        models = {listing.model for listing in market.listings.values()}
        self.handlers: dict[Address, dict[bytes, Handler]] = {
            market.comptroller: tables.comptroller,
            **dict.fromkeys(models, tables.model),
            **dict.fromkeys((*market.listings, *found.fresh), tables.mtoken),
        }
        # What was read holds the end of this block, so this block's logs must not be added to it.
        self._followed: dict[Address, bool] = dict.fromkeys(found.accounts, False)

    def follows(self, user: Address) -> bool:
        """Tell whether this block's logs move the user's account, as decided at the first one."""
        known = self._followed.get(user)
        if known is None:
            known = self.accounts.complete or self.accounts.get(user) is not None
            self._followed[user] = known
        return known

    def moved(self, mtoken: Address, user: Address, delta: int) -> tuple[Change, ...]:
        """Return the change of a balance. What a market holds of itself is nobody's account."""
        if delta == 0 or user in (mtoken, ZERO_ADDRESS) or not self.follows(user):
            return ()
        return (SupplyMoved(user, mtoken, delta),)

    def index_of(self, mtoken: Address) -> int:
        """Return the borrow index as it stands before the next log."""
        figures = self.figures(mtoken)
        return self.extras.fresh[mtoken][1].index if figures is None else figures.index

    def figures(self, mtoken: Address) -> Figures | None:
        """Return the figures of a market, for a log to change; None if they are not known."""
        moved = self._moved.get(mtoken)
        if moved is None and mtoken in self.states:
            moved = self._moved[mtoken] = Figures.of(self.states[mtoken])
        return moved

    def supply(self, mtoken: Address, delta: int) -> None:
        """
        Move the total of a market's mTokens, if it is known.

        Raises:
            Rebuild: There are not so many.
        """
        figures = self.figures(mtoken)
        if figures is None:
            return
        figures.supply += delta
        if figures.supply < 0:
            name = to_checksum_address(mtoken)
            raise Rebuild(f"{name} would have {figures.supply} mTokens after a change of {delta}")

    def configure(self, mtoken: Address, change: Callable[[Listing], Listing]) -> None:
        """Change the terms of a market, if they are known."""
        listing = self.listings.get(mtoken)
        if listing is not None:
            self.listings[mtoken] = change(listing)

    def retune(self, number: int, change: Callable[[Pool], Pool]) -> None:
        """Change a pool of risk, if it is known."""
        pool = self.pools.get(number)
        if pool is not None:
            self.pools[number] = change(pool)

    def remodel(self, model: Address, rates: RateModel) -> None:
        """Take new parameters into every market with this rate model, if it is understood."""
        for mtoken, listing in self.listings.items():
            if listing.model == model and listing.rates is not None:
                self.listings[mtoken] = replace(listing, rates=rates)

    def finished(self, market: CompoundMarket) -> CompoundMarket:
        """Return the market at the end of the block, with prices and cash read there."""
        if self.extras.replaced is not None:
            return self.extras.replaced
        readings = self.batch.readings
        for mtoken, (listing, _) in self.extras.fresh.items():
            own = self.dialect.has_thresholds
            incentive = listing.incentive if own else self.incentive
            self.listings[mtoken] = replace(listing, incentive=incentive)
        states = {mtoken: self._settled(mtoken, state) for mtoken, state in self.states.items()}
        for mtoken, (_, state) in self.extras.fresh.items():
            states[mtoken] = state
        finished = replace(
            market,
            oracle=self.oracle,
            close_factor=self.close_factor,
            incentive=self.incentive,
            is_paused=self.is_paused,
            block_number=self.batch.block.number,
            listings=self.listings,
            states=states,
            prices=reading.prices_in(self.oracle, tuple(self.listings), readings),
            rates=reading.rates_in(self.dialect, self.listings, readings),
            pools=self.pools,
        )
        finished.remember_figures(market)
        return finished

    def _settled(self, mtoken: Address, state: State) -> State:
        """Return what a market stores at the end of the block."""
        cash = abi.number(self.batch.readings[abi.plain(mtoken, calls.GET_CASH)])
        moved = self._moved.get(mtoken)
        if moved is not None:
            return moved.settled(cash)
        return state if cash == state.cash else replace(state, cash=cash)


Handler = Callable[[Draft, Log], Iterator[Change] | tuple[Change, ...]]


def noted(_draft: Draft, _log: Log) -> tuple[Change, ...]:
    """Change nothing: `lacking` has asked the chain about it."""
    return ()
