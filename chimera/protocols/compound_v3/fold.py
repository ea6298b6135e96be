"""One block of logs, in order, into changes of accounts and a new market."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chimera.domain import abi
from chimera.domain.block import ZERO_ADDRESS, Address, BlockBatch, Log
from chimera.domain.call import answer
from chimera.domain.changes import AccountRead, Change, Liquidated, MarketMoved
from chimera.errors import Rebuild
from chimera.ports import Accounts
from chimera.protocols.compound_v3 import calls, events
from chimera.protocols.compound_v3.draft import Draft
from chimera.protocols.compound_v3.lacking import extras
from chimera.protocols.compound_v3.market import CometMarket
from chimera.protocols.compound_v3.math import moved, supply_principal


def fold(market: CometMarket, accounts: Accounts, batch: BlockBatch) -> Iterator[Change]:
    """
    Turn one block into changes: its logs in order, then what `userBasic` says, then the market.

    The principals that were read are compared before they are taken over. Where a log or a silent
    transfer of base explains a difference, it is counted in `CometMarket.corrections`.

    Raises:
        Refuse: An upgrade made the market something that is not supported.
        Rebuild: The logs do not fit the accounts, or a principal differs in a block without
            accrual, where no action can have moved it.
    """
    found = answer(extras(market, accounts, batch.block, batch.logs), batch.readings)
    draft = Draft(market, accounts, batch, found)
    draft.check()
    for user, account in found.accounts.items():
        yield AccountRead(user, account)
    for log in batch.logs:
        handler = HANDLERS.get(log.topics[0]) if log.address == market.comet else None
        if handler is not None:
            yield from handler(draft, log)
    yield from _compared(draft)
    yield MarketMoved(draft.finished())


# --- base ----------------------------------------------------------------------------------------


def _supplied(draft: Draft, log: Log) -> Iterator[Change]:
    user = abi.address_of(log.topics[2])
    before = draft.principal(user)
    after = moved(before, events.amount_of(log), draft.indexes)
    draft.announced = True
    if max(after, 0) > max(before, 0):
        draft.expect(log, ZERO_ADDRESS, user)
    yield from draft.settle(user, after)


def _withdrawn(draft: Draft, log: Log) -> Iterator[Change]:
    user = abi.address_of(log.topics[1])
    before = draft.principal(user)
    after = moved(before, -events.amount_of(log), draft.indexes)
    draft.announced = True
    if max(after, 0) < max(before, 0):
        draft.expect(log, user, ZERO_ADDRESS)
    yield from draft.settle(user, after)


def _transferred(draft: Draft, log: Log) -> Iterator[Change]:
    """
    Move the supply side of a base transfer; what it does to debts is not in any log.

    A receiver who gains supply has no debt left, and a sender who loses all of it may have got into
    debt: `userBasic` tells.
    """
    sender, receiver = abi.address_of(log.topics[1]), abi.address_of(log.topics[2])
    if draft.expected == (log.log_index, sender, receiver):
        return  # the same action again, as the present value of its supply side
    draft.hinted = True
    principal = supply_principal(events.amount_of(log), draft.indexes)
    if sender != ZERO_ADDRESS:
        yield from draft.settle(sender, max(draft.principal(sender) - principal, 0))
    if receiver != ZERO_ADDRESS:
        yield from draft.settle(receiver, max(draft.principal(receiver), 0) + principal)


# --- collateral ----------------------------------------------------------------------------------


def _collateral_supplied(draft: Draft, log: Log) -> Iterator[Change]:
    user, asset = abi.address_of(log.topics[2]), abi.address_of(log.topics[3])
    yield from _collateral_moved(draft, user, asset, events.amount_of(log))


def _collateral_withdrawn(draft: Draft, log: Log) -> Iterator[Change]:
    user, asset = abi.address_of(log.topics[1]), abi.address_of(log.topics[3])
    yield from _collateral_moved(draft, user, asset, -events.amount_of(log))


def _collateral_moved(draft: Draft, user: Address, asset: Address, delta: int) -> Iterator[Change]:
    draft.collateral_totals[asset] = draft.collateral_totals.get(asset, 0) + delta
    yield from draft.move_collateral(user, asset, delta)


def _collateral_transferred(draft: Draft, log: Log) -> Iterator[Change]:
    asset, amount = abi.address_of(log.topics[3]), events.amount_of(log)
    sender, receiver = abi.address_of(log.topics[1]), abi.address_of(log.topics[2])
    yield from draft.move_collateral(sender, asset, -amount)
    yield from draft.move_collateral(receiver, asset, amount)


# --- absorption ----------------------------------------------------------------------------------


def _collateral_absorbed(draft: Draft, log: Log) -> Iterator[Change]:
    """Take all of a collateral. Raises Rebuild where the account held another amount."""
    user, asset = abi.address_of(log.topics[2]), abi.address_of(log.topics[3])
    amount = events.amount_of(log)
    if draft.follows(user) and draft.collateral(user, asset) != amount:
        raise Rebuild(
            f"0x{user.hex()} lost {amount} of 0x{asset.hex()} to an absorption, "
            f"by us it held {draft.collateral(user, asset)}"
        )
    yield from _collateral_moved(draft, user, asset, -amount)


def _debt_absorbed(draft: Draft, log: Log) -> Iterator[Change]:
    user = abi.address_of(log.topics[2])
    after = max(moved(draft.principal(user), events.amount_of(log), draft.indexes), 0)
    draft.announced = True
    if after > 0:
        draft.expect(log, ZERO_ADDRESS, user)
    yield from draft.settle(user, after)
    yield Liquidated(user)


def _noted(_draft: Draft, _log: Log) -> Iterator[Change]:
    """Change nothing: `lacking` has read the configuration anew."""
    yield from ()


# --- what no log tells ---------------------------------------------------------------------------


def _compared(draft: Draft) -> Iterator[Change]:
    comet = draft.market.comet
    for call, found in draft.batch.readings.items():
        user = calls.user_of(comet, call)
        if user is not None and draft.follows(user):
            basic = calls.user_basic_in(call, found)
            if draft.differs(user, basic):
                yield from draft.settle(user, basic.principal)


Handler = Callable[[Draft, Log], Iterator[Change]]

HANDLERS: dict[bytes, Handler] = {
    events.SUPPLY: _supplied,
    events.WITHDRAW: _withdrawn,
    events.TRANSFER: _transferred,
    events.SUPPLY_COLLATERAL: _collateral_supplied,
    events.WITHDRAW_COLLATERAL: _collateral_withdrawn,
    events.TRANSFER_COLLATERAL: _collateral_transferred,
    events.ABSORB_COLLATERAL: _collateral_absorbed,
    events.ABSORB_DEBT: _debt_absorbed,
    events.UPGRADED: _noted,
}
TOPICS = frozenset(HANDLERS)
