"""Recorded truth of Morpho Blue: positions, what a repayment pulls, would `liquidate` succeed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chimera.domain.block import Block
from chimera.domain.market import EMPTY, Account, Holder, Market
from chimera.errors import Skip
from chimera.ports import Adapter
from chimera.protocols.morpho_blue.liquidation import by_collateral, by_shares
from chimera.protocols.morpho_blue.market import Id, MorphoMarket, holder_of
from chimera.protocols.morpho_blue.math import max_borrow
from chimera.protocols.morpho_blue.valuation import figures
from devnet.recorded.judgement import Figures, Judgement, Truth, named

STORED = ("supply_shares", "borrow_shares", "collateral", "borrowed")
WOULD = ("liquidate_shares", "liquidate_seized")


def judge(
    adapter: Adapter[Any],
    market: Market,
    accounts: Mapping[Holder, Account],
    block: Block,
    truth: Truth,
) -> Judgement:
    """Compare every position in every market, and what liquidating one unit of it would do."""
    assert isinstance(market, MorphoMarket)  # noqa: S101  (the adapter's own)
    comparisons: list[tuple[str, Figures, Figures]] = []
    under, keys = set(), set()
    for holder, told in _positions(truth):
        key = adapter.published(holder)
        keys.add(key)
        account, what = (
            accounts.get(holder, EMPTY),
            f"block {block.number} {named(key[1])} {key[0]}",
        )
        where = Id(holder[:32])
        priced = where in market.live
        ours = _ours(adapter, market, where, account, block)
        comparisons.append((what, ours if priced else _stored(ours), _told(told, priced=priced)))
        if _is_under(told):
            under.add(key)
    return Judgement(comparisons, frozenset(under), frozenset(keys))


def _positions(truth: Truth) -> Iterator[tuple[Holder, Mapping[str, Any]]]:
    for user, markets in truth.items():
        for name, told in (markets or {}).items():
            yield holder_of(Id(bytes.fromhex(name.removeprefix("0x"))), user), told


def _stored(figures_of: Figures) -> Figures:
    """Leave out what depends on a price: nobody asks for it where nobody owes anything."""
    return {name: figures_of[name] for name in (*STORED, *WOULD)}


def _told(told: Mapping[str, Any], *, priced: bool) -> Figures:
    found: dict[str, int | None] = {name: int(told[name]) for name in STORED}
    if priced:
        found["max_borrow"] = None if told["max_borrow"] is None else int(told["max_borrow"])
    return found | {name: int(told[name]) for name in WOULD}


def _ours(
    adapter: Adapter[Any], market: MorphoMarket, where: Id, account: Account, block: Block
) -> Figures:
    debt = adapter.value(market, account, block.timestamp).debt
    return {
        "supply_shares": account.marks.get(where, 0),
        "borrow_shares": account.owed.get(where, 0),
        "collateral": account.supplied.get(where, 0),
        "borrowed": debt[0].amount if debt else 0,
        "max_borrow": _allowed(market, where, account),
        **_would(market, account, block),
    }


def _allowed(market: MorphoMarket, where: Id, account: Account) -> int | None:
    try:
        price, lltv = market.price(where), market.terms[where].lltv
        return max_borrow(account.supplied.get(where, 0), price, lltv)
    except Skip:
        return None


def _would(market: MorphoMarket, account: Account, block: Block) -> dict[str, int]:
    try:
        case = figures(market, account, block.timestamp)
    except Skip:
        case = None
    outcomes = (None, None) if case is None else (by_shares(case, 1), by_collateral(case, 1))
    return {name: int(found is not None) for name, found in zip(WOULD, outcomes, strict=True)}


def _is_under(told: Mapping[str, Any]) -> bool:
    """Tell whether the health factor exists and is under 1."""
    return told["max_borrow"] is not None and int(told["max_borrow"]) < int(told["borrowed"])
