"""What the logs of an mToken, and of its rate model, change."""

from __future__ import annotations

from dataclasses import replace

from eth_utils.address import to_checksum_address

from chimera.domain import abi
from chimera.domain.block import Log
from chimera.domain.changes import Change, DebtSet, Liquidated
from chimera.errors import Rebuild
from chimera.protocols.compound_v2 import events
from chimera.protocols.compound_v2.draft import Draft, Handler, noted
from chimera.protocols.compound_v2.math import RateModel, reserved

# --- figures -------------------------------------------------------------------------------------


def _accrued(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _interest_added(draft, log, events.arguments(log)[abi.WORD :])


def _interest_added(draft: Draft, log: Log, words: bytes) -> tuple[Change, ...]:
    """
    Add interest. Its part of the reserves is not logged: the factor before this log tells it.

    Venus may pay the reserves out while it adds interest, and logs that first: the reserves that
    are left have their part already. Nothing else reduces reserves before interest is added.
    """
    figures = draft.figures(log.address)
    if figures is None:
        return ()
    interest, index = abi.uint_at(words, 0), abi.uint_at(words, 1)
    if index < figures.index:
        raise Rebuild(f"the borrow index of {to_checksum_address(log.address)} fell to {index}")
    if log.address not in draft.reduced:
        figures.reserves += reserved(draft.listings[log.address].reserve_factor, interest)
    figures.borrows = abi.uint_at(words, 2)
    figures.index = index
    figures.accrued = draft.moment
    return ()


def _old_accrued(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _interest_added(draft, log, events.arguments(log))


def _minted(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _supply_moved(draft, log, abi.uint_at(events.arguments(log), 2))


def _minted_behalf(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _supply_moved(draft, log, abi.uint_at(events.arguments(log), 3))


def _redeemed(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _supply_moved(draft, log, -abi.uint_at(events.arguments(log), 2))


def _supply_moved(draft: Draft, log: Log, delta: int) -> tuple[Change, ...]:
    draft.supply(log.address, delta)
    return ()


def _reserves_added(draft: Draft, log: Log) -> tuple[Change, ...]:
    """
    Take the new reserves. What a market adds by itself is its share of a seizure.

    That share was burned right before: a Transfer to the market, by the very log before this one.
    A Transfer to the market that somebody made by mistake burns nothing.
    """
    words = events.arguments(log)
    sent = draft.sent_back.get(log.address)
    seized = abi.address_at(words, 0) == log.address
    burned = sent[1] if seized and sent is not None and sent[0] == log.log_index - 1 else 0
    _reserves_are(draft, log)
    draft.supply(log.address, -burned)
    return ()


def _reserves_reduced(draft: Draft, log: Log) -> tuple[Change, ...]:
    draft.reduced.add(log.address)
    _reserves_are(draft, log)
    return ()


def _reserves_are(draft: Draft, log: Log) -> None:
    figures = draft.figures(log.address)
    if figures is not None:
        figures.reserves = abi.uint_at(events.arguments(log), 2)


# --- accounts ------------------------------------------------------------------------------------


def _transferred(draft: Draft, log: Log) -> tuple[Change, ...]:
    """
    Move a balance. Sent to the market itself it is a redemption, a seized share, or a mistake.

    All three take it from the sender; what they do to the total supply is told by other logs.
    """
    words = events.arguments(log)
    sender, receiver = abi.address_at(words, 0), abi.address_at(words, 1)
    amount = abi.uint_at(words, 2)
    if receiver == log.address:
        draft.sent_back[log.address] = (log.log_index, amount)
    return (
        *draft.moved(log.address, sender, -amount),
        *draft.moved(log.address, receiver, amount),
    )


def _borrowed(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _owing(draft, log, 0)


def _repaid(draft: Draft, log: Log) -> tuple[Change, ...]:
    return _owing(draft, log, 1)


def _owing(draft: Draft, log: Log, place: int) -> tuple[Change, ...]:
    """Settle a debt at the current index, which the last AccrueInterest before has set."""
    words = events.arguments(log)
    user = abi.address_at(words, place)
    amount, borrows = abi.uint_at(words, place + 2), abi.uint_at(words, place + 3)
    index, figures = draft.index_of(log.address), draft.figures(log.address)
    if figures is not None:
        figures.borrows = borrows
    if not draft.follows(user):
        return ()
    return (DebtSet(user, log.address, amount, index if amount else 0),)


def _liquidated(_draft: Draft, log: Log) -> tuple[Change, ...]:
    return (Liquidated(abi.address_at(events.arguments(log), 1)),)


# --- terms ---------------------------------------------------------------------------------------


def _reserve_factor_changed(draft: Draft, log: Log) -> tuple[Change, ...]:
    factor = abi.uint_at(events.arguments(log), 1)
    draft.configure(log.address, lambda old: replace(old, reserve_factor=factor))
    return ()


def _seize_share_changed(draft: Draft, log: Log) -> tuple[Change, ...]:
    share = abi.uint_at(events.arguments(log), 1)
    draft.configure(log.address, lambda old: replace(old, seize_share=share))
    return ()


def _comptroller_changed(_draft: Draft, log: Log) -> tuple[Change, ...]:
    raise Rebuild(f"{to_checksum_address(log.address)} has another comptroller: read all anew")


def _params_changed(draft: Draft, log: Log) -> tuple[Change, ...]:
    words = events.arguments(log)
    draft.remodel(log.address, RateModel(*(abi.uint_at(words, place) for place in range(4))))
    return ()


MTOKEN: dict[bytes, Handler] = {
    events.ACCRUE_INTEREST: _accrued,
    events.OLD_ACCRUE_INTEREST: _old_accrued,
    events.MINT: _minted,
    events.REDEEM: _redeemed,
    events.MINT_WITH_BALANCE: _minted,
    events.OLD_MINT_BEHALF: _minted_behalf,
    events.MINT_BEHALF: _minted_behalf,
    events.REDEEM_WITH_BALANCE: _redeemed,
    events.RESERVES_ADDED: _reserves_added,
    events.RESERVES_REDUCED: _reserves_reduced,
    events.TRANSFER: _transferred,
    events.BORROW: _borrowed,
    events.REPAY_BORROW: _repaid,
    events.LIQUIDATE_BORROW: _liquidated,
    events.NEW_RESERVE_FACTOR: _reserve_factor_changed,
    events.NEW_PROTOCOL_SEIZE_SHARE: _seize_share_changed,
    events.NEW_MARKET_INTEREST_RATE_MODEL: noted,
    events.NEW_IMPLEMENTATION: noted,
    events.NEW_COMPTROLLER: _comptroller_changed,
}
MODEL: dict[bytes, Handler] = {events.NEW_INTEREST_PARAMS: _params_changed}
