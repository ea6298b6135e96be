"""Every topic and selector of Compound v2 is the hash of a signature that stands in abis/."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector

from chimera.protocols.compound_v2 import calls, events, fold
from chimera.protocols.compound_v2.shapes import INDEXED, SHAPES

ABIS = Path(__file__).parents[2] / "abis" / "compound_v2"
SELECTOR, TOPIC = 4, 32
ENTRIES: list[Any] = [
    entry for path in ABIS.glob("*.json") for entry in json.loads(path.read_text())
]
FUNCTIONS = {
    function_abi_to_4byte_selector(entry): entry for entry in ENTRIES if entry["type"] == "function"
}
EVENTS = {event_abi_to_log_topic(entry): entry for entry in ENTRIES if entry["type"] == "event"}


def constants(module: ModuleType, size: int) -> dict[str, bytes]:
    """Every upper-case bytes constant of this size, so that none can be forgotten."""
    return {
        name: value
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, bytes) and len(value) == size
    }


SELECTORS, TOPICS = constants(calls, SELECTOR), constants(events, TOPIC)


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
