"""
Whether `liquidateBorrow` would go through, and for which pair of markets it pays most.

It adds interest in two markets before it looks: that of the debt and that of the collateral. All
others stay as they are stored. So its verdict is one per pair, and may differ from the view's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from chimera.domain.block import Address
from chimera.domain.health import VERDICT, Pair, Step, Verdict
from chimera.domain.market import Account
from chimera.domain.numeric import decimal_string
from chimera.errors import Skip
from chimera.protocols.compound_v2 import math
from chimera.protocols.compound_v2.market import NATIVE, CompoundMarket, Figures, Listing
from chimera.protocols.compound_v2.pools import CORE_POOL
from chimera.protocols.compound_v2.valuation import CURRENCY, PLACES, Liquidity, liquidity, owed_at

HEALTHY, NO_COLLATERAL, UNPRICED = "healthy", "no collateral", "price unknown"
PAUSED, INACTIVE, OVERFLOW = "seizing paused", "market inactive: not listed", "figures overflow"
TOO_LITTLE, STUCK = "too little to seize", "interest cannot be added"
UNVALUED = "a market cannot be valued"
# Why a pair fails, the first one told first.
REASONS = (
    PAUSED,
    INACTIVE,
    STUCK,
    UNVALUED,
    UNPRICED,
    OVERFLOW,
    TOO_LITTLE,
    NO_COLLATERAL,
    HEALTHY,
)

# What liquidateBorrow returns. TokenErrorReporter.Error
DONE, COMPTROLLER_REJECTION, INVALID_CLOSE_AMOUNT = 0, 3, 7


class Limits(NamedTuple):
    """The most that one call may repay, and how many mTokens a unit of it takes (WAD)."""

    repay: int  # the close limit, unless the collateral or the market's total is less
    ratio: int


@dataclass(frozen=True, slots=True)
class Case:
    """
    One debt and one collateral of an account, interest added in both markets.

    Attributes:
        market: The market at a block.
        account: The borrower.
        debt: The market of the debt.
        collateral: The market of the collateral.
        told: What the account comes to then.
        debt_state: Figures of the market of the debt, interest added.
        by: The same, as the account's arithmetic wants them.
        of: Likewise of the collateral's market.
    """

    market: CompoundMarket
    account: Account
    debt: Listing
    collateral: Listing
    told: Liquidity
    debt_state: math.State
    by: Figures
    of: Figures

    def refusal(self) -> str | None:
        """Return why nobody may repay anything by this pair, or None."""
        if not (self.debt.is_listed and self.collateral.is_listed):
            return INACTIVE
        market = self.market
        if market.is_paused or self.collateral.is_seize_paused or self.debt.is_liquidation_paused:
            return PAUSED
        if not self.debt.is_forced:
            if self.told.error is not None:
                return _failing(market, self.account)
            if not self.told.shortfall:
                return HEALTHY
        entered = self.collateral.mtoken in self.account.enabled
        if market.dialect.seizes_entered_only and not entered:
            return NO_COLLATERAL
        return None if self.of.price and self.by.price else UNPRICED

    def close_limit(self) -> int:
        """Return the part of the debt that one call may repay, units of the underlying."""
        owed = owed_at(self.account, self.debt.mtoken, self.by.borrow_index)
        return owed if self.debt.is_forced else math.value_of(self.market.close_factor, owed)

    def limits(self) -> Limits:
        """
        Return how much may be repaid at once.

        Raises:
            Skip: The contract reverts on the way.

        Mirrors Comptroller.liquidateBorrowAllowed and liquidateCalculateSeizeTokens.
        """
        by_price, of_price = self.by.price or 0, self.of.price or 0
        # A market of the chain's own coin asks for the core pool's.
        mode = CORE_POOL if self.debt.underlying == NATIVE else self.account.mode
        incentive = self.market.terms(self.collateral.mtoken, mode).incentive
        ratio = math.seize_ratio(incentive, by_price, of_price, self.of.rate or 0)
        most = math.repayable(ratio, self.account.supplied.get(self.collateral.mtoken, 0))
        # The total of all debts may be a few units under their sum.
        return Limits(min(self.close_limit(), most, self.debt_state.borrows), ratio)

    def returns(self, repay: int) -> int | None:
        """
        Return what `liquidateBorrow` of `repay` units returns, None where it reverts.

        Anything but 0 is a refusal inside of a transaction that succeeds.
        """
        try:
            if self._is_rejected(repay):
                return COMPTROLLER_REJECTION
            if repay == 0:
                return INVALID_CLOSE_AMOUNT
            is_done = self.refusal() is None and repay <= self.limits().repay
        except Skip:
            return None
        return DONE if is_done else None

    def _is_rejected(self, repay: int) -> bool:
        """Tell whether the comptroller refuses. Mirrors Comptroller.liquidateBorrowAllowed."""
        has_terms, is_paused = self.market.dialect.has_thresholds, self.market.is_paused
        if self.debt.is_liquidation_paused or (has_terms and is_paused):
            raise Skip("liquidating is paused")
        if not (self.debt.is_listed and self.collateral.is_listed):
            if has_terms:
                raise Skip("the market is not listed")
            return True
        if not self.debt.is_forced:
            if self.told.code is None:
                raise Skip("the oracle reverts")
            if self.told.code or not self.told.shortfall:
                return True
        return repay > self.close_limit()

    def pair(self) -> Pair | str:
        """Return the pair at the contract's own limits, or why there is none."""
        refused = self.refusal()
        if refused is not None:
            return refused
        try:
            repay, ratio = self.limits()
            taken = math.value_of(ratio, repay)
            kept = math.value_of(self.collateral.seize_share, taken)
            seized = math.value_of(self.of.rate or 0, taken - kept)
            gained = math.value_of(self.of.price or 0, seized)
            paid = math.value_of(self.by.price or 0, repay)
        except Skip:
            return OVERFLOW
        if not repay or not seized:
            return TOO_LITTLE
        return Pair(self.collateral.underlying, self.debt.underlying, repay, seized, gained - paid)


