"""Every topic and selector of Aave v3 is the hash of a signature that stands in abis/."""

from __future__ import annotations

import pytest

from chimera.protocols.aave_v3 import calls, events, quotes
from chimera.protocols.aave_v3.fold import TOPICS
from chimera.protocols.aave_v3.shapes import SHAPES
from tests import abi_files

SELECTORS = abi_files.selectors(calls, quotes)
FOLLOWED = {
    name: value for name, value in abi_files.topics(events).items() if not name.endswith("_ID")
}
FUNCTIONS, EVENTS = abi_files.functions("aave_v3"), abi_files.events("aave_v3")


@pytest.mark.parametrize("name", SELECTORS)
def test_every_selector_is_in_the_abis(name: str) -> None:
    found = FUNCTIONS[SELECTORS[name]]["name"]

    assert found.upper().replace("_", "") == name.replace("_", "")


@pytest.mark.parametrize("name", FOLLOWED)
def test_every_topic_is_in_the_abis(name: str) -> None:
    assert FOLLOWED[name] in EVENTS


def test_every_event_in_the_abis_is_followed_and_nothing_else() -> None:
    assert EVENTS.keys() == TOPICS == set(FOLLOWED.values())


def test_every_log_has_the_size_that_the_abis_give_it() -> None:
    indexed = {
        topic: [argument["indexed"] for argument in entry["inputs"]]
        for topic, entry in EVENTS.items()
    }

    assert {
        topic: (1 + flags.count(True), flags.count(False)) for topic, flags in indexed.items()
    } == SHAPES


def test_there_is_something_to_compare() -> None:
    assert len(SELECTORS) > 20
    assert len(FOLLOWED) > 20
