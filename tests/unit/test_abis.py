"""Selectors that belong to no family are hashes of signatures that stand in abis/, too."""

from __future__ import annotations

import pytest

from chimera.pricing import probing
from chimera.rpc import multicall
from tests import abi_files

PRICING = abi_files.functions("chainlink", "pricing")
SELECTORS = abi_files.selectors(probing)


@pytest.mark.parametrize("name", SELECTORS)
def test_every_selector_of_a_price_source_is_in_the_abis(name: str) -> None:
    found = PRICING[SELECTORS[name]]["name"]

    assert found.upper().replace("_", "") == name.replace("_", "")


def test_there_is_something_to_compare() -> None:
    assert len(SELECTORS) > 10


def test_the_multicall_selector_is_in_the_abis() -> None:
    assert abi_files.functions("multicall3")[multicall.AGGREGATE3]["name"] == "aggregate3"