def case(
    market: CompoundMarket, account: Account, debt: Address, collateral: Address, timestamp: int
) -> Case:
    """
    Add interest in both markets and value the account.

    Raises:
        Skip: That reverts, or either market does not know its cash.
    """
    states = {mtoken: market.accrued(mtoken, timestamp) for mtoken in (debt, collateral)}
    for mtoken, state in states.items():
        if state.cash is None:  # the repayment asks for it, and so does the exchange rate
            raise Skip(f"cash of {market.listings[mtoken].symbol} reverts")
    instead = {
        mtoken: market.figures_of(mtoken, state, account.mode) for mtoken, state in states.items()
    }
    return Case(
        market=market,
        account=account,
        debt=market.listings[debt],
        collateral=market.listings[collateral],
        told=liquidity(market, account, instead),
        debt_state=states[debt],
        by=instead[debt],
        of=instead[collateral],
    )


def verdict(market: CompoundMarket, account: Account, timestamp: int) -> Verdict:
    """
    Tell whether anybody may liquidate the account at `timestamp`, and the best pair.

    Each pair is taken at the contract's own limits: the most that one call may repay without being
    refused. What the liquidator receives are mTokens; a pair's `seize` is what they are worth at
    the exchange rate of the liquidation. Not looked at: whether the market has the cash to redeem
    them, and who calls (Venus may let only its own Liquidator contract do it, which anybody can
    call).

    Mirrors MToken.liquidateBorrowFresh and seizeInternal.
    """
    if not account.owed:
        return Verdict(liquidatable=False, reason=HEALTHY)
    if not account.supplied:
        return Verdict(liquidatable=False, reason=_without_collateral(market, account))
    tried = [
        _tried(market, account, debt, collateral, timestamp)
        for debt in account.owed
        for collateral in account.supplied
    ]
    pairs = [pair for pair in tried if isinstance(pair, Pair)]
    if not pairs:
        return Verdict(liquidatable=False, reason=min(map(str, tried), key=REASONS.index))
    return Verdict(liquidatable=True, best=max(pairs, key=lambda pair: pair.gross_bonus))


def _without_collateral(market: CompoundMarket, account: Account) -> str:
    fails = liquidity(market, account).error is not None
    return _failing(market, account) if fails else NO_COLLATERAL


def _failing(market: CompoundMarket, account: Account) -> str:
    """Return the kind of figure for want of which the account cannot be added up."""
    entered = account.enabled & market.listings.keys()
    if any(market.figures(mtoken, account.mode).rate is None for mtoken in entered):
        return UNVALUED
    return OVERFLOW if all(market.prices[mtoken] for mtoken in entered) else UNPRICED


def _tried(
    market: CompoundMarket, account: Account, debt: Address, collateral: Address, timestamp: int
) -> Pair | str:
    try:
        return case(market, account, debt, collateral, timestamp).pair()
    except Skip:
        return STUCK


def explain(market: CompoundMarket, account: Account, timestamp: int) -> Iterator[Step]:
    """List what each pair comes to with interest added in both of its markets, and the verdict."""
    for debt in account.owed:
        for collateral in account.supplied:
            symbols = [market.listings[mtoken].symbol for mtoken in (debt, collateral)]
            try:
                told = case(market, account, debt, collateral, timestamp).told
            except Skip as reverts:
                shown = f"none: {reverts}"
            else:
                shown = told.error or f"{decimal_string(told.shortfall, PLACES)} {CURRENCY}"
            name = f"shortfall with interest added in {symbols[0]} and {symbols[1]}"
            yield Step(name, f"{shown} (liquidateBorrow)")
    yield Step(VERDICT, outcome(verdict(market, account, timestamp)))


def outcome(verdict: Verdict) -> str:
    """Say in a line what `liquidateBorrow` would do."""
    accrued = "with interest added in the markets of debt and collateral"
    if verdict.liquidatable:
        return f"liquidatable, {accrued}"
    return f"not liquidatable: {verdict.reason} ({accrued})"
