"""Every topic and selector of Compound v2 is the hash of a signature that stands in abis/."""

from __future__ import annotations

from typing import Any

import pytest

from chimera.protocols.compound_v2 import calls, events, fold
from chimera.protocols.compound_v2.shapes import INDEXED, SHAPES
from tests import abi_files

FUNCTIONS, EVENTS = abi_files.functions("compound_v2"), abi_files.events("compound_v2")
SELECTORS, TOPICS = abi_files.selectors(calls), abi_files.topics(events)


@pytest.mark.parametrize("name", SELECTORS)
def test_every_selector_is_in_the_abis(name: str) -> None:
    found = FUNCTIONS[SELECTORS[name]]["name"]

    assert found.upper().replace("_", "") == name.replace("_", "")


def test_every_function_in_the_abis_is_called_and_nothing_else() -> None:
    assert set(SELECTORS.values()) == set(FUNCTIONS)


def test_every_event_in_the_abis_is_followed_and_nothing_else() -> None:
    assert set(EVENTS) == fold.TOPICS == set(TOPICS.values()) == set(SHAPES)
    assert len(EVENTS) > 40


def words(argument: dict[str, Any]) -> int:
    """The least that an argument takes: a dynamic one has a place, a length and its content."""
    if argument["type"] == "string":
        return 3
    return 2 if argument["type"].endswith("[]") else 1


def test_every_log_has_the_size_that_the_abis_give_it() -> None:
    sizes = {topic: sum(map(words, entry["inputs"])) for topic, entry in EVENTS.items()}

    assert {topic: size for topic, size in sizes.items() if SHAPES[topic] != size} == {
        events.POOL_CREATED: 4  # a label may be empty; only the number is read
    }


def test_a_log_names_its_indexed_arguments_first() -> None:
    """So that topics and data put together are in one known order."""
    mixed = {
        entry["name"]
        for entry in EVENTS.values()
        if [a["indexed"] for a in entry["inputs"]]
        != sorted((a["indexed"] for a in entry["inputs"]), reverse=True)
    }

    assert mixed == {"PoolSelected"}  # account, new pool, old pool: as it is decoded


def test_a_log_has_as_many_topics_as_the_abis_give_it() -> None:
    """But for three whose arguments Venus indexes, and nobody else."""
    indexed = {
        topic: sum(argument["indexed"] for argument in entry["inputs"])
        for topic, entry in EVENTS.items()
    }
    either = {events.MARKET_LISTED: 1, events.MARKET_ENTERED: 2, events.MARKET_EXITED: 2}

    assert {topic: INDEXED.get(topic, (0,)) for topic in EVENTS} == {
        topic: (0, either[topic]) if topic in either else (count,)
        for topic, count in indexed.items()
    }
