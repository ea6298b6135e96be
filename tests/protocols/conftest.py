"""The recording that a test of the suite is about."""

import pytest

from tests.protocols.conformance import Tape, tape_of


@pytest.fixture
def tape(request: pytest.FixtureRequest) -> Tape:
    return tape_of(request.param)
