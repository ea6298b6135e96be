"""Conversations with the chain: prove a Comet, read all of it, read accounts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from eth_utils.address import to_checksum_address

from chimera.domain import abi
from chimera.domain.block import Address, Block
from chimera.domain.call import Call, Inquiry, Readings
from chimera.domain.market import Account
from chimera.errors import Refuse, Skip
from chimera.protocols.compound_v3 import calls
from chimera.protocols.compound_v3.market import Base, Collateral, CometMarket, Terms
from chimera.protocols.compound_v3.math import (
    FACTOR_SCALE,
    INDEX_SCALE,
    PRICE_DECIMALS,
    Curve,
    Totals,
    accrued,
    present_value,
)

MOST_ASSETS = 24  # that two bitmaps of 16 and 8 bits can name

# What every Comet answers to these; our arithmetic is written for it.
CONSTANTS = {
    calls.BASE_INDEX_SCALE: INDEX_SCALE,
    calls.FACTOR_SCALE: FACTOR_SCALE,
    calls.PRICE_SCALE: 10**PRICE_DECIMALS,
}
SUPPLY_CURVE = (
    calls.SUPPLY_KINK,
    calls.SUPPLY_PER_SECOND_INTEREST_RATE_SLOPE_LOW,
    calls.SUPPLY_PER_SECOND_INTEREST_RATE_SLOPE_HIGH,
    calls.SUPPLY_PER_SECOND_INTEREST_RATE_BASE,
)
BORROW_CURVE = (
    calls.BORROW_KINK,
    calls.BORROW_PER_SECOND_INTEREST_RATE_SLOPE_LOW,
    calls.BORROW_PER_SECOND_INTEREST_RATE_SLOPE_HIGH,
    calls.BORROW_PER_SECOND_INTEREST_RATE_BASE,
)
GETTERS = (
    *(calls.BASE_TOKEN, calls.BASE_TOKEN_PRICE_FEED, calls.BASE_SCALE, calls.NUM_ASSETS),
    *(calls.STORE_FRONT_PRICE_FACTOR, calls.TARGET_RESERVES),
    *(*SUPPLY_CURVE, *BORROW_CURVE, *CONSTANTS),
)


# --- terms ---------------------------------------------------------------------------------------


def prove(comet: Address) -> Inquiry[None]:
    """Check that `comet` is a market that is supported, or Refuse."""
    yield from read_terms(comet)
    question = abi.plain(comet, calls.TOTALS_BASIC)
    answers = yield (question,)
    calls.totals_in(question, answers[question])


def read_terms(comet: Address) -> Inquiry[Terms]:
    """
    Read the configuration, which stands in the code behind the proxy.

    Raises:
        Refuse: It is not that of a Comet that is supported.
    """
    questions = {selector: abi.plain(comet, selector) for selector in GETTERS}
    answers = yield tuple(questions.values())
    found = {s: calls.required(call, answers[call])[0] for s, call in questions.items()}
    for selector, expected in CONSTANTS.items():
        if found[selector] != expected:
            raise _not_supported(
                comet, f"0x{selector.hex()} answers {found[selector]}, not {expected}"
            )
    token, feed = (
        abi.as_address(found[selector])
        for selector in (calls.BASE_TOKEN, calls.BASE_TOKEN_PRICE_FEED)
    )
    infos = yield from _assets(comet, found[calls.NUM_ASSETS])
    symbols, quoted = yield from _names([token, *(info.asset for info in infos)], feed)
    if found[calls.BASE_SCALE] == 0:
        raise _not_supported(comet, "its base token has no scale")
    return Terms(
        base=Base(token, symbols[token], feed, found[calls.BASE_SCALE]),
        currency=quoted or f"quote of {symbols[token]}",
        collaterals={info.asset: info.named(symbols[info.asset]) for info in infos},
        supply=Curve(*(found[selector] for selector in SUPPLY_CURVE)),
        borrow=Curve(*(found[selector] for selector in BORROW_CURVE)),
        store_front=found[calls.STORE_FRONT_PRICE_FACTOR],
        target_reserves=found[calls.TARGET_RESERVES],
    )


def _not_supported(comet: Address, why: str) -> Refuse:
    return Refuse(f"{to_checksum_address(comet)} is no Comet that is supported: {why}")


def _assets(comet: Address, count: int) -> Inquiry[list[Collateral]]:
    if count > MOST_ASSETS:
        raise _not_supported(comet, f"it has {count} assets, more than {MOST_ASSETS}")
    questions = [abi.of_number(comet, calls.GET_ASSET_INFO, place) for place in range(count)]
    answers = (yield tuple(questions)) if questions else {}
    found = []
    for place, question in enumerate(questions):
        info = calls.required(question, answers[question], calls.ASSET_INFO_WORDS)
        offset, asset, feed, scale, _, liquidate, liquidation, _ = info[: calls.ASSET_INFO_WORDS]
        if offset != place or scale == 0:
            raise _not_supported(comet, f"asset {place} has offset {offset} and scale {scale}")
        token = abi.as_address(asset)
        found.append(
            Collateral(token, "", offset, abi.as_address(feed), scale, liquidate, liquidation)
        )
    if len({collateral.asset for collateral in found}) != count:
        raise _not_supported(comet, "it names an asset twice")
    return found


def _names(tokens: Sequence[Address], feed: Address) -> Inquiry[tuple[dict[Address, str], str]]:
    """Ask for symbols, and for the second half of the feed's description ("ETH / USD")."""
    questions = {token: abi.plain(token, calls.SYMBOL) for token in tokens}
    described = abi.plain(feed, calls.DESCRIPTION)
    answers = yield (*questions.values(), described)
    symbols = {token: abi.symbol(answers[call], token) for token, call in questions.items()}
    _, _, quoted = abi.text(answers[described]).partition(" / ")
    return symbols, quoted


