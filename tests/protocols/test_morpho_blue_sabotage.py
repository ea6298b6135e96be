"""A replay that cannot fail proves nothing: every rule of Morpho Blue, broken, must show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chimera.domain import abi
from chimera.domain.block import Address, BlockBatch, Log
from chimera.domain.call import Inquiry, Readings
from chimera.domain.changes import Change
from chimera.domain.numeric import WAD
from chimera.protocols.morpho_blue import (
    calls,
    draft,
    events,
    fold,
    market,
    math,
    reading,
    valuation,
)
from chimera.protocols.morpho_blue.draft import Draft
from chimera.protocols.morpho_blue.market import Id, MorphoMarket, Quote
from devnet.recording import Line
from devnet.replay import Tamper
from tests.fakes_morpho_blue import RECORDING, MorphoReplay

BORROWERS = [events.BORROW, events.REPAY, events.LIQUIDATE]
PLEDGES = [events.SUPPLY_COLLATERAL, events.WITHDRAW_COLLATERAL]
RATES = [events.ACCRUE_INTEREST, events.BORROW_RATE_UPDATE]
LENDERS = [events.SUPPLY, events.WITHDRAW]
RARE = [events.SET_FEE, events.SET_FEE_RECIPIENT]
Monkey = pytest.MonkeyPatch


def mismatches(tamper: Tamper | None = None) -> int:
    """How many figures of the accounts differ from the truth."""
    return len(MorphoReplay(RECORDING, tamper=tamper).run().mismatches)


def strays(tamper: Tamper | None = None) -> int:
    """The same, and what differs from a fresh snapshot at the full blocks."""
    return len(MorphoReplay(RECORDING, tamper=tamper).audit())


def each(topics: list[bytes]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("topic", topics, ids=[topic.hex()[:8] for topic in topics])


def once(topic: bytes, change: Callable[[Log], tuple[Log, ...]], *, least: int = 0) -> Tamper:
    """Replace the first followed log with this topic whose second word is `least` or more."""
    seen: list[Log] = []

    def tamper(batch: BlockBatch) -> BlockBatch:
        for place, log in enumerate(batch.logs):
            matches = log.topics[0] == topic and abi.uint_at(log.data, 1) >= least
            if matches and not seen:
                seen.append(log)
                logs = (*batch.logs[:place], *change(log), *batch.logs[place + 1 :])
                return replace(batch, logs=logs)
        return batch

    return tamper


def deaf(*topics: bytes) -> Tamper:
    """Lose every log with one of these topics."""

    def tamper(batch: BlockBatch) -> BlockBatch:
        return replace(batch, logs=tuple(log for log in batch.logs if log.topics[0] not in topics))

    return tamper


def test_an_honest_replay_has_none() -> None:
    assert strays() == 0
    assert mismatches(once(events.BORROW, lambda log: (log,))) == 0


# --- logs ----------------------------------------------------------------------------------------


@each(BORROWERS + PLEDGES)
def test_a_lost_log_is_noticed(topic: bytes) -> None:
    assert mismatches(once(topic, lambda _: ())) > 0


@each(BORROWERS + PLEDGES)
def test_a_log_that_is_applied_twice_is_noticed(topic: bytes) -> None:
    assert mismatches(once(topic, lambda log: (log, log))) > 0


def test_interest_that_is_added_twice_is_noticed() -> None:
    twice = once(events.ACCRUE_INTEREST, lambda log: (log, log), least=10**6)

    assert mismatches(twice) > 0


class Uninformed(MorphoReplay):
    """Never hears of a new market."""

    def _seal(self, line: Line) -> BlockBatch:
        created = f"0x{events.CREATE_MARKET.hex()}"
        kept = [entry for entry in line._logs if entry["topics"][:1] != [created]]
        return super()._seal(replace(line, _logs=kept))


def test_a_market_whose_creation_was_missed_is_read_once_somebody_enters() -> None:
    run = Uninformed(RECORDING)

    assert run.audit() == []
    assert len(run.market.terms) == 11


@each(RATES + LENDERS + RARE)
def test_a_kind_of_log_that_nobody_reads_is_noticed(topic: bytes) -> None:
    assert strays(deaf(topic)) > 0


@each(LENDERS)
def test_a_lenders_log_that_is_lost_or_doubled_is_noticed_at_full_blocks(topic: bytes) -> None:
    assert strays(once(topic, lambda _: ())) > 0
    assert strays(once(topic, lambda log: (log, log))) > 0


def test_the_irms_logs_alone_decide_the_next_rates() -> None:
    """Who follows the singleton only has the right totals and the wrong debts."""
    assert mismatches(deaf(events.BORROW_RATE_UPDATE)) > 0


# --- readings and blocks -------------------------------------------------------------------------


def test_a_stale_price_is_noticed() -> None:
    before: list[BlockBatch] = []
    done: list[int] = []

    def tamper(batch: BlockBatch) -> BlockBatch:
        stale = {
            call: before[-1].readings[call]
            for call, answer in batch.readings.items()
            if before and not done and before[-1].readings.get(call, answer) != answer
        }
        before.append(batch)
        if stale:
            done.append(batch.block.number)
        return replace(batch, readings={**batch.readings, **stale})

    assert mismatches(tamper) > 0
    assert len(done) == 1


def test_a_lost_block_is_noticed() -> None:
    assert mismatches(lambda batch: None if batch.block.number == 150 else batch) > 0


def test_a_wrong_clock_is_noticed() -> None:
    def late(batch: BlockBatch) -> BlockBatch:
        return replace(batch, block=replace(batch.block, timestamp=batch.block.timestamp - 1))

    assert mismatches(late) > 0


# --- arithmetic ----------------------------------------------------------------------------------


def taylor(terms: int) -> Callable[[int, int], int]:
    def compounded(rate: int, seconds: int) -> int:
        power, total = rate * seconds, 0
        for place in range(1, terms + 1):
            total += power
            power = power * rate * seconds // ((place + 1) * WAD)
        return total

    return compounded


def floored(a: int, b: int) -> int:
    return a // b


def finer_exp(x: int) -> int:
    """With a third term of the polynomial."""
    half = math.LN_2 // 2 if x >= 0 else -(math.LN_2 // 2)
    doublings = math.toward_zero(x + half, math.LN_2)
    rest = x - doublings * math.LN_2
    power = WAD + rest + rest * rest // WAD // 2 + rest**3 // WAD**2 // 6
    return power << doublings if doublings >= 0 else power >> -doublings


def with_virtual_amounts(supplied: int, borrowed: int) -> int:
    utilization = (borrowed + 1) * WAD // (supplied + 1)
    over = utilization > math.TARGET_UTILIZATION
    span = WAD - math.TARGET_UTILIZATION if over else math.TARGET_UTILIZATION
    return math.toward_zero((utilization - math.TARGET_UTILIZATION) * WAD, span)


def without_virtual_amounts(shares: int, assets_total: int, shares_total: int) -> int:
    return -(-shares * assets_total // shares_total) if shares_total else 0


def one_floor(collateral: int, price: int, lltv: int) -> int:
    return math.checked(collateral * price) * lltv // (math.ORACLE_SCALE * WAD)


def unchecked(value: int, _: int = 0) -> int:
    return value


BROKEN: dict[str, tuple[Any, str, Any]] = {
    "two terms of Taylor": (math, "compounded", taylor(2)),
    "four terms of Taylor": (math, "compounded", taylor(4)),
    "signed division rounds down": (math, "toward_zero", floored),
    "a finer exponential": (math, "w_exp", finer_exp),
    "virtual amounts in the utilization": (market, "utilization_error", with_virtual_amounts),
    "the same steepness on both sides": (math, "CURVE_STEEPNESS", 2 * WAD),
    "no bounds of the rate": (math, "HIGHEST_RATE", 2**200),
    "no lower bound of the rate": (math, "LOWEST_RATE", 0),
    "another speed": (math, "ADJUSTMENT_SPEED", math.ADJUSTMENT_SPEED + 10**6),
    "the debt rounded down": (valuation, "to_assets_up", math.to_assets_down),
    "no virtual shares": (valuation, "to_assets_up", without_virtual_amounts),
    "one division in place of two": (valuation, "max_borrow", one_floor),
    "overflows that are not noticed": (math, "checked", unchecked),
}


@pytest.mark.parametrize("name", BROKEN)
def test_another_arithmetic_is_noticed(name: str, monkeypatch: Monkey) -> None:
    where, attribute, broken = BROKEN[name]
    monkeypatch.setattr(where, attribute, broken)
    monkeypatch.setattr(reading, "_rates", nobody_asks)

    assert mismatches() > 0


def nobody_asks(*_: object) -> Inquiry[dict[Id, int | None]]:
    """Else a rate that is not the IRM's own would show at once, and the IRM be asked for ever."""
    yield from ()
    return {}


