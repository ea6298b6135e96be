"""What the logs of a block leave open, asked of the chain before the block is applied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from chimera.domain import abi
from chimera.domain.block import ZERO_ADDRESS, Address, Block, Log
from chimera.domain.call import Call, Inquiry
from chimera.domain.market import Account, Holder
from chimera.ports import Accounts
from chimera.protocols.morpho_blue import calls, events, reading, shapes
from chimera.protocols.morpho_blue.market import (
    NOT_ASKED,
    OUT_OF_TURN,
    Id,
    MorphoMarket,
    PreLiquidation,
    Quote,
    Terms,
    irms_of,
    oracles_of,
    parts_of,
    tokens_of,
)

MOST = 20  # strange contracts of one kind that are asked in one block
MOST_MENDED = 10  # of them, oracles that answer again
MOST_CONTRACTS = 20  # recognised pre-liquidation contracts of one market


@dataclass(frozen=True, slots=True)
class Extras:
    """
    Answers from the end of a block that its logs alone do not give.

    Attributes:
        records: Markets that somebody entered and that the mirror did not know.
        created: Terms of the markets that were made in this block.
        curves: IRMs of created markets that are AdaptiveCurveIrm.
        accounts: Holders whom the book does not follow and who are in it from this block on.
        contracts: What newly authorised contracts are; None for no pre-liquidation contract.
    """

    records: reading.Records = field(default_factory=reading.Records)
    created: Mapping[Id, Terms] = field(default_factory=dict)
    curves: frozenset[Address] = frozenset()
    accounts: Mapping[Holder, Account] = field(default_factory=dict)
    contracts: Mapping[Address, PreLiquidation | None] = field(default_factory=dict)


def heard(market: MorphoMarket, logs: Iterable[Log]) -> list[Log]:
    """Return the logs that are ours: several protocols share one feed."""
    ours = market.emitters
    return [
        log
        for log in logs
        if log.topics
        and log.topics[0] in shapes.SHAPES
        # A rate may be told by the IRM of a market that is made in this block.
        and (log.address in ours or log.topics[0] == events.BORROW_RATE_UPDATE)
    ]


def unheard_irms(market: MorphoMarket, logs: Iterable[Log]) -> frozenset[Address]:
    """Return the IRMs of markets made in `logs` whose own logs may not be among them yet."""
    return irms_of(created_in(market, heard(market, logs)).values()) - market.irms


def extras(
    market: MorphoMarket, accounts: Accounts, block: Block, logs: Sequence[Log]
) -> Inquiry[Extras]:
    """
    Ask for everything that `logs` leave open, most often for nothing.

    Raises:
        Rebuild: A log does not decode.
    """
    ours = heard(market, logs)
    if not ours:
        return Extras()
    shapes.check(ours)
    created = created_in(market, ours)
    entered = _entered(market, accounts, created, ours)
    records = yield from _records(market, block, entered)
    curves = yield from _new_curves(market, block, created)
    wider = reading.joined(market, records)
    yield from _prices(wider, created, ours)
    newcomers = _newcomers(accounts, entered, ours)
    read = yield from reading.read_accounts(market, newcomers, block)
    empty = Account(updated_block=block.number)
    contracts = yield from _contracts(market, ours)
    return Extras(
        records,
        created,
        curves,
        {holder: read.get(holder, empty) for holder in newcomers},
        contracts,
    )


# --- markets -------------------------------------------------------------------------------------


def created_in(market: MorphoMarket, logs: Iterable[Log]) -> dict[Id, Terms]:
    """Return the followed markets that were made in these logs."""
    return {
        events.market_in(log): events.terms_in(log)
        for log in logs
        if log.topics[0] == events.CREATE_MARKET and market.follows(events.market_in(log))
    }


def _entered(
    market: MorphoMarket, accounts: Accounts, created: Mapping[Id, Terms], logs: Iterable[Log]
) -> list[Id]:
    """Return the markets that the mirror does not know and that somebody entered."""
    doors = events.ARRIVALS if accounts.complete else {events.BORROW}
    found = (events.market_in(log) for log in logs if log.topics[0] in doors)
    strange = (m for m in dict.fromkeys(found) if m not in market.terms and m not in created)
    return [m for m in strange if market.follows(m)]


def _records(market: MorphoMarket, block: Block, ids: Sequence[Id]) -> Inquiry[reading.Records]:
    if not ids:
        return reading.Records()
    return (yield from reading.read_records(market.singleton, ids, block, market.curves))


def _new_curves(
    market: MorphoMarket, block: Block, created: Mapping[Id, Terms]
) -> Inquiry[frozenset[Address]]:
    """Find out of which kind the IRMs are that no market had before."""
    known = market.irms | {ZERO_ADDRESS}
    strange = [m for m, terms in created.items() if terms.irm not in known]
    if not strange:
        return frozenset()
    found = yield from reading.read_records(market.singleton, strange, block, market.curves)
    return found.curves - market.curves


# --- prices --------------------------------------------------------------------------------------


def _prices(
    market: MorphoMarket, created: Mapping[Id, Terms], logs: Iterable[Log]
) -> Inquiry[None]:
    """Ask for prices and tokens of markets in which somebody borrows for the first time."""
    terms = {**market.terms, **created} if created else market.terms
    borrowed = dict.fromkeys(
        events.market_in(log) for log in logs if log.topics[0] == events.BORROW
    )
    ids = [m for m in borrowed if m in terms]
    oracles = [o for o in oracles_of(terms, ids) if o not in market.quotes][:MOST]
    tokens = [t for t in tokens_of(terms, ids) if t not in market.tokens][: 2 * MOST]
    questions: list[Call] = [calls.wary_price(oracle) for oracle in oracles]
    questions += [call for token in tokens for call in reading.token_calls(token)]
    if questions:
        yield tuple(questions)


def polls(market: MorphoMarket, block: Block) -> tuple[Call, ...]:
    """
    Name what to ask at `block`: prices of markets with debt, tokens and rates that are missing.

    An oracle that answered last time is asked like everybody. Of those that did not, and of those
    that failed lately, some are asked in turn, by a call that can do no harm.
    """
    oracles, quotes = market.asked.oracles, market.quotes
    shy = [o for o in oracles if is_shy(quotes.get(o, NOT_ASKED), block.number)]
    mended = [oracle for oracle in shy if answering(quotes.get(oracle, NOT_ASKED))]
    first = in_turn(mended, block.number, MOST_MENDED)
    faulty = [oracle for oracle in shy if not answering(quotes.get(oracle, NOT_ASKED))]
    alone = first + in_turn(faulty, block.number, MOST - len(first))
    apart = frozenset(shy)
    nameless = sorted(market.asked.tokens - market.tokens.keys())
    return (
        *[calls.price(oracle) for oracle in oracles if oracle not in apart],
        *(calls.wary_price(oracle) for oracle in alone),
        *(call for token in nameless[:MOST] for call in reading.token_calls(token)),
        *(calls.rate_view(market.terms[m], market.totals[m]) for m in foreign(market)),
    )


def foreign(market: MorphoMarket) -> list[Id]:
    """Return the markets with debt whose IRM is asked at every block: nobody knows its kind."""
    if market.irms <= market.curves:
        return []
    known = market.curves | {ZERO_ADDRESS}
    return [m for m in market.live if market.terms[m].irm not in known]


def is_shy(quote: Quote, number: int) -> bool:
    """Tell whether the oracle is asked by a call that can do no harm at block `number`."""
    return quote.price is None or quote.wary_to >= number


def answering(quote: Quote) -> bool:
    """Tell whether the oracle answered when it was asked last."""
    return quote.price is not None or quote.fault == OUT_OF_TURN


def in_turn(strange: Sequence[Address], number: int, most: int) -> list[Address]:
    """Return at most `most` of them, others at every block, everybody within a round."""
    rounds = -(-len(strange) // most)
    return list(strange[number % rounds :: rounds]) if rounds else []


# --- accounts ------------------------------------------------------------------------------------


def _newcomers(accounts: Accounts, entered: Iterable[Id], logs: Iterable[Log]) -> list[Holder]:
    """Return the holders to read: those about whom this block's logs cannot tell all."""
    unknown = frozenset(entered)
    if accounts.complete and not unknown:
        return []
    found: dict[Holder, None] = {}
    for log in logs:
        if log.topics[0] not in events.OWNERS:
            continue
        holder = events.owner_in(log)
        if parts_of(holder)[0] in unknown:
            wanted = accounts.complete or log.topics[0] == events.BORROW
        else:
            wanted = not accounts.complete and log.topics[0] == events.BORROW
        if wanted and accounts.get(holder) is None:
            found[holder] = None
    return list(found)


# --- contracts -----------------------------------------------------------------------------------


def _contracts(
    market: MorphoMarket, logs: Iterable[Log]
) -> Inquiry[dict[Address, PreLiquidation | None]]:
    """Find out which newly authorised contracts may pre-liquidate."""
    strange = [
        abi.address_of(log.topics[3])
        for log in logs
        if log.topics[0] == events.SET_AUTHORIZATION and abi.uint_at(log.data, 0)
    ]
    known = market.preliquidations.keys() | market.strangers
    asked = [c for c in dict.fromkeys(strange) if c not in known][:MOST]
    if not asked:
        return {}
    selectors = (calls.MORPHO, calls.ID, calls.PRE_LIQUIDATION_PARAMS)
    answers = yield tuple(calls.wary(c, selector) for c in asked for selector in selectors)
    found: dict[Address, PreLiquidation | None] = {}
    for contract in asked:
        morpho, about, params = (answers[calls.wary(contract, each)] for each in selectors)
        found[contract] = (
            calls.preliquidation(abi.number(about) or 0, params)
            if reading.names(abi.number(morpho), market.singleton)
            else None
        )
    return found
