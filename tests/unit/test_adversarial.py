"""Accounts at the edge of 1, of every rounding: the fast ways say what the slow one does."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from benchmarks.adversarial import FAMILIES
from benchmarks.edges import Tally, judged
from chimera.ports import Adapter, Numbers
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.protocols.compound_v2.adapter import CompoundV2
from chimera.protocols.compound_v3.adapter import CompoundV3
from chimera.protocols.morpho_blue.adapter import MorphoBlue

ACCOUNTS = 6_000


def tally(family: str, accounts: int = ACCOUNTS) -> Tally:
    return judged(FAMILIES[family], Random(family), accounts)  # noqa: S311  (a seeded search)


@pytest.mark.parametrize("family", FAMILIES)
def test_at_the_edge_nobody_is_missed_and_nobody_taken_for_another(family: str) -> None:
    found = tally(family)

    assert (found.missed, found.extra, found.differing) == (0, 0, 0)
    assert found.accounts >= ACCOUNTS
    assert found.under > ACCOUNTS // 5
    assert found.near > ACCOUNTS // 5
    assert found.reverting > ACCOUNTS // 200
    assert found.suspects < found.accounts


@pytest.mark.parametrize(
    ("family", "adapter", "part"),
    [
        ("aave_v3 3.0", AaveV3, 1e-3),  # its average loses up to a basis point: allowed for
        ("aave_v3 3.7", AaveV3, 1e-3),
        ("compound_v2", CompoundV2, 1e-5),
        ("compound_v3", CompoundV3, 1e-5),
        ("morpho_blue", MorphoBlue, 1e-5),
    ],
)
def test_debts_that_are_weighed_too_low_make_it_miss_some(
    family: str, adapter: type[Adapter[Any]], part: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = adapter.weights

    def flattering(*asked: object) -> tuple[Numbers, Numbers]:
        collateral, debt = true(*asked)  # type: ignore[arg-type]
        return collateral, [weight * (1 - part) for weight in debt]

    monkeypatch.setattr(adapter, "weights", flattering)

    assert tally(family, ACCOUNTS // 2).missed > 10
