"""Branches that leave the chain, with a stage that remembers only what is still true."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from devnet.stage import Stage


@contextmanager
def set_back(stage: Stage) -> Iterator[None]:
    """Take the blocks of this block back at its end: the chain is shorter then, and is silent."""
    with stage.forgotten():
        identity = stage.node.snapshot()
        try:
            yield
        finally:
            stage.node.revert(identity)


@contextmanager
def replaced(stage: Stage) -> Iterator[None]:
    """Put empty blocks in the place of the blocks of this block at its end, and announce them."""
    first = stage.node.number
    with stage.forgotten():
        yield
        stage.node.reorg(stage.node.number - first)
