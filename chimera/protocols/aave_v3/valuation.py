"""An account as the pool's own view has it, leg by leg and line by line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from chimera.domain.block import ZERO_ADDRESS, Address
from chimera.domain.health import Health, Step
from chimera.domain.market import Account
from chimera.domain.numeric import Bps, Wad, decimal_string, short_decimal
from chimera.errors import Skip
from chimera.protocols.aave_v3.market import NO_MODE, AaveMarket, Mode, Reserve
from chimera.protocols.aave_v3.math import average_threshold, checked, percent_mul

BPS_PLACES = 4


class Terms(NamedTuple):
    """
    What the user's eMode changes: thresholds and bonus of its assets, and their price.

    `price` is what the category's price source answers, 0 without one (or where it says 0).
    `by_bitmap` tells how an asset is found to be in the category.
    """

    number: int
    mode: Mode
    price: int
    by_bitmap: bool

    @property
    def source(self) -> Address | None:
        """Return the category's price source, None where it has none."""
        if self.by_bitmap or self.mode.price_source == ZERO_ADDRESS:
            return None
        return self.mode.price_source

    def cover(self, reserve: Reserve) -> bool:
        """
        Tell whether the asset is collateral of the user's category.

        Mirrors EModeLogic.isInEModeCategory up to v3.1, EModeConfiguration after.
        """
        if self.by_bitmap:
            return bool(self.mode.collateral >> reserve.bit & 1)
        return self.number != 0 and reserve.configuration.mode == self.number

    def threshold(self, reserve: Reserve) -> Bps:
        """Return the liquidation threshold of the asset for this user."""
        return self.mode.threshold if self.cover(reserve) else reserve.configuration.threshold

    def bonus(self, reserve: Reserve) -> Bps:
        """Return the liquidation bonus of the asset for this user."""
        return self.mode.bonus if self.cover(reserve) else reserve.configuration.bonus


ORDINARY = Terms(0, NO_MODE, 0, by_bitmap=False)  # of users without an eMode


class Use(NamedTuple):
    """One reserve that the user's bitmap names. Amounts in token units, values in base currency."""

    reserve: Reserve
    price: int
    threshold: Bps  # 0 when the asset does not count as collateral
    scaled: int  # supply as the aToken stores it
    supplied: int
    owed: int
    collateral: int
    debt: int


class AccountData(NamedTuple):
    """Sums of an account; `weighted` adds each value times its threshold in basis points."""

    uses: tuple[Use, ...]
    collateral: int
    weighted: int
    debt: int
    factor: Wad | None

    @property
    def threshold(self) -> Bps:
        """Average liquidation threshold, as the view answers it."""
        return average_threshold(self.collateral, self.weighted)


def terms_of(market: AaveMarket, number: int) -> Terms:
    """
    Return what the eMode changes for its users. Mirrors EModeLogic.getEModeConfiguration.

    Raises:
        Skip: The category's price source reverts.
    """
    terms = unpriced_terms_of(market, number)
    if terms.source is None:
        return terms
    price = market.prices[terms.source]
    if price is None:
        raise Skip(f"price source of eMode {number} reverts")
    return terms._replace(price=price)


def unpriced_terms_of(market: AaveMarket, number: int) -> Terms:
    """Return what the eMode changes, as if its price source said 0: that much is lasting."""
    if not number:
        return ORDINARY
    return Terms(number, market.modes.get(number, NO_MODE), 0, market.engine.has_mode_bitmaps)


def price_of(market: AaveMarket, reserve: Reserve, terms: Terms) -> int:
    """
    Return the asset's price for this user: the eMode source's, if that says any, else its own.

    Raises:
        Skip: The oracle reverts.
    """
    if terms.price and terms.cover(reserve):
        return terms.price
    price = market.prices[reserve.asset]
    if price is None:
        raise Skip(f"price of {reserve.symbol} reverts")
    return price


def used(market: AaveMarket, account: Account) -> list[tuple[Reserve, bool]]:
    """
    Return the reserves in the user's bitmap by id, and whether the collateral bit is set.

    The borrowing bit is "has debt": where it outlived its debt it adds nothing.
    """
    enabled = enabled_in(market, account.enabled)
    held = [market.reserves[asset] for asset in enabled | account.owed.keys()]
    return [(r, r.asset in enabled) for r in sorted(held, key=lambda reserve: reserve.bit)]


def enabled_in(market: AaveMarket, enabled: frozenset[Address]) -> set[Address]:
    """Return the listed assets whose collateral bits are set, by whichever asset had them first."""
    reserves = (market.reserve_of_bit(asset) for asset in enabled)
    return {reserve.asset for reserve in reserves if reserve is not None}


def account_data(market: AaveMarket, account: Account, timestamp: int) -> AccountData:
    """
    Add up the account as `getUserAccountData` does at `timestamp`.

    Raises:
        Skip: The view reverts: a price of something in the bitmap (also of a collateral without
            balance or threshold), the eMode's price source, or an overflow.

    Mirrors GenericLogic.calculateUserAccountData.
    """
    reserves = used(market, account)
    if not reserves:
        return AccountData((), 0, 0, 0, None)
    terms = terms_of(market, account.mode)
    uses = tuple(
        _use(market, account, terms, reserve, is_collateral=enabled, timestamp=timestamp)
        for reserve, enabled in reserves
    )
    collateral = checked(sum(use.collateral for use in uses))
    weighted = checked(sum(checked(use.collateral * use.threshold) for use in uses))
    debt = checked(sum(use.debt for use in uses))
    factor = market.engine.health(collateral, weighted, debt)
    return AccountData(uses, collateral, weighted, debt, factor)