# --- market --------------------------------------------------------------------------------------


def read_market(comet: Address, block: Block) -> Inquiry[CometMarket]:
    """Read terms, totals and prices at `block`, and check that interest accrues as we think."""
    terms = yield from read_terms(comet)
    totals = yield from prove_interest(comet, terms, block.timestamp)
    sold = yield from collateral_totals(comet, terms.collaterals)
    questions = poll_calls(comet, terms)
    answers = yield questions
    return CometMarket(
        comet=comet,
        terms=terms,
        totals=totals,
        collateral_totals=sold,
        prices=prices_in(comet, terms, answers),
        cash=cash_in(comet, terms, answers),
    )


def prove_interest(comet: Address, terms: Terms, timestamp: int) -> Inquiry[Totals]:
    """
    Read the totals, and compare what the contract says they have accrued to with ours.

    Code that nobody knows may answer every getter and still reckon otherwise.

    Raises:
        Refuse: It does.
    """
    basic, supply, borrow = (
        abi.plain(comet, selector)
        for selector in (calls.TOTALS_BASIC, calls.TOTAL_SUPPLY, calls.TOTAL_BORROW)
    )
    answers = yield (basic, supply, borrow)
    totals = calls.totals_in(basic, answers[basic])
    theirs = (abi.number(answers[supply]), abi.number(answers[borrow]))
    ours = _accrued_totals(terms, totals, timestamp)
    if theirs != ours:
        raise _not_supported(
            comet, f"supply and debt accrue to {theirs[0]} and {theirs[1]}, by us {ours}"
        )
    return totals


def _accrued_totals(
    terms: Terms, totals: Totals, timestamp: int
) -> tuple[int, int] | tuple[None, None]:
    try:
        indexes = accrued(totals, terms.supply, terms.borrow, timestamp)
    except Skip:
        return None, None
    return present_value(totals.supply, indexes), -present_value(-totals.borrow, indexes)


