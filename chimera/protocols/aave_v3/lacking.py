"""What the logs of a block leave open, asked of the chain before the block is applied."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from chimera.domain import abi
from chimera.domain.block import ZERO_ADDRESS, Address, Block, Log
from chimera.domain.call import Inquiry
from chimera.domain.market import Account
from chimera.domain.numeric import Bps
from chimera.ports import Accounts
from chimera.protocols.aave_v3 import calls, events, reading, shapes
from chimera.protocols.aave_v3.market import AaveMarket, Configuration, Mode, Reserve

UPGRADES = frozenset(
    {
        events.UPGRADED,
        events.POOL_UPDATED,
        events.ATOKEN_UPGRADED,
        events.VARIABLE_DEBT_TOKEN_UPGRADED,
    }
)
GOVERNANCE = UPGRADES | {
    events.RESERVE_INITIALIZED,
    events.RESERVE_DROPPED,
    events.PRICE_ORACLE_UPDATED,
    events.ADDRESS_SET,
    events.EMODE_CATEGORY_ADDED,
    events.SENTINEL_UPDATED,
    events.EMODE_ASSET_CATEGORY_CHANGED,
    events.COLLATERAL_IN_EMODE_CHANGED,
    events.BORROWABLE_IN_EMODE_CHANGED,
    events.LTVZERO_IN_EMODE_CHANGED,
    events.USER_EMODE_SET,
}

# Logs whose first data word is an eMode that the mirror may not know.
IN_EMODE = (
    events.USER_EMODE_SET,
    events.COLLATERAL_IN_EMODE_CHANGED,
    events.BORROWABLE_IN_EMODE_CHANGED,
    events.LTVZERO_IN_EMODE_CHANGED,
)

# A reserve right after PoolConfigurator.initReserve; logs tell everything that is set later.
NEW = Configuration(
    threshold=Bps(0),
    bonus=Bps(0),
    decimals=0,
    is_active=True,
    is_paused=False,
    protocol_fee=Bps(0),
    mode=0,
)
UNHEARD = -1  # decimals, before the logs of the new tokens are fetched


@dataclass(frozen=True, slots=True)
class Extras:
    """
    Answers from the end of a block that its logs alone do not give.

    Attributes:
        listings: Reserves that were listed in this block, as their first log leaves them.
        modes: eMode categories that the mirror did not know.
        base: Name and places of the base currency, when the oracle changed.
        accounts: Users whom the mirror did not follow and who have debt from this block on.
        upgraded: The whole market, when an upgrade gave it another engine.
    """

    listings: Mapping[Address, Reserve] = field(default_factory=dict)
    modes: Mapping[int, Mode] = field(default_factory=dict)
    base: tuple[str, int] | None = None
    accounts: Mapping[Address, Account] = field(default_factory=dict)
    upgraded: AaveMarket | None = None


def extras(
    market: AaveMarket, accounts: Accounts, block: Block, logs: Sequence[Log]
) -> Inquiry[Extras]:
    """
    Ask for everything that `logs` leave open, most often for nothing.

    Raises:
        Refuse: An upgrade made the pool something that is not supported.
        Rebuild: A log is cut short.
    """
    topics = shapes.check_sizes(logs)
    found = Extras()
    if not GOVERNANCE.isdisjoint(topics):
        rare = [log for log in logs if log.topics[0] in GOVERNANCE]
        ours = market.lasting(emitters)  # several pools share one feed
        found = yield from _governed(market, [log for log in rare if log.address in ours], logs)
    users = _newcomers(market, accounts, logs, found)
    if not users:
        return found
    reserves = {**market.reserves, **found.listings}
    read = yield from reading.read_accounts(market.pool, reserves, users, block)
    empty = Account(updated_block=block.number)
    return replace(found, accounts={user: read.get(user, empty) for user in users})


def _governed(
    market: AaveMarket, governance: Sequence[Log], logs: Sequence[Log]
) -> Inquiry[Extras]:
    upgraded = None
    if any(log.topics[0] in UPGRADES for log in governance):
        engine = yield from reading.detect(market.pool, list(market.reserves))
        if engine != market.engine:
            upgraded = yield from reading.read_market(market.provider)
    listings = yield from _listings(market, governance, logs)
    modes = yield from reading.modes(market.pool, market.engine, _unknown_modes(market, governance))
    oracle, sentinel = market.oracle, market.sentinel
    for log in governance:
        oracle = events.new_oracle(log) or oracle
        sentinel = events.new_sentinel(log) or sentinel
    base = (yield from reading.base_of(oracle)) if oracle != market.oracle else None
    sources = [events.mode_of(log)[1] for log in _of(events.EMODE_CATEGORY_ADDED, governance)]
    new = [*listings, *(mode.price_source for mode in (*modes.values(), *sources))]
    wanted = dict.fromkeys(source for source in (*market.prices, *new) if source != ZERO_ADDRESS)
    yield (
        *reading.price_calls(oracle, tuple(wanted)),
        *reading.sentinel_calls(market.engine, sentinel),
    )
    return Extras(listings, modes, base, upgraded=upgraded)


def _of(topic: bytes, logs: Iterable[Log]) -> Iterator[Log]:
    return (log for log in logs if log.topics[0] == topic)


def _listings(
    market: AaveMarket, governance: Sequence[Log], logs: Sequence[Log]
) -> Inquiry[dict[Address, Reserve]]:
    """Make new reserves of their logs; only the symbol is asked for, and all else is logged."""
    assets = [abi.address_of(log.topics[1]) for log in _of(events.RESERVE_INITIALIZED, governance)]
    if not assets:
        return {}
    names = {asset: abi.plain(asset, calls.SYMBOL) for asset in assets}
    answers = yield tuple(names.values())
    decimals = {
        log.address: events.decimals_of(log) for log in _of(events.ATOKEN_INITIALIZED, logs)
    }
    bits = {asset: reserve.bit for asset, reserve in market.reserves.items()}
    listings = {}
    for log in governance:
        asset = abi.address_of(log.topics[1])
        if log.topics[0] == events.RESERVE_DROPPED:
            bits.pop(asset, None)
        elif log.topics[0] == events.RESERVE_INITIALIZED:
            bits[asset] = _lowest_free(bits.values())
            supply, stable, debt = events.new_tokens(log)
            listings[asset] = Reserve(
                asset=asset,
                symbol=abi.symbol(answers[names[asset]], asset),
                bit=bits[asset],
                supply_token=supply,
                debt_token=debt,
                stable_debt_token=stable if market.engine.has_stable_debt else ZERO_ADDRESS,
                configuration=replace(NEW, decimals=decimals.get(supply, UNHEARD)),
            )
    return listings


def _lowest_free(bits: Collection[int]) -> int:
    """Return the id that the pool gives to a new reserve. Mirrors PoolLogic.executeInitReserve."""
    return next(bit for bit in count() if bit not in bits)


def _unknown_modes(market: AaveMarket, logs: Sequence[Log]) -> set[int]:
    named = {abi.uint_at(log.data, 1) for log in _of(events.EMODE_ASSET_CATEGORY_CHANGED, logs)}
    for topic in IN_EMODE:
        named |= {abi.uint_at(log.data, 0) for log in _of(topic, logs)}
    return named - market.modes.keys()


def _newcomers(
    market: AaveMarket, accounts: Accounts, logs: Sequence[Log], found: Extras
) -> list[Address]:
    if accounts.complete:
        return []
    tokens = {reserve.debt_token for reserve in market.reserves.values()}
    tokens |= {reserve.debt_token for reserve in found.listings.values()}
    borrowers = (
        abi.address_of(log.topics[2])
        for log in logs
        if log.topics[0] == events.MINT and log.address in tokens
    )
    return [user for user in dict.fromkeys(borrowers) if accounts.get(user) is None]


def emitters(market: AaveMarket) -> frozenset[Address]:
    """Return every contract whose logs matter."""
    tokens = {
        token
        for reserve in market.reserves.values()
        for token in (reserve.supply_token, reserve.debt_token, reserve.stable_debt_token)
    }
    emitting = {market.provider, market.pool, market.configurator, *tokens}
    return frozenset(emitting - {ZERO_ADDRESS})


def unheard_tokens(market: AaveMarket, logs: Sequence[Log]) -> frozenset[Address]:
    """
    Return the tokens of reserves listed in `logs` whose own logs are not among them yet.

    A new token logs its initialisation before the reserve is listed, in the same transaction.
    """
    listed = [
        log for log in _of(events.RESERVE_INITIALIZED, logs) if log.address == market.configurator
    ]
    if not listed:
        return frozenset()
    heard = {log.address for log in logs}
    tokens = frozenset(token for log in listed for token in events.new_tokens(log))
    return tokens - heard - {ZERO_ADDRESS}
