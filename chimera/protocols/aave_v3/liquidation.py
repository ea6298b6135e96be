"""Whether `liquidationCall` would go through, and for which pair of assets it pays most."""

from __future__ import annotations

from dataclasses import dataclass

from chimera.domain.block import ZERO_ADDRESS
from chimera.domain.health import Pair, Verdict
from chimera.domain.market import Account
from chimera.domain.numeric import WAD, Wad
from chimera.errors import Skip
from chimera.protocols.aave_v3.market import AaveMarket
from chimera.protocols.aave_v3.math import Seizure, Side, ray_div
from chimera.protocols.aave_v3.valuation import Terms, Use, account_data, terms_of

UNPRICED, HEALTHY, NO_COLLATERAL = "price unknown", "healthy", "no collateral"
INACTIVE, PAUSED, TOO_LITTLE = "reserve inactive", "reserve paused", "too little to seize"
REASONS = (INACTIVE, PAUSED, UNPRICED, TOO_LITTLE)  # why a pair fails, the first one told first


def verdict(market: AaveMarket, account: Account, timestamp: int) -> Verdict:
    """
    Tell whether anybody may liquidate the account at `timestamp`, and the best pair.

    Each pair is taken at the contract's own limits. Not looked at: whether the pool holds enough of
    the collateral to pay it out (a liquidator can take aTokens), and the price oracle sentinel.

    Mirrors ValidationLogic.validateLiquidationCall and LiquidationLogic of v3.0.
    """
    try:
        data = account_data(market, account, timestamp)
        terms = terms_of(market, account.mode)
    except Skip:
        return Verdict(liquidatable=False, reason=UNPRICED)
    if data.factor is None or data.factor >= WAD:
        return Verdict(liquidatable=False, reason=HEALTHY)
    if data.collateral == 0:
        return Verdict(liquidatable=False, reason=NO_COLLATERAL)
    case = _Case(market, terms, data.factor, timestamp)
    tried = [
        case.pair(collateral, debt)
        for debt in data.uses
        for collateral in data.uses
        if debt.owed and collateral.supplied
    ]
    pairs = [pair for pair in tried if isinstance(pair, Pair)]
    if not pairs:
        return Verdict(liquidatable=False, reason=min(map(str, tried), key=REASONS.index))
    return Verdict(liquidatable=True, best=max(pairs, key=lambda pair: pair.gross_bonus))


@dataclass(frozen=True, slots=True)
class _Case:
    market: AaveMarket
    terms: Terms
    factor: Wad
    timestamp: int

    def pair(self, collateral: Use, debt: Use) -> Pair | str:
        sides = (collateral.reserve.configuration, debt.reserve.configuration)
        if not all(configuration.is_active for configuration in sides):
            return INACTIVE
        if any(configuration.is_paused for configuration in sides):
            return PAUSED
        prices = _prices(self.terms, collateral, debt)
        if 0 in prices:
            return UNPRICED  # the contract would divide by it, or seize nothing
        of, by = Side(prices[0], collateral.reserve.unit), Side(prices[1], debt.reserve.unit)
        moved = self.market.engine.seize(
            repay=self.market.engine.close(debt.owed, self.factor),
            balance=collateral.supplied,
            bonus=self.terms.bonus(collateral.reserve),
            fee=collateral.reserve.configuration.protocol_fee,
            collateral=of,
            debt=by,
        )
        if not self._burns(moved, collateral, debt):
            return TOO_LITTLE
        return Pair(
            collateral_asset=collateral.reserve.asset,
            debt_asset=debt.reserve.asset,
            max_repay=moved.repaid,
            seize=moved.seized,
            gross_bonus=moved.seized * of.price // of.unit - moved.repaid * by.price // by.unit,
        )

    def _burns(self, moved: Seizure, collateral: Use, debt: Use) -> bool:
        # The tokens refuse to burn a scaled amount of 0.
        indexes = self.market.indexes(self.timestamp)
        repaid = ray_div(moved.repaid, indexes[debt.reserve.asset].debt)
        return bool(repaid and ray_div(moved.seized, indexes[collateral.reserve.asset].income))


def _prices(terms: Terms, collateral: Use, debt: Use) -> tuple[int, int]:
    """
    Return the prices of the collateral and of the debt that this liquidation uses.

    An eMode's price source stands in for the debt's price always, for the collateral's if the
    asset is in the category. Mirrors LiquidationLogic._getConfigurationData.
    """
    if terms.mode.price_source == ZERO_ADDRESS:
        return collateral.price, debt.price
    of_collateral = terms.price if terms.cover(collateral.reserve) else collateral.price
    return of_collateral, terms.price
