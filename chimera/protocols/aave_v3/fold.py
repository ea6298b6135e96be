"""One block of logs, in order, into changes of accounts and a new market."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from chimera.domain import abi
from chimera.domain.block import Address, BlockBatch, Log
from chimera.domain.call import answer
from chimera.domain.changes import (
    AccountRead,
    Change,
    CollateralSwitched,
    DebtMoved,
    Liquidated,
    MarketMoved,
    ModeSet,
    SupplyMoved,
)
from chimera.domain.numeric import RAY, Bps, Ray
from chimera.errors import Rebuild, Refuse
from chimera.ports import Accounts
from chimera.protocols.aave_v3 import events
from chimera.protocols.aave_v3.draft import Draft, Handler, Tables, Words
from chimera.protocols.aave_v3.lacking import UNHEARD, extras
from chimera.protocols.aave_v3.market import AaveMarket, Configuration, Mode, vacant
from chimera.protocols.aave_v3.math import Rates

# A reserve that nobody has touched yet. Mirrors ReserveLogic.init.
UNTOUCHED = Rates(Ray(RAY), Ray(RAY), Ray(0), Ray(0), 0)


def fold(market: AaveMarket, accounts: Accounts, batch: BlockBatch) -> Iterator[Change]:
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


# --- tokens --------------------------------------------------------------------------------------


def _supply_minted(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _supply_logged(draft, log, abi.address_of(log.topics[2]), events.minted(log.data))


def _supply_burned(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _supply_logged(draft, log, abi.address_of(log.topics[1]), events.burned(log.data))


def _supply_logged(draft: Draft, log: Log, user: Address, words: Words) -> tuple[Change, ...]:
    if not draft.follows(user):
        return ()
    asset, (amount, index) = draft.asset_of[log.address], words
    delta = draft.moves[log.address](draft.supply_of(user, asset), amount, index)
    return (SupplyMoved(user, asset, delta),) if delta else ()


def _supply_transferred(draft: Draft, log: Log) -> tuple[Change, ...]:
    scaled = abi.uint_at(log.data, 0)  # already scaled, unlike every other amount
    sender, receiver = abi.address_of(log.topics[1]), abi.address_of(log.topics[2])
    return (
        *_supply_moved(draft, log, sender, -scaled),
        *_supply_moved(draft, log, receiver, scaled),
    )


def _supply_moved(draft: Draft, log: Log, user: Address, delta: int) -> tuple[Change, ...]:
    if delta and draft.follows(user):
        return (SupplyMoved(user, draft.asset_of[log.address], delta),)
    return ()


def _debt_minted(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _debt_moved(draft, log, abi.address_of(log.topics[2]), events.minted(log.data))


def _debt_burned(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _debt_moved(draft, log, abi.address_of(log.topics[1]), events.burned(log.data))


def _debt_moved(draft: Draft, log: Log, user: Address, words: Words) -> tuple[Change, ...]:
    asset = draft.asset_of[log.address]
    delta = draft.move_debt(user, asset, log.address, words)
    return (DebtMoved(user, asset, delta),) if delta and draft.follows(user) else ()


def _token_upgraded(draft: Draft, log: Log) -> tuple[Change, ...]:
    draft.switch(log.address)
    return ()


def _stable_debt_minted(draft: Draft, log: Log) -> tuple[Change, ...]:
    symbol = draft.reserves[draft.asset_of[log.address]].symbol
    raise Refuse(f"somebody borrowed {symbol} at a stable rate, which is not supported")


# --- pool ----------------------------------------------------------------------------------------


def _rates_updated(draft: Draft, log: Log) -> tuple[Change, ...]:
    draft.announced[log.topics[1]] = log
    return ()


def _collateral_enabled(draft: Draft, log: Log) -> tuple[Change, ...]:
    asset, user = abi.address_of(log.topics[1]), abi.address_of(log.topics[2])
    return (CollateralSwitched(user, asset, enabled=True),) if draft.follows(user) else ()


def _collateral_disabled(draft: Draft, log: Log) -> Iterator[Change]:
    asset, user = abi.address_of(log.topics[1]), abi.address_of(log.topics[2])
    if draft.follows(user):
        yield CollateralSwitched(user, asset, enabled=False)
        for ancestor, heir in draft.heirs.items():  # the same bit, set when it was another asset's
            if heir == asset:
                yield CollateralSwitched(user, ancestor, enabled=False)


def _user_mode_set(draft: Draft, log: Log) -> tuple[Change, ...]:
    user = abi.address_of(log.topics[1])
    return (ModeSet(user, abi.uint_at(log.data, 0)),) if draft.follows(user) else ()


def _liquidated(draft: Draft, log: Log) -> tuple[Change, ...]:
    in_atokens = abi.uint_at(log.data, 3)
    if in_atokens and draft.engine.touches_collateral:
        draft.store_indexes(abi.address_of(log.topics[1]))
    return (Liquidated(abi.address_of(log.topics[3])),)


# --- configurator and provider -------------------------------------------------------------------


def _listed(draft: Draft, log: Log) -> tuple[Change, ...]:
    """Take in a new reserve. Its bit may have been another's, and users may have left it set."""
    asset = abi.address_of(log.topics[1])
    reserve = draft.extras.listings[asset]
    if reserve.configuration.decimals == UNHEARD:
        raise Rebuild(f"{reserve.symbol} was listed without a log of its aToken: read it instead")
    dropped = dict(draft.dropped)
    if dropped.pop(asset, reserve.bit) != reserve.bit:
        raise Rebuild(f"{reserve.symbol} was listed again under another id: read the bitmaps anew")
    heirs = {**draft.heirs, vacant(reserve.bit): asset}
    heirs |= {old: asset for old, bit in dropped.items() if bit == reserve.bit}
    heirs.pop(asset, None)
    draft.dropped, draft.heirs = dropped, heirs
    draft.announced.pop(log.topics[1], None)
    draft.rates[asset] = UNTOUCHED
    draft.debt_totals[asset] = 0
    draft.list(reserve)
    return ()


