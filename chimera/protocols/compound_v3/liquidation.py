"""Whether `absorb` would go through, what it does, and what its buyers are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chimera.domain.health import VERDICT, Pair, Step, Verdict
from chimera.domain.market import Account
from chimera.domain.numeric import decimal_string
from chimera.errors import Skip
from chimera.protocols.compound_v3.market import ABSORB_PAUSED, BUY_PAUSED, CometMarket, places
from chimera.protocols.compound_v3.math import (
    Offer,
    checked,
    cost,
    discounted,
    principal_value,
    quote,
    times_factor,
    value_of,
)
from chimera.protocols.compound_v3.valuation import (
    DeadFeed,
    Held,
    Standing,
    liquidatable,
    price_of,
    standing,
)

PAUSED, HEALTHY = "absorb paused", "healthy"
UNPRICED, OVERFLOW = "price unknown", "figures overflow"
# The account can be absorbed, yet the one who does it earns nothing:
BUYING_PAUSED, NOT_FOR_SALE = "buying paused", "not for sale: reserves are at their target"
NOTHING_TO_BUY = "nothing to buy"


@dataclass(frozen=True, slots=True)
class Absorption:
    """
    What `absorb` does to one account.

    Attributes:
        before: Signed balance of base, accrued.
        credited: Base that the seized collateral is credited with, at the liquidation factors.
        after: Balance afterwards: the excess, or 0 where the reserves take a loss.
        principal: Of `after`.
    """

    before: int
    credited: int
    after: int
    principal: int

    @property
    def paid(self) -> int:
        """`basePaidOut` of AbsorbDebt."""
        return self.after - self.before


def absorption(market: CometMarket, found: Standing, timestamp: int) -> Absorption:
    """Return what `absorb` does. Raises Skip. Mirrors Comet.absorbInternal."""
    base = market.terms.base
    price = price_of(market, base.token, base.symbol)
    gained = sum(
        times_factor(held.value, held.collateral.liquidation_factor) for held in found.held
    )
    credited = checked(checked(gained) * base.scale) // price
    after = max(found.balance + credited, 0)
    principal = principal_value(after, market.indexes(timestamp))
    return Absorption(found.balance, credited, after, principal)


def verdict(market: CometMarket, account: Account, timestamp: int) -> Verdict:
    """
    Tell whether anybody may absorb the account at `timestamp`, and what that is worth.

    There is no partial absorption and the absorber neither pays nor receives tokens: whoever buys
    from the store front earns the discount. So the pair is meant like this: `max_repay` is the
    whole debt, which `absorb` always clears; `seize` is what `buyCollateral` gives of the
    collateral that pays best, for the most base that it accepts for what was seized; `gross_bonus`
    is what that is worth less the base paid for it. Where nothing is sold there is no pair, and
    `reason` says why although the account is liquidatable.

    Mirrors Comet.absorb, quoteCollateral and buyCollateral.
    """
    refused = _refused(market, account, timestamp)
    if refused is not None:
        return Verdict(liquidatable=False, reason=refused)
    try:
        found = standing(market, account, timestamp)
        done = absorption(market, found, timestamp)
        closed = _closed(market, found, done, timestamp)
    except Skip as reverts:
        return Verdict(liquidatable=False, reason=_why(reverts))
    if closed is not None:
        return Verdict(liquidatable=True, reason=closed)
    pairs = [pair for held in found.held if (pair := _pair(market, found, held)) is not None]
    if not pairs:
        return Verdict(liquidatable=True, reason=NOTHING_TO_BUY)
    return Verdict(liquidatable=True, best=max(pairs, key=lambda pair: pair.gross_bonus))


def _refused(market: CometMarket, account: Account, timestamp: int) -> str | None:
    if market.totals.pauses & ABSORB_PAUSED:
        return PAUSED
    try:
        is_liquidatable = liquidatable(market, account, market.indexes(timestamp))
    except Skip as reverts:
        return _why(reverts)
    return None if is_liquidatable else HEALTHY


def _why(reverts: Skip) -> str:
    return UNPRICED if isinstance(reverts, DeadFeed) else OVERFLOW


def _closed(market: CometMarket, found: Standing, done: Absorption, timestamp: int) -> str | None:
    """Return why nothing could be bought right after the absorption. Mirrors buyCollateral."""
    if market.totals.pauses & BUY_PAUSED:
        return BUYING_PAUSED
    reserves = market.reserves(timestamp, supply=done.principal, borrow=found.principal)
    return NOT_FOR_SALE if reserves >= market.terms.target_reserves else None


def offer_of(market: CometMarket, held: Held) -> Offer:
    """Return the terms on which the store front sells a collateral. Raises Skip."""
    terms = market.terms
    price = discounted(held.price, terms.store_front, held.collateral.liquidation_factor)
    base_price = price_of(market, terms.base.token, terms.base.symbol)
    return Offer(base_price, terms.base.scale, price, held.collateral.scale)


def _pair(market: CometMarket, found: Standing, held: Held) -> Pair | None:
    base = market.terms.base
    try:
        offer = offer_of(market, held)
        paid = cost(offer, held.amount)
        bought = quote(offer, paid)
    except Skip:
        return None
    if bought == 0:
        return None
    earned = value_of(bought, held.price, held.collateral.scale)
    return Pair(
        collateral_asset=held.collateral.asset,
        debt_asset=base.token,
        max_repay=-found.balance,
        seize=bought,
        gross_bonus=earned - value_of(paid, offer.base_price, base.scale),
    )


def explain(market: CometMarket, account: Account, timestamp: int) -> Iterator[Step]:
    """List what an absorption does and what the store front asks, then the verdict."""
    said = verdict(market, account, timestamp)
    if said.liquidatable:
        yield from _explain_sale(market, account, timestamp)
        outcome = f"liquidatable; {said.reason}" if said.reason else "liquidatable"
    else:
        outcome = f"not liquidatable: {said.reason}"
    yield Step(VERDICT, outcome)


def _explain_sale(market: CometMarket, account: Account, timestamp: int) -> Iterator[Step]:
    base, found = market.terms.base, standing(market, account, timestamp)
    done = absorption(market, found, timestamp)
    after = market.reserves(timestamp, supply=done.principal, borrow=found.principal)
    for name, amount in (
        ("collateral credited", done.credited),
        ("balance after absorb", done.after),
        ("reserves after absorb", after),
        ("target reserves", market.terms.target_reserves),
    ):
        yield Step(name, f"{decimal_string(amount, places(base.scale))} {base.symbol}")
    for held in found.held:
        paid = cost(offer_of(market, held), held.amount)
        shown = f"{decimal_string(paid, places(base.scale))} {base.symbol}"
        yield Step(f"{held.collateral.symbol} at the store front", shown)