def test_an_irm_that_answers_another_rate_is_not_taken_for_the_known_one(
    monkeypatch: Monkey,
) -> None:
    monkeypatch.setattr(math, "CURVE_STEEPNESS", 5 * WAD)
    run = MorphoReplay(RECORDING)
    next(run.blocks())

    assert run.market.curves == frozenset()
    assert run.market.rates


# --- rules ---------------------------------------------------------------------------------------


def rewired(monkeypatch: Monkey, topic: bytes, handler: fold.Handler) -> None:
    monkeypatch.setitem(fold.HANDLERS, topic, handler)


def test_stored_totals_in_place_of_accrued_ones_are_noticed(monkeypatch: Monkey) -> None:
    monkeypatch.setattr(MorphoMarket, "_accrue", lambda self, where, _: self.totals[where])

    assert mismatches() > 0


def test_accruing_in_two_steps_is_noticed(monkeypatch: Monkey) -> None:
    """Interest is added at every block, though nobody touched the market."""
    honest = Draft.finished

    def eager(self: Draft) -> MorphoMarket:
        found, time = honest(self), self.batch.block.timestamp
        totals = {where: found.accrued(where, time) for where in found.live}
        return replace(found, totals={**found.totals, **totals})

    monkeypatch.setattr(Draft, "finished", eager)

    assert mismatches() > 0


