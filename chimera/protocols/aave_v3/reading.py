"""Conversations with a pool: its contracts, its revision, and all that it holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from chimera.domain.block import ZERO_ADDRESS, Address, Block
from chimera.domain.call import Call, Inquiry, Readings
from chimera.domain.market import Account
from chimera.errors import Refuse
from chimera.protocols.aave_v3 import calls
from chimera.protocols.aave_v3.market import AaveMarket, Mode, Reserve, placeholder, priced
from chimera.protocols.aave_v3.math import V3_0, Engine, Rates

FIRST_ERA_F = 4  # token revisions from here on round balances down and debts up (v3.5)
MODES_AT_ONCE = 4  # eMode ids are given out in order; read on while all of these are defined
BITS = 128  # of reserves in a user's bitmap

# The newest first: the first getter that answers names the version. Argument: none, the number of
# an eMode, or (where the zero address stands) one of the pool's assets.
PROBES = (
    ("3.7", calls.GET_IS_EMODE_CATEGORY_ISOLATED, 1),
    ("3.6", calls.GET_EMODE_CATEGORY_LTVZERO_BITMAP, 1),
    ("3.4 or 3.5", calls.RESERVE_INTEREST_RATE_STRATEGY, None),
    ("3.3", calls.GET_RESERVE_DEFICIT, ZERO_ADDRESS),
    ("3.2", calls.GET_EMODE_CATEGORY_COLLATERAL_BITMAP, 1),
    ("3.1", calls.GET_VIRTUAL_UNDERLYING_BALANCE, ZERO_ADDRESS),
)


@dataclass(frozen=True, slots=True)
class Doors:
    """The contracts that the provider names."""

    pool: Address
    configurator: Address
    oracle: Address


def doors(provider: Address) -> Inquiry[Doors]:
    """
    Ask the PoolAddressesProvider for its contracts.

    Raises:
        Refuse: It has none.
    """
    questions = tuple(
        calls.plain(provider, selector)
        for selector in (calls.GET_POOL, calls.GET_POOL_CONFIGURATOR, calls.GET_PRICE_ORACLE)
    )
    answers = yield questions
    found = [calls.as_address(calls.number(answers[call]) or 0) for call in questions]
    if ZERO_ADDRESS in found:
        raise Refuse(
            f"0x{provider.hex()} is no Aave v3 PoolAddressesProvider: "
            "it names no pool, configurator or price oracle"
        )
    return Doors(*found)


def assets(pool: Address) -> Inquiry[list[Address]]:
    """Ask the pool for its reserves; dropped ones are not among them."""
    question = calls.plain(pool, calls.GET_RESERVES_LIST)
    answers = yield (question,)
    calls.required(question, answers[question])
    return calls.addresses(answers[question])


def engine_of(pool: Address, an_asset: Address) -> Inquiry[Engine]:
    """
    Find the pool's revision by what it can do, since forks renumber POOL_REVISION.

    Raises:
        Refuse: It is not one that is supported.
    """
    revision = calls.plain(pool, calls.POOL_REVISION)
    probes = {version: _probe(pool, an_asset, *rest) for version, *rest in PROBES}
    answers = yield (revision, *probes.values())
    number = calls.required(revision, answers[revision])
    for version, probe in probes.items():
        if calls.number(answers[probe]) is not None:
            raise Refuse(
                f"the pool 0x{pool.hex()} is Aave v{version} (POOL_REVISION {number}, "
                f"getter 0x{probe.data[:4].hex()} answers); supported is v3.0"
            )
    return V3_0


def _probe(pool: Address, asset: Address, selector: bytes, argument: int | Address | None) -> Call:
    if argument is None:
        return calls.plain(pool, selector)
    if isinstance(argument, int):
        return calls.of_number(pool, selector, argument)
    return calls.of_address(pool, selector, asset)


def token_era(reserves: Iterable[Reserve]) -> Inquiry[None]:
    """
    Check that the tokens round as v3.0 does and that nobody has stable debt.

    Raises:
        Refuse: A token is of a later era, or stable debt exists.
    """
    listed = list(reserves)
    answers = yield tuple(call for reserve in listed for call in _era_calls(reserve))
    for reserve in listed:
        supply, debt, stable = (calls.number(answers[call]) for call in _era_calls(reserve))
        if max(supply or 0, debt or 0) >= FIRST_ERA_F:
            raise Refuse(
                f"the tokens of {reserve.symbol} have revisions {supply} and {debt}: they round "
                f"as Aave v3.5 does; supported are revisions under {FIRST_ERA_F}"
            )
        if stable:
            raise Refuse(
                f"{reserve.symbol} has stable debt (0x{reserve.stable_debt_token.hex()} "
                f"totals {stable}); only variable debt is supported"
            )


def _era_calls(reserve: Reserve) -> tuple[Call, Call, Call]:
    return (
        calls.plain(reserve.supply_token, calls.ATOKEN_REVISION),
        calls.plain(reserve.debt_token, calls.DEBT_TOKEN_REVISION),
        calls.plain(reserve.stable_debt_token, calls.TOTAL_SUPPLY),
    )


def listings(
    pool: Address, listed: Sequence[Address]
) -> Inquiry[dict[Address, tuple[Reserve, Rates]]]:
    """Read these reserves; assets that are not listed (any more) are left out."""
    data = {asset: calls.of_address(pool, calls.GET_RESERVE_DATA, asset) for asset in listed}
    names = {asset: calls.plain(asset, calls.SYMBOL) for asset in listed}
    answers = yield (*data.values(), *names.values())
    found = {}
    for asset in listed:
        read = calls.reserve_data(answers[data[asset]])
        if read is not None:
            reserve = Reserve(
                asset=asset,
                symbol=calls.symbol(answers[names[asset]], asset),
                bit=read.bit,
                supply_token=read.supply_token,
                debt_token=read.debt_token,
                stable_debt_token=read.stable_debt_token,
                configuration=read.configuration,
            )
            found[asset] = (reserve, read.rates)
    yield from token_era(reserve for reserve, _ in found.values())
    return found


def debt_totals(reserves: Mapping[Address, Reserve]) -> Inquiry[dict[Address, int]]:
    """Read the scaled total supply of every vToken."""
    questions = {
        asset: calls.plain(reserve.debt_token, calls.SCALED_TOTAL_SUPPLY)
        for asset, reserve in reserves.items()
    }
    answers = yield tuple(questions.values())
    return {asset: calls.required(call, answers[call]) for asset, call in questions.items()}


def modes(pool: Address, ids: Iterable[int]) -> Inquiry[dict[int, Mode]]:
    """Read these eMode categories; those without a threshold are not defined."""
    questions = {
        mode: calls.of_number(pool, calls.GET_EMODE_CATEGORY_DATA, mode)
        for mode in sorted(set(ids) - {0})
    }
    if not questions:
        return {}
    answers = yield tuple(questions.values())
    read = {mode: calls.mode(answers[call]) for mode, call in questions.items()}
    return {mode: category for mode, category in read.items() if category.threshold}


def all_modes(pool: Address, referenced: Iterable[int]) -> Inquiry[dict[int, Mode]]:
    """Read the eModes that assets are in, and all that were given out in order from 1."""
    found = yield from modes(pool, referenced)
    first = 1
    while True:
        stretch = range(first, first + MODES_AT_ONCE)
        found |= yield from modes(pool, stretch)
        if not all(mode in found for mode in stretch):
            return found
        first += MODES_AT_ONCE


def base_of(oracle: Address) -> Inquiry[tuple[str, int]]:
    """
    Read what the oracle quotes prices in, and with how many places.

    A zero BASE_CURRENCY is the US dollar; else it is a token. The unit is a power of ten.
    """
    currency = calls.plain(oracle, calls.BASE_CURRENCY)
    unit = calls.plain(oracle, calls.BASE_CURRENCY_UNIT)
    answers = yield (currency, unit)
    token = calls.as_address(calls.required(currency, answers[currency]))
    decimals = len(str(calls.required(unit, answers[unit]))) - 1
    if token == ZERO_ADDRESS:
        return "USD", decimals
    name = calls.plain(token, calls.SYMBOL)
    answers = yield (name,)
    return calls.symbol(answers[name], token), decimals


@lru_cache(maxsize=64)  # the same ones go out at every block
def price_calls(oracle: Address, sources: tuple[Address, ...]) -> tuple[Call, ...]:
    """Return one call for each price, so that a dead source hurts only its holders."""
    return tuple(calls.of_address(oracle, calls.GET_ASSET_PRICE, source) for source in sources)


def prices_in(
    oracle: Address, sources: tuple[Address, ...], readings: Readings
) -> dict[Address, int | None]:
    """Take the prices from the readings; None where the oracle reverts."""
    questions = price_calls(oracle, sources)
    answers = (calls.number(readings[call]) for call in questions)
    return dict(zip(sources, answers, strict=True))


def prove(provider: Address) -> Inquiry[None]:
    """Check that `provider` leads to a pool that is supported, or Refuse."""
    found = yield from doors(provider)
    listed = yield from assets(found.pool)
    yield from engine_of(found.pool, listed[0] if listed else ZERO_ADDRESS)
    yield from listings(found.pool, listed)


def read_market(provider: Address) -> Inquiry[AaveMarket]:
    """Read the whole pool as it stands at the pinned block."""
    found = yield from doors(provider)
    listed = yield from assets(found.pool)
    engine = yield from engine_of(found.pool, listed[0] if listed else ZERO_ADDRESS)
    read = yield from listings(found.pool, listed)
    reserves = {asset: reserve for asset, (reserve, _) in read.items()}
    totals = yield from debt_totals(reserves)
    referenced = (reserve.configuration.mode for reserve in reserves.values())
    categories = yield from all_modes(found.pool, referenced)
    base_currency, base_decimals = yield from base_of(found.oracle)
    sources = priced(reserves, categories)
    answers = yield price_calls(found.oracle, sources)
    return AaveMarket(
        engine=engine,
        provider=provider,
        pool=found.pool,
        configurator=found.configurator,
        oracle=found.oracle,
        base_currency=base_currency,
        base_decimals=base_decimals,
        reserves=reserves,
        rates={asset: rates for asset, (_, rates) in read.items()},
        debt_totals=totals,
        modes=categories,
        prices=prices_in(found.oracle, sources, answers),
    )


def read_accounts(
    pool: Address, reserves: Mapping[Address, Reserve], users: Sequence[Address], block: Block
) -> Inquiry[dict[Address, Account]]:
    """
    Read bitmaps, eModes and every scaled balance of these users.

    A user without any balance is left out, unless a collateral bit or an eMode outlived the
    balances: whoever starts that user empty would be wrong at the next supply.
    """
    questions = tuple(call for user in users for call in _account_calls(pool, reserves, user))
    answers = (yield questions) if questions else {}
    found = {user: _account(pool, reserves, user, answers, block) for user in users}
    return {
        user: account
        for user, account in found.items()
        if account.supplied or account.owed or account.enabled or account.mode
    }


def _account_calls(pool: Address, reserves: Mapping[Address, Reserve], user: Address) -> list[Call]:
    bitmap = calls.of_address(pool, calls.GET_USER_CONFIGURATION, user)
    mode = calls.of_address(pool, calls.GET_USER_EMODE, user)
    tokens = [r.supply_token for r in reserves.values()] + [r.debt_token for r in reserves.values()]
    balances = [calls.of_address(token, calls.SCALED_BALANCE_OF, user) for token in tokens]
    return [bitmap, mode, *balances]


def _account(
    pool: Address,
    reserves: Mapping[Address, Reserve],
    user: Address,
    answers: Readings,
    block: Block,
) -> Account:
    questions = _account_calls(pool, reserves, user)
    bitmap, mode, *balances = (calls.required(call, answers[call]) for call in questions)
    supplied, owed = balances[: len(reserves)], balances[len(reserves) :]
    by_bit = {reserve.bit: asset for asset, reserve in reserves.items()}
    return Account(
        supplied={a: amount for a, amount in zip(reserves, supplied, strict=True) if amount},
        owed={a: amount for a, amount in zip(reserves, owed, strict=True) if amount},
        enabled=frozenset(
            by_bit.get(bit, placeholder(bit)) for bit in range(BITS) if bitmap >> 2 * bit & 2
        ),
        mode=mode,
        updated_block=block.number,
    )
