"""Branches that leave the chain, with a stage that remembers only what is still true."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import NoneType

from devnet.stage import Stage

PLAIN = (bool, int, dict, list, tuple, set, Counter, NoneType)


@contextmanager
def forgotten(stage: Stage) -> Iterator[None]:
    """
    Forget whatever the stage set learns about its chain inside the block.

    Chance is not taken back: what comes afterwards is another story, not the same one again.
    """
    life = stage.life
    actors = (life, life._people, life._owners)  # noqa: SLF001  (their memory, not their doings)
    answers, listings = stage.prices.remember(), dict(stage.market.listings)
    population = copy.deepcopy(vars(stage.population))
    memories = [
        {name: copy.copy(value) for name, value in vars(actor).items() if type(value) in PLAIN}
        for actor in actors
    ]
    try:
        yield
    finally:
        stage.prices.restore(answers)
        stage.market.listings = listings
        vars(stage.population).update(population)
        for actor, memory in zip(actors, memories, strict=True):
            vars(actor).update(memory)


@contextmanager
def set_back(stage: Stage) -> Iterator[None]:
    """Take the blocks of this block back at its end: the chain is shorter then, and is silent."""
    with forgotten(stage):
        identity = stage.node.snapshot()
        try:
            yield
        finally:
            stage.node.revert(identity)


@contextmanager
def replaced(stage: Stage) -> Iterator[None]:
    """Put empty blocks in the place of the blocks of this block at its end, and announce them."""
    first = stage.node.number
    with forgotten(stage):
        yield
        stage.node.reorg(stage.node.number - first)
