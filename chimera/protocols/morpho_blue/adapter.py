"""The family's face: what the rest of Chimera asks of a Morpho Blue singleton."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from chimera.domain import abi
from chimera.domain.block import Address, Block, BlockBatch, Log, LogQuery, Needs
from chimera.domain.call import Call, Inquiry, Readings, unanswered
from chimera.domain.changes import Change
from chimera.domain.health import VERDICT, Difference, Health, Step, Valuation, Verdict
from chimera.domain.market import Account, Cells, Column, Holder, Quoted, Shape, Token
from chimera.domain.numeric import Wad
from chimera.ports import Accounts, LegBands
from chimera.protocols.morpho_blue import (
    events,
    explaining,
    fold,
    lacking,
    liquidation,
    proof,
    quotes,
    reading,
    screen,
    shapes,
    valuation,
)
from chimera.protocols.morpho_blue.market import (
    ID_BYTES,
    Id,
    MorphoMarket,
    holder_of,
    market_of,
    parts_of,
)

BORROWERS = frozenset({events.BORROW})
HOLDERS = events.ARRIVALS | {events.SET_FEE_RECIPIENT}


class MorphoBlue:
    """
    All isolated markets of one singleton, or some of them.

    Args:
        name: Of the instance; a market is published as `<name>.0x<id>`.
        address: The singleton.
        from_block: Its deployment block, or earlier.
        markets: Ids (32 bytes) of the markets to follow; None: every market.
    """

    kind = "morpho_blue"
    topics = fold.TOPICS
    needs_suppliers = False
    relative_band = screen.RELATIVE_BAND
    absolute_band = screen.ABSOLUTE_BAND
    unit_band = screen.UNIT_BAND

    def __init__(
        self,
        *,
        name: str,
        address: Address,
        from_block: int,
        markets: tuple[bytes, ...] | None = None,
    ) -> None:
        self.name = name
        self.address = address
        self.from_block = from_block
        self.markets = None if markets is None else frozenset(markets)
        self._weigher = screen.Weigher()  # of the newest market

    # --- names -----------------------------------------------------------------------------------

    def published(self, holder: Holder) -> tuple[str, Address]:
        """Return the instance's name with the market's id, and the user."""
        market, user = parts_of(holder)
        return f"{self.name}.0x{market.hex()}", user

    def holder(self, protocol: str, user: Address) -> Holder | None:
        """Return market and user, None for a name that is not of this instance."""
        name, _, market = protocol.rpartition(".0x")
        try:
            found = bytes.fromhex(market)
        except ValueError:
            return None
        ours = name == self.name and len(found) == ID_BYTES and market == found.hex()
        known = found == reading.NOWHERE or self._follows(found)
        return holder_of(Id(found), user) if ours and known else None

    def _follows(self, market: bytes) -> bool:
        return self.markets is None or market in self.markets

    # --- reading ---------------------------------------------------------------------------------

    def prove(self) -> Inquiry[None]:
        """
        Check that the singleton answers as one, and that the chosen markets exist.

        Raises:
            Refuse: It does not; the message says what was found.
        """
        return reading.prove(self.address, self.markets)

    def read_market(self, block: Block) -> Inquiry[MorphoMarket]:
        """Read the fee recipient and the chosen markets; see `read_rest` for the others."""
        return reading.read_market(self.address, self.markets, block)

    def read_rest(
        self, market: MorphoMarket, holders: Iterable[Holder], block: Block
    ) -> Inquiry[MorphoMarket]:
        """
        Read the markets that these holders are in: nothing on the chain lists all markets.

        Raises:
            Refuse: The singleton has something else under one of their ids.
        """
        return reading.read_rest(market, holders, block)

    def discovery(self, market: MorphoMarket, *, suppliers: bool) -> LogQuery:
        """Name Borrow; for suppliers also what else brings somebody in, fee recipients included."""
        topics = HOLDERS if suppliers else BORROWERS
        return LogQuery(frozenset({market.singleton}), topics)

    def users_in(self, logs: Iterable[Log], *, suppliers: bool) -> set[Holder]:
        """Return who borrowed (with `suppliers`, who came to hold anything) in these logs."""
        found: set[Holder] = set()
        for log in logs:
            topic = log.topics[0]
            if topic in events.ARRIVALS and (suppliers or topic in BORROWERS):
                shapes.check((log,))
                if self._follows(events.market_in(log)):
                    found.add(events.owner_in(log))
            elif topic == events.SET_FEE_RECIPIENT and suppliers:
                shapes.check((log,))
                found.add(holder_of(reading.NOWHERE, abi.address_of(log.topics[1])))
        return found

    def read_accounts(
        self, market: MorphoMarket, users: Sequence[Holder], block: Block
    ) -> Inquiry[dict[Holder, Account]]:
        """Read every position; holders without any balance are left out."""
        return reading.read_accounts(market, users, block)

    # --- following -------------------------------------------------------------------------------

    def interest(self, market: MorphoMarket) -> LogQuery:
        """Name the logs of the singleton and of every IRM in use."""
        return LogQuery(market.emitters, self.topics)

    def polls(
        self,
        market: MorphoMarket,
        accounts: Accounts,  # noqa: ARG002  (the totals tell which markets have debt)
        block: Block,
    ) -> tuple[Call, ...]:
        """Ask the oracle of every market with debt, and IRMs that nobody knows."""
        return lacking.polls(market, block)

    def needs(
        self,
        market: MorphoMarket,
        accounts: Accounts,
        block: Block,
        logs: Sequence[Log],
        readings: Readings,
    ) -> Needs:
        """Name what new markets, first loans, first borrowers and authorisations leave open."""
        missing = unanswered(lacking.extras(market, accounts, block, logs), readings)
        return Needs(missing, lacking.unheard_irms(market, logs))

    def fold(self, market: MorphoMarket, accounts: Accounts, batch: BlockBatch) -> Iterator[Change]:
        """
        Turn one block into changes, in the order of its logs.

        Raises:
            Rebuild: A log does not decode, or a total would go under zero.
        """
        return fold.fold(market, accounts, batch)

    # --- judging ---------------------------------------------------------------------------------

    def health(self, market: MorphoMarket, account: Account, timestamp: int) -> Health:
        """Return what `_isHealthy` compares after an accrual to `timestamp`, as a factor."""
        return valuation.health(market, account, timestamp)

    def factor(self, market: MorphoMarket, account: Account, timestamp: int) -> Wad | None:
        """Return the health factor alone. Raises Skip where the view reverts."""
        return valuation.factor(market, account, timestamp)

    def value(self, market: MorphoMarket, account: Account, timestamp: int) -> Valuation:
        """Return the account with every leg valued, in its loan token."""
        return valuation.value(market, account, timestamp)

    def verdict(self, market: MorphoMarket, account: Account, timestamp: int) -> Verdict:
        """Tell whether `liquidate` would go through, and what it moves at most."""
        return liquidation.verdict(market, account, timestamp)

    def explain(
        self,
        market: MorphoMarket,
        account: Account,
        timestamp: int,
        holder: Holder | None = None,
    ) -> list[Step]:
        """List every input of the health factor; with `holder`, contracts that he authorised."""
        verdict = liquidation.verdict(market, account, timestamp)
        outcome = "liquidatable" if verdict.liquidatable else f"not liquidatable: {verdict.reason}"
        steps = explaining.explain(market, account, timestamp, holder)
        return [*steps, Step(VERDICT, outcome)]

    def tokens(self, market: MorphoMarket) -> Mapping[Address, Token]:
        """Return the tokens of all markets with debt."""
        return quotes.tokens(market)

    def quotes(self, market: MorphoMarket) -> Mapping[Address, int | None]:
        """Return the price of every oracle of a market with debt."""
        return quotes.quotes(market)

    def quoted(
        self, market: MorphoMarket, account: Account | None = None
    ) -> Mapping[Address, Quoted]:
        """Write prices of collaterals in what is lent; of one account, that of its market."""
        return quotes.quoted(market, account)

    def priced(self, market: MorphoMarket, asset: Address, price: int) -> MorphoMarket:
        """Return the markets as they would be with another answer of one oracle."""
        return quotes.priced(market, asset, price)

    def sources(self, market: MorphoMarket) -> Inquiry[dict[Address, Address]]:
        """Name every oracle as its own source."""
        return quotes.sources(market)

    def assets(self, market: MorphoMarket, account: Account) -> frozenset[Address]:
        """Return the token of every leg."""
        where = market_of(account)
        if where is None:
            return frozenset()
        terms = market.terms[where]
        lent = {terms.loan} if account.owed or where in account.marks else set()
        return frozenset(lent | ({terms.collateral} if account.supplied else set()))

    def exact_within(self, accounts: Accounts) -> int:  # noqa: ARG002
        """Return 0: every change of an account has its log."""
        return 0

    def proof(self, market: MorphoMarket, holder: Holder) -> tuple[Call, ...]:
        """Name position and market, and where there is debt price and rate."""
        return proof.views(market, holder)

    def differences(
        self,
        market: MorphoMarket,
        holder: Holder,
        account: Account,
        block: Block,
        readings: Readings,
    ) -> tuple[Difference, ...]:
        """Compare what is stored, the price and the rate with the contracts'."""
        return tuple(proof.differences(market, holder, account, block, readings))

    # --- screening -------------------------------------------------------------------------------

    def columns(self, account: Account) -> Iterator[tuple[Column, int]]:
        """Yield the screen's cells of an account."""
        return screen.columns(account)

    def cells(self, shape: Shape) -> Cells | None:
        """Tell where the amounts of `columns` stand."""
        return screen.cells(shape)

    def leg_bands(self, market: MorphoMarket) -> LegBands:  # noqa: ARG002
        """Return what rounding takes of a leg of collateral and adds to one of debt."""
        return screen.LEG_BANDS

    def weights(
        self, market: MorphoMarket, columns: Sequence[Column], timestamp: int
    ) -> screen.Weights:
        """Return the two weights of every column; `screen` proves that they miss nobody."""
        return self._weigher.weights(market, columns, timestamp)
