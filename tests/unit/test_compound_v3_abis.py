"""Every topic and selector of Compound v3 is the hash of a signature that stands in abis/."""

from __future__ import annotations

import pytest

from chimera.protocols.compound_v3 import calls, events
from chimera.protocols.compound_v3.fold import TOPICS
from tests import abi_files

SELECTORS, FOLLOWED = abi_files.selectors(calls), abi_files.topics(events)
KNOWN, EVENTS = abi_files.functions("compound_v3"), abi_files.events("compound_v3")


@pytest.mark.parametrize("name", SELECTORS)
def test_every_selector_is_in_the_abis(name: str) -> None:
    found = KNOWN[SELECTORS[name]]["name"]

    assert found.upper() == name.replace("_", "")


@pytest.mark.parametrize("name", FOLLOWED)
def test_every_topic_is_in_the_abis(name: str) -> None:
    found = EVENTS[FOLLOWED[name]]["name"]

    assert found.upper() == name.replace("_", "")


def test_everything_in_the_abis_is_used_and_nothing_else() -> None:
    assert KNOWN.keys() == set(SELECTORS.values())
    assert EVENTS.keys() == TOPICS == set(FOLLOWED.values())


def test_every_log_has_the_size_that_the_abis_give_it() -> None:
    indexed = {
        topic: [argument["indexed"] for argument in entry["inputs"]]
        for topic, entry in EVENTS.items()
    }

    assert {
        topic: (1 + flags.count(True), flags.count(False)) for topic, flags in indexed.items()
    } == events.SHAPES
