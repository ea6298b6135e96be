"""
Contracts that may liquidate part of a position early, if its owner authorised them.

They work through Repay and WithdrawCollateral of the singleton, so that the mirror is right without
them. They are recognised to explain an account, and nothing else depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass

from chimera.domain.numeric import WAD, Wad, mul_div_up
from chimera.protocols.morpho_blue.market import PreLiquidation
from chimera.protocols.morpho_blue.math import ORACLE_SCALE, to_assets_down, to_assets_up
from chimera.protocols.morpho_blue.valuation import Figures


@dataclass(frozen=True, slots=True)
class Offer:
    """
    What a pre-liquidation may do now.

    Attributes:
        ltv: Debt by collateral at the contract's price, WAD, rounded up.
        incentive: What is seized per unit repaid, WAD.
        close_factor: Part of the shares that may be repaid, WAD; it may exceed 1.
        repaid_shares: The most that may be repaid.
        repaid_assets: What that costs, units of the loan token.
        seized: What is received for it, units of the collateral token.
    """

    ltv: Wad
    incentive: Wad
    close_factor: Wad
    repaid_shares: int
    repaid_assets: int
    seized: int


def offer(case: Figures, contract: PreLiquidation) -> Offer | None:
    """
    Return what `preLiquidate` allows at most; None where it refuses.

    It acts between its own threshold and the market's: over the one, not over the other. Mirrors
    PreLiquidation.preLiquidate, by the price of the market's oracle.
    """
    worth, lltv = case.value, case.terms.lltv
    if not worth * contract.lltv // WAD < case.borrowed <= worth * lltv // WAD:
        return None
    ltv = Wad(mul_div_up(case.borrowed, WAD, worth))
    way = (ltv - contract.lltv) * WAD // (lltv - contract.lltv)
    incentive = _between(way, contract.incentive_low, contract.incentive_high)
    close_factor = _between(way, contract.close_low, contract.close_high)
    shares = min(case.shares, case.shares * close_factor // WAD)
    repaid, seized = traded(case, shares, incentive)
    return Offer(ltv, incentive, close_factor, shares, repaid, seized)


def traded(case: Figures, shares: int, incentive: Wad) -> tuple[int, int]:
    """Return what repaying these shares costs, and what it seizes at this incentive."""
    totals = case.totals
    assets = to_assets_down(shares, totals.borrow_assets, totals.borrow_shares)
    seized = assets * incentive // WAD * ORACLE_SCALE // case.price
    return to_assets_up(shares, totals.borrow_assets, totals.borrow_shares), seized


def _between(way: int, low: Wad, high: Wad) -> Wad:
    """Return the value that lies `way` (WAD) from low to high, rounded down."""
    return Wad(way * (high - low) // WAD + low)
