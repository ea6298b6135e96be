"""The arithmetic of one account, line by line in the order of the contract."""

from __future__ import annotations

from collections.abc import Iterator

from eth_utils.address import to_checksum_address

from chimera.domain.block import ZERO_ADDRESS, Address
from chimera.domain.health import Step
from chimera.domain.market import Account, Holder, Token
from chimera.domain.numeric import decimal_string, short_decimal
from chimera.errors import Skip
from chimera.protocols.morpho_blue.market import Id, MorphoMarket, PreLiquidation, market_of
from chimera.protocols.morpho_blue.math import incentive_factor
from chimera.protocols.morpho_blue.preliquidation import offer
from chimera.protocols.morpho_blue.valuation import (
    PRICE_PLACES,
    WAD_PLACES,
    Figures,
    figures,
    token,
)


def explain(
    market: MorphoMarket, account: Account, timestamp: int, holder: Holder | None
) -> Iterator[Step]:
    """
    List the arithmetic of the health factor, and who else may liquidate the account early.

    Args:
        market: All markets of the singleton.
        account: One account of one of them.
        timestamp: When it is judged.
        holder: Whose account it is; None: whoever's.
    """
    yield Step("revision", "Morpho Blue 1.0")
    where = market_of(account)
    if where is None:
        return
    yield Step("time", f"{timestamp} s")
    yield from _explain_market(market, where, timestamp)
    try:
        case = figures(market, account, timestamp)
    except Skip as reverts:
        yield Step("health factor", f"none: {reverts}")
        return
    if case is None:
        yield Step("health factor", "none: no debt")
        return
    yield from _explain_case(market, case)
    yield from _explain_contracts(market, case, holder)


def _explain_market(market: MorphoMarket, where: Id, timestamp: int) -> Iterator[Step]:
    terms, stored = market.terms[where], market.totals[where]
    yield Step("market", f"0x{where.hex()}")
    yield Step("oracle", str(to_checksum_address(terms.oracle)))
    yield Step("IRM", _irm(market, terms.irm))
    yield Step("LLTV", short_decimal(terms.lltv, WAD_PLACES))
    yield Step("stored borrow assets", f"{stored.borrow_assets}, as of {stored.updated} s")
    try:
        rate, totals = market.rate(where, timestamp), market.accrued(where, timestamp)
    except Skip as unknown:
        yield Step("rate", f"none: {unknown}")
        return
    yield Step("rate", f"{rate} WAD per second over {max(0, timestamp - stored.updated)} s")
    yield Step("borrow assets with interest", str(totals.borrow_assets))
    yield Step("borrow shares in all", str(totals.borrow_shares))


def _irm(market: MorphoMarket, irm: Address) -> str:
    if irm == ZERO_ADDRESS:
        return "none: no interest"
    kind = "AdaptiveCurveIrm" if irm in market.curves else "of another kind, asked at every block"
    return f"{to_checksum_address(irm)} ({kind})"


def _explain_case(market: MorphoMarket, case: Figures) -> Iterator[Step]:
    loan, held = token(market, case.terms.loan), token(market, case.terms.collateral)
    yield Step("price", f"{decimal_string(case.price, PRICE_PLACES)} (raw {case.price})")
    yield Step("collateral", _amount(case.collateral, held))
    yield Step("collateral value", _amount(case.value, loan))
    yield Step("most that may be owed", _amount(case.allowed, loan))
    yield Step("borrow shares", str(case.shares))
    yield Step("owed", _amount(case.borrowed, loan))
    factor = "none: no debt" if case.factor is None else decimal_string(case.factor, WAD_PLACES)
    yield Step("health factor", factor)
    incentive = incentive_factor(case.terms.lltv)
    yield Step("liquidation incentive", short_decimal(incentive, WAD_PLACES))


def _amount(amount: int, unit: Token) -> str:
    return f"{decimal_string(amount, unit.decimals)} {unit.symbol}"


def _explain_contracts(
    market: MorphoMarket, case: Figures, holder: Holder | None
) -> Iterator[Step]:
    """Name the pre-liquidation contracts of this market that the holder authorised."""
    allowed = market.preliquidations if holder is None else market.authorised.get(holder, ())
    for contract in allowed:
        about = market.preliquidations.get(contract)
        if about is not None and about.market == case.market:
            condition = " (if authorised)" if holder is None else ""
            name = f"pre-liquidation{condition}"
            yield Step(name, f"{to_checksum_address(contract)}, {_terms_of(about)}")
            yield Step(f"{name} now", _told(market, case, about))


def _terms_of(about: PreLiquidation) -> str:
    factors = (about.lltv, about.close_low, about.close_high)
    lltv, low, high = (short_decimal(factor, WAD_PLACES) for factor in factors)
    incentives = (about.incentive_low, about.incentive_high)
    least, most = (short_decimal(factor, WAD_PLACES) for factor in incentives)
    return f"from LTV {lltv}, close factor {low} to {high}, incentive {least} to {most}"


def _told(market: MorphoMarket, case: Figures, about: PreLiquidation) -> str:
    if about.oracle != case.terms.oracle:
        return f"not known: it has an oracle of its own, {to_checksum_address(about.oracle)}"
    found = offer(case, about)
    if found is None:
        return "not allowed: the LTV is not between its threshold and the market's"
    loan, held = token(market, case.terms.loan), token(market, case.terms.collateral)
    return (
        f"allowed: repay {_amount(found.repaid_assets, loan)} ({found.repaid_shares} shares) "
        f"for {_amount(found.seized, held)}"
    )
