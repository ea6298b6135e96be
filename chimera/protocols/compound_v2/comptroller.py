"""What the logs of the comptroller change: memberships, terms, pools of risk and pauses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from chimera.domain import abi
from chimera.domain.block import Log
from chimera.domain.changes import Change, CollateralSwitched, ModeSet
from chimera.errors import Refuse
from chimera.protocols.compound_v2 import calls, events
from chimera.protocols.compound_v2.draft import Draft, Handler, noted
from chimera.protocols.compound_v2.pools import CORE_POOL, NO_TERMS, Pool, Terms

# --- members and terms ---------------------------------------------------------------------------


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


# --- the whole, and pauses -----------------------------------------------------------------------


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


COMPTROLLER: dict[bytes, Handler] = {
    events.MARKET_LISTED: noted,
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
    events.MARKET_ACTION_PAUSED: noted,
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
    events.NEW_IMPLEMENTATION: noted,
    events.DIAMOND_CUT: noted,
}
