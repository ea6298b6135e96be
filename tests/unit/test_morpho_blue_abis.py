"""Every topic and selector of the family is the hash of a signature that stands in abis/."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector

from chimera.protocols.morpho_blue import calls, events, oracle
from chimera.protocols.morpho_blue.fold import TOPICS
from chimera.protocols.morpho_blue.shapes import SHAPES

ABIS = Path(__file__).parents[2] / "abis" / "morpho_blue"
SELECTOR, TOPIC = 4, 32


def entries(kind: str) -> list[Any]:
    found = (
        entry for path in sorted(ABIS.glob("*.json")) for entry in json.loads(path.read_text())
    )
    return [entry for entry in found if entry["type"] == kind]


def constants(module: ModuleType, size: int) -> dict[str, bytes]:
    return {
        name: value
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, bytes) and len(value) == size
    }


SELECTORS = constants(calls, SELECTOR) | constants(oracle, SELECTOR)
TOPICS_BY_NAME = constants(events, TOPIC)


@pytest.mark.parametrize("name", SELECTORS)
def test_every_selector_is_in_the_abis(name: str) -> None:
    known = {function_abi_to_4byte_selector(entry): entry for entry in entries("function")}

    found = known[SELECTORS[name]]["name"]

    assert found.upper().replace("_", "") == name.replace("_", "")


def test_every_event_in_the_abis_is_followed_by_its_name_and_nothing_else() -> None:
    known = {event_abi_to_log_topic(entry): entry["name"] for entry in entries("event")}

    assert {topic: name.replace("_", "") for name, topic in TOPICS_BY_NAME.items()} == {
        topic: name.upper() for topic, name in known.items()
    }
    assert set(known) == TOPICS


def words(arguments: list[Any]) -> int:
    """How many words of data these arguments take; none here is dynamic."""
    return sum(words(a["components"]) if "components" in a else 1 for a in arguments)


def test_every_log_has_the_size_that_the_abis_give_it() -> None:
    for entry in entries("event"):
        indexed = [argument for argument in entry["inputs"] if argument["indexed"]]
        others = [argument for argument in entry["inputs"] if not argument["indexed"]]
        assert SHAPES[event_abi_to_log_topic(entry)] == (1 + len(indexed), words(others))


def test_the_owner_of_a_position_stands_in_the_topic_that_the_abis_say() -> None:
    for entry in entries("event"):
        topic = event_abi_to_log_topic(entry)
        if topic in events.OWNERS:
            indexed = [a["name"] for a in entry["inputs"] if a["indexed"]]
            assert indexed[events.OWNERS[topic] - 1] in {"onBehalf", "borrower"}


def test_there_is_something_to_compare() -> None:
    assert len(SELECTORS) > 20
    assert len(TOPICS_BY_NAME) == 13
