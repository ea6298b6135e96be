"""
The family's face: what the rest of Chimera asks of a Compound v2 comptroller.

Two figures of a market are in no log of its own. Its cash is what the underlying says that it has,
and its price is the oracle's. Both are polled at every block, in one multicall: that is less than
following every Transfer of tokens such as USDC, and it catches donations, too. All else is logged,
or derived from logs: debts, index and time by AccrueInterest, Borrow and RepayBorrow, reserves by
the interest times the reserve factor in force before the log, the total of mTokens by Mint, Redeem
and the share of a seizure that is burned.

Left out, and refused where it is met: debt in VAI. Left out silently: forced liquidation of single
users of Venus (`isForcedLiquidationEnabledForUser`), which no health factor depends on.
"""

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
from chimera.protocols.compound_v2 import (
    events,
    fold,
    lacking,
    layout,
    liquidation,
    proof,
    quotes,
    reading,
    screen,
    shapes,
    valuation,
    worth,
)
from chimera.protocols.compound_v2.market import CompoundMarket

# The word in which the logs of `discovery` name their user. None of them can be filtered by user.
BORROWER = {events.BORROW: 0}
HOLDER = {**BORROWER, events.TRANSFER: 1, events.MARKET_ENTERED: 1, events.POOL_SELECTED: 0}


