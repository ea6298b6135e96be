"""One block of logs, in order, into changes of accounts and a new market."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from chimera.domain import abi
from chimera.domain.block import BlockBatch, Log
from chimera.domain.call import answer
from chimera.domain.changes import (
    AccountRead,
    AccountsSet,
    Change,
    Liquidated,
    MarketMoved,
)
from chimera.domain.numeric import RAY, Bps, Ray
from chimera.errors import Rebuild, Refuse
from chimera.ports import Accounts
from chimera.protocols.aave_v3 import events, shapes
from chimera.protocols.aave_v3.balances import SUPPLY, Balances
from chimera.protocols.aave_v3.draft import Draft, Handler, Tables
from chimera.protocols.aave_v3.lacking import UNHEARD, extras
from chimera.protocols.aave_v3.market import AaveMarket, Configuration, Mode, vacant
from chimera.protocols.aave_v3.math import Rates

# A reserve that nobody has touched yet. Mirrors ReserveLogic.init.
UNTOUCHED = Rates(Ray(RAY), Ray(RAY), Ray(0), Ray(0), 0)


def fold(
    market: AaveMarket, accounts: Accounts, batch: BlockBatch, protocol: str
) -> Iterator[Change]:
    """
    Turn one block into changes: its logs are added up in their order, the market comes last.

    Args:
        market: As the block finds it.
        accounts: As the block finds them.
        batch: The block.
        protocol: Name of the instance, for messages.
    """
    block, logs = batch.block, batch.logs
    found = answer(extras(market, accounts, block, logs), batch.readings)
    balances = Balances(accounts, found.accounts, block_number=block.number, protocol=protocol)
    draft = Draft(market, balances, batch, found, TABLES)
    for user, account in found.accounts.items():
        yield AccountRead(user, account)
    _take(draft, logs)
    if changed := balances.changed():
        yield AccountsSet(changed)
    for user in draft.liquidated:
        yield Liquidated(user)
    yield MarketMoved(draft.finished(market))


def _take(draft: Draft, logs: Sequence[Log]) -> None:
    for log in logs:
        try:
            handler = draft.handlers[log.address][log.topics[0]]
        except KeyError:
            continue  # a kind that changes nothing, or another pool's
        try:
            handler(draft, log)
        except ZeroDivisionError:
            shapes.check_indexes(log)
            raise


# --- tokens --------------------------------------------------------------------------------------


def _supply_minted(draft: Draft, log: Log) -> None:
    (amount, index), token = events.minted(log.data), log.address
    user, asset, rule = abi.address_of(log.topics[2]), draft.asset_of[token], draft.moves[token]
    draft.balances.move(user, SUPPLY, asset, rule, amount, index)


def _supply_burned(draft: Draft, log: Log) -> None:
    (amount, index), token = events.burned(log.data), log.address
    user, asset, rule = abi.address_of(log.topics[1]), draft.asset_of[token], draft.moves[token]
    draft.balances.move(user, SUPPLY, asset, rule, amount, index)


def _supply_transferred(draft: Draft, log: Log) -> None:
    scaled, asset = abi.uint_at(log.data, 0), draft.asset_of[log.address]
    _, sender, receiver = log.topics
    draft.balances.move(abi.address_of(sender), SUPPLY, asset, _scaled_already, -scaled, 0)
    draft.balances.move(abi.address_of(receiver), SUPPLY, asset, _scaled_already, scaled, 0)


def _scaled_already(_before: int, amount: int, _index: int) -> int:
    return amount  # unlike that of every other log


def _debt_minted(draft: Draft, log: Log) -> None:
    amount, index = events.minted(log.data)
    draft.move_debt(log.address, abi.address_of(log.topics[2]), amount, index)


def _debt_burned(draft: Draft, log: Log) -> None:
    amount, index = events.burned(log.data)
    draft.move_debt(log.address, abi.address_of(log.topics[1]), amount, index)


def _token_upgraded(draft: Draft, log: Log) -> None:
    draft.switch(log.address)


def _stable_debt_minted(draft: Draft, log: Log) -> None:
    symbol = draft.reserves[draft.asset_of[log.address]].symbol
    raise Refuse(f"somebody borrowed {symbol} at a stable rate, which is not supported")


# --- pool ----------------------------------------------------------------------------------------


def _rates_updated(draft: Draft, log: Log) -> None:
    draft.announced[log.topics[1]] = log


def _collateral_enabled(draft: Draft, log: Log) -> None:
    _, asset, user = log.topics
    draft.balances.switch(abi.address_of(user), abi.address_of(asset), enabled=True)


def _collateral_disabled(draft: Draft, log: Log) -> None:
    asset, user = abi.address_of(log.topics[1]), abi.address_of(log.topics[2])
    draft.balances.switch(user, asset, enabled=False)
    for ancestor, heir in draft.heirs.items():  # the same bit, set when it was another asset's
        if heir == asset:
            draft.balances.switch(user, ancestor, enabled=False)


def _user_mode_set(draft: Draft, log: Log) -> None:
    draft.balances.set_mode(abi.address_of(log.topics[1]), abi.uint_at(log.data, 0))


def _liquidated(draft: Draft, log: Log) -> None:
    in_atokens = abi.uint_at(log.data, 3)
    if in_atokens and draft.engine.touches_collateral:
        draft.store_indexes(abi.address_of(log.topics[1]))
    draft.liquidated.append(abi.address_of(log.topics[3]))


# --- configurator and provider -------------------------------------------------------------------


def _listed(draft: Draft, log: Log) -> None:
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


def _dropped(draft: Draft, log: Log) -> None:
    asset = abi.address_of(log.topics[1])
    reserve = draft.reserves.get(asset)
    if reserve is not None:
        draft.reserves = {kept: its for kept, its in draft.reserves.items() if kept != asset}
        draft.dropped = {**draft.dropped, asset: reserve.bit}
        del draft.rates[asset], draft.debt_totals[asset]


def _collateral_configured(draft: Draft, log: Log) -> None:
    threshold, bonus = Bps(abi.uint_at(log.data, 1)), Bps(abi.uint_at(log.data, 2))
    _configured(draft, log, lambda old: replace(old, threshold=threshold, bonus=bonus))


def _fee_changed(draft: Draft, log: Log) -> None:
    fee = Bps(abi.uint_at(log.data, 1))
    _configured(draft, log, lambda old: replace(old, protocol_fee=fee))


def _activated(draft: Draft, log: Log) -> None:
    active = bool(abi.uint_at(log.data, 0))
    _configured(draft, log, lambda old: replace(old, is_active=active))


def _paused(draft: Draft, log: Log) -> None:
    paused = bool(abi.uint_at(log.data, 0))
    _configured(draft, log, lambda old: replace(old, is_paused=paused))


def _asset_mode_changed(draft: Draft, log: Log) -> None:
    mode = abi.uint_at(log.data, 1)
    _configured(draft, log, lambda old: replace(old, mode=mode))


def _configured(draft: Draft, log: Log, change: Callable[[Configuration], Configuration]) -> None:
    asset = abi.address_of(log.topics[1])
    if asset in draft.reserves:
        draft.configure(asset, change)


def _grace_changed(draft: Draft, log: Log) -> None:
    _protected(draft, log, abi.uint_at(log.data, 0))


def _grace_disabled(draft: Draft, log: Log) -> None:
    _protected(draft, log, 0)


def _protected(draft: Draft, log: Log, until: int) -> None:
    asset = abi.address_of(log.topics[1])
    if asset in draft.reserves:
        protected = replace(draft.reserves[asset], grace_until=until)
        draft.reserves = {**draft.reserves, asset: protected}


def _mode_added(draft: Draft, log: Log) -> None:
    number, terms = events.mode_of(log)
    old = draft.modes.get(number, terms)
    bitmaps = (old.collateral, old.borrowable, old.ltvzero)
    mode = Mode(terms.threshold, terms.bonus, terms.price_source, *bitmaps)
    draft.modes = {**draft.modes, number: mode}


def _in_mode(bitmap: str) -> Handler:
    """Return what sets the bit of an asset in one bitmap of an eMode."""

    def changed(draft: Draft, log: Log) -> None:
        reserve = draft.reserves.get(abi.address_of(log.topics[1]))
        number, is_on = abi.uint_at(log.data, 0), bool(abi.uint_at(log.data, 1))
        mode = draft.modes.get(number)
        if reserve is not None and mode is not None:
            bits = getattr(mode, bitmap) & ~(1 << reserve.bit) | is_on << reserve.bit
            draft.modes = {**draft.modes, number: replace(mode, **{bitmap: bits})}

    return changed


def _doors_moved(draft: Draft, log: Log) -> None:
    draft.oracle = events.new_oracle(log) or draft.oracle
    draft.sentinel = events.new_sentinel(log) or draft.sentinel


def _noted(_draft: Draft, _log: Log) -> None:
    """Change nothing: `lacking` has asked the chain about it, or only wanted to see it."""


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
