"""Where an mToken keeps (principal, interestIndex): getters answer only what they come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eth_utils.address import to_checksum_address

from chimera.domain import abi
from chimera.domain.block import Address, Block
from chimera.domain.call import Answer, Call, Inquiry, Readings
from chimera.domain.market import Account
from chimera.errors import Rebuild, Refuse
from chimera.protocols.compound_v2 import calls
from chimera.protocols.compound_v2.dialect import Dialect
from chimera.protocols.compound_v2.market import USUAL_SLOT, Listing
from chimera.protocols.compound_v2.math import State

SEARCHED = 41  # positions, from 0 on: no member of the family keeps so many words before
BEHIND_SUPPLY = 3  # accountTokens, transferAllowances, accountBorrows
RUN = 4  # words: borrowIndex, totalBorrows, totalReserves, totalSupply
SNAPSHOT_WORDS = 4

Debt = tuple[int, int]
"""Principal and the index at which it was settled."""

NO_DEBT: Debt = (0, 0)


def layouts(states: Mapping[Address, State]) -> Inquiry[dict[Address, int | None]]:
    """
    Find the position of `accountBorrows` in every market; None where the search finds nothing.

    Four words in a row that the getters answer, too, stand right before it. The first market is
    searched; the others are looked at in the same place, and searched only if they differ.
    """
    found: dict[Address, int | None] = {}
    for mtoken in list(states)[:1]:
        found |= yield from _searched({mtoken: states[mtoken]}, range(SEARCHED))
    first = next(iter(found.values()), None)
    others = {mtoken: state for mtoken, state in states.items() if mtoken not in found}
    if first is not None and others:
        start = first - BEHIND_SUPPLY - RUN + 1
        found |= yield from _searched(others, range(start, start + RUN))
    missing = {mtoken: states[mtoken] for mtoken in others if found.get(mtoken) is None}
    if missing:
        found |= yield from _searched(missing, range(SEARCHED))
    return found


def _searched(
    states: Mapping[Address, State], positions: Sequence[int]
) -> Inquiry[dict[Address, int | None]]:
    questions = {mtoken: [calls.slot(mtoken, at) for at in positions] for mtoken in states}
    answers = yield tuple(call for each in questions.values() for call in each)
    found: dict[Address, int | None] = {}
    for mtoken, state in states.items():
        words = [abi.number(answers[call]) for call in questions[mtoken]]
        sought = [state.index, state.borrows, state.reserves, state.supply]
        places = [at for at in range(len(words)) if words[at : at + RUN] == sought]
        # Two places would say nothing about either.
        found[mtoken] = positions[places[0]] + RUN - 1 + BEHIND_SUPPLY if len(places) == 1 else None
    return found


def read_accounts(
    comptroller: Address,
    dialect: Dialect,
    listings: Mapping[Address, Listing],
    users: Sequence[Address],
    block: Block,
) -> Inquiry[dict[Address, Account]]:
    """
    Read memberships, balances and settled debts of these users; who has nothing is left out.

    A debt is taken from storage, and proved by what `getAccountSnapshot` says that it has come to.
    Where the storage cannot be searched and the usual position does not hold it either, it is
    settled at the balance and the current index: a later balance may then be one unit short.

    A market that cannot value an account now, for whatever reason, still tells its mTokens and what
    the debt has come to: those are no matter of its exchange rate.

    Raises:
        Rebuild: A market does not even tell how many mTokens an account has.
        Refuse: A market whose layout was proved holds another debt there.
    """
    if not users:
        return {}
    indexes = {mtoken: abi.plain(mtoken, calls.BORROW_INDEX) for mtoken in listings}
    questions = [call for user in users for call in _account_calls(comptroller, listings, user)]
    pools = {
        user: abi.of_address(comptroller, calls.USER_POOL_ID, user)
        for user in users
        if dialect.has_thresholds
    }
    answers = yield (*indexes.values(), *questions, *pools.values())
    index = {mtoken: calls.required(call, answers[call]) for mtoken, call in indexes.items()}
    supplied, owing = yield from _snapshots(listings, users, answers)
    entries = {
        (user, mtoken): calls.entry(mtoken, _position(listings[mtoken]), user)
        for user, debts in owing.items()
        for mtoken in debts
    }
    stored = (yield tuple(call for both in entries.values() for call in both)) if entries else {}
    debts: dict[Address, dict[Address, Debt]] = {user: {} for user in users}
    for (user, mtoken), (principal, mark) in entries.items():
        told, now = owing[user][mtoken], index[mtoken]
        debt = _settled(listings[mtoken], stored[principal], stored[mark], told, now)
        if debt != NO_DEBT:
            debts[user][mtoken] = debt
    found = {}
    for user in users:
        entered = answers[abi.of_address(comptroller, calls.GET_ASSETS_IN, user)]
        found[user] = Account(
            supplied=supplied[user],
            owed={mtoken: principal for mtoken, (principal, _) in debts[user].items()},
            enabled=frozenset(abi.addresses(entered)),
            mode=abi.number(answers[pools[user]]) or 0 if user in pools else 0,
            updated_block=block.number,
            marks={mtoken: mark for mtoken, (_, mark) in debts[user].items()},
        )
    return {user: a for user, a in found.items() if a.supplied or a.owed or a.enabled or a.mode}


def _account_calls(
    comptroller: Address, listings: Mapping[Address, Listing], user: Address
) -> list[Call]:
    member = abi.of_address(comptroller, calls.GET_ASSETS_IN, user)
    return [member, *(abi.of_address(m, calls.GET_ACCOUNT_SNAPSHOT, user) for m in listings)]


def _snapshots(
    listings: Mapping[Address, Listing], users: Sequence[Address], answers: Readings
) -> Inquiry[tuple[dict[Address, dict[Address, int]], dict[Address, dict[Address, int | None]]]]:
    """Return balances, and what the debts have come to, by user and market; None: no telling."""
    supplied: dict[Address, dict[Address, int]] = {user: {} for user in users}
    owing: dict[Address, dict[Address, int | None]] = {user: {} for user in users}
    failing = []
    for user in users:
        for mtoken in listings:
            told = abi.words(answers[abi.of_address(mtoken, calls.GET_ACCOUNT_SNAPSHOT, user)])
            if len(told) < SNAPSHOT_WORDS or told[0]:
                failing.append((user, mtoken))
                continue
            _, balance, debt, *_ = told
            if balance:
                supplied[user][mtoken] = balance
            if debt:
                owing[user][mtoken] = debt
    single = (yield from _singly(failing)) if failing else {}
    for (user, mtoken), (tokens, owed) in single.items():
        if tokens:
            supplied[user][mtoken] = tokens
        if owed != 0:
            owing[user][mtoken] = owed
    return supplied, owing


def _singly(
    failing: Sequence[tuple[Address, Address]],
) -> Inquiry[dict[tuple[Address, Address], tuple[int, int | None]]]:
    """Ask for what the snapshot would have said, without an exchange rate."""
    questions = {
        (user, mtoken): (
            abi.of_address(mtoken, calls.BALANCE_OF, user),
            abi.of_address(mtoken, calls.BORROW_BALANCE_STORED, user),
        )
        for user, mtoken in failing
    }
    answers = yield tuple(call for both in questions.values() for call in both)
    found = {}
    for (user, mtoken), (balance, debt) in questions.items():
        tokens = abi.number(answers[balance])
        if tokens is None:
            raise Rebuild(f"{to_checksum_address(mtoken)} does not tell the balance of an account")
        found[user, mtoken] = (tokens, abi.number(answers[debt]))
    return found


def _position(listing: Listing) -> int:
    return USUAL_SLOT if listing.slot is None else listing.slot


def _settled(
    listing: Listing, principal: Answer, mark: Answer, told: int | None, index: int
) -> Debt:
    """
    Return the stored debt if it comes to what the market says, else the balance itself.

    Where the market says nothing, since the debt overflows, what is stored is taken unproved.
    """
    amount, at = abi.number(principal) or 0, abi.number(mark) or 0
    if told is None:
        return (amount, at) if amount and at else NO_DEBT
    if at and amount * index // at == told:
        return amount, at
    if listing.slot is not None:
        raise Refuse(
            f"the storage of {to_checksum_address(listing.mtoken)} holds a debt of {amount} at "
            f"index {at} where the market answers {told}: its layout is not understood"
        )
    return told, index
