"""Whether `liquidate` would go through, and what it moves at its limits."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chimera.domain.health import Pair, Verdict
from chimera.domain.market import Account
from chimera.domain.numeric import WAD, mul_div_up
from chimera.errors import Skip
from chimera.protocols.morpho_blue.market import MorphoMarket
from chimera.protocols.morpho_blue.math import (
    ORACLE_SCALE,
    Totals,
    checked,
    incentive_factor,
    quoted,
    to_assets_down,
    to_assets_up,
    to_shares_up,
)
from chimera.protocols.morpho_blue.valuation import Figures, figures

HEALTHY, NO_COLLATERAL = "healthy", "no collateral"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one `liquidate` does: the words of its log, and the totals that it leaves."""

    repaid_assets: int
    repaid_shares: int
    seized: int
    bad_assets: int
    bad_shares: int
    totals: Totals


def by_shares(case: Figures, shares: int) -> Outcome | None:
    """Return what `liquidate(repaidShares = shares)` does; None where it reverts."""
    if not case.price or not shares:
        return None  # it divides by the price, and takes no two zeros
    assets = to_assets_down(shares, case.totals.borrow_assets, case.totals.borrow_shares)
    worth = assets * incentive_factor(case.terms.lltv) // WAD
    return _moved(case, shares, worth * ORACLE_SCALE // case.price)


def by_collateral(case: Figures, seized: int) -> Outcome | None:
    """Return what `liquidate(seizedAssets = seized)` does; None where it reverts."""
    if not seized:
        return None
    try:
        worth = checked(seized * case.price + ORACLE_SCALE - 1) // ORACLE_SCALE
    except Skip:
        return None
    assets = mul_div_up(worth, WAD, incentive_factor(case.terms.lltv))
    shares = to_shares_up(assets, case.totals.borrow_assets, case.totals.borrow_shares)
    return _moved(case, shares, seized)


def _moved(case: Figures, shares: int, seized: int) -> Outcome | None:
    """Move shares and collateral; what is owed without any collateral left is written off."""
    if case.allowed >= case.borrowed or shares > case.shares or seized > case.collateral:
        return None
    before = case.totals
    repaid = to_assets_up(shares, before.borrow_assets, before.borrow_shares)
    assets = max(0, before.borrow_assets - repaid)
    left, rest = before.borrow_shares - shares, case.shares - shares
    bad_shares = rest if seized == case.collateral else 0
    bad_assets = min(assets, to_assets_up(bad_shares, assets, left))
    totals = replace(
        before,
        borrow_assets=assets - bad_assets,
        borrow_shares=left - bad_shares,
        supply_assets=before.supply_assets - bad_assets,
    )
    return Outcome(repaid, shares, seized, bad_assets, bad_shares, totals)


def at_the_limit(case: Figures) -> Outcome | None:
    """
    Return the largest liquidation: all the debt, or where that is worth more, all the collateral.

    Repaying all shares cannot be spoilt by interest; seizing all the collateral for what it covers
    writes the rest of the debt off.
    """
    return by_shares(case, case.shares) or by_collateral(case, case.collateral)


def verdict(market: MorphoMarket, account: Account, timestamp: int) -> Verdict:
    """
    Tell whether anybody may liquidate the account at `timestamp`, and the pair at its limits.

    There is no close factor: all of it at once is allowed. Not looked at: whether the loan token
    can be paid in and the collateral be paid out, which is up to those tokens.

    Mirrors Morpho.liquidate.
    """
    try:
        case = figures(market, account, timestamp)
    except Skip as reverts:
        return Verdict(liquidatable=False, reason=str(reverts))
    if case is None or case.allowed >= case.borrowed:
        return Verdict(liquidatable=False, reason=HEALTHY)
    found = at_the_limit(case)
    if found is None:
        return Verdict(liquidatable=False, reason=NO_COLLATERAL)
    worth = quoted(found.seized, case.price)
    pair = Pair(
        collateral_asset=case.terms.collateral,
        debt_asset=case.terms.loan,
        max_repay=found.repaid_assets,
        seize=found.seized,
        gross_bonus=worth - found.repaid_assets,
    )
    return Verdict(liquidatable=True, best=pair)