class CompoundV2:
    """
    The markets of one comptroller: Moonwell, Compound v2, or the core pool of Venus.

    Accounts are kept by mToken. A debt is (principal, interestIndex): `owed` and `marks`.

    Args:
        name: Of the instance, as in `position:<name>:<user>`.
        address: The comptroller's proxy.
        from_block: Its deployment block, or earlier.
    """

    kind = "compound_v2"
    topics = fold.TOPICS
    needs_suppliers = False
    relative_band = screen.RELATIVE_BAND
    absolute_band = screen.ABSOLUTE_BAND
    unit_band = screen.UNIT_BAND

    def __init__(self, *, name: str, address: Address, from_block: int) -> None:
        self.name = name
        self.address = address
        self.from_block = from_block

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
        Check that this is a comptroller whose markets are supported.

        Raises:
            Refuse: It is not; the message says what was found.
        """
        return reading.prove(self.address)

    def read_market(self, block: Block) -> Inquiry[CompoundMarket]:
        """Read terms, figures, rate models and prices; raises Refuse like `prove`."""
        return reading.read_market(self.address, block)

    def discovery(self, market: CompoundMarket, *, suppliers: bool) -> LogQuery:
        """Name the mTokens' Borrows; for suppliers also Transfers, members of markets and pools."""
        if not suppliers:
            return LogQuery(frozenset(market.listings), frozenset(BORROWER))
        return LogQuery(frozenset({*market.listings, market.comptroller}), frozenset(HOLDER))

    def users_in(self, logs: Iterable[Log], *, suppliers: bool) -> set[Address]:
        """Return who got debt (with `suppliers`, also mTokens) in logs that `discovery` names."""
        place = HOLDER if suppliers else BORROWER
        named = [log for log in logs if log.topics[0] in place]
        shapes.check(named)
        found = {
            (log.address, abi.address_at(events.arguments(log), place[log.topics[0]]))
            for log in named
        }
        # What a market holds of itself is nobody's.
        return {user for emitter, user in found if user not in (emitter, ZERO_ADDRESS)}

    def read_rest(
        self,
        market: CompoundMarket,
        holders: Iterable[Holder],  # noqa: ARG002  (the market names all of its own)
        block: Block,  # noqa: ARG002
    ) -> Inquiry[CompoundMarket]:
        """Read nothing more."""
        yield ()
        return market

    def read_accounts(
        self, market: CompoundMarket, users: Sequence[Address], block: Block
    ) -> Inquiry[dict[Address, Account]]:
        """Read memberships, balances and settled debts; users who have nothing are left out."""
        return layout.read_accounts(
            market.comptroller, market.dialect, market.listings, users, block
        )

    # --- following -------------------------------------------------------------------------------

    def interest(self, market: CompoundMarket) -> LogQuery:
        """Name the logs of the comptroller, of every mToken and of every rate model."""
        return LogQuery(lacking.emitters(market), self.topics)

    def polls(
        self,
        market: CompoundMarket,
        accounts: Accounts,  # noqa: ARG002  (logs tell all of them)
        block: Block,  # noqa: ARG002
    ) -> tuple[Call, ...]:
        """Ask for price and cash of every market, and for rates that nobody here can compute."""
        mtokens = tuple(market.listings)
        return (
            *reading.price_calls(market.oracle, mtokens),
            *reading.cash_calls(mtokens),
            *reading.rate_calls(market.dialect, market.listings),
        )

    def needs(
        self,
        market: CompoundMarket,
        accounts: Accounts,
        block: Block,
        logs: Sequence[Log],
        readings: Readings,
    ) -> Needs:
        """Name what new markets, oracles, rate models, upgrades and first borrowers leave open."""
        inquiry = lacking.extras(market, accounts, block, logs)
        missing = unanswered(inquiry, readings)
        return Needs(missing, lacking.unheard(market, logs, readings))

    def fold(
        self, market: CompoundMarket, accounts: Accounts, batch: BlockBatch
    ) -> Iterator[Change]:
        """
        Turn one block into changes, in the order of its logs.

        Raises:
            Refuse: Debt in VAI came up, which is not supported.
            Rebuild: A market went over to another comptroller.
        """
        return fold.fold(market, accounts, batch)

    # --- judging ---------------------------------------------------------------------------------

    def health(self, market: CompoundMarket, account: Account, timestamp: int) -> Health:  # noqa: ARG002
        """Return what `getAccountLiquidity` comes to: it takes interest as it is stored."""
        return valuation.health(market, account)

    def factor(self, market: CompoundMarket, account: Account, timestamp: int) -> Wad | None:  # noqa: ARG002
        """Return the health factor alone. Raises Skip where the view reverts."""
        return valuation.factor(market, account)

    def value(self, market: CompoundMarket, account: Account, timestamp: int) -> Valuation:  # noqa: ARG002
        """Return the account with every leg valued."""
        return worth.value(market, account)

    def verdict(self, market: CompoundMarket, account: Account, timestamp: int) -> Verdict:
        """Tell whether `liquidateBorrow` would go through, and the pair that pays most."""
        return liquidation.verdict(market, account, timestamp)

    def explain(
        self,
        market: CompoundMarket,
        account: Account,
        timestamp: int,
        holder: Holder | None = None,  # noqa: ARG002  (it is in the account)
    ) -> list[Step]:
        """List every input of the health factor, what each pair comes to, and the verdict."""
        return [
            *valuation.explain(market, account, timestamp),
            *liquidation.explain(market, account, timestamp),
        ]

    def tokens(self, market: CompoundMarket) -> Mapping[Address, Token]:
        """Return every underlying."""
        return quotes.tokens(market)

    def quotes(self, market: CompoundMarket) -> Mapping[Address, int | None]:
        """Return the price of a whole token of every underlying; None where the oracle reverts."""
        return quotes.quotes(market)

    def quoted(
        self, market: CompoundMarket, account: Account | None = None
    ) -> Mapping[Address, Quoted]:
        """Write prices of whole underlyings in USD; of one account, those of its markets."""
        return quotes.quoted(market, account)

    def priced(self, market: CompoundMarket, asset: Address, price: int) -> CompoundMarket:
        """Return the market as it would be with another price of one of `quotes`."""
        return quotes.priced(market, asset, price)

    def sources(self, market: CompoundMarket) -> Inquiry[dict[Address, Address]]:
        """Ask the oracle for the contract behind each price."""
        return quotes.sources(market)

    def assets(self, market: CompoundMarket, account: Account) -> frozenset[Address]:
        """Return the underlying of every leg."""
        held = account.supplied.keys() | account.owed.keys()
        return frozenset(market.listings[mtoken].underlying for mtoken in held)

    def exact_within(self, accounts: Accounts) -> int:  # noqa: ARG002
        """Return 0: every change of an account has its log."""
        return 0

    def proof(self, market: CompoundMarket, holder: Holder) -> tuple[Call, ...]:
        """Name `getAccountLiquidity`."""
        return (proof.view(market.comptroller, holder),)

    def differences(
        self,
        market: CompoundMarket,
        holder: Holder,
        account: Account,
        block: Block,  # noqa: ARG002  (the view takes interest as it is stored)
        readings: Readings,
    ) -> tuple[Difference, ...]:
        """Compare liquidity and shortfall with the comptroller's, or that neither can tell."""
        told = valuation.liquidity(market, account)
        return proof.differences(told, readings[proof.view(market.comptroller, holder)])

    # --- screening -------------------------------------------------------------------------------

    def columns(self, account: Account) -> Iterator[tuple[Column, int]]:
        """Yield the screen's cells of an account."""
        return screen.columns(account)

    def cells(self, shape: Shape) -> Cells | None:  # noqa: ARG002
        """Return None: a debt's cell is reckoned from its principal and its mark."""
        return None

    def leg_bands(self, market: CompoundMarket) -> LegBands:  # noqa: ARG002
        """Return what rounding takes of a leg of collateral and adds to one of debt."""
        return screen.LEG_BANDS

    def weights(
        self,
        market: CompoundMarket,
        columns: Sequence[Column],
        timestamp: int,  # noqa: ARG002  (interest is as it is stored)
    ) -> screen.Weights:
        """Return the two weights of every column; `screen` proves that they miss nobody."""
        return screen.weights(market, columns)
