"""Conversations with a comptroller: its markets, and all that accounts hold in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from eth_utils.address import to_checksum_address

from chimera.domain import abi
from chimera.domain.block import ZERO_ADDRESS, Address, Block
from chimera.domain.call import Answer, Call, Inquiry, Readings
from chimera.domain.numeric import MAX_UINT256
from chimera.errors import Refuse, Skip
from chimera.protocols.compound_v2 import calls, math
from chimera.protocols.compound_v2.dialect import COMPOUND, MOONWELL, VENUS, Dialect
from chimera.protocols.compound_v2.layout import layouts
from chimera.protocols.compound_v2.market import NATIVE, CompoundMarket, Listing
from chimera.protocols.compound_v2.math import RateModel, State
from chimera.protocols.compound_v2.pools import (
    INCENTIVE_WORD,
    TERM_WORDS,
    THRESHOLD_WORD,
    Pool,
)
from chimera.protocols.compound_v2.pools import read as read_pools

NATIVE_DECIMALS = 18
MOST_DECIMALS = 78  # no amount of a contract has as many digits

Fresh = tuple[Listing, State]
"""A market as it was read at one block: terms and figures."""


@dataclass(frozen=True, slots=True)
class Doors:
    """What the comptroller names."""

    oracle: Address
    close_factor: int
    mtokens: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """What counts for all its markets."""

    incentive: int  # 0 where every market has its own
    is_paused: bool
    pools: Mapping[int, Pool] = field(default_factory=dict)


def doors(comptroller: Address) -> Inquiry[Doors]:
    """
    Ask a comptroller for its oracle and its markets.

    Raises:
        Refuse: It is none, or lists nothing.
    """
    oracle = abi.plain(comptroller, calls.ORACLE)
    everything = abi.plain(comptroller, calls.GET_ALL_MARKETS)
    close = abi.plain(comptroller, calls.CLOSE_FACTOR_MANTISSA)
    answers = yield (oracle, everything, close)
    found = abi.as_address(abi.number(answers[oracle]) or 0)
    mtokens = abi.addresses(answers[everything])
    if found == ZERO_ADDRESS or not mtokens:
        raise Refuse(
            f"{to_checksum_address(comptroller)} is no Compound v2 comptroller: "
            "it names no price oracle or no markets"
        )
    return Doors(found, calls.required(close, answers[close]), tuple(mtokens))


def detect(comptroller: Address, mtoken: Address) -> Inquiry[Dialect]:
    """
    Find out which member of the family this is, by one of its markets.

    Raises:
        Refuse: It is none of them.
    """
    seconds = abi.plain(mtoken, calls.ACCRUAL_BLOCK_TIMESTAMP)
    answers = yield (seconds,)
    if abi.number(answers[seconds]) is not None:
        return MOONWELL
    blocks = abi.plain(mtoken, calls.ACCRUAL_BLOCK_NUMBER)
    terms = abi.of_address(comptroller, calls.MARKETS, mtoken)
    answers = yield (blocks, terms)
    calls.required(blocks, answers[blocks])
    return VENUS if len(abi.words(answers[terms])) >= TERM_WORDS else COMPOUND


def settings(comptroller: Address, dialect: Dialect) -> Inquiry[Settings]:
    """
    Read what counts for all markets.

    Raises:
        Refuse: There are debts that no log of the markets tells: VAI.
    """
    if not dialect.has_thresholds:
        incentive = abi.plain(comptroller, calls.LIQUIDATION_INCENTIVE_MANTISSA)
        paused = abi.plain(comptroller, calls.SEIZE_GUARDIAN_PAUSED)
        answers = yield (incentive, paused)
        told = calls.required(incentive, answers[incentive])
        return Settings(told, bool(abi.number(answers[paused])))
    paused = abi.plain(comptroller, calls.PROTOCOL_PAUSED)
    vai = abi.plain(comptroller, calls.VAI_CONTROLLER)
    answers = yield (paused, vai)
    if abi.number(answers[vai]):
        raise Refuse("this comptroller counts debts in VAI, which are not supported")
    pools = yield from read_pools(comptroller)
    return Settings(0, bool(abi.number(answers[paused])), pools)


# --- markets -------------------------------------------------------------------------------------


def _term_calls(comptroller: Address, dialect: Dialect, mtoken: Address) -> list[Call]:
    found = [
        abi.of_address(comptroller, calls.MARKETS, mtoken),
        abi.plain(mtoken, calls.UNDERLYING),
        abi.plain(mtoken, calls.RESERVE_FACTOR_MANTISSA),
        abi.plain(mtoken, calls.PROTOCOL_SEIZE_SHARE_MANTISSA),
        abi.plain(mtoken, calls.INTEREST_RATE_MODEL),
    ]
    if dialect.may_deprecate:
        found.append(abi.of_address(comptroller, calls.IS_DEPRECATED, mtoken))
    if dialect.has_thresholds:
        found.append(abi.of_address(comptroller, calls.IS_FORCED_LIQUIDATION_ENABLED, mtoken))
        found += [
            calls.of_market_action(comptroller, calls.ACTION_PAUSED, mtoken, action)
            for action in (calls.SEIZE, calls.LIQUIDATE)
        ]
    return found


def first_question(comptroller: Address, mtoken: Address) -> Call:
    """Return the first call about a market: once it is answered, the market has been asked for."""
    return abi.of_address(comptroller, calls.MARKETS, mtoken)


def listings(
    comptroller: Address, dialect: Dialect, mtokens: Sequence[Address], incentive: int
) -> Inquiry[dict[Address, Listing]]:
    """
    Read the terms of these markets; their rate models still have to be proved.

    Args:
        comptroller: Its proxy.
        dialect: Which member of the family it is.
        mtokens: The markets.
        incentive: The comptroller's liquidation incentive.

    Raises:
        Refuse: One of them is no market of this family.
    """
    questions = {mtoken: _term_calls(comptroller, dialect, mtoken) for mtoken in mtokens}
    answers = yield tuple(call for each in questions.values() for call in each)
    found = {}
    for mtoken, (terms, underlying, factor, share, model, *flags) in questions.items():
        told = abi.words(answers[terms]) + [0] * TERM_WORDS
        token = abi.number(answers[underlying])
        forced, *paused = [bool(abi.number(answers[flag])) for flag in flags] or [False]
        seizing, liquidating = paused or (False, False)
        found[mtoken] = Listing(
            mtoken=mtoken,
            underlying=NATIVE if token is None else abi.as_address(token),
            symbol="",
            decimals=NATIVE_DECIMALS,
            is_listed=bool(told[0]),
            factor=told[THRESHOLD_WORD] if dialect.has_thresholds else told[1],
            incentive=told[INCENTIVE_WORD] if dialect.has_thresholds else incentive,
            reserve_factor=calls.required(factor, answers[factor]),
            seize_share=abi.number(answers[share]) or 0,
            model=abi.as_address(calls.required(model, answers[model])),
            rates=None,
            is_seize_paused=seizing,
            is_liquidation_paused=liquidating,
            is_forced=forced,
        )
    return (yield from _named(dialect, found))


def _named(dialect: Dialect, found: Mapping[Address, Listing]) -> Inquiry[dict[Address, Listing]]:
    """Add names, decimals and rate models. Old tokens may have neither of the first two."""
    questions = {
        mtoken: (
            abi.plain(_named_by(listing), calls.SYMBOL),
            abi.plain(_named_by(listing), calls.DECIMALS),
            *_model_calls(dialect, listing.model),
        )
        for mtoken, listing in found.items()
    }
    answers = yield tuple(dict.fromkeys(call for each in questions.values() for call in each))
    named = {}
    for mtoken, (symbol, decimals, *parts) in questions.items():
        listing = found[mtoken]
        is_native = listing.underlying == NATIVE
        name = abi.symbol(answers[symbol], _named_by(listing))
        named[mtoken] = replace(
            listing,
            symbol=name[1:] if is_native and not name.startswith("0x") else name,  # cETH, vBNB
            # Without decimals an amount is shown as it is: in the smallest unit.
            decimals=NATIVE_DECIMALS if is_native else _decimals(answers[decimals]),
            rates=_model([abi.number(answers[part]) for part in parts]),
        )
    return named


def _named_by(listing: Listing) -> Address:
    return listing.mtoken if listing.underlying == NATIVE else listing.underlying


def _model_calls(dialect: Dialect, model: Address) -> list[Call]:
    getters = (
        (
            calls.BASE_RATE_PER_TIMESTAMP,
            calls.MULTIPLIER_PER_TIMESTAMP,
            calls.JUMP_MULTIPLIER_PER_TIMESTAMP,
        )
        if dialect.by_timestamp
        else (
            calls.BASE_RATE_PER_BLOCK,
            calls.MULTIPLIER_PER_BLOCK,
            calls.JUMP_MULTIPLIER_PER_BLOCK,
        )
    )
    return [abi.plain(model, getter) for getter in (*getters, calls.KINK)]


def _model(parts: Sequence[int | None]) -> RateModel | None:
    """Return the model of these getters: with one kink, without any, or None for another kind."""
    base, multiplier, jump, kink = parts
    if base is None or multiplier is None or (jump is None) != (kink is None):
        return None
    if jump is None or kink is None:
        return RateModel(base, multiplier, 0, MAX_UINT256)
    return RateModel(base, multiplier, jump, kink)


def rate_call(dialect: Dialect, mtoken: Address) -> Call:
    """Return the call of the borrow rate that the next accrual uses."""
    by_time = dialect.by_timestamp
    getter = calls.BORROW_RATE_PER_TIMESTAMP if by_time else calls.BORROW_RATE_PER_BLOCK
    return abi.plain(mtoken, getter)


def _state_calls(dialect: Dialect, mtoken: Address) -> list[Call]:
    getters = (
        calls.GET_CASH,
        calls.TOTAL_BORROWS,
        calls.TOTAL_RESERVES,
        calls.TOTAL_SUPPLY,
        calls.BORROW_INDEX,
        calls.ACCRUAL_BLOCK_TIMESTAMP if dialect.by_timestamp else calls.ACCRUAL_BLOCK_NUMBER,
    )
    return [abi.plain(mtoken, getter) for getter in getters]


def fresh(
    comptroller: Address, dialect: Dialect, mtokens: Sequence[Address], incentive: int
) -> Inquiry[dict[Address, Fresh]]:
    """Read terms and figures of these markets; a rate model that computes otherwise is dropped."""
    terms = yield from listings(comptroller, dialect, mtokens, incentive)
    questions = {mtoken: _state_calls(dialect, mtoken) for mtoken in mtokens}
    rates = {mtoken: rate_call(dialect, mtoken) for mtoken in mtokens}
    answers = yield (*(call for each in questions.values() for call in each), *rates.values())
    states = {
        mtoken: State(
            abi.number(answers[cash]),  # None: the underlying does not tell
            *(calls.required(call, answers[call]) for call in others),
        )
        for mtoken, (cash, *others) in questions.items()
    }
    slots = yield from layouts(states)
    return {
        mtoken: (
            replace(
                terms[mtoken],
                rates=_proved(terms[mtoken].rates, state, abi.number(answers[rates[mtoken]])),
                slot=slots[mtoken],
            ),
            state,
        )
        for mtoken, state in states.items()
    }


def _proved(model: RateModel | None, state: State, told: int | None) -> RateModel | None:
    """
    Return the model if it computes what the market itself answers.

    A market that does not know its cash answers nothing: its rate is polled from then on.
    """
    if model is None or state.cash is None:
        return None
    try:
        ours = math.borrow_rate(model, state.cash, state.borrows, state.reserves)
    except Skip:
        return model if told is None else None
    return model if ours == told else None


# --- what changes at every block -----------------------------------------------------------------


@lru_cache(maxsize=64)  # the same ones go out at every block
def price_calls(oracle: Address, mtokens: tuple[Address, ...]) -> tuple[Call, ...]:
    """Return one call for each price, so that a dead feed hurts only those in its market."""
    return tuple(abi.of_address(oracle, calls.GET_UNDERLYING_PRICE, m) for m in mtokens)


@lru_cache(maxsize=64)
def cash_calls(mtokens: tuple[Address, ...]) -> tuple[Call, ...]:
    """Return one call for the cash of each market."""
    return tuple(abi.plain(mtoken, calls.GET_CASH) for mtoken in mtokens)


def rate_calls(dialect: Dialect, terms: Mapping[Address, Listing]) -> tuple[Call, ...]:
    """Return one call for the rate of each market whose model is not understood."""
    return tuple(rate_call(dialect, m) for m, listing in terms.items() if listing.rates is None)


def prices_in(
    oracle: Address, mtokens: tuple[Address, ...], readings: Readings
) -> dict[Address, int | None]:
    """Take the prices from the readings; None where the oracle reverts."""
    answers = (abi.number(readings[call]) for call in price_calls(oracle, mtokens))
    return dict(zip(mtokens, answers, strict=True))


def rates_in(
    dialect: Dialect, terms: Mapping[Address, Listing], readings: Readings
) -> dict[Address, int | None]:
    """Take the polled rates from the readings; None where the model reverts."""
    return {
        mtoken: abi.number(readings[rate_call(dialect, mtoken)])
        for mtoken, listing in terms.items()
        if listing.rates is None
    }


# --- everything ----------------------------------------------------------------------------------


def prove(comptroller: Address) -> Inquiry[None]:
    """Check that `comptroller` is one that is supported, or Refuse."""
    found = yield from doors(comptroller)
    dialect = yield from detect(comptroller, found.mtokens[0])
    told = yield from settings(comptroller, dialect)
    yield from listings(comptroller, dialect, found.mtokens, told.incentive)


def read_market(comptroller: Address, block: Block) -> Inquiry[CompoundMarket]:
    """Read all markets as they stand at the pinned block."""
    found = yield from doors(comptroller)
    dialect = yield from detect(comptroller, found.mtokens[0])
    told = yield from settings(comptroller, dialect)
    markets = yield from fresh(comptroller, dialect, found.mtokens, told.incentive)
    terms = {mtoken: listing for mtoken, (listing, _) in markets.items()}
    polled = rate_calls(dialect, terms)
    answers = yield (*price_calls(found.oracle, found.mtokens), *polled)
    return CompoundMarket(
        dialect=dialect,
        comptroller=comptroller,
        oracle=found.oracle,
        close_factor=found.close_factor,
        incentive=told.incentive,
        is_paused=told.is_paused,
        block_number=block.number,
        listings=terms,
        states={mtoken: state for mtoken, (_, state) in markets.items()},
        prices=prices_in(found.oracle, found.mtokens, answers),
        rates=rates_in(dialect, terms, answers),
        pools=told.pools,
    )


def _decimals(answer: Answer) -> int:
    """Return a token's decimals; 0 for none, and for more than an amount has digits."""
    told = abi.number(answer) or 0
    return told if told < MOST_DECIMALS else 0
