"""The family's face: what the rest of Chimera asks of an Aave v3 pool."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from chimera.domain import abi
from chimera.domain.block import Address, Block, BlockBatch, Log, LogQuery, Needs
from chimera.domain.call import Call, Inquiry, Readings, unanswered
from chimera.domain.changes import Change
from chimera.domain.health import Difference, Health, Step, Valuation, Verdict
from chimera.domain.market import Account, Cells, Column, Holder, Quoted, Shape, Token
from chimera.domain.numeric import Wad
from chimera.ports import Accounts, LegBands
from chimera.protocols.aave_v3 import (
    events,
    fold,
    lacking,
    liquidation,
    proof,
    quotes,
    reading,
    screen,
    shapes,
    valuation,
    worth,
)
from chimera.protocols.aave_v3.factor import factor
from chimera.protocols.aave_v3.market import AaveMarket

# The topic in which the logs of `discovery` name their user.
BORROWER = {events.MINT: 2}
HOLDER = {**BORROWER, events.BALANCE_TRANSFER: 2, events.USER_EMODE_SET: 1}


class AaveV3:
    """
    A pool of Aave v3.0 to v3.7, or of a fork of one, found through its PoolAddressesProvider.

    Args:
        name: Of the instance, as in `position:<name>:<user>`.
        address: The PoolAddressesProvider.
        from_block: Its deployment block, or earlier.
    """

    kind = "aave_v3"
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
        Check that the provider leads to a pool whose revision is supported.

        Raises:
            Refuse: It does not; the message says what was found.
        """
        return reading.prove(self.address)

    def read_market(self, block: Block) -> Inquiry[AaveMarket]:  # noqa: ARG002  (pinned by the driver)
        """Read reserves, indexes, eModes and prices; raises Refuse like `prove`."""
        return reading.read_market(self.address)

    def discovery(self, market: AaveMarket, *, suppliers: bool) -> LogQuery:
        """
        Name the vTokens' Mints; for suppliers also those, and the transfers, of the aTokens.

        An eMode can be chosen before anything is held, so suppliers are those who did, as well.
        """
        debt = frozenset(reserve.debt_token for reserve in market.reserves.values())
        if not suppliers:
            return LogQuery(debt, frozenset({events.MINT}))
        supply = frozenset(reserve.supply_token for reserve in market.reserves.values())
        topics = frozenset({events.MINT, events.BALANCE_TRANSFER, events.USER_EMODE_SET})
        return LogQuery(debt | supply | {market.pool}, topics)

    def users_in(self, logs: Iterable[Log], *, suppliers: bool) -> set[Address]:
        """Return who got debt (with `suppliers`, also aTokens) in logs that `discovery` names."""
        place = HOLDER if suppliers else BORROWER
        named = [log for log in logs if log.topics[0] in place]
        shapes.check(named)
        return {abi.address_of(log.topics[place[log.topics[0]]]) for log in named}

    def read_rest(
        self,
        market: AaveMarket,
        holders: Iterable[Holder],  # noqa: ARG002  (the market names all of its own)
        block: Block,  # noqa: ARG002
    ) -> Inquiry[AaveMarket]:
        """Read nothing more."""
        yield ()
        return market

    def read_accounts(
        self, market: AaveMarket, users: Sequence[Address], block: Block
    ) -> Inquiry[dict[Address, Account]]:
        """Read bitmap, eMode and every scaled balance; users who are blank are left out."""
        return reading.read_accounts(market.pool, market.reserves, users, block)

    # --- following -------------------------------------------------------------------------------

    def interest(self, market: AaveMarket) -> LogQuery:
        """Name the logs of the pool, its configurator, its provider and every token."""
        return LogQuery(market.lasting(lacking.emitters), self.topics)

    def polls(
        self,
        market: AaveMarket,
        accounts: Accounts,  # noqa: ARG002  (logs tell all of them)
        block: Block,  # noqa: ARG002
    ) -> tuple[Call, ...]:
        """Ask the oracle for every asset and price source of an eMode, and the sentinel if any."""
        prices = reading.price_calls(market.oracle, market.priced())
        return prices + reading.sentinel_calls(market.engine, market.sentinel)

    def needs(
        self,
        market: AaveMarket,
        accounts: Accounts,
        block: Block,
        logs: Sequence[Log],
        readings: Readings,
    ) -> Needs:
        """Name what new reserves, oracles, eModes, upgrades and first borrowers leave open."""
        shapes.check(logs)
        inquiry = lacking.extras(market, accounts, block, logs)
        missing = unanswered(inquiry, readings)
        return Needs(missing, lacking.unheard_tokens(market, logs))

    def fold(self, market: AaveMarket, accounts: Accounts, batch: BlockBatch) -> Iterator[Change]:
        """
        Turn one block into changes, in the order of its logs.

        Raises:
            Refuse: An upgrade, or a loan at a stable rate, is nothing that is supported.
            Rebuild: A dropped asset was listed again under another id.
        """
        return fold.fold(market, accounts, batch, self.name)

    # --- judging ---------------------------------------------------------------------------------

    def health(self, market: AaveMarket, account: Account, timestamp: int) -> Health:
        """Return what `getUserAccountData` answers at `timestamp`."""
        return valuation.health(market, account, timestamp)

    def factor(self, market: AaveMarket, account: Account, timestamp: int) -> Wad | None:
        """Return the health factor alone. Raises Skip where the view reverts."""
        return factor(market, account, timestamp)

    def value(self, market: AaveMarket, account: Account, timestamp: int) -> Valuation:
        """Return the account with every leg valued."""
        return worth.value(market, account, timestamp)

    def verdict(self, market: AaveMarket, account: Account, timestamp: int) -> Verdict:
        """Tell whether `liquidationCall` would go through, and the pair that pays most."""
        return liquidation.verdict(market, account, timestamp)

    def explain(
        self,
        market: AaveMarket,
        account: Account,
        timestamp: int,
        holder: Holder | None = None,  # noqa: ARG002  (it is in the account)
    ) -> list[Step]:
        """List every input of the health factor, and the rule that protects the account."""
        verdict = liquidation.verdict(market, account, timestamp)
        outcome = "liquidatable" if verdict.liquidatable else f"not liquidatable: {verdict.reason}"
        return [*valuation.explain(market, account, timestamp), Step("verdict", outcome)]

    def tokens(self, market: AaveMarket) -> Mapping[Address, Token]:
        """Return every reserve's token."""
        return quotes.tokens(market)

    def quotes(self, market: AaveMarket) -> Mapping[Address, int | None]:
        """Return what the oracle answers for every asset and every price source of an eMode."""
        return market.prices

    def quoted(
        self, market: AaveMarket, account: Account | None = None
    ) -> Mapping[Address, Quoted]:
        """Write prices in the oracle's currency; of one account, its legs' and those of eModes."""
        return quotes.quoted(market, account)

    def priced(self, market: AaveMarket, asset: Address, price: int) -> AaveMarket:
        """Return the market as it would be with another price of one of `quotes`."""
        return quotes.priced(market, asset, price)

    def sources(self, market: AaveMarket) -> Inquiry[dict[Address, Address]]:
        """Ask the oracle for the contract behind each price."""
        return quotes.sources(market)

    def assets(self, market: AaveMarket, account: Account) -> frozenset[Address]:  # noqa: ARG002
        """Return the underlying of every leg."""
        return frozenset(account.supplied) | frozenset(account.owed)

    def exact_within(self, accounts: Accounts) -> int:  # noqa: ARG002
        """Return 0: every change of an account has its log."""
        return 0

    def proof(self, market: AaveMarket, holder: Holder) -> tuple[Call, ...]:
        """Name `getUserAccountData`."""
        return (proof.view(market.pool, holder),)

    def differences(
        self,
        market: AaveMarket,
        holder: Holder,
        account: Account,
        block: Block,
        readings: Readings,
    ) -> tuple[Difference, ...]:
        """Compare totals, threshold and health factor with the pool's, or that both revert."""
        health = valuation.health(market, account, block.timestamp)
        return proof.differences(health, readings[proof.view(market.pool, holder)])

    # --- screening -------------------------------------------------------------------------------

    def columns(self, account: Account) -> Iterator[tuple[Column, int]]:
        """Yield the screen's cells of an account."""
        return screen.columns(account)

    def cells(self, shape: Shape) -> Cells | None:
        """Tell where the amounts of `columns` stand."""
        return screen.cells(shape)

    def leg_bands(self, market: AaveMarket) -> LegBands:
        """Return what rounding takes of a leg of collateral and adds to one of debt."""
        return screen.leg_bands(market)

    def weights(
        self, market: AaveMarket, columns: Sequence[Column], timestamp: int
    ) -> screen.Weights:
        """Return the two weights of every column; `screen` proves that they miss nobody."""
        return screen.weights(market, columns, timestamp)