def _dropped(draft: Draft, log: Log) -> tuple[Change, ...]:
    asset = abi.address_of(log.topics[1])
    reserve = draft.reserves.get(asset)
    if reserve is not None:
        draft.reserves = {kept: its for kept, its in draft.reserves.items() if kept != asset}
        draft.dropped = {**draft.dropped, asset: reserve.bit}
        del draft.rates[asset], draft.debt_totals[asset]
    return ()


def _collateral_configured(draft: Draft, log: Log) -> tuple[Change, ...]:
    threshold, bonus = Bps(abi.uint_at(log.data, 1)), Bps(abi.uint_at(log.data, 2))
    return _configured(draft, log, lambda old: replace(old, threshold=threshold, bonus=bonus))


def _fee_changed(draft: Draft, log: Log) -> tuple[Change, ...]:
    fee = Bps(abi.uint_at(log.data, 1))
    return _configured(draft, log, lambda old: replace(old, protocol_fee=fee))


def _activated(draft: Draft, log: Log) -> tuple[Change, ...]:
    active = bool(abi.uint_at(log.data, 0))
    return _configured(draft, log, lambda old: replace(old, is_active=active))


def _paused(draft: Draft, log: Log) -> tuple[Change, ...]:
    paused = bool(abi.uint_at(log.data, 0))
    return _configured(draft, log, lambda old: replace(old, is_paused=paused))


def _asset_mode_changed(draft: Draft, log: Log) -> tuple[Change, ...]:
    mode = abi.uint_at(log.data, 1)
    return _configured(draft, log, lambda old: replace(old, mode=mode))


def _configured(
    draft: Draft, log: Log, change: Callable[[Configuration], Configuration]
) -> tuple[Change, ...]:
    asset = abi.address_of(log.topics[1])
    if asset in draft.reserves:
        draft.configure(asset, change)
    return ()


