"""Every topic and selector of the family is the hash of a signature that stands in abis/."""

from __future__ import annotations

from typing import Any

import pytest

from chimera.protocols.morpho_blue import calls, events, oracle
from chimera.protocols.morpho_blue.fold import TOPICS
from chimera.protocols.morpho_blue.shapes import SHAPES
from tests import abi_files

FUNCTIONS, EVENTS = abi_files.functions("morpho_blue"), abi_files.events("morpho_blue")
SELECTORS, FOLLOWED = abi_files.selectors(calls, oracle), abi_files.topics(events)


@pytest.mark.parametrize("name", SELECTORS)
def test_every_selector_is_in_the_abis(name: str) -> None:
    found = FUNCTIONS[SELECTORS[name]]["name"]

    assert found.upper().replace("_", "") == name.replace("_", "")


def test_every_event_in_the_abis_is_followed_by_its_name_and_nothing_else() -> None:
    known = {topic: entry["name"] for topic, entry in EVENTS.items()}

    assert {topic: name.replace("_", "") for name, topic in FOLLOWED.items()} == {
        topic: name.upper() for topic, name in known.items()
    }
    assert set(known) == TOPICS


def words(arguments: list[Any]) -> int:
    """How many words of data these arguments take; none here is dynamic."""
    return sum(words(a["components"]) if "components" in a else 1 for a in arguments)


def test_every_log_has_the_size_that_the_abis_give_it() -> None:
    for topic, entry in EVENTS.items():
        indexed = [argument for argument in entry["inputs"] if argument["indexed"]]
        others = [argument for argument in entry["inputs"] if not argument["indexed"]]
        assert SHAPES[topic] == (1 + len(indexed), words(others))


def test_the_owner_of_a_position_stands_in_the_topic_that_the_abis_say() -> None:
    for topic, entry in EVENTS.items():
        if topic in events.OWNERS:
            indexed = [a["name"] for a in entry["inputs"] if a["indexed"]]
            assert indexed[events.OWNERS[topic] - 1] in {"onBehalf", "borrower"}


def test_there_is_something_to_compare() -> None:
    assert len(SELECTORS) > 20
    assert len(FOLLOWED) == 13
