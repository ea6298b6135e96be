"""Recorded truth of Compound v2: the view of every account, and what liquidating it would do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chimera.domain.block import Block
from chimera.domain.market import EMPTY, Account, Holder, Market
from chimera.errors import Skip
from chimera.ports import Adapter
from chimera.protocols.compound_v2 import liquidation
from chimera.protocols.compound_v2.market import CompoundMarket
from chimera.protocols.compound_v2.valuation import Liquidity, liquidity
from devnet.recorded.judgement import Figures, Judgement, Truth, named
from devnet.recording import address

Compared = tuple[str, Figures, Figures]


def judge(
    adapter: Adapter[Any],
    market: Market,
    accounts: Mapping[Holder, Account],
    block: Block,
    truth: Truth,
) -> Judgement:
    """Compare the stored verdict of every account, and the accrued one of every recorded pair."""
    assert isinstance(market, CompoundMarket)  # noqa: S101  (the adapter's own)
    comparisons: list[Compared] = []
    under = set()
    for user, told in truth.items():
        if told is None:
            continue
        account, what = accounts.get(user, EMPTY), f"block {block.number} {named(user)}"
        comparisons.append((what, _ours(liquidity(market, account)), _told(told)))
        comparisons += _pairs(market, account, block, what, told)
        verdict = _verdict(market, account, block, told)
        if verdict is not None:
            comparisons.append((f"{what} verdict", *verdict))
        if told["shortfall"] is not None and int(told["shortfall"]) > 0:
            under.add(adapter.published(user))
        comparisons.append((f"{what} factor", *_factor(adapter, market, account, block, told)))
    return Judgement(comparisons, frozenset(under), frozenset(map(adapter.published, truth)))


def _told(told: Mapping[str, Any]) -> Figures:
    names = ("error", "liquidity", "shortfall")
    return {name: None if told[name] is None else int(told[name]) for name in names}


def _ours(told: Liquidity) -> Figures:
    if told.code is None:
        return dict.fromkeys(("error", "liquidity", "shortfall"))
    over = max(0, told.collateral - told.debt)
    return {"error": told.code, "liquidity": over, "shortfall": told.shortfall}


def _factor(
    adapter: Adapter[Any],
    market: Market,
    account: Account,
    block: Block,
    told: Mapping[str, Any],
) -> tuple[Figures, Figures]:
    """Compare what follows from the view's answer: under 1 with a shortfall, else not."""
    health = adapter.health(market, account, block.timestamp)
    is_under = told["shortfall"] is not None and int(told["shortfall"]) > 0
    fails = told["error"] is None or int(told["error"]) != 0
    ours = {"under": int(health.is_unhealthy), "fails": int(health.error is not None)}
    return ours, {"under": int(is_under), "fails": int(fails)}


def _pairs(
    market: CompoundMarket,
    account: Account,
    block: Block,
    what: str,
    told: Mapping[str, Any],
) -> Iterator[Compared]:
    for pair in told.get("pairs", ()):
        debt, collateral = address(pair["debt"]), address(pair["collateral"])
        ours: dict[str, int | str | None] = {}
        theirs: dict[str, int | str | None] = {}
        try:
            case = liquidation.case(market, account, debt, collateral, block.timestamp)
        except Skip:
            yield what, {"pair": "cannot add interest"}, {"pair": "answers"}
            continue
        ours |= _ours(case.told)
        theirs |= _told(pair)
        ours["liquidate"] = case.returns(int(pair["repay"]))
        theirs["liquidate"] = pair["liquidate"]
        if "repay_limit" in pair:
            limit = int(pair["repay_limit"])
            for name, figure in _at_the_limit(case, limit).items():
                ours[name] = figure
                theirs[name] = None if pair[name] is None else int(pair[name])
        yield f"{what} {pair['debt']} for {pair['collateral']}", ours, theirs


def _at_the_limit(case: liquidation.Case, limit: int) -> Figures:
    return {
        "repay_limit": case.close_limit(),
        "liquidate_at_limit": case.returns(limit),
        "liquidate_over_limit": case.returns(limit + 1),
    }


def _verdict(
    market: CompoundMarket, account: Account, block: Block, told: Mapping[str, Any]
) -> tuple[Figures, Figures] | None:
    """Compare the verdict with what trying every pair came to, where that is a plain answer."""
    tried = [pair["liquidate"] for pair in told.get("pairs", ())]
    if not tried or (0 not in tried and None in tried):
        return None  # a repayment that seizes too much says nothing about a smaller one
    found = liquidation.verdict(market, account, block.timestamp)
    return {"liquidatable": int(found.liquidatable)}, {"liquidatable": int(0 in tried)}
