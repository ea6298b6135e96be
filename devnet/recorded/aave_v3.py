"""Recorded truth of Aave v3: the six words of `getUserAccountData`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chimera.domain.block import Block
from chimera.domain.health import Health
from chimera.domain.market import EMPTY, Account, Holder, Market
from chimera.domain.numeric import MAX_UINT256, WAD, short_decimal
from chimera.ports import Adapter
from devnet.recorded.judgement import Figures, Judgement, Truth, named


def judge(
    adapter: Adapter[Any],
    market: Market,
    accounts: Mapping[Holder, Account],
    block: Block,
    truth: Truth,
) -> Judgement:
    """Compare totals, threshold and health factor of every account."""
    told = {user: _told(data) for user, data in truth.items()}
    comparisons = []
    for user, theirs in told.items():
        health = adapter.health(market, accounts.get(user, EMPTY), block.timestamp)
        comparisons.append((f"block {block.number} {named(user)}", _ours(health), theirs))
    under = frozenset(adapter.published(user) for user, theirs in told.items() if _under(theirs))
    return Judgement(comparisons, under, frozenset(map(adapter.published, told)))


def _told(told: Mapping[str, Any] | None) -> Figures:
    if told is None:
        return {"reverts": 1}
    return {
        "total_collateral": int(told["total_collateral"]),
        "total_debt": int(told["total_debt"]),
        "liquidation_threshold": short_decimal(int(told["liquidation_threshold"]), 4),
        "health_factor": int(told["health_factor"]),
    }


def _ours(health: Health) -> Figures:
    if health.error is not None:
        return {"reverts": 1}
    return {
        "total_collateral": health.collateral,
        "total_debt": health.debt,
        "liquidation_threshold": health.threshold,
        "health_factor": MAX_UINT256 if health.factor is None else health.factor,
    }


def _under(told: Figures) -> bool:
    factor = told.get("health_factor")
    return isinstance(factor, int) and factor < WAD
