"""What the mirror keeps about the singleton: terms, totals, rates and prices of its markets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from eth_utils.crypto import keccak

from chimera.domain.block import ZERO_ADDRESS, Address
from chimera.domain.market import Account, Holder, Market, Token
from chimera.domain.numeric import Wad
from chimera.errors import Skip
from chimera.protocols.morpho_blue.math import Totals, accrued, borrow_rate, utilization_error

Id = Address
"""A market's id, 32 bytes: what the balances of an account are kept under."""

ID_BYTES = 32


def holder_of(market: Id, user: Address) -> Holder:
    """Return whose account that is: the market's id, then the user."""
    return Holder(market + user)


def parts_of(holder: Holder) -> tuple[Id, Address]:
    """Return the market's id and the user."""
    return Id(holder[:ID_BYTES]), Address(holder[ID_BYTES:])


def market_of(account: Account) -> Id | None:
    """Return the one market that the account's balances are in, None without any."""
    for held in (account.owed, account.supplied, account.marks):
        for key in held:
            if len(key) == ID_BYTES:  # a mark may also name a contract, see `preliquidation`
                return Id(key)
    return None


@dataclass(frozen=True, slots=True)
class Terms:
    """The immutable terms of a market (MarketParams); `irm` may be the zero address."""

    loan: Address
    collateral: Address
    oracle: Address
    irm: Address
    lltv: Wad

    @property
    def words(self) -> bytes:
        """The five words of the ABI."""
        named = (self.loan, self.collateral, self.oracle, self.irm)
        return b"".join(name.rjust(32, b"\0") for name in named) + self.lltv.to_bytes(32, "big")

    @property
    def id(self) -> Id:
        """The market's id. Mirrors MarketParamsLib.id."""
        return Id(keccak(self.words))


@dataclass(frozen=True, slots=True)
class Quote:
    """
    What an oracle answered last, and whether it has failed before.

    Attributes:
        price: Loan units per collateral unit x 1e36.
        fault: Why there is no price.
        wary_for: Blocks in which it is asked alone after its last failure; 0 if it never failed.
        wary_to: The last of these blocks.
    """

    price: int | None
    fault: str | None = None
    wary_for: int = field(default=0, compare=False)
    wary_to: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class PreLiquidation:
    """
    A contract that may liquidate part of a position before the market's own limit, if authorised.

    Factors and thresholds are WAD: from `low` to `high` as the position nears the market's limit.
    """

    market: Id
    lltv: Wad
    close_low: Wad
    close_high: Wad
    incentive_low: Wad
    incentive_high: Wad
    oracle: Address


class Limit(NamedTuple):
    """What decides about everybody in one market at one time; the debts are with interest."""

    price: int
    lltv: Wad
    owed_assets: int
    owed_shares: int


class Asked(NamedTuple):
    """Whom the markets with debt make us ask, each once."""

    oracles: tuple[Address, ...]
    tokens: frozenset[Address]


@dataclass(slots=True)
class Moment:
    """What was worked out for one time, or why it cannot be: only the newest one is remembered."""

    time: int | None = None
    accrued: dict[Id, Totals | str] = field(default_factory=dict)
    limits: dict[Id, Limit | str] = field(default_factory=dict)

    def turn(self, time: int) -> None:
        """Forget everything unless it is of this time."""
        if time != self.time:
            self.time = time
            self.accrued.clear()
            self.limits.clear()


