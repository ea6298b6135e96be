"""One block of logs, in order, into changes of accounts and a new market."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chimera.domain import abi
from chimera.domain.block import ZERO_ADDRESS, BlockBatch, Log
from chimera.domain.call import answer
from chimera.domain.changes import (
    AccountRead,
    Change,
    DebtMoved,
    Liquidated,
    MarketMoved,
    MarkMoved,
    SupplyMoved,
)
from chimera.ports import Accounts
from chimera.protocols.morpho_blue import events
from chimera.protocols.morpho_blue.draft import Draft
from chimera.protocols.morpho_blue.lacking import extras, heard
from chimera.protocols.morpho_blue.market import MorphoMarket, holder_of

Changes = tuple[Change, ...]
Handler = Callable[[Draft, Log], Changes]


def fold(market: MorphoMarket, accounts: Accounts, batch: BlockBatch) -> Iterator[Change]:
    """Turn one block into changes, strictly in the order of its logs; the market comes last."""
    found = answer(extras(market, accounts, batch.block, batch.logs), batch.readings)
    draft = Draft(market, accounts, batch, found)
    for holder, account in found.accounts.items():
        yield AccountRead(holder, account)
    for log in heard(market, batch.logs):
        handler, is_ours = HANDLERS[log.topics[0]], log.address == market.singleton
        if is_ours == (log.topics[0] != events.BORROW_RATE_UPDATE):
            yield from handler(draft, log)
    yield MarketMoved(draft.finished())


def _in_a_market(handler: Handler) -> Handler:
    """Pass over the logs of markets that are not mirrored."""

    def handled(draft: Draft, log: Log) -> Changes:
        return handler(draft, log) if draft.moves(events.market_in(log)) else ()

    return handled


# --- markets -------------------------------------------------------------------------------------


def _created(draft: Draft, log: Log) -> Changes:
    market = events.market_in(log)
    if market in draft.extras.created:
        draft.create(market, draft.extras.created[market])
    return ()


def _rate_updated(draft: Draft, log: Log) -> Changes:
    """Take over the new rate at target, if the market's own IRM tells it."""
    market = events.market_in(log)
    if log.address == draft.curve_of(market):
        draft.targets[market] = events.new_rate(log)
    return ()


def _accrued(draft: Draft, log: Log) -> Changes:
    """Add the interest. The fee goes to whoever is the recipient now, for all the time before."""
    market = events.market_in(log)
    interest, fee = events.interest_and_fee(log)
    draft.move(market, borrow_assets=interest, supply_assets=interest, supply_shares=fee)
    draft.totals_of(market).updated = draft.batch.block.timestamp
    if not fee or draft.fee_recipient == ZERO_ADDRESS:
        return ()  # shares of the zero address are nobody's
    recipient = holder_of(market, draft.fee_recipient)
    return (MarkMoved(recipient, market, fee),) if draft.follows(recipient) else ()


def _fee_set(draft: Draft, log: Log) -> Changes:
    market = events.market_in(log)
    draft.totals_of(market).fee = abi.uint_at(log.data, 0)
    return ()


def _recipient_set(draft: Draft, log: Log) -> Changes:
    draft.fee_recipient = abi.address_of(log.topics[1])
    return ()


def _authorised(draft: Draft, log: Log) -> Changes:
    user, contract = abi.address_of(log.topics[2]), abi.address_of(log.topics[3])
    draft.authorise(contract, user, allowed=bool(abi.uint_at(log.data, 0)))
    return ()


# --- accounts ------------------------------------------------------------------------------------


def _supplied(draft: Draft, log: Log) -> Changes:
    return _lent(draft, log, 1)


def _withdrawn(draft: Draft, log: Log) -> Changes:
    return _lent(draft, log, -1)


def _lent(draft: Draft, log: Log, sign: int) -> Changes:
    market, holder = events.market_in(log), events.owner_in(log)
    assets, shares = events.assets_and_shares(log)
    draft.move(market, supply_assets=sign * assets, supply_shares=sign * shares)
    return (MarkMoved(holder, market, sign * shares),) if draft.follows(holder) else ()


def _borrowed(draft: Draft, log: Log) -> Changes:
    market, holder = events.market_in(log), events.owner_in(log)
    assets, shares = events.assets_and_shares(log)
    draft.move(market, borrow_assets=assets, borrow_shares=shares)
    return (DebtMoved(holder, market, shares),) if draft.follows(holder) else ()


def _repaid(draft: Draft, log: Log) -> Changes:
    market, holder = events.market_in(log), events.owner_in(log)
    assets, shares = events.assets_and_shares(log)
    draft.repay(market, assets, shares)
    return (DebtMoved(holder, market, -shares),) if draft.follows(holder) else ()


def _collateral_supplied(draft: Draft, log: Log) -> Changes:
    return _pledged(draft, log, 1)


def _collateral_withdrawn(draft: Draft, log: Log) -> Changes:
    return _pledged(draft, log, -1)


def _pledged(draft: Draft, log: Log, sign: int) -> Changes:
    market, holder, assets = events.market_in(log), events.owner_in(log), events.collateral(log)
    return (SupplyMoved(holder, market, sign * assets),) if draft.follows(holder) else ()


def _liquidated(draft: Draft, log: Log) -> Changes:
    """Take off what was repaid, then what was written off: the suppliers bear that."""
    market, holder, told = events.market_in(log), events.owner_in(log), events.liquidation(log)
    shares, bad = told.repaid_shares + told.bad_shares, told.bad_assets
    draft.repay(market, told.repaid_assets, told.repaid_shares)
    draft.move(market, borrow_assets=-bad, borrow_shares=-told.bad_shares, supply_assets=-bad)
    if not draft.follows(holder):
        return (Liquidated(holder),)
    return (
        DebtMoved(holder, market, -shares),
        SupplyMoved(holder, market, -told.seized),
        Liquidated(holder),
    )


HANDLERS: dict[bytes, Handler] = {
    events.CREATE_MARKET: _created,
    events.SUPPLY: _in_a_market(_supplied),
    events.WITHDRAW: _in_a_market(_withdrawn),
    events.BORROW: _in_a_market(_borrowed),
    events.REPAY: _in_a_market(_repaid),
    events.SUPPLY_COLLATERAL: _in_a_market(_collateral_supplied),
    events.WITHDRAW_COLLATERAL: _in_a_market(_collateral_withdrawn),
    events.LIQUIDATE: _in_a_market(_liquidated),
    events.ACCRUE_INTEREST: _in_a_market(_accrued),
    events.SET_FEE: _in_a_market(_fee_set),
    events.SET_FEE_RECIPIENT: _recipient_set,
    events.SET_AUTHORIZATION: _authorised,
    events.BORROW_RATE_UPDATE: _in_a_market(_rate_updated),
}
TOPICS = frozenset(HANDLERS)
