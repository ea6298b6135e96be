"""A replay that cannot fail proves nothing: every single fault must show as a mismatch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chimera.domain.block import BlockBatch, Log
from chimera.domain.numeric import RAY, WAD, Wad
from chimera.protocols.aave_v3 import events, reading
from chimera.protocols.aave_v3.math import V3_0, Engine, minted_half_up
from devnet.replay import Tamper, replay

AAVE_3_0 = Path(__file__).parents[1] / "recordings" / "aave_v3-3.0.2-15.jsonl.gz"

BUSY = 252  # a block with four updates of rates


def mismatches(tamper: Tamper | None = None) -> int:
    return len(replay(AAVE_3_0, tamper=tamper).mismatches)


def once(topic: bytes, change: Callable[[Log], tuple[Log, ...]]) -> Tamper:
    """Replace the first log with this topic that is followed."""
    done: list[Log] = []

    def tamper(batch: BlockBatch) -> BlockBatch:
        for place, log in enumerate(batch.logs):
            if log.topics[0] == topic and not done:
                done.append(log)
                logs = (*batch.logs[:place], *change(log), *batch.logs[place + 1 :])
                return replace(batch, logs=logs)
        return batch

    return tamper


def test_an_honest_replay_has_none() -> None:
    assert mismatches() == 0
    assert mismatches(once(events.MINT, lambda log: (log,))) == 0


@pytest.mark.parametrize(
    "topic",
    [
        events.MINT,
        events.BURN,
        events.BALANCE_TRANSFER,
        events.COLLATERAL_CONFIGURATION_CHANGED,
        events.EMODE_CATEGORY_ADDED,
        events.EMODE_ASSET_CATEGORY_CHANGED,
        events.PRICE_ORACLE_UPDATED,
    ],
    ids=bytes.hex,
)
def test_a_lost_log_is_noticed(topic: bytes) -> None:
    assert mismatches(once(topic, lambda _: ())) > 0


@pytest.mark.parametrize(
    "topic",
    [events.COLLATERAL_ENABLED, events.COLLATERAL_DISABLED, events.USER_EMODE_SET],
    ids=bytes.hex,
)
def test_a_kind_of_log_that_nobody_reads_is_noticed(topic: bytes) -> None:
    def deaf(batch: BlockBatch) -> BlockBatch:
        return replace(batch, logs=tuple(log for log in batch.logs if log.topics[0] != topic))

    assert mismatches(deaf) > 0


def test_rates_that_are_missed_in_one_block_are_noticed() -> None:
    def deaf(batch: BlockBatch) -> BlockBatch:
        missed = events.RESERVE_DATA_UPDATED if batch.block.number == BUSY else b""
        return replace(batch, logs=tuple(log for log in batch.logs if log.topics[0] != missed))

    assert mismatches(deaf) > 0


@pytest.mark.parametrize(
    "topic", [events.MINT, events.BURN, events.BALANCE_TRANSFER], ids=bytes.hex
)
def test_a_log_that_is_applied_twice_is_noticed(topic: bytes) -> None:
    assert mismatches(once(topic, lambda log: (log, log))) > 0


def test_a_stale_price_is_noticed() -> None:
    """One price of one block is taken from the block before."""
    before: list[BlockBatch] = []
    done: list[int] = []

    def tamper(batch: BlockBatch) -> BlockBatch:
        stale = {
            call: before[-1].readings[call]
            for call, answer in batch.readings.items()
            if before and not done and before[-1].readings.get(call, answer) != answer
        }
        before.append(batch)
        if not stale:
            return batch
        done.append(batch.block.number)
        call = next(iter(stale))
        return replace(batch, readings={**batch.readings, call: stale[call]})

    assert mismatches(tamper) > 0
    assert len(done) == 1


def test_a_lost_block_is_noticed() -> None:
    assert mismatches(lambda batch: None if batch.block.number == 250 else batch) > 0


def test_a_wrong_clock_is_noticed() -> None:
    def late(batch: BlockBatch) -> BlockBatch:
        return replace(batch, block=replace(batch.block, timestamp=batch.block.timestamp - 1))

    assert mismatches(late) > 0


def floor_multiplied(a: int, b: int) -> int:
    return a * b // RAY


def untruncated(_: int, weighted: int, debt: int) -> Wad | None:
    return Wad(weighted * WAD // 10_000 // debt) if debt else None


def never_a_burn(value: int, increase: int, index: int) -> int:
    return max(minted_half_up(value, increase, index), 0)


def simple_interest(rate: int, seconds: int) -> int:
    return RAY + rate * seconds // 31_536_000


@pytest.mark.parametrize(
    "engine",
    [
        replace(V3_0, supplied=floor_multiplied),
        replace(V3_0, owed=floor_multiplied),
        replace(V3_0, health=untruncated),
        replace(V3_0, minted=never_a_burn),
        replace(V3_0, compound=simple_interest),
    ],
    ids=["supply floored", "debt floored", "average not truncated", "mint as burn", "simple"],
)
def test_another_arithmetic_is_noticed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "V3_0", engine)

    assert mismatches() > 0
