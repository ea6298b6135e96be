"""The stages that tests on a local chain share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devnet.stage import Stage


@pytest.fixture(scope="session")
def shared_stage() -> Iterator[Stage]:
    with Stage.build(seed=7, borrowers=60) as stage:
        yield stage


@pytest.fixture
def stage(shared_stage: Stage) -> Iterator[Stage]:
    """The session's stage; whatever a test does on it is taken back afterwards, chance included."""
    with shared_stage.undone(), shared_stage.life.same_chance():
        yield shared_stage
