"""The family's face: what the rest of Chimera asks of a Comet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from chimera.domain import abi
from chimera.domain.block import ZERO_ADDRESS, Address, Block, BlockBatch, Log, LogQuery, Needs
from chimera.domain.call import Call, Inquiry, Readings, unanswered
from chimera.domain.changes import Change
from chimera.domain.health import Difference, Health, Step, Valuation, Verdict
from chimera.domain.market import Account, Cells, Column, Holder, Quoted, Shape, Token
from chimera.domain.numeric import Wad
from chimera.ports import Accounts, LegBands
from chimera.protocols.compound_v3 import (
    calls,
    events,
    fold,
    lacking,
    liquidation,
    proof,
    quotes,
    reading,
    rotation,
    screen,
    valuation,
)
from chimera.protocols.compound_v3.market import CometMarket

# Logs in which everybody shows up who comes to hold something, always in the same topic. Nobody
# gets into debt without collateral, and every gain of base supply logs a Transfer.
BORROWERS = frozenset({events.SUPPLY_COLLATERAL, events.TRANSFER_COLLATERAL})
HOLDERS = BORROWERS | {events.TRANSFER}
HOLDER = 2


class CompoundV3:
    """
    A market of Compound v3: one Comet, also with the extended list of assets.

    Base moves between borrowers without a log, so that principals are read besides: everybody's at
    every block up to `rotation.BOUND`, above it everybody's in turn (see `exact_within`).

    Args:
        name: Of the instance, as in `position:<name>:<user>`.
        address: The Comet proxy.
        from_block: Its deployment block, or earlier.
    """

    kind = "compound_v3"
    topics = fold.TOPICS
    needs_suppliers = True  # whoever holds collateral can get into debt without a log
    relative_band = screen.RELATIVE_BAND
    absolute_band = screen.ABSOLUTE_BAND
    unit_band = screen.UNIT_BAND

    def __init__(self, *, name: str, address: Address, from_block: int) -> None:
        self.name = name
        self.address = address
        self.from_block = from_block
        self._turns = rotation.Turns()  # of the newest block; found anew by a fresh adapter

    # --- names -----------------------------------------------------------------------------------

    def published(self, holder: Holder) -> tuple[str, Address]:
        """Return the instance's name and the user: an account is known by both."""
        return self.name, holder

    def holder(self, protocol: str, user: Address) -> Holder | None:
        """Return the user, None for another protocol."""
        return user if protocol == self.name else None

    # --- reading ---------------------------------------------------------------------------------

    def prove(self) -> Inquiry[None]:
        """
        Check that the address answers as a Comet whose arithmetic is supported.

        Raises:
            Refuse: It does not; the message says what was found.
        """
        return reading.prove(self.address)

    def read_market(self, block: Block) -> Inquiry[CometMarket]:
        """Read terms, totals, prices; check the accrued totals. Raises Refuse like `prove`."""
        return reading.read_market(self.address, block)

    def discovery(self, market: CometMarket, *, suppliers: bool) -> LogQuery:
        """Name the gains of collateral; for suppliers also the transfers of base."""
        return LogQuery(frozenset({market.comet}), HOLDERS if suppliers else BORROWERS)

    def users_in(self, logs: Iterable[Log], *, suppliers: bool) -> set[Holder]:
        """Return who got collateral (with `suppliers`, also base) in logs of `discovery`."""
        topics = HOLDERS if suppliers else BORROWERS
        gained = [log for log in logs if log.topics[0] in topics]
        events.check(gained)
        return {abi.address_of(log.topics[HOLDER]) for log in gained} - {ZERO_ADDRESS}

    def read_rest(
        self,
        market: CometMarket,
        holders: Iterable[Holder],  # noqa: ARG002  (the market names all of its own)
        block: Block,  # noqa: ARG002
    ) -> Inquiry[CometMarket]:
        """Read nothing more."""
        yield ()
        return market

    def read_accounts(
        self, market: CometMarket, users: Sequence[Holder], block: Block
    ) -> Inquiry[dict[Holder, Account]]:
        """Read principal, bitmaps and the collaterals in them; users who are blank are left out."""
        return reading.read_accounts(market.comet, market.terms, users, block)

    # --- following -------------------------------------------------------------------------------

    def interest(self, market: CometMarket) -> LogQuery:
        """Name the logs of the proxy."""
        return LogQuery(frozenset({market.comet}), self.topics)

    def polls(self, market: CometMarket, accounts: Accounts, block: Block) -> tuple[Call, ...]:
        """Ask for totals, cash and prices, and for the principals whose turn it is."""
        users = self._turns.at(market, accounts, block)
        principals = (calls.user_basic(market.comet, user) for user in users)
        return (*reading.poll_calls(market.comet, market.terms), *principals)

    def needs(
        self,
        market: CometMarket,
        accounts: Accounts,
        block: Block,
        logs: Sequence[Log],
        readings: Readings,
    ) -> Needs:
        """Name what an upgrade leaves open, and whose principals to read beyond the rotation."""
        missing = unanswered(lacking.extras(market, accounts, block, logs), readings)
        asked = self._turns.at(market, accounts, block)
        principals = lacking.beyond(market, accounts, block, logs, readings, asked=asked)
        unread = (call for call in principals if call not in readings)
        return Needs(tuple(dict.fromkeys((*missing, *unread))))

    def fold(self, market: CometMarket, accounts: Accounts, batch: BlockBatch) -> Iterator[Change]:
        """
        Turn one block into changes: its logs in order, then the principals that were read.

        Raises:
            Refuse: An upgrade made the market something that is not supported.
            Rebuild: What was read does not follow from the block's logs.
        """
        return fold.fold(market, accounts, batch)

    # --- judging ---------------------------------------------------------------------------------

    def health(self, market: CometMarket, account: Account, timestamp: int) -> Health:
        """Return the health with interest accrued to `timestamp`, as `absorb` would find it."""
        return valuation.health(market, account, timestamp)

    def factor(self, market: CometMarket, account: Account, timestamp: int) -> Wad | None:
        """Return the health factor alone. Raises Skip where the view reverts."""
        return valuation.factor(market, account, timestamp)

    def value(self, market: CometMarket, account: Account, timestamp: int) -> Valuation:
        """Return the account with every leg valued."""
        return valuation.value(market, account, timestamp)

    def verdict(self, market: CometMarket, account: Account, timestamp: int) -> Verdict:
        """Tell whether `absorb` would go through, and the collateral that pays its buyer most."""
        return liquidation.verdict(market, account, timestamp)

    def explain(
        self,
        market: CometMarket,
        account: Account,
        timestamp: int,
        holder: Holder | None = None,  # noqa: ARG002  (it is in the account)
    ) -> list[Step]:
        """List every input of the health factor, and the rule that protects the account."""
        return [
            *valuation.explain(market, account, timestamp),
            *liquidation.explain(market, account, timestamp),
        ]

    def tokens(self, market: CometMarket) -> Mapping[Address, Token]:
        """Return the base token and every collateral."""
        return quotes.tokens(market)

    def quotes(self, market: CometMarket) -> Mapping[Address, int | None]:
        """Return the price of every token, 8 places."""
        return market.prices

    def quoted(
        self, market: CometMarket, account: Account | None = None
    ) -> Mapping[Address, Quoted]:
        """Write prices in the currency of the feeds; of one account, those of its legs."""
        return quotes.quoted(market, account)

    def priced(self, market: CometMarket, asset: Address, price: int) -> CometMarket:
        """Return the market as it would be with another price of one token."""
        return market.priced(asset, price)

    def sources(self, market: CometMarket) -> Inquiry[dict[Address, Address]]:
        """Name the price feed of each token."""
        return quotes.sources(market)

    def assets(self, market: CometMarket, account: Account) -> frozenset[Address]:  # noqa: ARG002
        """Return the token of every leg."""
        return frozenset(account.supplied) | frozenset(account.owed)

    def exact_within(self, accounts: Accounts) -> int:
        """Return in how many blocks everybody's principal has been read; 0: at every block."""
        return rotation.exact_within(accounts)

    def proof(self, market: CometMarket, holder: Holder) -> tuple[Call, ...]:
        """Name `userBasic`, `userCollateral`, both balances and `isLiquidatable`."""
        return proof.views(market, holder)

    def differences(
        self,
        market: CometMarket,
        holder: Holder,
        account: Account,
        block: Block,
        readings: Readings,
    ) -> tuple[Difference, ...]:
        """Compare what is stored, both balances, and the view's verdict by stored indexes."""
        return proof.differences(market, holder, account, block, readings)

    # --- screening -------------------------------------------------------------------------------

    def columns(self, account: Account) -> Iterator[tuple[Column, int]]:
        """Yield the screen's cells of an account."""
        return screen.columns(account)

    def cells(self, shape: Shape) -> Cells | None:
        """Tell where the amounts of `columns` stand."""
        return screen.cells(shape)

    def leg_bands(self, market: CometMarket) -> LegBands:  # noqa: ARG002
        """Return what rounding takes of a leg of collateral and adds to one of debt."""
        return screen.LEG_BANDS

    def weights(
        self, market: CometMarket, columns: Sequence[Column], timestamp: int
    ) -> screen.Weights:
        """Return the two weights of every column; `screen` proves that they miss nobody."""
        return screen.weights(market, columns, timestamp)
