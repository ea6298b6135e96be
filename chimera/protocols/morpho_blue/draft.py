"""The markets of one block while its logs are being read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from chimera.domain import abi
from chimera.domain.block import ZERO_ADDRESS, Address, BlockBatch
from chimera.domain.call import Answer, Readings
from chimera.domain.market import Holder, Token
from chimera.errors import Rebuild
from chimera.ports import Accounts
from chimera.protocols.morpho_blue import calls
from chimera.protocols.morpho_blue.lacking import MOST_CONTRACTS, Extras, answering, foreign
from chimera.protocols.morpho_blue.market import (
    NOT_ASKED,
    OUT_OF_TURN,
    Id,
    MorphoMarket,
    PreLiquidation,
    Quote,
    Terms,
    irms_of,
    live_in,
    parts_of,
)
from chimera.protocols.morpho_blue.math import Totals
from chimera.protocols.morpho_blue.reading import joined, token_calls, token_in

MOST_STRANGERS = 4096  # authorised contracts that are remembered to be nothing special
MOST_AUTHORISED = 10_000  # holders of whom it is remembered which contract they authorised


@dataclass(slots=True)
class Figures:
    """Totals on the move: a log changes one or two of them, and a block has many logs."""

    supply_assets: int = 0
    supply_shares: int = 0
    borrow_assets: int = 0
    borrow_shares: int = 0
    updated: int = 0
    fee: int = 0

    @classmethod
    def of(cls, totals: Totals) -> Figures:
        """Start from totals."""
        return cls(*(getattr(totals, name) for name in cls.__slots__))

    def settled(self) -> Totals:
        """Return the totals that they have become."""
        return Totals(*(getattr(self, name) for name in self.__slots__))


class Draft:
    """
    The markets while their block is being read, and who of the holders in it is followed.

    Markets that are read at the end of the block hold it already: their logs move nothing.
    """

    def __init__(
        self, market: MorphoMarket, accounts: Accounts, batch: BlockBatch, found: Extras
    ) -> None:
        self.market = joined(market, found.records) if found.records.terms else market
        self.accounts = accounts
        self.batch = batch
        self.extras = found
        self.fee_recipient = market.fee_recipient
        self.created: dict[Id, Terms] = {}
        self.totals: dict[Id, Figures] = {}  # of the markets that this block moves
        self.targets: dict[Id, int] = {}
        self.authorised = market.authorised
        # What was read holds the end of this block, so this block's logs must not be added to it.
        self._followed: dict[Holder, bool] = dict.fromkeys(found.accounts, False)

    def moves(self, market: Id) -> bool:
        """Tell whether the logs of this market move the mirror."""
        if market in self.extras.records.terms:
            return False
        return market in self.market.terms or market in self.created

    def follows(self, holder: Holder) -> bool:
        """Tell whether this block's logs move the account, as decided at the first one."""
        known = self._followed.get(holder)
        if known is None:
            known = self.accounts.complete or self.accounts.get(holder) is not None
            self._followed[holder] = known
        return known and self.moves(parts_of(holder)[0])

    def create(self, market: Id, terms: Terms) -> None:
        """Take in a market that was made in this block."""
        time = 0 if terms.irm == ZERO_ADDRESS else self.batch.block.timestamp
        self.created[market] = terms
        self.totals[market] = Figures(updated=time)

    def move(self, market: Id, **deltas: int) -> None:
        """
        Add to the totals of a market, to each figure by its name.

        Raises:
            Rebuild: One of them would go under zero.
        """
        totals = self.totals_of(market)
        for name, delta in deltas.items():
            figure = getattr(totals, name) + delta
            if figure < 0:
                raise Rebuild(f"{name} of market 0x{market.hex()} would be {figure}")
            setattr(totals, name, figure)

    def repay(self, market: Id, assets: int, shares: int) -> None:
        """Take a repayment off the totals. Its assets may be one unit more than there are."""
        assets = min(assets, self.totals_of(market).borrow_assets)
        self.move(market, borrow_assets=-assets, borrow_shares=-shares)

    def totals_of(self, market: Id) -> Figures:
        """Return the totals as they stand before the next log, to be moved by it."""
        known = self.totals.get(market)
        if known is None:
            known = self.totals[market] = Figures.of(self.market.totals[market])
        return known

    def curve_of(self, market: Id) -> Address | None:
        """Return the contract whose rates at target count for this market; None for no curve."""
        irm = (self.created.get(market) or self.market.terms[market]).irm
        return irm if irm in self.market.curves | self.extras.curves else None

    def authorise(self, contract: Address, user: Address, *, allowed: bool) -> None:
        """Remember that the user lets a pre-liquidation contract act, or no longer does."""
        about = self._recognised(contract)
        if about is None:
            return
        holder = Holder(about.market + user)
        others = tuple(c for c in self.authorised.get(holder, ()) if c != contract)
        after = {**self.authorised, holder: (*others, contract) if allowed else others}
        if not after[holder]:
            del after[holder]
        if len(after) <= MOST_AUTHORISED:
            self.authorised = after

    def _recognised(self, contract: Address) -> PreLiquidation | None:
        known = self.market.preliquidations.get(contract)
        return known or self.extras.contracts.get(contract)

    # --- the end of the block --------------------------------------------------------------------

    def finished(self) -> MorphoMarket:
        """Return the markets at the end of the block, with the prices read there."""
        market, readings = self._recognising(self._moved()), self.batch.readings
        market.remember_asked(self.market)
        finished = replace(
            market,
            fee_recipient=self.fee_recipient,
            authorised=self.authorised,
            quotes=_quotes(market, readings, self.batch.block.number),
            tokens=_tokens(market, readings),
            rates=self._rates(market),
        )
        finished.remember_asked(market)
        return finished

    def _moved(self) -> MorphoMarket:
        market = self.market
        if not self.totals and not self.targets:
            return market
        moved = {where: figures.settled() for where, figures in self.totals.items()}
        totals = {**market.totals, **moved}
        return replace(
            market,
            terms={**market.terms, **self.created} if self.created else market.terms,
            irms=market.irms | irms_of(self.created.values()),
            totals=totals,
            targets={**market.targets, **self.targets} if self.targets else market.targets,
            curves=market.curves | self.extras.curves,
            live=live_in(totals) if self._wakes() else market.live,
        )

    def _wakes(self) -> bool:
        """Tell whether a market got its first debt, or lost its last."""
        before = self.market.totals
        return any(
            bool(after.borrow_shares) != bool(before.get(market, NOTHING).borrow_shares)
            for market, after in self.totals.items()
        )

    def _rates(self, market: MorphoMarket) -> Mapping[Id, tuple[int, int | None]]:
        """Return what IRMs of other kinds answered; it holds for this block's time alone."""
        time, readings, before = self.batch.block.timestamp, self.batch.readings, self.market
        told = {m: rate for m, rate in before.rates.items() if rate[0] == time}
        for strange in foreign(market):
            if strange in before.totals:  # with what was stored before this block, see `polls`
                call = calls.rate_view(before.terms[strange], before.totals[strange])
                if call in readings:
                    told[strange] = (time, abi.number(readings[call]))
        return told

    def _recognising(self, market: MorphoMarket) -> MorphoMarket:
        if not self.extras.contracts:
            return market
        known, strangers = dict(market.preliquidations), set(market.strangers)
        for contract, about in self.extras.contracts.items():
            there = [one for one in known.values() if about and one.market == about.market]
            if about is None or not market.follows(about.market):
                strangers.add(contract)
            elif len(there) < MOST_CONTRACTS:
                known[contract] = about
        if len(strangers) > MOST_STRANGERS:
            strangers.clear()
        return replace(market, preliquidations=known, strangers=frozenset(strangers))


