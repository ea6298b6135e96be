"""Garbage is collected between blocks: all of it in the end, and little at a time."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from chimera.app import garbage
from chimera.app.garbage import EVERY, Garbage


class Ring:
    """Refers to itself, so that only a collection ends it."""

    def __init__(self) -> None:
        self.itself = self


def aged() -> Ring:
    """Return one that has survived: young collections do not look at it any more."""
    ring = Ring()
    gc.collect()
    return ring


@pytest.fixture
def collector() -> Iterator[Garbage]:
    thresholds = gc.get_threshold()
    collector = Garbage()
    collector.adopt()
    yield collector
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def sweep(collector: Garbage, blocks: int) -> None:
    for _ in range(blocks):
        collector.sweep()


def test_what_is_young_goes_after_each_block_and_what_is_old_after_some(collector: Garbage) -> None:
    old, young = aged(), Ring()
    left = weakref.ref(young), weakref.ref(old)
    del young, old

    sweep(collector, 1)
    assert [ring() is None for ring in left] == [True, False]

    sweep(collector, EVERY)
    assert [ring() is None for ring in left] == [True, True]


def test_everything_is_collected_before_the_young_have_added_up(
    collector: Garbage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(garbage, "ENOUGH", 1e-9)
    ring = aged()
    left = weakref.ref(ring)
    del ring

    sweep(collector, 1)
    assert left() is not None

    sweep(collector, 1)
    assert left() is None


@pytest.mark.parametrize("many", [1, 1_000_000])
async def test_garbage_of_readers_does_not_wait_for_a_block(
    collector: Garbage, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    for name, value in {"MANY": many, "REST": 0.001, "ENOUGH": 1e-9}.items():
        monkeypatch.setattr(garbage, name, value)
    sweeping = asyncio.create_task(collector.keep_sweeping())
    ring = aged()
    left = weakref.ref(ring)
    del ring

    for _ in range(20):
        made = [[number] for number in range(10)]
        await asyncio.sleep(0.002)
    sweeping.cancel()

    assert (len(made), left() is None) == (10, many == 1)


def test_what_was_loaded_is_not_walked_through(collector: Garbage) -> None:
    loaded = [[number] for number in range(100_000)]
    collector.adopt()

    assert len(gc.get_objects()) < len(loaded)


def test_what_was_imported_is_walked_through_only_when_accounts_are_loaded_again() -> None:
    thresholds, collector = gc.get_threshold(), Garbage()
    left, alive = weakref.ref(ring := Ring()), []
    gc.freeze()
    del ring

    for _ in range(2):
        collector.adopt()
        alive.append(left() is not None)
    gc.unfreeze()
    gc.set_threshold(*thresholds)

    assert alive == [True, False]


def test_collections_stay_short_while_everything_is_replaced(
    collector: Garbage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(garbage, "LONG", -1.0)
    frozen = gc.get_freeze_count()
    replaced = [[number] for number in range(1_000)]

    sweep(collector, EVERY)

    assert gc.get_freeze_count() >= frozen + len(replaced)
    assert not any(item is replaced[0] for item in gc.get_objects())


def test_a_short_collection_freezes_nothing(
    collector: Garbage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(garbage, "LONG", 1e9)
    replaced = [[number] for number in range(1_000)]

    sweep(collector, EVERY)

    assert any(item is replaced[0] for item in gc.get_objects())


@pytest.mark.parametrize("spare", [0, 1_000_000])
def test_frozen_garbage_does_not_pile_up(
    collector: Garbage, monkeypatch: pytest.MonkeyPatch, spare: int
) -> None:
    for name, value in {"LONG": -1.0, "CHECKED": 1, "GROWN": 0.0, "SPARE": 1_000_000}.items():
        monkeypatch.setattr(garbage, name, value)
    ring = aged()
    sweep(collector, EVERY)  # now it is frozen
    left = weakref.ref(ring)
    del ring
    monkeypatch.setattr(garbage, "SPARE", spare)

    sweep(collector, EVERY)

    assert (left() is None) == (spare == 0)


def test_what_a_long_collection_of_the_young_has_left_is_not_walked_through_again(
    collector: Garbage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(garbage, "ENOUGH", 1e9)
    monkeypatch.setattr(garbage, "LONG", -1.0)
    frozen = gc.get_freeze_count()
    made = [[number] for number in range(1_000)]

    sweep(collector, 1)

    assert gc.get_freeze_count() >= frozen + len(made)
