"""Conversations with the singleton: what it is, its markets, and the accounts in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from eth_utils.address import to_checksum_address

from chimera.domain import abi
from chimera.domain.block import ZERO_ADDRESS, Address, Block
from chimera.domain.call import Call, Inquiry, Readings
from chimera.domain.market import Account, Holder, Token
from chimera.domain.numeric import Wad
from chimera.errors import Refuse
from chimera.protocols.morpho_blue import calls
from chimera.protocols.morpho_blue.market import (
    ID_BYTES,
    Id,
    MorphoMarket,
    Quote,
    Terms,
    holder_of,
    irms_of,
    live_in,
    oracles_of,
    parts_of,
    tokens_of,
)
from chimera.protocols.morpho_blue.math import Totals, borrow_rate, utilization_error

ABSENT = Terms(ZERO_ADDRESS, ZERO_ADDRESS, ZERO_ADDRESS, ZERO_ADDRESS, Wad(0))
NOWHERE = Id(bytes(ID_BYTES))
"""Stands before a fee recipient, whose shares in every market come without a log that names it."""


@dataclass(frozen=True, slots=True)
class Records:
    """Markets as the contracts have them at one block; see `MorphoMarket`."""

    terms: Mapping[Id, Terms] = field(default_factory=dict)
    totals: Mapping[Id, Totals] = field(default_factory=dict)
    targets: Mapping[Id, int] = field(default_factory=dict)
    curves: frozenset[Address] = frozenset()
    rates: Mapping[Id, tuple[int, int | None]] = field(default_factory=dict)


def prove(singleton: Address, chosen: AbstractSet[bytes] | None) -> Inquiry[None]:
    """
    Check that the singleton answers as one, and that the chosen markets exist.

    Raises:
        Refuse: It does not, or one of them does not.
    """
    questions = [
        abi.plain(singleton, selector)
        for selector in (calls.OWNER, calls.FEE_RECIPIENT, calls.DOMAIN_SEPARATOR)
    ]
    answers = yield tuple(questions)
    for question in questions:
        calls.required(question, answers[question], 1)
    markets = [Id(market) for market in sorted(chosen or ())]
    _all_there(singleton, markets, (yield from _terms(singleton, markets)))


def _all_there(singleton: Address, markets: Sequence[Id], found: Mapping[Id, Terms]) -> None:
    for market in markets:
        if market not in found:
            raise Refuse(f"{to_checksum_address(singleton)} has no market 0x{market.hex()}")


def _terms(singleton: Address, markets: Sequence[Id]) -> Inquiry[dict[Id, Terms]]:
    """
    Read the terms of these markets; those that do not exist are left out.

    Raises:
        Refuse: Terms have another hash than their id: this is not the singleton.
    """
    questions = {m: calls.of_market(singleton, calls.ID_TO_MARKET_PARAMS, m) for m in markets}
    answers = (yield tuple(questions.values())) if questions else {}
    found = {
        market: calls.terms(calls.required(question, answers[question], 5))
        for market, question in questions.items()
    }
    there = {market: terms for market, terms in found.items() if terms != ABSENT}
    for market, terms in there.items():
        if terms.id != market:
            raise Refuse(
                f"{to_checksum_address(singleton)} is no Morpho Blue: what it has under "
                f"0x{market.hex()} has another id"
            )
    return there


def read_market(
    singleton: Address, chosen: frozenset[bytes] | None, block: Block
) -> Inquiry[MorphoMarket]:
    """Read the fee recipient and the chosen markets, none where all are followed."""
    question = abi.plain(singleton, calls.FEE_RECIPIENT)
    answers = yield (question,)
    (recipient,) = calls.required(question, answers[question], 1)
    empty = MorphoMarket(singleton, chosen, abi.as_address(recipient))
    markets = [Id(market) for market in sorted(chosen or ())]
    market = yield from widened(empty, markets, block)
    _all_there(singleton, markets, market.terms)
    return market


def read_rest(
    market: MorphoMarket, holders: Iterable[Holder], block: Block
) -> Inquiry[MorphoMarket]:
    """Read the markets of these holders, as far as they are followed and not yet known."""
    ids = {parts_of(holder)[0] for holder in holders} - market.terms.keys() - {NOWHERE}
    return (yield from widened(market, sorted(i for i in ids if market.follows(i)), block))


def widened(market: MorphoMarket, ids: Sequence[Id], block: Block) -> Inquiry[MorphoMarket]:
    """Return the market with these markets, their prices and tokens."""
    if not ids:
        return market
    found = yield from read_records(market.singleton, ids, block, market.curves)
    wider = joined(market, found)
    quotes, tokens = yield from read_prices(wider, wider.live)
    return replace(wider, quotes={**market.quotes, **quotes}, tokens={**market.tokens, **tokens})


def joined(market: MorphoMarket, found: Records) -> MorphoMarket:
    """Return the market with these records, without their prices."""
    if not found.terms:
        return market
    totals = {**market.totals, **found.totals}
    return replace(
        market,
        terms={**market.terms, **found.terms},
        irms=market.irms | irms_of(found.terms.values()),
        totals=totals,
        targets={**market.targets, **found.targets},
        curves=market.curves | found.curves,
        rates={**market.rates, **found.rates},
        live=live_in(totals),
    )


def read_records(
    singleton: Address, ids: Sequence[Id], block: Block, curves: frozenset[Address]
) -> Inquiry[Records]:
    """Read markets, and find out of which kind their IRMs are; absent ones are left out."""
    terms = yield from _terms(singleton, ids)
    questions = {market: calls.of_market(singleton, calls.MARKET, market) for market in terms}
    answers = (yield tuple(questions.values())) if questions else {}
    totals = {
        market: _timed(terms[market], calls.totals(calls.required(call, answers[call], 6)))
        for market, call in questions.items()
    }
    governed = {market: each for market, each in terms.items() if each.irm != ZERO_ADDRESS}
    targets = yield from _targets(governed)
    likely = yield from _likely_curves(singleton, governed, targets, curves)
    rates = yield from _rates(
        {m: each for m, each in governed.items() if each.irm not in curves}, totals
    )
    fresh = likely - curves
    for market, rate in rates.items():
        if rate != _expected(totals[market], targets[market], block.timestamp):
            fresh -= {governed[market].irm}
    proven = curves | fresh
    return Records(
        terms,
        totals,
        {m: t for m, t in targets.items() if t is not None and terms[m].irm in proven},
        proven,
        {m: (block.timestamp, r) for m, r in rates.items() if terms[m].irm not in proven},
    )


def _timed(terms: Terms, totals: Totals) -> Totals:
    """Return the totals; without an IRM their time moves unlogged and matters to nobody."""
    return replace(totals, updated=0) if terms.irm == ZERO_ADDRESS else totals


def _targets(governed: Mapping[Id, Terms]) -> Inquiry[dict[Id, int | None]]:
    questions = {
        market: calls.of_market(terms.irm, calls.RATE_AT_TARGET, market)
        for market, terms in governed.items()
    }
    answers = (yield tuple(questions.values())) if questions else {}
    return {market: abi.number(answers[call]) for market, call in questions.items()}


def _likely_curves(
    singleton: Address,
    governed: Mapping[Id, Terms],
    targets: Mapping[Id, int | None],
    curves: frozenset[Address],
) -> Inquiry[frozenset[Address]]:
    """Return the IRMs that name the singleton and keep a rate at target for every market."""
    irms = {terms.irm for terms in governed.values()} - curves
    questions = {irm: abi.plain(irm, calls.MORPHO) for irm in sorted(irms)}
    answers = (yield tuple(questions.values())) if questions else {}
    named = {irm for irm, call in questions.items() if names(abi.number(answers[call]), singleton)}
    silent = {governed[market].irm for market, target in targets.items() if target is None}
    return (curves | named) - silent


def names(word: int | None, singleton: Address) -> bool:
    """Tell whether the answer to `MORPHO()` is the singleton."""
    return word == int.from_bytes(singleton, "big")


def _rates(
    governed: Mapping[Id, Terms], totals: Mapping[Id, Totals]
) -> Inquiry[dict[Id, int | None]]:
    questions = {m: calls.rate_view(terms, totals[m]) for m, terms in governed.items()}
    answers = (yield tuple(questions.values())) if questions else {}
    return {market: abi.number(answers[call]) for market, call in questions.items()}


def _expected(totals: Totals, target: int | None, timestamp: int) -> int | None:
    """Return what AdaptiveCurveIrm would answer as its rate; None without a rate at target."""
    if target is None:
        return None
    error = utilization_error(totals.supply_assets, totals.borrow_assets)
    return borrow_rate(target, error, timestamp - totals.updated)[0]


def read_prices(
    market: MorphoMarket, ids: Iterable[Id]
) -> Inquiry[tuple[dict[Address, Quote], dict[Address, Token]]]:
    """Ask for prices and tokens of these markets that are not known yet, each with bounds."""
    ids = tuple(ids)
    oracles = [o for o in oracles_of(market.terms, ids) if o not in market.quotes]
    names_of = [t for t in tokens_of(market.terms, ids) if t not in market.tokens]
    questions: list[Call] = [calls.wary_price(oracle) for oracle in oracles]
    questions += [call for token in names_of for call in token_calls(token)]
    answers: Readings = (yield tuple(questions)) if questions else {}
    quotes = {oracle: calls.quote(answers[calls.wary_price(oracle)]) for oracle in oracles}
    return quotes, {token: token_in(token, answers) for token in names_of}


def token_calls(token: Address) -> tuple[Call, ...]:
    """Ask a token for its symbol and its decimals."""
    return calls.wary(token, calls.SYMBOL), calls.wary(token, calls.DECIMALS)


def token_in(token: Address, readings: Readings) -> Token:
    """Return what the answers to `token_calls` say."""
    symbol, decimals = (readings[call] for call in token_calls(token))
    return calls.token(token, symbol, decimals)


def read_accounts(
    market: MorphoMarket, holders: Sequence[Holder], block: Block
) -> Inquiry[dict[Holder, Account]]:
    """
    Read the positions of these holders; those without any balance are left out.

    A fee recipient stands for its position in every market that is known, see `NOWHERE`.
    """
    asked = dict.fromkeys(each for holder in holders for each in _places(market, holder))
    questions = {holder: calls.position(market.singleton, *parts_of(holder)) for holder in asked}
    answers = (yield tuple(questions.values())) if questions else {}
    found = {
        holder: _account(parts_of(holder)[0], calls.required(call, answers[call], 3), block)
        for holder, call in questions.items()
    }
    return {
        holder: account
        for holder, account in found.items()
        if account.supplied or account.owed or account.marks
    }


def _places(market: MorphoMarket, holder: Holder) -> Iterable[Holder]:
    where, user = parts_of(holder)
    if where == NOWHERE:
        return (holder_of(known, user) for known in market.terms)
    return (holder,)


def _account(market: Id, found: Sequence[int], block: Block) -> Account:
    lent, owed, collateral = found[:3]
    return Account(
        supplied={market: collateral} if collateral else {},
        owed={market: owed} if owed else {},
        updated_block=block.number,
        marks={market: lent} if lent else {},
    )
