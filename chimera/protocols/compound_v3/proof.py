"""Comet's own views of an account, and where ours differs from them."""

from __future__ import annotations

from collections.abc import Iterator

from chimera.domain import abi
from chimera.domain.block import Address, Block
from chimera.domain.call import Call, Readings
from chimera.domain.health import Difference
from chimera.domain.market import Account
from chimera.errors import Skip
from chimera.protocols.compound_v3 import calls
from chimera.protocols.compound_v3.market import CometMarket
from chimera.protocols.compound_v3.math import present_value
from chimera.protocols.compound_v3.valuation import liquidatable

REVERTS = "reverts"


def views(market: CometMarket, user: Address) -> tuple[Call, ...]:
    """Ask for what is stored of the account, and for what the contract makes of it."""
    comet = market.comet
    return (
        calls.user_basic(comet, user),
        *(_balance(comet, user, asset) for asset in market.terms.collaterals),
        *(abi.of_address(comet, selector, user) for selector in _VIEWS.values()),
    )


# `isLiquidatable` goes by stored indexes, the other two by accrued ones.
_VIEWS = {
    "balance": calls.BALANCE_OF,
    "borrow balance": calls.BORROW_BALANCE_OF,
    "is liquidatable": calls.IS_LIQUIDATABLE,
}


def _balance(comet: Address, user: Address, asset: Address) -> Call:
    return abi.of_address(comet, calls.USER_COLLATERAL, user, asset)


def differences(
    market: CometMarket, user: Address, account: Account, block: Block, readings: Readings
) -> tuple[Difference, ...]:
    """Compare principal, bitmap, collaterals, balances and the view's verdict at `block`."""
    return tuple(
        Difference(name, ours, theirs)
        for name, ours, theirs in _figures(market, user, account, block, readings)
        if ours != theirs
    )


def _figures(
    market: CometMarket, user: Address, account: Account, block: Block, readings: Readings
) -> Iterator[tuple[str, str, str]]:
    comet, terms = market.comet, market.terms
    basic = _basic(calls.user_basic(comet, user), readings)
    if basic is None:
        yield "stored", "answers", REVERTS
        return
    yield "principal", str(market.principal(account)), str(basic.principal)
    yield "bitmap", f"{terms.bits(account):#x}", f"{basic.bits:#x}"
    for asset, one in terms.collaterals.items():
        theirs = _shown(abi.number(readings[_balance(comet, user, asset)]))
        # What stands under a bit that is not set is nothing to the contract, nor to us.
        is_nothing = theirs != REVERTS and not basic.bits >> one.offset & 1
        ours = theirs if is_nothing else str(account.supplied.get(asset, 0))
        yield f"{one.symbol} held", ours, theirs
    figures = _ours(market, account, block)
    for name, selector in _VIEWS.items():
        answer = readings[abi.of_address(comet, selector, user)]
        yield name, figures[name], _shown(abi.number(answer))


def _basic(question: Call, readings: Readings) -> calls.UserBasic | None:
    answer = readings[question]
    is_whole = len(abi.words(answer)) >= calls.USER_WORDS
    return calls.user_basic_in(question, answer) if is_whole else None


def _ours(market: CometMarket, account: Account, block: Block) -> dict[str, str]:
    try:
        balance = present_value(market.principal(account), market.indexes(block.timestamp))
        balances = str(max(balance, 0)), str(max(-balance, 0))
    except Skip:
        balances = REVERTS, REVERTS
    try:
        says = str(int(liquidatable(market, account, market.totals.indexes)))
    except Skip:
        says = REVERTS
    return dict(zip(_VIEWS, (*balances, says), strict=True))


def _shown(word: int | None) -> str:
    return REVERTS if word is None else str(word)
