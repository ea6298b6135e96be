"""What the logs of a block leave open, asked of the chain before the block is applied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from chimera.domain import abi
from chimera.domain.block import ZERO_ADDRESS, Address, Block, Log
from chimera.domain.call import Call, Inquiry, Readings
from chimera.domain.market import Account
from chimera.ports import Accounts
from chimera.protocols.compound_v3 import calls, events, reading, rotation
from chimera.protocols.compound_v3.market import CometMarket, Terms

# The topics in which a log names accounts that it moves.
NAMED = {
    events.SUPPLY: (2,),
    events.WITHDRAW: (1,),
    events.TRANSFER: (1, 2),
    events.SUPPLY_COLLATERAL: (2,),
    events.TRANSFER_COLLATERAL: (1, 2),
    events.WITHDRAW_COLLATERAL: (1,),
    events.ABSORB_COLLATERAL: (2,),
    events.ABSORB_DEBT: (2,),
}


@dataclass(frozen=True, slots=True)
class Extras:
    """
    Answers from the end of a block that its logs alone do not give.

    Attributes:
        terms: The configuration, when the proxy was upgraded.
        collateral_totals: Of assets that the upgrade brought.
        accounts: Users in the logs whom an incomplete book did not follow.
    """

    terms: Terms | None = None
    collateral_totals: Mapping[Address, int] = field(default_factory=dict)
    accounts: Mapping[Address, Account] = field(default_factory=dict)


def extras(
    market: CometMarket, accounts: Accounts, block: Block, logs: Sequence[Log]
) -> Inquiry[Extras]:
    """
    Ask for everything that `logs` leave open, most often for nothing.

    Raises:
        Refuse: An upgrade made the market something that is not supported.
        Rebuild: A log does not decode.
    """
    ours = [log for log in logs if log.address == market.comet]
    events.check(ours)
    terms, totals = None, {}
    if any(log.topics[0] == events.UPGRADED for log in ours):
        terms = yield from reading.read_terms(market.comet)
        yield from reading.prove_interest(market.comet, terms, block.timestamp)
        new = terms.collaterals.keys() - market.collateral_totals.keys()
        totals = yield from reading.collateral_totals(market.comet, sorted(new))
        yield reading.poll_calls(market.comet, terms)
    read = yield from _newcomers(accounts, block, ours, terms or market.terms, market.comet)
    return Extras(terms, totals, read)


def _newcomers(
    accounts: Accounts, block: Block, logs: Sequence[Log], terms: Terms, comet: Address
) -> Inquiry[Mapping[Address, Account]]:
    """Read those whom an incomplete book does not follow yet; a complete one starts them empty."""
    if accounts.complete:
        return {}
    users = [user for user in dict.fromkeys(_named(logs)) if accounts.get(user) is None]
    if not users:
        return {}
    read = yield from reading.read_accounts(comet, terms, users, block)
    empty = Account(updated_block=block.number)
    return {user: read.get(user, empty) for user in users}


def _named(logs: Sequence[Log]) -> Iterator[Address]:
    for log in logs:
        for place in NAMED.get(log.topics[0], ()):
            user = abi.address_of(log.topics[place])
            if user != ZERO_ADDRESS:
                yield user


def beyond(
    market: CometMarket,
    accounts: Accounts,
    block: Block,
    logs: Sequence[Log],
    readings: Readings,
    *,
    asked: AbstractSet[Address],
) -> tuple[Call, ...]:
    """
    Name whose principals to read beyond those `asked`: everybody in the logs, and more if silent.

    Silent: interest accrued and no log says why. Then it was `accrueAccount`, or a transfer of base
    between two borrowers.
    """
    ours = [log for log in logs if log.address == market.comet]
    users = [user for user in dict.fromkeys(_named(ours)) if user not in asked]
    if _is_silent(market, block, ours, readings):
        users += rotation.left_out(accounts, asked | set(users), block)
    return tuple(calls.user_basic(market.comet, user) for user in users)


def _is_silent(market: CometMarket, block: Block, logs: Sequence[Log], readings: Readings) -> bool:
    has_accrued = reading.totals_in(market.comet, readings).accrued_at == block.timestamp
    return has_accrued and not any(log.topics[0] in events.BASE_SIDE for log in logs)
