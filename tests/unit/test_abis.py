"""Every topic and selector in the code is the hash of a signature that stands in abis/."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector

from chimera.pricing import probing
from chimera.protocols.aave_v3 import calls, events, quotes
from chimera.protocols.aave_v3.fold import TOPICS
from chimera.protocols.aave_v3.shapes import SHAPES
from chimera.rpc import multicall

ABIS = Path(__file__).parents[2] / "abis"
SELECTOR, TOPIC = 4, 32


def entries(folder: str, kind: str) -> Iterator[Any]:
    for path in sorted((ABIS / folder).glob("*.json")):
        yield from (entry for entry in json.loads(path.read_text()) if entry["type"] == kind)


def constants(module: ModuleType, size: int) -> dict[str, bytes]:
    """Every upper-case bytes constant of this size, so that none can be forgotten."""
    return {
        name: value
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, bytes) and len(value) == size
    }


AAVE_SELECTORS = constants(calls, SELECTOR) | constants(quotes, SELECTOR)
PRICING_SELECTORS = constants(probing, SELECTOR)
AAVE_TOPICS = {
    name: value for name, value in constants(events, TOPIC).items() if not name.endswith("_ID")
}


@pytest.mark.parametrize("name", AAVE_SELECTORS)
def test_every_aave_selector_is_in_the_abis(name: str) -> None:
    known = {
        function_abi_to_4byte_selector(entry): entry for entry in entries("aave_v3", "function")
    }

    found = known[AAVE_SELECTORS[name]]["name"]

    assert found.upper().replace("_", "") == name.replace("_", "")


@pytest.mark.parametrize("name", AAVE_TOPICS)
def test_every_aave_topic_is_in_the_abis(name: str) -> None:
    known = {event_abi_to_log_topic(entry) for entry in entries("aave_v3", "event")}

    assert AAVE_TOPICS[name] in known


def test_every_event_in_the_abis_is_followed_and_nothing_else() -> None:
    known = {event_abi_to_log_topic(entry) for entry in entries("aave_v3", "event")}

    assert known == TOPICS == set(AAVE_TOPICS.values())


def test_every_log_has_the_size_that_the_abis_give_it() -> None:
    indexed = {
        event_abi_to_log_topic(entry): [argument["indexed"] for argument in entry["inputs"]]
        for entry in entries("aave_v3", "event")
    }

    assert {
        topic: (1 + flags.count(True), flags.count(False)) for topic, flags in indexed.items()
    } == SHAPES


def test_there_is_something_to_compare() -> None:
    assert len(AAVE_SELECTORS) > 20
    assert len(AAVE_TOPICS) > 20
    assert len(PRICING_SELECTORS) > 10


@pytest.mark.parametrize("name", PRICING_SELECTORS)
def test_every_selector_of_a_price_source_is_in_the_abis(name: str) -> None:
    known = {
        function_abi_to_4byte_selector(entry): entry
        for folder in ("chainlink", "pricing")
        for entry in entries(folder, "function")
    }

    found = known[PRICING_SELECTORS[name]]["name"]

    assert found.upper().replace("_", "") == name.replace("_", "")


def test_the_multicall_selector_is_in_the_abis() -> None:
    known = {
        entry["name"]: function_abi_to_4byte_selector(entry)
        for entry in entries("multicall3", "function")
    }

    assert known["aggregate3"] == multicall.AGGREGATE3
