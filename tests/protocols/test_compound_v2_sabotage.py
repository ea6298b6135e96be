"""A replay that cannot fail proves nothing: every single broken rule must show as a mismatch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from chimera.domain import abi
from chimera.domain.block import Address, BlockBatch, Log
from chimera.domain.changes import Change, DebtSet
from chimera.domain.market import Account
from chimera.domain.numeric import WAD
from chimera.protocols.compound_v2 import (
    events,
    fold,
    lacking,
    liquidation,
    math,
    mtokens,
    reading,
    valuation,
)
from chimera.protocols.compound_v2.dialect import MOONWELL
from chimera.protocols.compound_v2.draft import Draft
from chimera.protocols.compound_v2.market import CompoundMarket
from chimera.protocols.compound_v2.math import RateModel, State
from devnet.replay import Tamper
from tests.fakes_compound_v2 import RECORDING, Player

Patch = Callable[[pytest.MonkeyPatch], None]
Handled = tuple[Change, ...]


def noticed(tamper: Tamper | None = None) -> bool:
    """Tell whether a replay finds anything; it stops where it does."""
    player = Player(RECORDING, tamper=tamper)
    for _ in player.blocks():
        if player.comparison.mismatches:
            break
    return bool(player.comparison.mismatches)


def test_an_honest_replay_notices_nothing() -> None:
    assert not noticed()
    assert not noticed(lambda batch: batch)


# --- logs ----------------------------------------------------------------------------------------

READ = {
    "AccrueInterest": events.ACCRUE_INTEREST,
    "Mint": events.MINT,
    "Redeem": events.REDEEM,
    "Transfer": events.TRANSFER,
    "Borrow": events.BORROW,
    "RepayBorrow": events.REPAY_BORROW,
    "ReservesAdded": events.RESERVES_ADDED,
    "ReservesReduced": events.RESERVES_REDUCED,
    "NewReserveFactor": events.NEW_RESERVE_FACTOR,
    "NewMarketInterestRateModel": events.NEW_MARKET_INTEREST_RATE_MODEL,
    "MarketListed": events.MARKET_LISTED,
    "MarketEntered": events.MARKET_ENTERED,
    "MarketExited": events.MARKET_EXITED,
    "NewCollateralFactor": events.NEW_COLLATERAL_FACTOR,
    "NewCloseFactor": events.NEW_CLOSE_FACTOR,
    "NewLiquidationIncentive": events.NEW_LIQUIDATION_INCENTIVE,
    "NewPriceOracle": events.NEW_PRICE_ORACLE,
    "ActionPaused": events.ACTION_PAUSED,
}


@pytest.mark.parametrize("topic", READ.values(), ids=READ)
def test_a_kind_of_log_that_nobody_reads_is_noticed(topic: bytes) -> None:
    def deaf(batch: BlockBatch) -> BlockBatch:
        return replace(batch, logs=tuple(log for log in batch.logs if log.topics[0] != topic))

    assert noticed(deaf)


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


@pytest.mark.parametrize("name", ["Mint", "Redeem", "Transfer", "Borrow", "RepayBorrow"])
def test_a_single_lost_log_is_noticed(name: str) -> None:
    assert noticed(once(READ[name], lambda _: ()))


@pytest.mark.parametrize("name", ["Mint", "Redeem", "Transfer"])
def test_a_log_that_is_applied_twice_is_noticed(name: str) -> None:
    assert noticed(once(READ[name], lambda log: (log, log)))


def test_a_lost_block_is_noticed() -> None:
    assert noticed(lambda batch: None if batch.block.number == 190 else batch)


def test_a_wrong_clock_is_noticed() -> None:
    def late(batch: BlockBatch) -> BlockBatch:
        return replace(batch, block=replace(batch.block, timestamp=batch.block.timestamp - 1))

    assert noticed(late)


@pytest.mark.parametrize("selector", ["3b1d21a2", "fc57d4df"], ids=["cash", "price"])
def test_a_single_stale_answer_is_noticed(selector: str) -> None:
    before: list[BlockBatch] = []
    done: list[int] = []

    def tamper(batch: BlockBatch) -> BlockBatch:
        stale = {
            call: before[-1].readings[call]
            for call, answer in batch.readings.items()
            if before
            and not done
            and call.data[:4].hex() == selector
            and before[-1].readings.get(call, answer) != answer
        }
        before.append(batch)
        if stale:
            done.append(batch.block.number)
        return replace(batch, readings={**batch.readings, **stale})

    assert noticed(tamper)
    assert len(done) == 1


# --- rules of the mirror -------------------------------------------------------------------------


def _deaf_to_burns(draft: Draft, log: Log) -> Handled:
    return mtokens._reserves_reduced(draft, log)


def _burning_by_neighbour(draft: Draft, log: Log) -> Handled:
    """Burn what was sent to the market last in this block, whoever adds to the reserves."""
    words = events.arguments(log)
    sent = draft.sent_back.pop(log.address, (0, 0))[1]
    figures = draft.figures(log.address)
    assert figures is not None
    figures.reserves = abi.uint_at(words, 2)
    figures.supply -= sent
    return ()


def _burning_all_that_comes(draft: Draft, log: Log) -> Handled:
    words = events.arguments(log)
    if abi.address_at(words, 1) == log.address:
        draft.supply(log.address, -abi.uint_at(words, 2))
    return mtokens._transferred(draft, log)


def _settled_at_one(draft: Draft, log: Log) -> Handled:
    return tuple(
        msgspec.structs.replace(change, mark=WAD)
        if isinstance(change, DebtSet) and change.mark
        else change
        for change in mtokens._repaid(draft, log)
    )


def _later_factor(draft: Draft, log: Log) -> Handled:
    listing = draft.listings[log.address]
    draft.listings[log.address] = replace(listing, reserve_factor=listing.reserve_factor + 1)
    found = mtokens._accrued(draft, log)
    draft.listings[log.address] = listing
    return found


def table(topic: bytes, handler: Any) -> Patch:  # noqa: ANN401  (as in the fold)
    return lambda patch: patch.setitem(mtokens.MTOKEN, topic, handler)


def rule(of: Any, name: str, broken: Any) -> Patch:  # noqa: ANN401  (any function)
    return lambda patch: patch.setattr(of, name, broken)


def _two_oracles(market: CompoundMarket, _logs: object) -> Address:
    return market.oracle


def _own_interest(market: CompoundMarket, account: Account) -> Any:  # noqa: ANN401
    """Value an account with interest added everywhere."""
    time = max(state.accrued for state in market.states.values())
    instead = {
        m: market.figures_of(m, market.accrued(m, time), account.mode) for m in market.listings
    }
    return valuation.liquidity(market, account, instead)


def _straight(model: RateModel, cash: int, borrows: int, reserves: int) -> int:
    return HONEST_RATE(replace(model, jump=model.multiplier), cash, borrows, reserves)


def _without_reserves(model: RateModel, cash: int, borrows: int, _: int) -> int:
    return HONEST_RATE(model, cash, borrows, 0)


def _without_growing_index(state: State, factor: int, rate: int, moment: int) -> State:
    return replace(HONEST_ACCRUAL(state, factor, rate, moment), index=state.index)


def _compounding(state: State, factor: int, rate: int, moment: int) -> State:
    half = (state.accrued + moment) // 2
    return HONEST_ACCRUAL(HONEST_ACCRUAL(state, factor, rate, half), factor, rate, moment)


def _not_reserving(state: State, _: int, rate: int, moment: int) -> State:
    return HONEST_ACCRUAL(state, 0, rate, moment)


HONEST_RATE, HONEST_ACCRUAL = math.borrow_rate, math.accrued
HONEST_LIQUIDITY, HONEST_VALUE = valuation.liquidity, math.value_of
HONEST_REPAYABLE, HONEST_RATIO = math.repayable, math.seize_ratio


def _stored_only(market: CompoundMarket, account: Account, _: object = None) -> Any:  # noqa: ANN401
    return HONEST_LIQUIDITY(market, account)


def _everything_counts(market: CompoundMarket, account: Account, *more: Any) -> Any:  # noqa: ANN401
    every = frozenset(account.supplied) | account.enabled
    return HONEST_LIQUIDITY(market, account.but(enabled=every), *more)


def _price_first(factor: int, rate: int, price: int) -> int:
    return factor * rate * price // (WAD * WAD)


def _rounded_up(principal: int, mark: int, index: int) -> int:
    return -(-principal * index // mark) if principal else 0


def _limited_by_all(case: liquidation.Case) -> int:
    return valuation.owed_at(case.account, case.debt.mtoken, case.by.borrow_index)


def _limited_as_stored(case: liquidation.Case) -> int:
    stored = case.market.figures(case.debt.mtoken, 0).borrow_index
    owed = valuation.owed_at(case.account, case.debt.mtoken, stored)
    return math.value_of(case.market.close_factor, owed)


RULES: dict[str, Patch] = {
    "reserves: no part of the interest": rule(mtokens, "reserved", lambda *_: 0),
    "reserves: rounded up": rule(mtokens, "reserved", lambda f, i: -(-f * i // WAD)),
    "reserves: another factor": table(events.ACCRUE_INTEREST, _later_factor),
    "supply: a seized share is not burned": table(events.RESERVES_ADDED, _deaf_to_burns),
    "supply: a stray transfer is burned": table(events.RESERVES_ADDED, _burning_by_neighbour),
    "supply: all that comes is burned": table(events.TRANSFER, _burning_all_that_comes),
    "debt: settled at an index of 1": table(events.REPAY_BORROW, _settled_at_one),
    "debt: rounded up": rule(valuation, "borrow_balance", _rounded_up),
    "collateral: price before truncation": rule(math, "weight_of", _price_first),
    "collateral: without membership": rule(valuation, "liquidity", _everything_counts),
    "seizing: entered markets only": rule(
        reading, "MOONWELL", replace(MOONWELL, seizes_entered_only=True)
    ),
    "dead prices of empty legs do not count": rule(
        reading, "MOONWELL", replace(MOONWELL, skips_blank=True)
    ),
    "pairs: as stored": rule(liquidation, "liquidity", _stored_only),
    "rate: reserves count as cash": rule(math, "borrow_rate", _without_reserves),
    "interest: none on debts": rule(math, "accrued", _without_growing_index),
    "interest: compounding": rule(math, "accrued", _compounding),
    "interest: nothing reserved": rule(math, "accrued", _not_reserving),
    "limit: all of the debt": rule(liquidation.Case, "close_limit", _limited_by_all),
    "limit: of the debt as stored": rule(liquidation.Case, "close_limit", _limited_as_stored),
    "limit: more than there is to seize": rule(math, "repayable", lambda *_: 10**60),
    "limit: one too many": rule(math, "repayable", lambda r, b: HONEST_REPAYABLE(r, b - 10**9)),
    "ratio: without the incentive": rule(
        math, "seize_ratio", lambda _, *rest: HONEST_RATIO(WAD, *rest)
    ),
    "equality counts as shortfall": rule(
        valuation.Liquidity,
        "shortfall",
        property(lambda told: max(0, told.debt - told.collateral) or int(told.debt > 0)),
    ),
}


@pytest.mark.parametrize("broken", RULES.values(), ids=RULES)
def test_a_broken_rule_is_noticed(broken: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch)

    assert noticed()


def test_health_with_interest_added_everywhere_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devnet.recorded.compound_v2.liquidity", _own_interest)

    assert noticed()


# --- what no replay of this recording can notice -------------------------------------------------

# The share only decides how much of a seizure is burned, which logs tell, and what the best pair
# pays, which the truth does not say; the new code is the old one; who is liquidated moves nothing;
# pauses of minting and borrowing decide about nobody who owes.
UNNOTICED = {
    "NewProtocolSeizeShare": events.NEW_PROTOCOL_SEIZE_SHARE,
    "NewImplementation": events.NEW_IMPLEMENTATION,
    "LiquidateBorrow": events.LIQUIDATE_BORROW,
    "ActionPaused of a market": events.MARKET_ACTION_PAUSED,
}


@pytest.mark.parametrize("topic", UNNOTICED.values(), ids=UNNOTICED)
def test_these_logs_are_there_yet_their_loss_cannot_show(topic: bytes) -> None:
    met: list[Log] = []

    def deaf(batch: BlockBatch) -> BlockBatch:
        met.extend(log for log in batch.logs if log.topics[0] == topic)
        return replace(batch, logs=tuple(log for log in batch.logs if log.topics[0] != topic))

    assert not noticed(deaf)
    assert met


def test_no_market_is_used_beyond_its_kink_so_that_the_second_slope_cannot_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(math, "borrow_rate", _straight)

    assert not noticed()


def test_every_log_that_the_recording_has_is_in_one_of_the_lists() -> None:
    player = Player(RECORDING)
    met = {
        log.topics[0]
        for line in player.recording.followed[1:]
        for log in line.logs
        if log.topics[0] in fold.TOPICS
    }

    assert met == {*READ.values(), *UNNOTICED.values()}
    assert lacking.RARE <= fold.TOPICS
