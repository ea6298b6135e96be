"""Whether `liquidationCall` would go through, and for which pair of assets it pays most."""

from __future__ import annotations

from dataclasses import dataclass

from chimera.domain.block import ZERO_ADDRESS
from chimera.domain.health import Pair, Verdict
from chimera.domain.market import Account
from chimera.domain.numeric import WAD, Wad
from chimera.errors import Skip
from chimera.protocols.aave_v3.market import AaveMarket
from chimera.protocols.aave_v3.seizing import CLOSE_FACTOR_THRESHOLD, Seizure, Side, Target
from chimera.protocols.aave_v3.valuation import AccountData, Terms, Use, account_data, terms_of

UNPRICED, HEALTHY, NO_COLLATERAL = "price unknown", "healthy", "no collateral"
INACTIVE, PAUSED, TOO_LITTLE = "reserve inactive", "reserve paused", "too little to seize"
SENTINEL, GRACE, OVERFLOW = "sentinel", "grace period", "figures overflow"
NO_BONUS = "no liquidation bonus"  # the contract divides by it
# Why a pair fails, the first one told first.
REASONS = (INACTIVE, PAUSED, SENTINEL, GRACE, UNPRICED, NO_BONUS, OVERFLOW, TOO_LITTLE)


def verdict(market: AaveMarket, account: Account, timestamp: int) -> Verdict:
    """
    Tell whether anybody may liquidate the account at `timestamp`, and the best pair.

    Each pair is taken at the contract's own limits: the most that one call may repay without being
    refused. Not looked at: whether the pool holds enough of the collateral to pay it out (a
    liquidator can take aTokens), and who calls (from v3.4 on nobody liquidates himself).

    Mirrors ValidationLogic.validateLiquidationCall and LiquidationLogic.executeLiquidationCall.
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
    case = _Case(market, terms, data, data.factor, timestamp)
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
    data: AccountData
    factor: Wad
    timestamp: int

    def pair(self, collateral: Use, debt: Use) -> Pair | str:
        refused = self._refused(collateral, debt)
        if refused is not None:
            return refused
        prices = _prices(self.terms, collateral, debt)
        if 0 in prices:
            return UNPRICED  # the contract would divide by it, or seize nothing
        target = self._target(collateral, debt, *prices)
        if not target.bonus:
            return NO_BONUS
        try:
            moved = self._at_the_limit(target)
            if not self._burns(moved, target, collateral, debt):
                return TOO_LITTLE
        except Skip:
            return OVERFLOW
        of, by = target.collateral, target.debt
        return Pair(
            collateral_asset=collateral.reserve.asset,
            debt_asset=debt.reserve.asset,
            max_repay=moved.repaid,
            seize=moved.seized,
            gross_bonus=moved.seized * of.price // of.unit - moved.repaid * by.price // by.unit,
        )

    def _refused(self, collateral: Use, debt: Use) -> str | None:
        reserves = (collateral.reserve, debt.reserve)
        if not all(reserve.configuration.is_active for reserve in reserves):
            return INACTIVE
        if any(reserve.configuration.is_paused for reserve in reserves):
            return PAUSED
        if self.factor >= CLOSE_FACTOR_THRESHOLD and not self.market.liquidations_allowed:
            return SENTINEL
        if any(reserve.grace_until >= self.timestamp for reserve in reserves):
            return GRACE
        return None

    def _target(self, collateral: Use, debt: Use, of_price: int, by_price: int) -> Target:
        reserve, account = collateral.reserve, self.data
        return Target(
            owed=debt.owed,
            owed_value=self.market.engine.debt_value(debt.owed, by_price, debt.reserve.unit),
            scaled=collateral.scaled,
            balance=collateral.supplied,
            income=self.market.indexes(self.timestamp)[reserve.asset].income,
            bonus=self.terms.bonus(reserve),
            fee=reserve.configuration.protocol_fee,
            collateral=Side(of_price, reserve.unit),
            debt=Side(by_price, debt.reserve.unit),
            total_collateral=account.collateral,
            total_debt=account.debt,
            factor=self.factor,
        )

    def _at_the_limit(self, target: Target) -> Seizure:
        """Return what the largest accepted repayment moves: less than the close factor, if dust."""
        engine = self.market.engine
        repay = engine.close(target)
        moved = engine.seize(target, repay)
        if not engine.leaves_dust(target, moved, engine.debt_value):
            return moved
        accepted, refused = 0, repay  # both leftovers shrink as the repayment grows
        while refused - accepted > 1:
            repay = (accepted + refused) // 2
            if engine.leaves_dust(target, engine.seize(target, repay), engine.debt_value):
                refused = repay
            else:
                accepted = repay
        return engine.seize(target, accepted)

    def _burns(self, moved: Seizure, target: Target, collateral: Use, debt: Use) -> bool:
        # The tokens refuse to burn a scaled amount of 0.
        engine, indexes = self.market.engine, self.market.indexes(self.timestamp)
        burned = target.owed if engine.writes_off(target, moved) else moved.repaid
        repaid = engine.debt_burned(burned, indexes[debt.reserve.asset].debt)
        seized = engine.supply_burned(moved.seized, indexes[collateral.reserve.asset].income)
        return bool(repaid and seized)


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
