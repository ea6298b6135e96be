"""The files in abis/ by selector and topic, and the constants of the code to hold against them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector

ABIS = Path(__file__).parents[1] / "abis"


def functions(*folders: str) -> dict[bytes, Any]:
    """Return the entries of functions in these folders by their selectors."""
    return {function_abi_to_4byte_selector(entry): entry for entry in _entries(folders, "function")}


def events(*folders: str) -> dict[bytes, Any]:
    """Return the entries of events in these folders by their first topics."""
    return {event_abi_to_log_topic(entry): entry for entry in _entries(folders, "event")}


def selectors(*modules: ModuleType) -> dict[str, bytes]:
    """Return every upper-case constant that can be a selector, so that none is forgotten."""
    return _constants(modules, 4)


def topics(*modules: ModuleType) -> dict[str, bytes]:
    """Return every upper-case constant that can be a topic, so that none is forgotten."""
    return _constants(modules, 32)


def _entries(folders: tuple[str, ...], kind: str) -> Iterator[Any]:
    for folder in folders:
        for path in sorted((ABIS / folder).glob("*.json")):
            yield from (entry for entry in json.loads(path.read_text()) if entry["type"] == kind)


def _constants(modules: tuple[ModuleType, ...], size: int) -> dict[str, bytes]:
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, bytes) and len(value) == size
    }
