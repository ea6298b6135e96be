"""What the logs of a block leave open, asked of the chain before the block is applied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from chimera.domain import abi
from chimera.domain.block import Address, Block, Log
from chimera.domain.call import Inquiry, Readings
from chimera.domain.market import Account
from chimera.ports import Accounts
from chimera.protocols.compound_v2 import events, layout, reading, shapes
from chimera.protocols.compound_v2.market import CompoundMarket
from chimera.protocols.compound_v2.reading import Fresh

# After these of an mToken, its terms are read anew
RENEWING = frozenset({events.NEW_IMPLEMENTATION, events.NEW_MARKET_INTEREST_RATE_MODEL})
# After these of the comptroller, everything is
REPLACING = frozenset({events.NEW_IMPLEMENTATION, events.DIAMOND_CUT})
# Of these, a market that is being wound up is made
DEPRECATING = frozenset({events.MARKET_ACTION_PAUSED, events.NEW_COLLATERAL_FACTOR})

RARE = (
    RENEWING
    | REPLACING
    | DEPRECATING
    | {events.MARKET_LISTED, events.NEW_PRICE_ORACLE, events.NEW_RESERVE_FACTOR}
)


@dataclass(frozen=True, slots=True)
class Extras:
    """
    Answers from the end of a block that its logs alone do not give.

    Attributes:
        fresh: Markets that were listed, or whose code or rate model was replaced.
        accounts: Users whom the mirror did not follow and who have debt from this block on.
        replaced: Everything, after the comptroller's code was replaced.
    """

    fresh: Mapping[Address, Fresh] = field(default_factory=dict)
    accounts: Mapping[Address, Account] = field(default_factory=dict)
    replaced: CompoundMarket | None = None


def extras(
    market: CompoundMarket, accounts: Accounts, block: Block, logs: Sequence[Log]
) -> Inquiry[Extras]:
    """
    Ask for everything that `logs` leave open, most often for nothing.

    Raises:
        Refuse: An upgrade made a market something that is not supported.
        Rebuild: A log does not decode.
    """
    ours = emitters(market) | _listed(market, logs)  # other protocols share the feed
    shapes.check(log for log in logs if log.address in ours)
    found = Extras()
    rare = [log for log in logs if log.topics[0] in RARE]
    if rare:
        found = yield from _governed(market, rare, block)
    users = _newcomers(market, accounts, logs, found)
    if not users:
        return found
    terms = {**market.listings, **{mtoken: read[0] for mtoken, read in found.fresh.items()}}
    asked = (market.comptroller, market.dialect)
    read = yield from layout.read_accounts(*asked, terms, users, block)
    empty = Account(updated_block=block.number)
    return replace(found, accounts={user: read.get(user, empty) for user in users})


def _governed(market: CompoundMarket, rare: Sequence[Log], block: Block) -> Inquiry[Extras]:
    ours = [log for log in rare if log.address == market.comptroller]
    if any(log.topics[0] in REPLACING for log in ours):
        replaced = yield from reading.read_market(market.comptroller, block)
        terms, states = replaced.listings, replaced.states
        every = {mtoken: (terms[mtoken], states[mtoken]) for mtoken in terms}
        return Extras(every, replaced=replaced)
    mtokens = tuple(dict.fromkeys(_renewed(market, rare)))
    found: Mapping[Address, Fresh] = {}
    if mtokens:
        asked = (market.comptroller, market.dialect, mtokens, market.incentive)
        found = yield from reading.fresh(*asked)
    oracle = oracle_after(market, ours)
    terms = {**market.listings, **{mtoken: read[0] for mtoken, read in found.items()}}
    yield (
        *reading.price_calls(oracle, tuple(terms)),
        *reading.rate_calls(market.dialect, terms),
    )
    return Extras(found)


def _renewed(market: CompoundMarket, rare: Iterable[Log]) -> Iterator[Address]:
    for log in rare:
        topic, words = log.topics[0], events.arguments(log)
        if log.address == market.comptroller and topic == events.MARKET_LISTED:
            yield abi.address_at(words, 0)
        elif log.address in market.listings and topic in RENEWING:
            yield log.address
        elif market.dialect.may_deprecate:
            if log.address == market.comptroller and topic in DEPRECATING:
                yield abi.address_at(words, 0)
            elif log.address in market.listings and topic == events.NEW_RESERVE_FACTOR:
                yield log.address


def oracle_after(market: CompoundMarket, logs: Iterable[Log]) -> Address:
    """Return the oracle that the comptroller has after these of its logs."""
    oracle = market.oracle
    for log in logs:
        if log.topics[0] == events.NEW_PRICE_ORACLE:
            oracle = abi.address_at(events.arguments(log), 1)
    return oracle


def _newcomers(
    market: CompoundMarket, accounts: Accounts, logs: Sequence[Log], found: Extras
) -> list[Address]:
    if accounts.complete:
        return []
    mtokens = market.listings.keys() | found.fresh.keys()
    borrowers = (
        abi.address_at(events.arguments(log), 0)
        for log in logs
        if log.topics[0] == events.BORROW and log.address in mtokens
    )
    return [user for user in dict.fromkeys(borrowers) if accounts.get(user) is None]


def emitters(market: CompoundMarket) -> frozenset[Address]:
    """Return every contract whose logs matter."""
    models = {listing.model for listing in market.listings.values()}
    return frozenset({market.comptroller, *market.listings, *models})


def unheard(market: CompoundMarket, logs: Iterable[Log], readings: Readings) -> frozenset[Address]:
    """Return the markets listed in `logs` that nobody has asked for anything yet."""
    return frozenset(
        mtoken
        for mtoken in _listed(market, logs) - market.listings.keys()
        if reading.first_question(market.comptroller, mtoken) not in readings
    )


def _listed(market: CompoundMarket, logs: Iterable[Log]) -> set[Address]:
    return {
        abi.address_at(events.arguments(log), 0)
        for log in logs
        if log.topics[0] == events.MARKET_LISTED and log.address == market.comptroller
    }
