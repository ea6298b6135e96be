"""What keeps the loop is told by its kind, and by the parts within."""

from __future__ import annotations

import asyncio
import gc
import time
from asyncio.events import Handle

from benchmarks.turns import watched

LONG = 0.005  # seconds


class Work:
    def done(self) -> str:
        until = time.thread_time() + LONG
        while time.thread_time() < until:
            pass
        return "done"

    @property
    def found(self) -> str:
        return self.done()


async def test_a_long_turn_is_noted_under_its_task_with_its_parts() -> None:
    async def working() -> str:
        return Work().done()

    with watched([("the work", Work, "done")]) as turns:
        assert await asyncio.create_task(working(), name="follow") == "done"

    assert max(turns.kinds["follow"]) >= LONG
    assert len(turns.parts["the work"]) == 1
    assert {"follow", "(the work)"} <= turns.lately().keys()
    assert turns.lately() == {}  # it was told


async def test_a_property_may_be_a_part_and_a_task_without_a_name_has_its_function() -> None:
    async def looking() -> str:
        return Work().found

    with watched([("a look", Work, "found")]) as turns:
        assert await asyncio.create_task(looking()) == "done"

    (kind,) = [name for name in turns.kinds if name.endswith("looking")]
    assert max(turns.kinds[kind]) >= LONG
    assert max(turns.parts["a look"]) >= LONG


async def test_collections_of_garbage_are_parts() -> None:
    with watched([]) as turns:
        gc.collect()
        gc.collect(0)

    assert (len(turns.parts["all garbage"]), len(turns.parts["young garbage"]) >= 1) == (1, True)


async def test_nothing_is_watched_afterwards() -> None:
    before = Handle.__dict__["_run"], Work.__dict__["done"], list(gc.callbacks)

    with watched([("the work", Work, "done")]):
        assert Work.__dict__["done"] is not before[1]

    assert (Handle.__dict__["_run"], Work.__dict__["done"], gc.callbacks) == before