@dataclass(frozen=True, slots=True)
class MorphoMarket(Market):
    """
    All followed markets of the singleton at one block.

    Attributes:
        singleton: Entry contract.
        chosen: Ids of the configuration, None for every market.
        fee_recipient: Who gets the fee shares of all markets.
        terms: By id; whatever market is in here is mirrored.
        irms: Of all these markets, but for the zero address.
        totals: Stored totals by id. Without an IRM their time is 0: it moves without a log.
        targets: rateAtTarget by id, of markets whose IRM is in `curves`.
        curves: IRMs that were proven to be AdaptiveCurveIrm.
        rates: What any other IRM answered, by id: the block's time and the rate, None for a revert.
        live: Ids of markets with debt, in order: only their oracles are asked.
        quotes: By oracle, of live markets.
        tokens: Both tokens of live markets.
        preliquidations: Recognised contracts that somebody authorised.
        strangers: Authorised contracts that are none, so as not to ask again.
        authorised: Which of the recognised ones a holder authorised, as far as the logs told.
    """

    singleton: Address
    chosen: frozenset[bytes] | None
    fee_recipient: Address
    terms: Mapping[Id, Terms] = field(default_factory=dict)
    irms: frozenset[Address] = frozenset()
    totals: Mapping[Id, Totals] = field(default_factory=dict)
    targets: Mapping[Id, int] = field(default_factory=dict)
    curves: frozenset[Address] = frozenset()
    rates: Mapping[Id, tuple[int, int | None]] = field(default_factory=dict)
    live: tuple[Id, ...] = ()
    quotes: Mapping[Address, Quote] = field(default_factory=dict)
    tokens: Mapping[Address, Token] = field(default_factory=dict)
    preliquidations: Mapping[Address, PreLiquidation] = field(default_factory=dict)
    strangers: frozenset[Address] = frozenset()
    authorised: Mapping[Holder, tuple[Address, ...]] = field(default_factory=dict)
    _moment: Moment = field(default_factory=Moment, init=False, repr=False, compare=False)
    _asked: list[Asked] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def emitters(self) -> frozenset[Address]:
        """Every contract whose logs matter."""
        return self.irms | {self.singleton}

    @property
    def asked(self) -> Asked:
        """Oracles and tokens of the markets with debt."""
        if not self._asked:
            ids = self.live
            oracles, tokens = oracles_of(self.terms, ids), tokens_of(self.terms, ids)
            self._asked.append(Asked(oracles, frozenset(tokens)))
        return self._asked[0]

    def remember_asked(self, other: MorphoMarket) -> None:
        """Take over what another one has found out, if the same markets have debt."""
        if other.live is self.live and other.terms is self.terms:
            self._asked[:] = other._asked

    def follows(self, market: Id) -> bool:
        """Tell whether the configuration asks for this market."""
        return self.chosen is None or market in self.chosen

    def price(self, market: Id) -> int:
        """
        Return the price that the market's oracle answers at this block.

        Raises:
            Skip: It does not answer, or the market's tokens have not been read.
        """
        terms = self.terms[market]
        quote = self.quotes.get(terms.oracle, NOT_ASKED)
        if quote.price is None:
            raise Skip(f"price unknown: {quote.fault}")
        if terms.loan not in self.tokens or terms.collateral not in self.tokens:
            raise Skip("price unknown: the market's tokens have not been read yet")
        return quote.price

    def rate(self, market: Id, timestamp: int) -> int:
        """
        Return the average rate per second (WAD) from the stored time to `timestamp`.

        Raises:
            Skip: The IRM is of a kind that nobody knows, and was not asked for this time.
        """
        terms, totals = self.terms[market], self.totals[market]
        if terms.irm == ZERO_ADDRESS or timestamp == totals.updated:
            return 0
        if terms.irm in self.curves:
            return self.rate_at(market, timestamp)
        time, rate = self.rates.get(market, (None, None))
        if rate is None or time != timestamp:
            raise Skip(f"rate unknown: the IRM 0x{terms.irm.hex()} does not tell it")
        return rate

    def rate_at(self, market: Id, timestamp: int) -> int:
        """Return what the market's AdaptiveCurveIrm answers as its rate at `timestamp`."""
        totals = self.totals[market]
        error = utilization_error(totals.supply_assets, totals.borrow_assets)
        return borrow_rate(self.targets.get(market, 0), error, timestamp - totals.updated)[0]

    def accrued(self, market: Id, timestamp: int) -> Totals:
        """
        Return the totals with interest up to `timestamp`; they are remembered.

        Raises:
            Skip: The rate is unknown, or the accrual reverts.
        """
        self._moment.turn(timestamp)
        known = self._moment.accrued.get(market)
        if known is None:
            known = self._moment.accrued[market] = self._accrue(market, timestamp)
        if isinstance(known, str):
            raise Skip(known)
        return known

    def remember_interest(self, other: MorphoMarket) -> None:
        """Take over what another one with the same totals has worked out: it knows no price."""
        if other._moment.time is not None:
            self._moment.turn(other._moment.time)
            self._moment.accrued.update(other._moment.accrued)

    def limit(self, market: Id, timestamp: int) -> Limit:
        """
        Return price, LLTV and accrued debts of a market; they are remembered.

        Raises:
            Skip: The price or the rate is unknown, or the accrual reverts.
        """
        self._moment.turn(timestamp)
        known = self._moment.limits.get(market)
        if known is None:
            known = self._moment.limits[market] = self._limit(market, timestamp)
        if isinstance(known, str):
            raise Skip(known)
        return known

    def _limit(self, market: Id, timestamp: int) -> Limit | str:
        try:
            price, totals = self.price(market), self.accrued(market, timestamp)
        except Skip as reverts:
            return str(reverts)
        return Limit(price, self.terms[market].lltv, totals.borrow_assets, totals.borrow_shares)

    def _accrue(self, market: Id, timestamp: int) -> Totals | str:
        totals = self.totals[market]
        if self.terms[market].irm == ZERO_ADDRESS:
            return totals
        try:
            return accrued(totals, self.rate(market, timestamp), timestamp)
        except Skip as reverts:
            return str(reverts)


NOT_ASKED = Quote(None, "the oracle has not been asked yet")
OUT_OF_TURN = "the oracle failed lately, and its turn to be asked is another block's"


def irms_of(terms: Iterable[Terms]) -> frozenset[Address]:
    """Return the IRMs of these terms, but for the zero address."""
    return frozenset(each.irm for each in terms) - {ZERO_ADDRESS}


def live_in(totals: Mapping[Id, Totals]) -> tuple[Id, ...]:
    """Return the markets with debt, in order. Nobody else's price or rate matters."""
    return tuple(sorted(market for market, kept in totals.items() if kept.borrow_shares))


def oracles_of(terms: Mapping[Id, Terms], markets: Iterable[Id]) -> tuple[Address, ...]:
    """Return the oracles of these markets, each once."""
    return tuple(dict.fromkeys(terms[market].oracle for market in markets))


def tokens_of(terms: Mapping[Id, Terms], markets: Iterable[Id]) -> tuple[Address, ...]:
    """Return the tokens of these markets, each once."""
    pairs = ((terms[market].loan, terms[market].collateral) for market in markets)
    return tuple(dict.fromkeys(token for pair in pairs for token in pair))
