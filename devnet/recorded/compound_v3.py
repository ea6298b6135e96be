"""Recorded truth of Compound v3: storage, accrued figures, and would `absorb` succeed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chimera.domain.block import Block
from chimera.domain.market import EMPTY, Account, Holder, Market
from chimera.errors import Skip
from chimera.ports import Adapter
from chimera.protocols.compound_v3.liquidation import HEALTHY, PAUSED, UNPRICED
from chimera.protocols.compound_v3.market import FIRST_RESERVED, CometMarket
from chimera.protocols.compound_v3.math import present_value
from chimera.protocols.compound_v3.valuation import debt_value, liquidatable, standing
from devnet.recorded.judgement import Figures, Judgement, Truth, named

# The selectors of Comet's errors: NotLiquidatable, BadPrice, Paused.
ERRORS = {HEALTHY: "0xddeb79ba", UNPRICED: "0xfd1ee349", PAUSED: "0x9e87fac8"}
NUMBERS = ("principal", "assets_in", "reserved", "borrow_balance", "collateral_value", "debt_value")
VERDICTS = ("liquidatable", "is_liquidatable_view", "absorb")


def judge(
    adapter: Adapter[Any],
    market: Market,
    accounts: Mapping[Holder, Account],
    block: Block,
    truth: Truth,
) -> Judgement:
    """Compare what is stored, what accrues, and the verdicts, of every account."""
    assert isinstance(market, CometMarket)  # noqa: S101  (the family's own)
    comparisons: list[tuple[str, Figures, Figures]] = []
    under = set()
    for user, told in truth.items():
        account = accounts.get(user, EMPTY)
        what = f"block {block.number} {named(user)}"
        comparisons.append((what, _ours(adapter, market, account, block), _told(told or {})))
        if told and told["liquidatable"]:
            under.add(adapter.published(user))
    return Judgement(comparisons, frozenset(under), frozenset(map(adapter.published, truth)))


def _told(told: Mapping[str, Any]) -> Figures:
    return {
        **{name: None if told[name] is None else int(told[name]) for name in NUMBERS},
        **{name: None if told[name] is None else int(told[name]) for name in VERDICTS},
        "absorb_error": told.get("absorb_error"),
    }


def _ours(adapter: Adapter[Any], market: CometMarket, account: Account, block: Block) -> Figures:
    indexes = market.indexes(block.timestamp)
    balance = present_value(market.principal(account), indexes)
    bits = market.terms.bits(account)
    verdict = adapter.verdict(market, account, block.timestamp)
    return {
        "principal": market.principal(account),
        "assets_in": bits & (1 << FIRST_RESERVED) - 1,
        "reserved": bits >> FIRST_RESERVED,
        "borrow_balance": max(-balance, 0),
        "collateral_value": _counted(market, account, block),
        "debt_value": debt_value(market, balance),
        "liquidatable": _verdict(market, account, block.timestamp),
        "is_liquidatable_view": _verdict(market, account, market.totals.accrued_at),
        "absorb": int(verdict.liquidatable),
        "absorb_error": None if verdict.liquidatable else ERRORS[verdict.reason or ""],
    }


def _counted(market: CometMarket, account: Account, block: Block) -> int | None:
    try:
        return standing(market, account, block.timestamp).counted
    except Skip:
        return None


def _verdict(market: CometMarket, account: Account, timestamp: int) -> int | None:
    try:
        return int(liquidatable(market, account, market.indexes(timestamp)))
    except Skip:
        return None