def test_a_time_that_any_log_moves_is_noticed(monkeypatch: Monkey) -> None:
    honest = fold.HANDLERS[events.SUPPLY_COLLATERAL]

    def eager(found: Draft, log: Log) -> tuple[Change, ...]:
        where = events.market_in(log)
        found.totals_of(where).updated = found.batch.block.timestamp
        return honest(found, log)

    rewired(monkeypatch, events.SUPPLY_COLLATERAL, eager)

    assert mismatches() > 0


def test_a_fee_that_goes_to_nobody_is_noticed(monkeypatch: Monkey) -> None:
    honest = fold.HANDLERS[events.ACCRUE_INTEREST]
    rewired(
        monkeypatch, events.ACCRUE_INTEREST, lambda found, log: (list(honest(found, log)), ())[1]
    )

    assert strays() > 0


def test_interest_without_its_fee_shares_is_noticed(monkeypatch: Monkey) -> None:
    monkeypatch.setattr(events, "interest_and_fee", lambda log: (abi.uint_at(log.data, 1), 0))

    assert strays() > 0


def test_a_fee_for_the_recipient_of_the_block_before_is_noticed(monkeypatch: Monkey) -> None:
    rewired(monkeypatch, events.SET_FEE_RECIPIENT, lambda *_: ())

    assert strays() > 0


def test_a_repayment_that_is_not_cut_off_at_the_total_is_noticed(monkeypatch: Monkey) -> None:
    def whole(self: Draft, where: Id, assets: int, shares: int) -> None:
        self.move(where, borrow_assets=-assets, borrow_shares=-shares)

    monkeypatch.setattr(Draft, "repay", whole)

    assert mismatches() > 0


@pytest.mark.parametrize("word", ["bad_assets", "bad_shares"])
def test_a_written_off_debt_that_stays_is_noticed(word: str, monkeypatch: Monkey) -> None:
    honest = events.liquidation
    monkeypatch.setattr(events, "liquidation", lambda log: honest(log)._replace(**{word: 0}))

    assert mismatches() > 0


def test_a_written_off_debt_that_no_lender_bears_is_noticed(monkeypatch: Monkey) -> None:
    honest = Draft.move

    def kind(self: Draft, where: Id, **figures: int) -> None:
        if "borrow_assets" in figures and figures.get("supply_assets", 0) < 0:
            del figures["supply_assets"]
        honest(self, where, **figures)

    monkeypatch.setattr(Draft, "move", kind)

    assert mismatches() > 0


@pytest.mark.parametrize("topic", [events.SUPPLY_COLLATERAL, events.BORROW, events.REPAY])
def test_the_caller_in_place_of_the_owner_is_noticed(topic: bytes, monkeypatch: Monkey) -> None:
    places = {events.SUPPLY_COLLATERAL: 2, events.BORROW: 3, events.REPAY: 2}
    monkeypatch.setitem(events.OWNERS, topic, places[topic])

    assert mismatches() > 0


def test_the_rate_of_a_market_without_an_irm_is_noticed(monkeypatch: Monkey) -> None:
    """It is 0 for ever: 4 percent a year would show."""
    monkeypatch.setattr(
        MorphoMarket,
        "rate",
        lambda self, where, time: self.rate_at(where, time),
    )
    monkeypatch.setattr(
        MorphoMarket,
        "_accrue",
        lambda self, where, time: math.accrued(
            replace(self.totals[where], updated=self.totals[where].updated or time - 100),
            self.rate(where, time),
            time,
        ),
    )

    assert mismatches() > 0


def test_a_price_of_0_that_is_taken_for_none_is_noticed(monkeypatch: Monkey) -> None:
    honest = calls.quote

    def strict(answer: bytes | None) -> Quote:
        found = honest(answer)
        return found if found.price else Quote(None, "no price")

    monkeypatch.setattr(calls, "quote", strict)

    assert mismatches() > 0


def test_a_dead_price_that_lives_on_is_noticed(monkeypatch: Monkey) -> None:
    honest = draft._quotes

    def trusting(found: MorphoMarket, readings: Readings, number: int) -> dict[Address, Quote]:
        new = honest(found, readings, number)
        old = found.quotes
        return {o: old[o] if q.price is None and o in old else q for o, q in new.items()}

    monkeypatch.setattr(draft, "_quotes", trusting)

    assert mismatches() > 0
