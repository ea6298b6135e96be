"""
An account as the comptroller's own view has it, leg by leg and line by line.

The view, `getAccountLiquidity`, takes every market as it is stored, however long ago interest was
added there. `liquidateBorrow` first adds it in two markets; see `liquidation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from chimera.domain.block import Address
from chimera.domain.health import CollateralLeg, DebtLeg, Health, Step, Valuation
from chimera.domain.market import Account, Shape
from chimera.domain.numeric import MAX_UINT256, WAD, Wad, decimal_string, short_decimal
from chimera.errors import Skip
from chimera.protocols.compound_v2.market import CompoundMarket, Figures, Listing
from chimera.protocols.compound_v2.math import borrow_balance, checked, value_of

PLACES = 18  # of values and factors alike
CURRENCY = "USD"
PRICE_ERROR, SNAPSHOT_ERROR = 13, 15  # ComptrollerErrorReporter.Error

MOST_SHAPES = 1 << 14  # of which it is remembered where their amounts stand

STORED: Mapping[Address, Figures] = MappingProxyType({})


class Use(NamedTuple):
    """One market that the account has entered. Amounts in token units, values in WAD of USD."""

    listing: Listing
    figures: Figures
    balance: int  # mTokens
    owed: int
    collateral: int  # as much as counts
    debt: int


class Liquidity(NamedTuple):
    """
    What the view adds up.

    `error` says why it cannot, `code` is what it answers then: None where it reverts.
    """

    uses: tuple[Use, ...]
    collateral: int
    debt: int
    error: str | None = None
    code: int | None = 0

    @property
    def shortfall(self) -> int:
        """By how much the debts exceed what counts as collateral; 0 if they do not."""
        return max(0, self.debt - self.collateral)


def liquidity(
    market: CompoundMarket, account: Account, instead: Mapping[Address, Figures] = STORED
) -> Liquidity:
    """
    Add up the account as `getAccountLiquidity` does, or as it would with other figures.

    Args:
        market: The market at a block.
        account: The account.
        instead: Markets whose figures are not those that are stored.

    Mirrors Comptroller.getHypotheticalAccountLiquidityInternal.
    """
    uses: list[Use] = []
    collateral = debt = 0
    for mtoken in market.listings:
        if mtoken not in account.enabled:
            continue
        listing = market.listings[mtoken]
        figures = instead.get(mtoken) or market.figures(mtoken, account.mode)
        # The snapshot comes first, even of a market that Venus then skips.
        fault = _unvalued(listing, figures)
        if fault is None:
            if _is_skipped(market, account, mtoken):
                continue
            fault = _unpriced(listing, figures)
        if fault is not None:
            return Liquidity((), 0, 0, *fault)
        try:
            use = _use(account, listing, figures)
        except Skip as reverts:
            return Liquidity((), 0, 0, f"{listing.symbol}: {reverts}", None)
        uses.append(use)
        collateral += use.collateral
        debt += use.debt
    return Liquidity(tuple(uses), collateral, debt)


def _is_skipped(market: CompoundMarket, account: Account, mtoken: Address) -> bool:
    has_something = mtoken in account.supplied or mtoken in account.owed
    return market.dialect.skips_blank and not has_something


def _unvalued(listing: Listing, figures: Figures) -> tuple[str, int | None] | None:
    if figures.rate is not None:
        return None
    if not figures.has_cash:
        return f"cash of {listing.symbol} reverts", None
    return f"{listing.symbol} has no exchange rate (SNAPSHOT_ERROR)", SNAPSHOT_ERROR


def _unpriced(listing: Listing, figures: Figures) -> tuple[str, int | None] | None:
    if figures.price is None:
        return f"price of {listing.symbol} reverts", None
    if figures.price == 0:
        return f"price of {listing.symbol} is 0 (PRICE_ERROR)", PRICE_ERROR
    return None


def _use(account: Account, listing: Listing, figures: Figures) -> Use:
    weight, price, balance = figures.weight, figures.price, account.supplied.get(listing.mtoken, 0)
    if weight is None or price is None:
        raise Skip("a figure overflows")
    checked(account.owed.get(listing.mtoken, 0) * figures.borrow_index)
    owed = owed_at(account, listing.mtoken, figures.borrow_index)
    return Use(
        listing=listing,
        figures=figures,
        balance=balance,
        owed=owed,
        collateral=value_of(weight, balance),
        debt=value_of(price, owed),
    )


def owed_at(account: Account, mtoken: Address, index: int) -> int:
    """Return a debt in units of the underlying, at this borrow index."""
    principal = account.owed.get(mtoken, 0)
    return borrow_balance(principal, account.marks.get(mtoken, WAD), index)


def supplied_at(balance: int, rate: int | None) -> int:
    """Return what mTokens are worth in the underlying; 0 where nobody can tell."""
    return (rate or 0) * balance // WAD


def health(market: CompoundMarket, account: Account) -> Health:
    """
    Return the health factor, sumCollateral * 1e18 // sumBorrow, of what the view answers.

    It is under 1 exactly when the view answers a shortfall.
    """
    told = liquidity(market, account)
    if told.error is not None:
        return Health(None, 0, 0, "0", error=told.error)
    factor = Wad(told.collateral * WAD // told.debt) if told.debt else None
    worth = sum(_worth(use) for use in told.uses)
    threshold = told.collateral * WAD // worth if worth else 0
    return Health(factor, worth, told.debt, short_decimal(threshold, PLACES))


def factor(market: CompoundMarket, account: Account) -> Wad | None:
    """
    Return the health factor alone, by figures that were worked out once for the whole block.

    Legs are added up in any order, since no sum depends on it. Where the view might revert, or
    answer an error, it is gone through in its own order: that tells with which.

    Raises:
        Skip: It does.
    """
    collateral, debt = _quickly(market, account) or _in_order(market, account)
    return Wad(collateral * WAD // debt) if debt else None


def _quickly(market: CompoundMarket, account: Account) -> tuple[int, int] | None:
    """Return collateral and debt, or None where anything is out of the ordinary."""
    legs = legs_of(account.shape)
    if legs is None:
        return None
    counts, collateral, debt = market.counts(account.shape.mode), 0, 0
    try:
        for mtoken, place in legs.collateral:
            worth = counts[mtoken].weight * account[place]
            if worth > MAX_UINT256:
                return None
            collateral += worth // WAD
        for mtoken, place, mark in legs.debts:
            _, price, index = counts[mtoken]
            grown = account[place] * index
            worth = price * (grown // account[mark])
            if grown > MAX_UINT256 or worth > MAX_UINT256:
                return None
            debt += worth // WAD
    except KeyError:
        return None
    if legs.blank and not legs.blank <= counts.keys():
        return None
    return collateral, debt


def _in_order(market: CompoundMarket, account: Account) -> tuple[int, int]:
    told = liquidity(market, account)
    if told.error is not None:
        raise Skip(told.error)
    return told.collateral, told.debt


class Legs(NamedTuple):
    """What the view looks at in accounts of one shape: markets, and places of amounts."""

    collateral: tuple[tuple[Address, int], ...]
    debts: tuple[tuple[Address, int, int], ...]  # place of the principal, and of its index
    blank: frozenset[Address]  # entered, and nothing is there


@lru_cache(maxsize=MOST_SHAPES)
def legs_of(shape: Shape) -> Legs | None:
    """Return the legs in markets that are entered; None where a debt lacks its index."""
    supplies, debts = shape.supply_places, shape.debt_places
    if not set(shape.owed) <= set(shape.marks):
        return None
    return Legs(
        tuple((mtoken, place) for mtoken, place in supplies.items() if mtoken in shape.enabled),
        tuple(
            (mtoken, place, mark)
            for mtoken, place in debts.items()
            if mtoken in shape.enabled and (mark := shape.mark_place(mtoken)) is not None
        ),
        shape.enabled - supplies.keys() - debts.keys(),
    )


def _worth(use: Use) -> int:
    return (use.figures.price or 0) * supplied_at(use.balance, use.figures.rate) // WAD


def value(market: CompoundMarket, account: Account) -> Valuation:
    """Return the account with every leg valued; a leg without a price has value 0."""
    return Valuation(
        health=health(market, account),
        collateral=tuple(_collateral_legs(market, account)),
        debt=tuple(_debt_legs(market, account)),
        base_currency=CURRENCY,
        base_decimals=PLACES,
    )


def _collateral_legs(market: CompoundMarket, account: Account) -> Iterator[CollateralLeg]:
    for mtoken, balance in account.supplied.items():
        listing, figures = market.listings[mtoken], market.figures(mtoken, account.mode)
        amount = supplied_at(balance, figures.rate)
        yield CollateralLeg(
            asset=listing.underlying,
            symbol=listing.symbol,
            amount=amount,
            value=(figures.price or 0) * amount // WAD,
            threshold=short_decimal(market.terms(mtoken, account.mode).factor, PLACES),
            enabled=mtoken in account.enabled,
        )


def _debt_legs(market: CompoundMarket, account: Account) -> Iterator[DebtLeg]:
    for mtoken in account.owed:
        listing, figures = market.listings[mtoken], market.figures(mtoken, account.mode)
        amount = owed_at(account, mtoken, figures.borrow_index)
        worth = (figures.price or 0) * amount // WAD
        yield DebtLeg(listing.underlying, listing.symbol, amount, worth)


# --- line by line --------------------------------------------------------------------------------


def explain(market: CompoundMarket, account: Account, timestamp: int) -> Iterator[Step]:
    """List the arithmetic of the health factor, in the order of the contract."""
    yield Step("revision", market.dialect.name)
    yield Step("time", f"{timestamp} s, block {market.block_number}")
    if account.mode:
        yield Step("pool", str(account.mode))
    told = liquidity(market, account)
    for use in told.uses:
        yield from _explain_use(market, account, use)
    yield from _explain_uncounted(market, account)
    if told.error is not None:
        yield Step("health factor", f"none: the contract cannot tell, {told.error}")
        return
    factor = "none: no debt"
    if told.debt:
        factor = decimal_string(told.collateral * WAD // told.debt, PLACES)
    yield Step("collateral that counts", _money(told.collateral))
    yield Step("total debt", _money(told.debt))
    shortfall = f"{_money(told.shortfall)} (getAccountLiquidity, interest as it is stored)"
    yield Step("shortfall", shortfall)
    yield Step("health factor", factor)


def _explain_use(market: CompoundMarket, account: Account, use: Use) -> Iterator[Step]:
    listing, figures = use.listing, use.figures
    name, since = listing.symbol, market.states[listing.mtoken].accrued
    unit = "s" if market.dialect.by_timestamp else "block"
    yield Step(f"{name} price", _money((figures.price or 0) * 10**listing.decimals // WAD))
    yield Step(f"{name} interest stored at", f"{unit} {since}")
    if use.balance:
        yield Step(f"{name} mTokens", str(use.balance))
        yield Step(f"{name} exchange rate", f"{figures.rate} wad")
        amount = supplied_at(use.balance, figures.rate)
        yield Step(f"{name} supplied", f"{decimal_string(amount, listing.decimals)} {name}")
        factor = market.terms(listing.mtoken, account.mode).factor
        yield Step(f"{name} factor", short_decimal(factor, PLACES))
        yield Step(f"{name} collateral that counts", _money(use.collateral))
    if use.owed:
        mtoken = listing.mtoken
        yield Step(f"{name} principal", str(account.owed[mtoken]))
        settled = f"{account.marks[mtoken]} wad{_doubt(listing)}"
        yield Step(f"{name} index of the principal", settled)
        yield Step(f"{name} borrow index", f"{figures.borrow_index} wad")
        yield Step(f"{name} owed", f"{decimal_string(use.owed, listing.decimals)} {name}")
        yield Step(f"{name} debt value", _money(use.debt))


def _doubt(listing: Listing) -> str:
    if listing.slot is not None:
        return ""
    return (
        " (where the storage could not be read: the balance and index at the snapshot, until the "
        "next borrow or repayment; the debt may be one unit short)"
    )


def _explain_uncounted(market: CompoundMarket, account: Account) -> Iterator[Step]:
    for mtoken, balance in account.supplied.items():
        listing = market.listings[mtoken]
        if mtoken in account.enabled:
            continue
        amount = supplied_at(balance, market.figures(mtoken, account.mode).rate)
        shown = f"{decimal_string(amount, listing.decimals)} {listing.symbol}"
        taken = "" if market.dialect.seizes_entered_only else ", yet it may be seized"
        why = f"market not entered: no collateral{taken}"
        yield Step(f"{listing.symbol} supplied", f"{shown} ({why})")


def _money(amount: int) -> str:
    return f"{decimal_string(amount, PLACES)} {CURRENCY}"
