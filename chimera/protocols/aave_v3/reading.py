"""Conversations with a pool: its contracts, and all that it holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from eth_utils.address import to_checksum_address
from numpy.typing import NDArray

from chimera.domain import abi
from chimera.domain.block import ZERO_ADDRESS, Address, Block
from chimera.domain.call import Call, Grid, Inquiry, Readings
from chimera.domain.market import Account, shape_of, shared
from chimera.errors import Refuse
from chimera.protocols.aave_v3 import calls
from chimera.protocols.aave_v3.engine import Engine
from chimera.protocols.aave_v3.market import AaveMarket, Mode, Reserve, priced, vacant
from chimera.protocols.aave_v3.revision import engine_of

MODES_AT_ONCE = 4  # eMode ids are given out in order; read on while all of these are defined
COLLATERAL_BITS = int("10" * 128, 2)  # of the reserves in a user's bitmap
FIRST_BALANCE = 2  # among the answers about a user: before it are bitmap and eMode
WORDS_OF_64 = 4  # bits, in a word of the EVM


@dataclass(frozen=True, slots=True)
class Doors:
    """The contracts that the provider names."""

    pool: Address
    configurator: Address
    oracle: Address
    sentinel: Address  # zero where there is none


def doors(provider: Address) -> Inquiry[Doors]:
    """
    Ask the PoolAddressesProvider for its contracts.

    Raises:
        Refuse: It has none.
    """
    questions = tuple(
        abi.plain(provider, selector)
        for selector in (
            calls.GET_POOL,
            calls.GET_POOL_CONFIGURATOR,
            calls.GET_PRICE_ORACLE,
            calls.GET_PRICE_ORACLE_SENTINEL,
        )
    )
    answers = yield questions
    found = [abi.as_address(abi.number(answers[call]) or 0) for call in questions]
    if ZERO_ADDRESS in found[:3]:
        raise Refuse(
            f"{to_checksum_address(provider)} is no Aave v3 PoolAddressesProvider: "
            "it names no pool, configurator or price oracle"
        )
    return Doors(*found)


def assets(pool: Address) -> Inquiry[list[Address]]:
    """Ask the pool for its reserves; dropped ones are not among them."""
    question = abi.plain(pool, calls.GET_RESERVES_LIST)
    answers = yield (question,)
    calls.required(question, answers[question])
    return abi.addresses(answers[question])


def detect(pool: Address, listed: Sequence[Address]) -> Inquiry[Engine]:
    """
    Find the engine of a pool with these reserves.

    Raises:
        Refuse: It is not one that is supported.
    """
    data = yield from _reserve_data(pool, listed)
    return (yield from engine_of(pool, data))


def _reserve_data(
    pool: Address, listed: Sequence[Address]
) -> Inquiry[dict[Address, calls.ReserveData]]:
    questions = {asset: abi.of_address(pool, calls.GET_RESERVE_DATA, asset) for asset in listed}
    answers = (yield tuple(questions.values())) if questions else {}
    read = {asset: calls.reserve_data(answers[call]) for asset, call in questions.items()}
    return {asset: data for asset, data in read.items() if data is not None}


def listings(
    pool: Address, engine: Engine, data: Mapping[Address, calls.ReserveData]
) -> Inquiry[dict[Address, Reserve]]:
    """
    Read what else there is to know of these reserves.

    Raises:
        Refuse: There is debt in one of them that cannot be mirrored.
    """
    names = {asset: abi.plain(asset, calls.SYMBOL) for asset in data}
    graces = {
        asset: abi.of_address(pool, calls.GET_LIQUIDATION_GRACE_PERIOD, asset)
        for asset in (data if engine.has_grace_period else ())
    }
    answers = yield (*names.values(), *graces.values())
    reserves = {
        asset: Reserve(
            asset=asset,
            symbol=abi.symbol(answers[names[asset]], asset),
            bit=read.bit,
            supply_token=read.supply_token,
            debt_token=read.debt_token,
            stable_debt_token=read.stable_debt_token if engine.has_stable_debt else ZERO_ADDRESS,
            configuration=calls.configuration(
                read.configuration, names_mode=not engine.has_mode_bitmaps
            ),
            grace_until=abi.number(answers[graces[asset]]) or 0 if asset in graces else 0,
        )
        for asset, read in data.items()
    }
    if engine.has_stable_debt:
        yield from _no_stable_debt(list(reserves.values()))
    if engine.may_discount_debt:
        for asset, read in data.items():
            if not calls.keeps_virtual_balance(read.configuration):
                raise Refuse(f"debts in {reserves[asset].symbol} have a discount of their own")
    return reserves


def _no_stable_debt(reserves: Sequence[Reserve]) -> Inquiry[None]:
    questions = [abi.plain(reserve.stable_debt_token, calls.TOTAL_SUPPLY) for reserve in reserves]
    answers = (yield tuple(questions)) if questions else {}
    for reserve, call in zip(reserves, questions, strict=True):
        if stable := abi.number(answers[call]):
            token = to_checksum_address(reserve.stable_debt_token)
            raise Refuse(
                f"{reserve.symbol} has stable debt ({token} totals {stable}); "
                "only variable debt is supported"
            )


def debt_totals(reserves: Mapping[Address, Reserve]) -> Inquiry[dict[Address, int]]:
    """Read the scaled total supply of every vToken."""
    questions = {
        asset: abi.plain(reserve.debt_token, calls.SCALED_TOTAL_SUPPLY)
        for asset, reserve in reserves.items()
    }
    answers = yield tuple(questions.values())
    return {asset: calls.required(call, answers[call]) for asset, call in questions.items()}


def modes(pool: Address, engine: Engine, ids: Iterable[int]) -> Inquiry[dict[int, Mode]]:
    """Read these eMode categories; those without a threshold are not defined."""
    getters = [calls.GET_EMODE_CATEGORY_DATA]
    if engine.has_mode_bitmaps:
        getters.append(calls.GET_EMODE_CATEGORY_COLLATERAL_BITMAP)
        getters.append(calls.GET_EMODE_CATEGORY_BORROWABLE_BITMAP)
    if engine.has_ltvzero_bitmap:
        getters.append(calls.GET_EMODE_CATEGORY_LTVZERO_BITMAP)
    questions = {
        mode: [abi.of_number(pool, getter, mode) for getter in getters]
        for mode in sorted(set(ids) - {0})
    }
    if not questions:
        return {}
    answers = yield tuple(call for each in questions.values() for call in each)
    found = {}
    for mode, (terms, *maps) in questions.items():
        bits = [calls.required(call, answers[call]) for call in maps]
        found[mode] = calls.mode(answers[terms], *bits)
    return {mode: category for mode, category in found.items() if category.threshold}


def all_modes(pool: Address, engine: Engine, referenced: Iterable[int]) -> Inquiry[dict[int, Mode]]:
    """Read the eModes that assets are in, and all that were given out in order from 1."""
    found = yield from modes(pool, engine, referenced)
    first = 1
    while True:
        stretch = range(first, first + MODES_AT_ONCE)
        found |= yield from modes(pool, engine, stretch)
        if not all(mode in found for mode in stretch):
            return found
        first += MODES_AT_ONCE


def base_of(oracle: Address) -> Inquiry[tuple[str, int]]:
    """
    Read what the oracle quotes prices in, and with how many places.

    A zero BASE_CURRENCY is the US dollar; else it is a token. The unit is a power of ten.
    """
    currency = abi.plain(oracle, calls.BASE_CURRENCY)
    unit = abi.plain(oracle, calls.BASE_CURRENCY_UNIT)
    answers = yield (currency, unit)
    token = abi.as_address(calls.required(currency, answers[currency]))
    decimals = len(str(calls.required(unit, answers[unit]))) - 1
    if token == ZERO_ADDRESS:
        return "USD", decimals
    name = abi.plain(token, calls.SYMBOL)
    answers = yield (name,)
    return abi.symbol(answers[name], token), decimals


@lru_cache(maxsize=64)  # the same ones go out at every block
def price_calls(oracle: Address, sources: tuple[Address, ...]) -> tuple[Call, ...]:
    """Return one call for each price, so that a dead source hurts only its holders."""
    return tuple(abi.of_address(oracle, calls.GET_ASSET_PRICE, source) for source in sources)


def prices_in(
    oracle: Address, sources: tuple[Address, ...], readings: Readings
) -> dict[Address, int | None]:
    """Take the prices from the readings; None where the oracle reverts."""
    questions = price_calls(oracle, sources)
    answers = (abi.number(readings[call]) for call in questions)
    return dict(zip(sources, answers, strict=True))


def sentinel_calls(engine: Engine, sentinel: Address) -> tuple[Call, ...]:
    """Ask the sentinel whether accounts at 0.95 and above may be liquidated, if there is one."""
    if not engine.has_sentinel or sentinel == ZERO_ADDRESS:
        return ()
    return (abi.plain(sentinel, calls.IS_LIQUIDATION_ALLOWED),)


def allowed_by(questions: tuple[Call, ...], readings: Readings) -> bool:
    """Tell what the sentinel said; where it reverts, so does the liquidation."""
    return all(abi.number(readings[call]) for call in questions)


def prove(provider: Address) -> Inquiry[None]:
    """Check that `provider` leads to a pool that is supported, or Refuse."""
    found = yield from doors(provider)
    listed = yield from assets(found.pool)
    data = yield from _reserve_data(found.pool, listed)
    engine = yield from engine_of(found.pool, data)
    yield from listings(found.pool, engine, data)


def read_market(provider: Address) -> Inquiry[AaveMarket]:
    """Read the whole pool as it stands at the pinned block."""
    found = yield from doors(provider)
    listed = yield from assets(found.pool)
    data = yield from _reserve_data(found.pool, listed)
    engine = yield from engine_of(found.pool, data)
    reserves = yield from listings(found.pool, engine, data)
    totals = yield from debt_totals(reserves)
    referenced = (reserve.configuration.mode for reserve in reserves.values())
    categories = yield from all_modes(found.pool, engine, referenced)
    base_currency, base_decimals = yield from base_of(found.oracle)
    sources = priced(reserves, categories)
    guard = sentinel_calls(engine, found.sentinel)
    answers = yield (*price_calls(found.oracle, sources), *guard)
    return AaveMarket(
        engine=engine,
        provider=provider,
        pool=found.pool,
        configurator=found.configurator,
        oracle=found.oracle,
        base_currency=base_currency,
        base_decimals=base_decimals,
        reserves=reserves,
        rates={asset: read.rates for asset, read in data.items()},
        debt_totals=totals,
        modes=categories,
        prices=prices_in(found.oracle, sources, answers),
        sentinel=found.sentinel,
        liquidations_allowed=allowed_by(guard, answers),
    )


def read_accounts(
    pool: Address, reserves: Mapping[Address, Reserve], users: Sequence[Address], block: Block
) -> Inquiry[dict[Address, Account]]:
    """
    Read bitmaps, eModes and every scaled balance of these users.

    A user without any balance is left out, unless a collateral bit or an eMode outlived the
    balances: whoever starts that user empty would be wrong at the next supply.
    """
    if not users:
        return {}
    assets = sorted(reserves)  # as accounts have them
    grid = Grid(_questions(pool, reserves, assets), [abi.word_of(user) for user in users])
    words = calls.first_words(grid, (yield grid))
    by_bit = {reserve.bit: asset for asset, reserve in reserves.items()}
    accounts = _accounts(assets, by_bit, words, len(grid.questions), block)
    found = zip(users, accounts, strict=True)
    return {user: account for user, account in found if not account.is_blank}


def _questions(
    pool: Address, reserves: Mapping[Address, Reserve], assets: Sequence[Address]
) -> list[Call]:
    """Return what is asked about each user: bitmap, eMode, supplies, debts."""
    supplies = [Call(reserves[asset].supply_token, calls.SCALED_BALANCE_OF) for asset in assets]
    debts = [Call(reserves[asset].debt_token, calls.SCALED_BALANCE_OF) for asset in assets]
    bitmap, mode = calls.GET_USER_CONFIGURATION, calls.GET_USER_EMODE
    return [Call(pool, bitmap), Call(pool, mode), *supplies, *debts]


def _accounts(
    assets: Sequence[Address],
    by_bit: Mapping[int, Address],
    words: bytes,
    row: int,
    block: Block,
) -> Iterator[Account]:
    """
    Put accounts together from rows of so many words, which answer `_questions`.

    Most balances are nothing. They are told from the others all at once, and only the others are
    made numbers.
    """
    parts = np.frombuffer(words, np.uint64).reshape(-1, row, WORDS_OF_64)
    filled: NDArray[np.bool_] = np.bitwise_or.reduce(parts, axis=2) != 0
    balances = filled[:, FIRST_BALANCE:]
    rows, columns = np.nonzero(balances)
    legs = [assets[place] for place in (columns % len(assets)).tolist()] if assets else []
    amounts = _numbers(words, rows * row + columns + FIRST_BALANCE)
    terms = np.arange(len(filled)) * row
    collaterals = [bitmap & COLLATERAL_BITS for bitmap in _numbers(words, terms)]
    enabled = {bits: shared(_enabled(bits, by_bit)) for bits in set(collaterals)}
    modes = _numbers(words, terms + 1)
    supplies = balances[:, : len(assets)].sum(axis=1).tolist()
    debts = balances[:, len(assets) :].sum(axis=1).tolist()
    first = 0
    for bits, mode, supplied, owed in zip(collaterals, modes, supplies, debts, strict=True):
        middle = first + supplied
        end = middle + owed
        sides = tuple(legs[first:middle]), tuple(legs[middle:end])
        shape = shape_of(*sides, (), enabled[bits], mode)
        yield tuple.__new__(Account, (shape, block.number, *amounts[first:end]))
        first = end


def _numbers(words: bytes, places: NDArray[np.int64]) -> list[int]:
    """Return the words at these places as numbers."""
    begin = (places * abi.WORD).tolist()
    return [int.from_bytes(words[at : at + abi.WORD], "big") for at in begin]


def _enabled(bits: int, by_bit: Mapping[int, Address]) -> frozenset[Address]:
    """Return the assets of the collateral bits: the upper of the two that each reserve has."""
    enabled = []
    while bits:
        lowest = bits & -bits
        bit = lowest.bit_length() // 2 - 1
        enabled.append(by_bit.get(bit, vacant(bit)))
        bits ^= lowest
    return frozenset(enabled)