def collateral_totals(comet: Address, assets: Iterable[Address]) -> Inquiry[dict[Address, int]]:
    """Read how much of each collateral all accounts hold together."""
    questions = {asset: abi.of_address(comet, calls.TOTALS_COLLATERAL, asset) for asset in assets}
    answers = (yield tuple(questions.values())) if questions else {}
    return {a: calls.required(call, answers[call])[0] for a, call in questions.items()}


# --- every block ---------------------------------------------------------------------------------


@lru_cache(maxsize=64)  # the same ones go out at every block
def _poll_calls(comet: Address, token: Address, feeds: tuple[Address, ...]) -> tuple[Call, ...]:
    prices = (abi.of_address(comet, calls.GET_PRICE, feed) for feed in feeds)
    cash = abi.of_address(token, calls.BALANCE_OF, comet)
    return (abi.plain(comet, calls.TOTALS_BASIC), cash, *prices)


def poll_calls(comet: Address, terms: Terms) -> tuple[Call, ...]:
    """Ask for totals, cash and one price per feed, so that a dead one hurts only its holders."""
    return _poll_calls(comet, terms.base.token, terms.feeds)


def totals_in(comet: Address, readings: Readings) -> Totals:
    """Take the totals from the readings. Raises Refuse."""
    question = abi.plain(comet, calls.TOTALS_BASIC)
    return calls.totals_in(question, readings[question])


def cash_in(comet: Address, terms: Terms, readings: Readings) -> int:
    """Take the proxy's balance of the base token from the readings. Raises Refuse."""
    question = abi.of_address(terms.base.token, calls.BALANCE_OF, comet)
    return calls.required(question, readings[question])[0]


def prices_in(comet: Address, terms: Terms, readings: Readings) -> dict[Address, int | None]:
    """Take the prices from the readings, by token; None where Comet's `getPrice` reverts."""
    by_feed = {
        feed: abi.number(readings[abi.of_address(comet, calls.GET_PRICE, feed)])
        for feed in terms.feeds
    }
    of_collaterals = {asset: by_feed[one.feed] for asset, one in terms.collaterals.items()}
    return {**of_collaterals, terms.base.token: by_feed[terms.base.feed]}


# --- accounts ------------------------------------------------------------------------------------


def read_accounts(
    comet: Address, terms: Terms, users: Sequence[Address], block: Block
) -> Inquiry[dict[Address, Account]]:
    """Read principal and bitmaps, then the collaterals in them; who has nothing is left out."""
    basics = {user: calls.user_basic(comet, user) for user in users}
    answers = (yield tuple(basics.values())) if basics else {}
    found = {user: calls.user_basic_in(call, answers[call]) for user, call in basics.items()}
    held = {
        (user, asset): abi.of_address(comet, calls.USER_COLLATERAL, user, asset)
        for user, basic in found.items()
        for asset in assets_in(terms, basic.bits)
    }
    answers = (yield tuple(held.values())) if held else {}
    balances: dict[Address, dict[Address, int]] = {}
    for (user, asset), call in held.items():
        balances.setdefault(user, {})[asset] = calls.required(call, answers[call])[0]
    return {
        user: account_of(terms, basic.principal, balances.get(user, {}), block)
        for user, basic in found.items()
        if basic.principal or basic.bits
    }


def assets_in(terms: Terms, bits: int) -> list[Address]:
    """Return the collaterals that a bitmap names."""
    return [asset for asset, one in terms.collaterals.items() if bits >> one.offset & 1]


def account_of(
    terms: Terms, principal: int, balances: Mapping[Address, int], block: Block
) -> Account:
    """Return an account with this signed principal; what it holds counts as collateral."""
    supplied = {asset: balance for asset, balance in balances.items() if balance}
    token = terms.base.token
    if principal > 0:
        supplied[token] = principal
    return Account(
        supplied=supplied,
        owed={token: -principal} if principal < 0 else {},
        enabled=frozenset(balances),
        updated_block=block.number,
    )