def _grace_changed(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _protected(draft, log, abi.uint_at(log.data, 0))


def _grace_disabled(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _protected(draft, log, 0)


def _protected(draft: Draft, log: Log, until: int) -> tuple[Change, ...]:
    asset = abi.address_of(log.topics[1])
    if asset in draft.reserves:
        protected = replace(draft.reserves[asset], grace_until=until)
        draft.reserves = {**draft.reserves, asset: protected}
    return ()


def _mode_added(draft: Draft, log: Log) -> tuple[Change, ...]:
    number, terms = events.mode_of(log)
    old = draft.modes.get(number, terms)
    bitmaps = (old.collateral, old.borrowable, old.ltvzero)
    mode = Mode(terms.threshold, terms.bonus, terms.price_source, *bitmaps)
    draft.modes = {**draft.modes, number: mode}
    return ()


def _in_mode(bitmap: str) -> Handler:
    """Return what sets the bit of an asset in one bitmap of an eMode."""

    def changed(draft: Draft, log: Log) -> tuple[Change, ...]:
        reserve = draft.reserves.get(abi.address_of(log.topics[1]))
        number, is_on = abi.uint_at(log.data, 0), bool(abi.uint_at(log.data, 1))
        mode = draft.modes.get(number)
        if reserve is not None and mode is not None:
            bits = getattr(mode, bitmap) & ~(1 << reserve.bit) | is_on << reserve.bit
            draft.modes = {**draft.modes, number: replace(mode, **{bitmap: bits})}
        return ()

    return changed


def _doors_moved(draft: Draft, log: Log) -> tuple[Change, ...]:
    draft.oracle = events.new_oracle(log) or draft.oracle
    draft.sentinel = events.new_sentinel(log) or draft.sentinel
    return ()


def _noted(_draft: Draft, _log: Log) -> tuple[Change, ...]:
    """Change nothing: `lacking` has asked the chain about it, or only wanted to see it."""
    return ()


SUPPLY_TOKEN: dict[bytes, Handler] = {
    events.MINT: _supply_minted,
    events.BURN: _supply_burned,
    events.BALANCE_TRANSFER: _supply_transferred,
    events.ATOKEN_INITIALIZED: _noted,
    events.UPGRADED: _token_upgraded,
}
DEBT_TOKEN: dict[bytes, Handler] = {
    events.MINT: _debt_minted,
    events.BURN: _debt_burned,
    events.DEBT_TOKEN_INITIALIZED: _noted,
    events.UPGRADED: _token_upgraded,
}
STABLE_DEBT_TOKEN: dict[bytes, Handler] = {events.STABLE_DEBT_MINT: _stable_debt_minted}
POOL: dict[bytes, Handler] = {
    events.RESERVE_DATA_UPDATED: _rates_updated,
    events.COLLATERAL_ENABLED: _collateral_enabled,
    events.COLLATERAL_DISABLED: _collateral_disabled,
    events.USER_EMODE_SET: _user_mode_set,
    events.LIQUIDATION_CALL: _liquidated,
    events.UPGRADED: _noted,
}
CONFIGURATOR: dict[bytes, Handler] = {
    events.RESERVE_INITIALIZED: _listed,
    events.RESERVE_DROPPED: _dropped,
    events.COLLATERAL_CONFIGURATION_CHANGED: _collateral_configured,
    events.LIQUIDATION_PROTOCOL_FEE_CHANGED: _fee_changed,
    events.RESERVE_ACTIVE: _activated,
    events.RESERVE_PAUSED: _paused,
    events.EMODE_CATEGORY_ADDED: _mode_added,
    events.EMODE_ASSET_CATEGORY_CHANGED: _asset_mode_changed,
    events.COLLATERAL_IN_EMODE_CHANGED: _in_mode("collateral"),
    events.BORROWABLE_IN_EMODE_CHANGED: _in_mode("borrowable"),
    events.LTVZERO_IN_EMODE_CHANGED: _in_mode("ltvzero"),
    events.GRACE_PERIOD_CHANGED: _grace_changed,
    events.GRACE_PERIOD_DISABLED: _grace_disabled,
    events.ATOKEN_UPGRADED: _noted,
    events.VARIABLE_DEBT_TOKEN_UPGRADED: _noted,
    events.UPGRADED: _noted,
}
PROVIDER: dict[bytes, Handler] = {
    events.PRICE_ORACLE_UPDATED: _doors_moved,
    events.SENTINEL_UPDATED: _doors_moved,
    events.ADDRESS_SET: _doors_moved,
    events.POOL_UPDATED: _noted,
}
TABLES = Tables(
    pool=POOL,
    configurator=CONFIGURATOR,
    provider=PROVIDER,
    supply_token=SUPPLY_TOKEN,
    debt_token=DEBT_TOKEN,
    stable_debt_token=STABLE_DEBT_TOKEN,
)
TOPICS = frozenset().union(
    SUPPLY_TOKEN, DEBT_TOKEN, STABLE_DEBT_TOKEN, POOL, CONFIGURATOR, PROVIDER
)
