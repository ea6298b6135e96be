"""Every topic and selector of Compound v3 is the hash of a signature that stands in abis/."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector

from chimera.protocols.compound_v3 import calls, events
from chimera.protocols.compound_v3.fold import TOPICS

ABIS = Path(__file__).parents[2] / "abis" / "compound_v3"


def entries(kind: str) -> Iterator[Any]:
    for path in sorted(ABIS.glob("*.json")):
        yield from (entry for entry in json.loads(path.read_text()) if entry["type"] == kind)


def constants(module: object, size: int) -> dict[str, bytes]:
    """Every upper-case bytes constant of this size, so that none can be forgotten."""
    return {
        name: value
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, bytes) and len(value) == size
    }


SELECTORS, FOLLOWED = constants(calls, 4), constants(events, 32)
KNOWN = {function_abi_to_4byte_selector(entry): entry for entry in entries("function")}
EVENTS = {event_abi_to_log_topic(entry): entry for entry in entries("event")}


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