NOTHING = Totals()
UNASKED = b"not asked"  # this very object stands for no answer, where None is one
FIRST_WARY, MOST_WARY = 300, 2**20  # blocks in which an oracle that failed is asked alone


def _quotes(market: MorphoMarket, readings: Readings, number: int) -> dict[Address, Quote]:
    """
    Return what each oracle answered at block `number`.

    One that it was not the turn of keeps its fault, and a price is not kept: it may have moved.
    One that failed lately is remembered when its debt is repaid, else that would pardon it.
    """
    found, before = {}, market.quotes
    for oracle in market.asked.oracles:
        said = readings.get(calls.price(oracle), UNASKED)
        if said is UNASKED:
            said = readings.get(calls.wary_price(oracle), UNASKED)
        last = before.get(oracle, NOT_ASKED)
        found[oracle] = _unasked(last) if said is UNASKED else _after(last, said, number)
    if not before.keys() <= found.keys():
        for oracle, quote in before.items():
            if oracle not in found and quote.wary_to >= number:
                found[oracle] = _unasked(quote)
    return found


def _unasked(before: Quote) -> Quote:
    return before if before.price is None else replace(before, price=None, fault=OUT_OF_TURN)


def _after(before: Quote, answer: Answer, number: int) -> Quote:
    """Return an answer with what is to be remembered of earlier ones."""
    now = calls.quote(answer)
    if now.price is not None:
        if not before.wary_to and not before.wary_for:
            return now
        return replace(now, wary_for=before.wary_for, wary_to=before.wary_to)
    again = answering(before) or not before.wary_for
    wary_for = min(MOST_WARY, 2 * before.wary_for or FIRST_WARY) if again else before.wary_for
    return replace(now, wary_for=wary_for, wary_to=number + wary_for)


def _tokens(market: MorphoMarket, readings: Readings) -> Mapping[Address, Token]:
    lacking = market.asked.tokens - market.tokens.keys()
    new = {token for token in lacking if token_calls(token)[0] in readings}
    return {**market.tokens, **{t: token_in(t, readings) for t in new}} if new else market.tokens