def _use(
    market: AaveMarket,
    account: Account,
    terms: Terms,
    reserve: Reserve,
    *,
    is_collateral: bool,
    timestamp: int,
) -> Use:
    price = price_of(market, reserve, terms)
    indexes, engine = market.indexes(timestamp)[reserve.asset], market.engine
    counts = is_collateral and may_count(market, reserve)
    scaled = account.supplied.get(reserve.asset, 0) if counts else 0
    supplied = engine.supplied(scaled, indexes.income)
    owed = engine.owed(account.owed.get(reserve.asset, 0), indexes.debt)
    return Use(
        reserve=reserve,
        price=price,
        threshold=terms.threshold(reserve) if counts else Bps(0),
        scaled=scaled,
        supplied=supplied,
        owed=owed,
        collateral=checked(supplied * price) // reserve.unit,
        debt=_debt_value(market, owed, price, reserve),
    )


def may_count(market: AaveMarket, reserve: Reserve) -> bool:
    """
    Tell whether the reserve can be collateral at all.

    Up to v3.5 the test is on its own threshold: without one, an eMode's does not count either.
    """
    return not market.engine.needs_own_threshold or reserve.configuration.threshold != 0


def _debt_value(market: AaveMarket, owed: int, price: int, reserve: Reserve) -> int:
    checked(owed * price)
    return market.engine.debt_value(owed, price, reserve.unit)


def health(market: AaveMarket, account: Account, timestamp: int) -> Health:
    """Return the answer of `getUserAccountData` at `timestamp`, or why it reverts."""
    try:
        return _health_of(account_data(market, account, timestamp))
    except Skip as reverts:
        return Health(None, 0, 0, "0", error=str(reverts))


def _health_of(data: AccountData) -> Health:
    threshold = short_decimal(data.threshold, BPS_PLACES)
    return Health(data.factor, data.collateral, data.debt, threshold)


def explain(market: AaveMarket, account: Account, timestamp: int) -> Iterator[Step]:
    """List the arithmetic of the health factor, in the order of the contract."""
    yield Step("revision", f"Aave v{market.engine.version}")
    yield Step("time", f"{timestamp} s")
    if account.mode:
        yield from _explain_mode(market, account.mode)
    try:
        data = account_data(market, account, timestamp)
    except Skip as reverts:
        yield Step("health factor", f"none: the contract reverts, {reverts}")
        return
    for use in data.uses:
        yield from _explain_use(market, account, use, timestamp)
    yield from _explain_uncounted(market, account, timestamp)
    yield from _explain_sums(market, data)


def _explain_mode(market: AaveMarket, number: int) -> Iterator[Step]:
    mode = market.modes.get(number, NO_MODE)
    yield Step("eMode", str(number))
    yield Step("eMode threshold", f"{mode.threshold} bps")
    if mode.price_source != ZERO_ADDRESS:
        price = market.prices[mode.price_source]
        shown = "reverts" if price is None else _money(market, price)
        yield Step("eMode price", f"{shown} (0x{mode.price_source.hex()})")


def _explain_use(market: AaveMarket, account: Account, use: Use, timestamp: int) -> Iterator[Step]:
    reserve, indexes = use.reserve, market.indexes(timestamp)[use.reserve.asset]
    name, places = reserve.symbol, reserve.configuration.decimals
    yield Step(f"{name} price", _money(market, use.price))
    if use.supplied:
        yield Step(f"{name} scaled supply", str(account.supplied.get(reserve.asset, 0)))
        yield Step(f"{name} liquidity index", f"{indexes.income} ray")
        yield Step(f"{name} supplied", f"{decimal_string(use.supplied, places)} {name}")
        yield Step(f"{name} collateral value", _money(market, use.collateral))
        yield Step(f"{name} threshold", f"{use.threshold} bps")
    if use.owed:
        yield Step(f"{name} scaled debt", str(account.owed.get(reserve.asset, 0)))
        yield Step(f"{name} debt index", f"{indexes.debt} ray")
        yield Step(f"{name} owed", f"{decimal_string(use.owed, places)} {name}")
        yield Step(f"{name} debt value", _money(market, use.debt))


def _explain_uncounted(market: AaveMarket, account: Account, timestamp: int) -> Iterator[Step]:
    enabled = {reserve.asset for reserve, is_on in used(market, account) if is_on}
    for asset, scaled in account.supplied.items():
        reserve = market.reserves[asset]
        if asset in enabled and may_count(market, reserve):
            continue
        amount = market.engine.supplied(scaled, market.indexes(timestamp)[asset].income)
        shown = f"{decimal_string(amount, reserve.configuration.decimals)} {reserve.symbol}"
        why = "its threshold is 0" if asset in enabled else "not enabled as collateral"
        yield Step(f"{reserve.symbol} supplied", f"{shown} ({why}: does not count)")


def _explain_sums(market: AaveMarket, data: AccountData) -> Iterator[Step]:
    factor = "none: no debt" if data.factor is None else decimal_string(data.factor, 18)
    yield Step("total collateral", _money(market, data.collateral))
    if market.engine.averages_threshold:
        adjusted = percent_mul(data.collateral, data.threshold)
        yield Step("average threshold", f"{data.threshold} bps (truncated)")
        yield Step("collateral at threshold", _money(market, adjusted))
    else:
        yield Step("average threshold", f"{data.threshold} bps (shown only)")
        yield Step("sum of value times threshold", f"{data.weighted} bps")
    yield Step("total debt", _money(market, data.debt))
    yield Step("health factor", factor)


def _money(market: AaveMarket, amount: int) -> str:
    return f"{decimal_string(amount, market.base_decimals)} {market.base_currency}"
