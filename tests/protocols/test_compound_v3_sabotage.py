"""A replay that cannot fail proves nothing: every rule is broken once, and each break must show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from chimera.domain import abi
from chimera.domain.block import Address, BlockBatch, Log
from chimera.domain.changes import Change, Liquidated
from chimera.domain.health import Difference
from chimera.domain.market import Account
from chimera.domain.numeric import mul_div, mul_div_up
from chimera.protocols.compound_v3 import (
    calls,
    draft,
    events,
    fold,
    liquidation,
    market,
    math,
    reading,
    valuation,
)
from chimera.protocols.compound_v3.draft import Draft
from chimera.protocols.compound_v3.market import CometMarket, Terms
from chimera.protocols.compound_v3.math import INDEX_SCALE, Curve, Indexes, Totals
from devnet.recording import Line
from devnet.replay import NotBuilt, Replay, Tamper

COMET_13 = Path(__file__).parents[1] / "recordings" / "compound_v3-comet-13.jsonl.gz"
HONEST = (0, 19, 4)
REFUSED = (-1, 0, 0)  # the arithmetic does not even fit the contract at the start

NO_CHANGE = Liquidated(Address(bytes(20)))

Break = Callable[[pytest.MonkeyPatch], None]


def outcome(tamper: Tamper | None = None) -> tuple[int, int, int]:
    """
    Replay: mismatches, principals that came from `userBasic`, and those without a hint.

    At full blocks everybody is compared with all that the contract stores, too.
    """
    try:
        run, corrections, unannounced = Replay(COMET_13, tamper=tamper), 0, 0
        for line in run.blocks():
            at = run.book.market(run.adapter.name)
            assert isinstance(at, CometMarket)
            corrections += at.corrections
            unannounced += at.unannounced
            if line.is_full:
                run.comparison.mismatches += differing(run, line)
    except NotBuilt:
        return REFUSED
    return len(run.comparison.mismatches), corrections, unannounced


def differing(run: Replay, line: Line) -> list[str]:
    adapter, at = run.adapter, run.book.market(run.adapter.name)
    found: list[Difference] = []
    for user in line.truth:
        readings = {call: run.recording.answer(line, call) for call in adapter.proof(at, user)}
        account = run.accounts.get(user, Account())
        found += adapter.differences(at, user, account, line.block, readings)
    return [difference.name for difference in found]


def patched(module: object, name: str, new: object) -> Break:
    """Put something else in the place of one name."""
    return lambda monkeypatch: monkeypatch.setattr(module, name, new)


def handled(topic: bytes, new: Callable[[Draft, Log], Iterator[Change]]) -> Break:
    """Understand one kind of log otherwise."""
    return lambda monkeypatch: monkeypatch.setitem(fold.HANDLERS, topic, new)


def wrapped(module: Any, name: str, change: Callable[[Any], Any]) -> Break:  # noqa: ANN401
    """Change what a function returns."""
    real = getattr(module, name)
    return patched(module, name, lambda *arguments, **named: change(real(*arguments, **named)))


# --- logs -----------------------------------------------------------------------------------------


def nothing(_draft: Draft, _log: Log) -> Iterator[Change]:
    yield from ()


def stale_indexes(drafted: Draft) -> Indexes:
    return drafted.market.totals.indexes


def sender_only(drafted: Draft, log: Log) -> Iterator[Change]:
    asset, amount = abi.address_of(log.topics[3]), events.amount_of(log)
    yield from drafted.move_collateral(abi.address_of(log.topics[1]), asset, -amount)


def receiver_is_payer(drafted: Draft, log: Log) -> Iterator[Change]:
    """Credit `from` instead of `dst`."""
    one, two, *rest = log.topics[1:]
    swapped = structs.replace(log, topics=(log.topics[0], two, one, *rest))
    yield from REAL[log.topics[0]](drafted, swapped)


def surplus_is_lost(drafted: Draft, log: Log) -> Iterator[Change]:
    yield from drafted.settle(abi.address_of(log.topics[2]), 0)


def supply_adds_principal(drafted: Draft, log: Log) -> Iterator[Change]:
    """Take the amount for a principal."""
    user = abi.address_of(log.topics[2])
    yield from drafted.settle(user, drafted.principal(user) + events.amount_of(log))


def debts_take_transfers(drafted: Draft, log: Log) -> Iterator[Change]:
    """Let a mint to a borrower begin at the debt instead of at zero."""
    principal = math.supply_principal(events.amount_of(log), drafted.indexes)
    for user, sign in ((log.topics[1], -1), (log.topics[2], 1)):
        known = abi.address_of(user)
        if any(known) and drafted.expected != (
            log.log_index,
            *map(abi.address_of, log.topics[1:]),
        ):
            yield from drafted.settle(known, drafted.principal(known) + sign * principal)


REAL = dict(fold.HANDLERS)
LOST = {
    f"lost {name}": handled(topic, nothing)
    for name, topic in vars(events).items()
    if isinstance(topic, bytes) and topic in fold.HANDLERS and name != "UPGRADED"
}
LOGS: dict[str, Break] = {
    **LOST,
    "redundant Transfer counted": patched(Draft, "expect", lambda *_: None),
    "Supply credits from": handled(events.SUPPLY, receiver_is_payer),
    "SupplyCollateral credits from": handled(events.SUPPLY_COLLATERAL, receiver_is_payer),
    "Withdraw debits to": handled(events.WITHDRAW, receiver_is_payer),
    "TransferCollateral has no receiver": handled(events.TRANSFER_COLLATERAL, sender_only),
    "Supply amount is principal": handled(events.SUPPLY, supply_adds_principal),
    "surplus of an absorption lost": handled(events.ABSORB_DEBT, surplus_is_lost),
    "Transfer delta rounded down": patched(
        fold, "supply_principal", lambda x, indexes: mul_div(x, INDEX_SCALE, indexes.supply)
    ),
    "Transfer delta not scaled": patched(fold, "supply_principal", lambda x, _: x),
    "Transfer moves debts": handled(events.TRANSFER, debts_take_transfers),
    "indexes before the accrual": patched(Draft, "indexes", property(stale_indexes)),
    "upgrade not read": patched(Draft, "_terms", property(lambda drafted: drafted.market.terms)),
    "bits never set": patched(draft, "CollateralSwitched", lambda *_, **__: NO_CHANGE),
}


# --- arithmetic -----------------------------------------------------------------------------------


def debts_round_down(present: int, indexes: Indexes) -> int:
    size = mul_div(abs(present), INDEX_SCALE, indexes.supply if present >= 0 else indexes.borrow)
    return size if present >= 0 else -size


def present_rounds_debts_up(principal: int, indexes: Indexes) -> int:
    if principal >= 0:
        return mul_div(principal, indexes.supply, INDEX_SCALE)
    return -mul_div_up(-principal, indexes.borrow, INDEX_SCALE)


def supplies_round_up(present: int, indexes: Indexes) -> int:
    if present >= 0:
        return mul_div_up(present, INDEX_SCALE, indexes.supply)
    return -mul_div_up(-present, INDEX_SCALE, indexes.borrow)


def one_index(totals: Totals, *_: object) -> Indexes:
    return totals.indexes


def never_above_the_kink(curve: Curve, used: int) -> int:
    return curve.base + curve.low * used // math.FACTOR_SCALE


REAL_RATE, REAL_ACCRUED = math.rate, math.accrued


def one_second_less(totals: Totals, supply: Curve, borrow: Curve, timestamp: int) -> Indexes:
    return REAL_ACCRUED(totals, supply, borrow, max(timestamp - 1, totals.accrued_at))


def one_floor(at: CometMarket, one: market.Collateral, amount: int) -> valuation.Held:
    price = valuation.price_of(at, one.asset, one.symbol)
    counted = amount * price * one.liquidate_factor // (one.scale * math.FACTOR_SCALE)
    return valuation.Held(one, amount, price, amount * price // one.scale, counted)


def by_liquidation_factor(at: CometMarket, one: market.Collateral, amount: int) -> valuation.Held:
    return REAL_HELD(at, replace(one, liquidate_factor=one.liquidation_factor), amount)


REAL_HELD = valuation._held


def debt_rounds_away(amount: int, price: int, scale: int) -> int:
    return amount * price // scale  # Python rounds negative numbers away from zero


ARITHMETIC: dict[str, Break] = {
    "debt principals rounded down": patched(math, "principal_value", debts_round_down),
    "supply principals rounded up": patched(math, "principal_value", supplies_round_up),
    "present debts rounded up": patched(math, "present_value", present_rounds_debts_up),
    "no interest since the last accrual": patched(market, "accrued", one_index),
    "one second too little": patched(market, "accrued", one_second_less),
    "no slope above the kink": patched(math, "rate", never_above_the_kink),
    "no base rate": patched(
        math, "rate", lambda curve, used: REAL_RATE(replace(curve, base=0), used)
    ),
    "utilization is a constant": patched(math, "utilization", lambda _: 5 * 10**17),
    "one floor per asset": patched(valuation, "_held", one_floor),
    "liquidation factor for the collateral factor": patched(
        valuation, "_held", by_liquidation_factor
    ),
    "debt value rounded away from zero": patched(valuation, "value_of", debt_rounds_away),
}


# --- what is read ---------------------------------------------------------------------------------


def first_sixteen(terms: Terms, account: Account) -> int:
    bits = sum(1 << terms.collaterals[asset].offset for asset in account.enabled)
    return bits & 0xFFFF


def without_pauses(totals: Totals) -> Totals:
    return replace(totals, pauses=0)


def revived(prices: dict[Address, int | None]) -> dict[Address, int | None]:
    return {token: price or 0 for token, price in prices.items()}


def one_feed(prices: dict[Address, int | None]) -> dict[Address, int | None]:
    """Give the base token a price of exactly 1."""
    *_, base = prices
    return {**prices, base: 10**8}


def by_the_sum(at: CometMarket, account: Account, indexes: Indexes) -> bool:
    """Price everything, also what the contract does not reach any more."""
    found = valuation._reckoned(at, account, at.principal(account), indexes)
    return found.counted < found.debt


READ: dict[str, Break] = {
    "userBasic not taken over": patched(fold, "_compared", lambda _: iter(())),
    "userBasic unsigned": patched(calls, "signed", lambda word: int.from_bytes(word, "big")),
    "_reserved ignored": patched(Terms, "bits", first_sixteen),
    "pauses ignored": wrapped(reading, "totals_in", without_pauses),
    "a dead feed answers 0": wrapped(reading, "prices_in", revived),
    "base is always 1": wrapped(reading, "prices_in", one_feed),
    "every feed is looked at": patched(liquidation, "liquidatable", by_the_sum),
}
BREAKS = LOGS | ARITHMETIC | READ


def test_an_honest_replay_has_none() -> None:
    assert outcome() == HONEST
    assert outcome(lambda batch: batch) == HONEST


@pytest.mark.parametrize("rule", BREAKS)
def test_a_broken_rule_is_noticed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    BREAKS[rule](monkeypatch)

    assert outcome() != HONEST


# --- batches --------------------------------------------------------------------------------------


def once(topic: bytes, change: Callable[[Log], tuple[Log, ...]]) -> Tamper:
    """Replace the first log with this topic."""
    seen: list[Log] = []

    def tamper(batch: BlockBatch) -> BlockBatch:
        for place, log in enumerate(batch.logs):
            if log.topics[0] == topic and not seen:
                seen.append(log)
                logs = (*batch.logs[:place], *change(log), *batch.logs[place + 1 :])
                return replace(batch, logs=logs)
        return batch

    return tamper


def one_more(log: Log) -> tuple[Log, ...]:
    return (
        structs.replace(log, data=(events.amount_of(log) + 1).to_bytes(32, "big") + log.data[32:]),
    )


ONCE = {
    events.SUPPLY: one_more,
    events.WITHDRAW: one_more,
    events.SUPPLY_COLLATERAL: one_more,
    events.TRANSFER_COLLATERAL: one_more,
    events.WITHDRAW_COLLATERAL: one_more,
    events.ABSORB_COLLATERAL: one_more,
    events.ABSORB_DEBT: one_more,
    events.UPGRADED: lambda _: (),
}


@pytest.mark.parametrize("topic", ONCE, ids=lambda topic: topic.hex()[:8])
def test_a_single_wrong_log_is_noticed(topic: bytes) -> None:
    assert outcome(once(topic, ONCE[topic])) != HONEST


def test_a_lost_block_is_noticed() -> None:
    assert outcome(lambda batch: None if batch.block.number == 130 else batch) != HONEST


def test_logs_in_another_order_are_noticed() -> None:
    """A principal is rounded at every step, so that steps cannot be exchanged."""
    assert outcome(lambda batch: replace(batch, logs=tuple(reversed(batch.logs)))) != HONEST


def test_prices_of_the_block_before_are_noticed() -> None:
    last: dict[Any, Any] = {}

    def late(batch: BlockBatch) -> BlockBatch:
        now = {
            call: got for call, got in batch.readings.items() if call.data[:4] == calls.GET_PRICE
        }
        readings = {**batch.readings, **{call: last.get(call, now[call]) for call in now}}
        last.update(now)
        return replace(batch, readings=readings)

    assert outcome(late) != HONEST
