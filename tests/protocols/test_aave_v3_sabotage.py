"""A replay that cannot fail proves nothing: every single fault must show as a mismatch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from chimera.domain.block import BlockBatch, Log
from chimera.domain.numeric import RAY, WAD, Wad, mul_div
from chimera.protocols.aave_v3 import events, fold, math
from chimera.protocols.aave_v3.draft import Draft, Handler
from chimera.protocols.aave_v3.engine import ENGINES
from chimera.protocols.aave_v3.market import AaveMarket
from devnet.replay import Replay, Tamper, replay

RECORDINGS = Path(__file__).parents[1] / "recordings"
AAVE = {
    "3.0": RECORDINGS / "aave_v3-3.0.2-15.jsonl.gz",
    "3.6": RECORDINGS / "aave_v3-3.6.0-14.jsonl.gz",
    "3.7": RECORDINGS / "aave_v3-3.7-16.jsonl.gz",
}
EACH = pytest.mark.parametrize("version", AAVE)
BUSY = {"3.0": 252, "3.6": 240, "3.7": 241}  # blocks with several updates of rates
MOVES = [events.MINT, events.BURN, events.BALANCE_TRANSFER]
TERMS = [
    events.COLLATERAL_CONFIGURATION_CHANGED,
    events.EMODE_CATEGORY_ADDED,
    events.PRICE_ORACLE_UPDATED,
]
LATER = ["3.6", "3.7"]


def mismatches(version: str, tamper: Tamper | None = None) -> int:
    return len(replay(AAVE[version], tamper=tamper).mismatches)


def cases(*lists: tuple[Iterable[str], Iterable[bytes]]) -> pytest.MarkDecorator:
    """One case for each version and topic."""
    found = [(version, topic) for many, topics in lists for version in many for topic in topics]
    ids = [f"{version} {topic.hex()[:8]}" for version, topic in found]
    return pytest.mark.parametrize(("version", "topic"), found, ids=ids)


def once(topic: bytes, change: Callable[[Log], tuple[Log, ...]], *, skip: int = 0) -> Tamper:
    """Replace the first log with this topic that is followed, or a later one."""
    seen: list[Log] = []

    def tamper(batch: BlockBatch) -> BlockBatch:
        for place, log in enumerate(batch.logs):
            if log.topics[0] == topic:
                seen.append(log)
                if len(seen) == skip + 1:
                    logs = (*batch.logs[:place], *change(log), *batch.logs[place + 1 :])
                    return replace(batch, logs=logs)
        return batch

    return tamper


# Here the first one moves aTokens between two users on whose health they do not count.
SKIPPED = {("3.6", events.BALANCE_TRANSFER): 1}


@EACH
def test_an_honest_replay_has_none(version: str) -> None:
    assert mismatches(version) == 0
    assert mismatches(version, once(events.MINT, lambda log: (log,))) == 0


@cases(
    (AAVE, MOVES + TERMS),
    (["3.0"], [events.EMODE_ASSET_CATEGORY_CHANGED]),
    (LATER, [events.COLLATERAL_IN_EMODE_CHANGED]),
)
def test_a_lost_log_is_noticed(version: str, topic: bytes) -> None:
    skip = SKIPPED.get((version, topic), 0)

    assert mismatches(version, once(topic, lambda _: (), skip=skip)) > 0


@cases((AAVE, [events.COLLATERAL_ENABLED, events.COLLATERAL_DISABLED, events.USER_EMODE_SET]))
def test_a_kind_of_log_that_nobody_reads_is_noticed(version: str, topic: bytes) -> None:
    def deaf(batch: BlockBatch) -> BlockBatch:
        return replace(batch, logs=tuple(log for log in batch.logs if log.topics[0] != topic))

    assert mismatches(version, deaf) > 0


@EACH
def test_rates_that_are_missed_in_one_block_are_noticed(version: str) -> None:
    def deaf(batch: BlockBatch) -> BlockBatch:
        missed = events.RESERVE_DATA_UPDATED if batch.block.number == BUSY[version] else b""
        return replace(batch, logs=tuple(log for log in batch.logs if log.topics[0] != missed))

    assert mismatches(version, deaf) > 0


@cases((AAVE, MOVES))
def test_a_log_that_is_applied_twice_is_noticed(version: str, topic: bytes) -> None:
    skip = SKIPPED.get((version, topic), 0)

    assert mismatches(version, once(topic, lambda log: (log, log), skip=skip)) > 0


@pytest.mark.parametrize("version", LATER)
def test_taking_received_atokens_for_collateral_is_noticed_since_v3_6(version: str) -> None:
    player = Replay(AAVE[version])
    next(player.blocks())
    market = player.book.market("aave_v3")
    assert isinstance(market, AaveMarket)
    pool = market.pool
    assets = {reserve.supply_token: asset for asset, reserve in market.reserves.items()}

    def enabling(batch: BlockBatch) -> BlockBatch:
        logs: list[Log] = []
        for log in batch.logs:
            logs.append(log)
            if log.topics[0] == events.BALANCE_TRANSFER:
                asset = assets.get(log.address)
                if asset is not None:
                    topics = (events.COLLATERAL_ENABLED, asset.rjust(32, b"\0"), log.topics[2])
                    logs.append(structs.replace(log, address=pool, topics=topics, data=b""))
        return replace(batch, logs=tuple(logs))

    assert mismatches(version, enabling) > 0


@pytest.mark.parametrize("version", LATER)
def test_an_edit_that_clears_an_emodes_bitmaps_is_noticed(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(draft: Draft, log: Log) -> None:
        number, mode = events.mode_of(log)
        draft.modes = {**draft.modes, number: mode}

    monkeypatch.setitem(fold.CONFIGURATOR, events.EMODE_CATEGORY_ADDED, forgetful)

    assert mismatches(version) > 0


@EACH
def test_a_stale_price_is_noticed(version: str) -> None:
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

    assert mismatches(version, tamper) > 0
    assert len(done) == 1


@EACH
def test_a_lost_block_is_noticed(version: str) -> None:
    assert mismatches(version, lambda batch: None if batch.block.number == 250 else batch) > 0


@EACH
def test_a_wrong_clock_is_noticed(version: str) -> None:
    def late(batch: BlockBatch) -> BlockBatch:
        return replace(batch, block=replace(batch.block, timestamp=batch.block.timestamp - 1))

    assert mismatches(version, late) > 0


def untruncated(_: int, weighted: int, debt: int) -> Wad | None:
    return Wad(weighted * WAD // 10_000 // debt) if debt else None


def simple_interest(rate: int, seconds: int) -> int:
    return RAY + rate * seconds // 31_536_000


BROKEN_OLD = {
    "supply floored": {"supplied": math.ray_mul_down},
    "debt floored": {"owed": math.ray_mul_down},
    "average not truncated": {"health": untruncated},
    "simple": {"compound": simple_interest},
    "later compounding": {"compound": math.nested_interest},
}
BROKEN_NEW = {
    "supply to the nearest": {"supplied": math.ray_mul},
    "debt to the nearest": {"owed": math.ray_mul},
    "debt value floored": {"debt_value": mul_div},
    "average truncated": {"health": math.health_of_average},
    "older compounding": {"compound": math.binomial_interest},
    "supply moved to the nearest": {"supply_moved": math.moved_half_up},
    "debt moved to the nearest": {"debt_moved": math.moved_half_up},
    "own threshold needed": {"needs_own_threshold": True},
    "collateral left untouched": {"touches_collateral": False},
    "no bitmaps": {"has_mode_bitmaps": False},
}
BREAKS = [("3.0", name, rule) for name, rule in BROKEN_OLD.items()]
BREAKS += [(version, name, rule) for version in LATER for name, rule in BROKEN_NEW.items()]


@pytest.mark.parametrize(
    ("version", "rule"),
    [(version, rule) for version, _, rule in BREAKS],
    ids=[f"{version} {name}" for version, name, _ in BREAKS],
)
def test_another_arithmetic_is_noticed(
    version: str, rule: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES, version, replace(ENGINES[version], **rule))

    assert mismatches(version) > 0


@EACH
def test_a_burn_logged_as_mint_that_nobody_takes_for_one_is_noticed(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deaf(table: dict[bytes, Handler]) -> Handler:
        honest = table[events.MINT]

        def heard(draft: Draft, log: Log) -> None:
            if events.minted(log.data)[0] >= 0:
                honest(draft, log)

        return heard

    for table in (fold.SUPPLY_TOKEN, fold.DEBT_TOKEN):
        monkeypatch.setitem(table, events.MINT, deaf(table))

    assert mismatches(version) > 0
