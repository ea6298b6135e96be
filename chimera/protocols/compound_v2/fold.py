"""One block of logs, in order, into changes of accounts and a new market."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from eth_utils.address import to_checksum_address

from chimera.domain import abi
from chimera.domain.block import BlockBatch, Log
from chimera.domain.call import answer
from chimera.domain.changes import (
    AccountRead,
    Change,
    CollateralSwitched,
    DebtSet,
    Liquidated,
    MarketMoved,
    ModeSet,
)
from chimera.errors import Rebuild, Refuse
from chimera.ports import Accounts
from chimera.protocols.compound_v2 import calls, events
from chimera.protocols.compound_v2.draft import Draft, Handler, Tables
from chimera.protocols.compound_v2.lacking import extras
from chimera.protocols.compound_v2.market import CompoundMarket
from chimera.protocols.compound_v2.math import RateModel, reserved
from chimera.protocols.compound_v2.pools import CORE_POOL, NO_TERMS, Pool, Terms


def fold(market: CompoundMarket, accounts: Accounts, batch: BlockBatch) -> Iterator[Change]:
    """Turn one block into changes, strictly in the order of its logs; the market comes last."""
    found = answer(extras(market, accounts, batch.block, batch.logs), batch.readings)
    draft = Draft(market, accounts, batch, found, TABLES)
    for user, account in found.accounts.items():
        yield AccountRead(user, account)
    for log in batch.logs:
        handlers = draft.handlers.get(log.address)
        handler = handlers.get(log.topics[0]) if handlers else None
        if handler is not None:
            yield from handler(draft, log)
    yield MarketMoved(draft.finished(market))


# --- mTokens: figures ----------------------------------------------------------------------------


def _accrued(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _interest_added(draft, log, events.arguments(log)[abi.WORD :])


def _interest_added(draft: Draft, log: Log, words: bytes) -> tuple[Change, ...]:
    """
    Add interest. Its part of the reserves is not logged: the factor before this log tells it.

    Venus may pay the reserves out while it adds interest, and logs that first: the reserves that
    are left have their part already. Nothing else reduces reserves before interest is added.
    """
    interest, index, borrows = (abi.uint_at(words, place) for place in range(3))
    listing = draft.listings.get(log.address)
    if log.address in draft.states and index < draft.states[log.address].index:
        raise Rebuild(f"the borrow index of {to_checksum_address(log.address)} fell to {index}")
    factor = 0 if listing is None or log.address in draft.reduced else listing.reserve_factor
    share = reserved(factor, interest)
    draft.store(
        log.address,
        lambda old: replace(
            old,
            borrows=borrows,
            reserves=old.reserves + share,
            index=index,
            accrued=draft.moment,
        ),
    )
    return ()


def _old_accrued(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _interest_added(draft, log, events.arguments(log))


def _minted(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _supply_moved(draft, log, abi.uint_at(events.arguments(log), 2))


def _minted_behalf(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _supply_moved(draft, log, abi.uint_at(events.arguments(log), 3))


def _redeemed(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _supply_moved(draft, log, -abi.uint_at(events.arguments(log), 2))


def _supply_moved(draft: Draft, log: Log, delta: int) -> tuple[Change, ...]:
    draft.supply(log.address, delta)
    return ()


def _reserves_added(draft: Draft, log: Log) -> tuple[Change, ...]:
    """
    Take the new reserves. What a market adds by itself is its share of a seizure.

    That share was burned right before: a Transfer to the market, by the very log before this one.
    A Transfer to the market that somebody made by mistake burns nothing.
    """
    words = events.arguments(log)
    sent = draft.sent_back.get(log.address)
    seized = abi.address_at(words, 0) == log.address
    burned = sent[1] if seized and sent is not None and sent[0] == log.log_index - 1 else 0
    reserves = abi.uint_at(words, 2)
    draft.store(log.address, lambda old: replace(old, reserves=reserves))
    draft.supply(log.address, -burned)
    return ()


def _reserves_reduced(draft: Draft, log: Log) -> tuple[Change, ...]:
    reserves = abi.uint_at(events.arguments(log), 2)
    draft.reduced.add(log.address)
    draft.store(log.address, lambda old: replace(old, reserves=reserves))
    return ()


# --- mTokens: accounts ---------------------------------------------------------------------------


def _transferred(draft: Draft, log: Log) -> tuple[Change, ...]:
    """
    Move a balance. Sent to the market itself it is a redemption, a seized share, or a mistake.

    All three take it from the sender; what they do to the total supply is told by other logs.
    """
    words = events.arguments(log)
    sender, receiver = abi.address_at(words, 0), abi.address_at(words, 1)
    amount = abi.uint_at(words, 2)
    if receiver == log.address:
        draft.sent_back[log.address] = (log.log_index, amount)
    return (
        *draft.moved(log.address, sender, -amount),
        *draft.moved(log.address, receiver, amount),
    )


def _borrowed(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _owing(draft, log, 0)


def _repaid(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _owing(draft, log, 1)


def _owing(draft: Draft, log: Log, place: int) -> tuple[Change, ...]:
    """Settle a debt at the current index, which the last AccrueInterest before has set."""
    words = events.arguments(log)
    user = abi.address_at(words, place)
    amount, borrows = abi.uint_at(words, place + 2), abi.uint_at(words, place + 3)
    index = draft.index_of(log.address)
    draft.store(log.address, lambda old: replace(old, borrows=borrows))
    if not draft.follows(user):
        return ()
    return (DebtSet(user, log.address, amount, index if amount else 0),)


def _liquidated(_draft: Draft, log: Log) -> tuple[Change, ...]:
    return (Liquidated(abi.address_at(events.arguments(log), 1)),)


# --- mTokens: terms ------------------------------------------------------------------------------


def _reserve_factor_changed(draft: Draft, log: Log) -> tuple[Change, ...]:
    factor = abi.uint_at(events.arguments(log), 1)
    draft.configure(log.address, lambda old: replace(old, reserve_factor=factor))
    return ()


def _seize_share_changed(draft: Draft, log: Log) -> tuple[Change, ...]:
    share = abi.uint_at(events.arguments(log), 1)
    draft.configure(log.address, lambda old: replace(old, seize_share=share))
    return ()


def _comptroller_changed(_draft: Draft, log: Log) -> tuple[Change, ...]:
    raise Rebuild(f"{to_checksum_address(log.address)} has another comptroller: read all anew")


def _params_changed(draft: Draft, log: Log) -> tuple[Change, ...]:
    words = events.arguments(log)
    draft.remodel(log.address, RateModel(*(abi.uint_at(words, place) for place in range(4))))
    return ()


# --- comptroller ---------------------------------------------------------------------------------


def _entered(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _member(draft, log, enters=True)


def _exited(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _member(draft, log, enters=False)


def _member(draft: Draft, log: Log, *, enters: bool) -> tuple[Change, ...]:
    words = events.arguments(log)
    mtoken, user = abi.address_at(words, 0), abi.address_at(words, 1)
    return (CollateralSwitched(user, mtoken, enters),) if draft.follows(user) else ()


def _factor_changed(draft: Draft, log: Log) -> tuple[Change, ...]:
    words = events.arguments(log)
    factor = abi.uint_at(words, 2)
    draft.configure(abi.address_at(words, 0), lambda old: replace(old, factor=factor))
    return ()


def _threshold_changed(draft: Draft, log: Log) -> tuple[Change, ...]:
    factor = abi.uint_at(events.arguments(log), 3)
    return _terms_changed(draft, log, lambda old: old._replace(factor=factor))


def _incentive_changed(draft: Draft, log: Log) -> tuple[Change, ...]:
    draft.incentive = incentive = abi.uint_at(events.arguments(log), 1)
    for mtoken in draft.listings:
        draft.configure(mtoken, lambda old: replace(old, incentive=incentive))
    return ()


def _market_incentive_changed(draft: Draft, log: Log) -> tuple[Change, ...]:
    incentive = abi.uint_at(events.arguments(log), 3)
    return _terms_changed(draft, log, lambda old: old._replace(incentive=incentive))


def _terms_changed(draft: Draft, log: Log, change: Callable[[Terms], Terms]) -> tuple[Change, ...]:
    """Change the terms of a market in one pool, the core pool's being the market's own."""
    words = events.arguments(log)
    number, mtoken = abi.uint_at(words, 0), abi.address_at(words, 1)
    if number == CORE_POOL:
        listing = draft.listings.get(mtoken)
        if listing is not None:
            factor, incentive = change(Terms(listing.factor, listing.incentive))
            draft.listings[mtoken] = replace(listing, factor=factor, incentive=incentive)
        return ()
    draft.retune(number, lambda p: p.including(mtoken, change(p.terms.get(mtoken, NO_TERMS))))
    return ()


# --- pools of risk -------------------------------------------------------------------------------


def _pool_created(draft: Draft, log: Log) -> tuple[Change, ...]:
    draft.pools[abi.uint_at(events.arguments(log), 0)] = Pool()
    return ()


def _pool_joined(draft: Draft, log: Log) -> tuple[Change, ...]:
    words = events.arguments(log)
    mtoken = abi.address_at(words, 1)
    draft.retune(abi.uint_at(words, 0), lambda old: old.including(mtoken, NO_TERMS))
    return ()


def _pool_left(draft: Draft, log: Log) -> tuple[Change, ...]:
    words = events.arguments(log)
    mtoken = abi.address_at(words, 1)
    draft.retune(abi.uint_at(words, 0), lambda old: old.without(mtoken))
    return ()


def _pool_switched(draft: Draft, log: Log) -> tuple[Change, ...]:
    words = events.arguments(log)
    is_on = bool(abi.uint_at(words, 2))
    draft.retune(abi.uint_at(words, 0), lambda old: replace(old, is_active=is_on))
    return ()


def _fallback_switched(draft: Draft, log: Log) -> tuple[Change, ...]:
    words = events.arguments(log)
    is_on = bool(abi.uint_at(words, 2))
    draft.retune(abi.uint_at(words, 0), lambda old: replace(old, falls_back=is_on))
    return ()


def _pool_selected(draft: Draft, log: Log) -> tuple[Change, ...]:
    words = events.arguments(log)
    user, number = abi.address_at(words, 0), abi.uint_at(words, 1)
    return (ModeSet(user, number),) if draft.follows(user) else ()


def _close_factor_changed(draft: Draft, log: Log) -> tuple[Change, ...]:
    draft.close_factor = abi.uint_at(events.arguments(log), 1)
    return ()


def _oracle_changed(draft: Draft, log: Log) -> tuple[Change, ...]:
    draft.oracle = abi.address_at(events.arguments(log), 1)
    return ()


def _action_paused(draft: Draft, log: Log) -> tuple[Change, ...]:
    action, is_on = events.paused(log.data)
    if action == events.SEIZE_ACTION:
        draft.is_paused = is_on
    return ()


def _market_paused(draft: Draft, log: Log) -> tuple[Change, ...]:
    words = events.arguments(log)
    mtoken, action = abi.address_at(words, 0), abi.uint_at(words, 1)
    is_on = bool(abi.uint_at(words, 2))
    if action == calls.SEIZE:
        draft.configure(mtoken, lambda old: replace(old, is_seize_paused=is_on))
    if action == calls.LIQUIDATE:
        draft.configure(mtoken, lambda old: replace(old, is_liquidation_paused=is_on))
    return ()


def _protocol_paused(draft: Draft, log: Log) -> tuple[Change, ...]:
    draft.is_paused = bool(abi.uint_at(events.arguments(log), 0))
    return ()


def _forced(draft: Draft, log: Log) -> tuple[Change, ...]:
    words = events.arguments(log)
    is_on = bool(abi.uint_at(words, 1))
    draft.configure(abi.address_at(words, 0), lambda old: replace(old, is_forced=is_on))
    return ()


def _unlisted(draft: Draft, log: Log) -> tuple[Change, ...]:
    mtoken = abi.address_at(events.arguments(log), 0)
    draft.configure(mtoken, lambda old: replace(old, is_listed=False))
    return ()


def _unsupported(what: str) -> Handler:
    def met(_draft: Draft, _log: Log) -> tuple[Change, ...]:
        raise Refuse(f"{what} came up, which is not supported")

    return met


def _noted(_draft: Draft, _log: Log) -> tuple[Change, ...]:
    """Change nothing: `lacking` has asked the chain about it."""
    return ()


MTOKEN: dict[bytes, Handler] = {
    events.ACCRUE_INTEREST: _accrued,
    events.OLD_ACCRUE_INTEREST: _old_accrued,
    events.MINT: _minted,
    events.REDEEM: _redeemed,
    events.MINT_WITH_BALANCE: _minted,
    events.OLD_MINT_BEHALF: _minted_behalf,
    events.MINT_BEHALF: _minted_behalf,
    events.REDEEM_WITH_BALANCE: _redeemed,
    events.RESERVES_ADDED: _reserves_added,
    events.RESERVES_REDUCED: _reserves_reduced,
    events.TRANSFER: _transferred,
    events.BORROW: _borrowed,
    events.REPAY_BORROW: _repaid,
    events.LIQUIDATE_BORROW: _liquidated,
    events.NEW_RESERVE_FACTOR: _reserve_factor_changed,
    events.NEW_PROTOCOL_SEIZE_SHARE: _seize_share_changed,
    events.NEW_MARKET_INTEREST_RATE_MODEL: _noted,
    events.NEW_IMPLEMENTATION: _noted,
    events.NEW_COMPTROLLER: _comptroller_changed,
}
COMPTROLLER: dict[bytes, Handler] = {
    events.MARKET_LISTED: _noted,
    events.MARKET_UNLISTED: _unlisted,
    events.MARKET_ENTERED: _entered,
    events.MARKET_EXITED: _exited,
    events.NEW_COLLATERAL_FACTOR: _factor_changed,
    events.NEW_LIQUIDATION_THRESHOLD: _threshold_changed,
    events.NEW_LIQUIDATION_INCENTIVE: _incentive_changed,
    events.NEW_MARKET_LIQUIDATION_INCENTIVE: _market_incentive_changed,
    events.NEW_CLOSE_FACTOR: _close_factor_changed,
    events.NEW_PRICE_ORACLE: _oracle_changed,
    events.ACTION_PAUSED: _action_paused,
    events.MARKET_ACTION_PAUSED: _noted,
    events.ACTION_PAUSED_MARKET: _market_paused,
    events.ACTION_PROTOCOL_PAUSED: _protocol_paused,
    events.FORCED_LIQUIDATION_UPDATED: _forced,
    events.POOL_CREATED: _pool_created,
    events.POOL_MARKET_INITIALIZED: _pool_joined,
    events.POOL_MARKET_REMOVED: _pool_left,
    events.POOL_ACTIVE_STATUS_UPDATED: _pool_switched,
    events.POOL_FALLBACK_STATUS_UPDATED: _fallback_switched,
    events.POOL_SELECTED: _pool_selected,
    events.NEW_VAI_CONTROLLER: _unsupported("debt in VAI"),
    events.NEW_IMPLEMENTATION: _noted,
    events.DIAMOND_CUT: _noted,
}
MODEL: dict[bytes, Handler] = {events.NEW_INTEREST_PARAMS: _params_changed}

TABLES = Tables(comptroller=COMPTROLLER, mtoken=MTOKEN, model=MODEL)
TOPICS = frozenset().union(COMPTROLLER, MTOKEN, MODEL)
