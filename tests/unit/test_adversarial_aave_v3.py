"""Borrowers of each version at the edge of 1: the fast ways say of each what the slow one does."""

from __future__ import annotations

from random import Random

import pytest

from benchmarks.edges import Tally, judged
from benchmarks.edges_aave_v3 import VERSIONS
from chimera.ports import Numbers
from chimera.protocols.aave_v3.adapter import AaveV3

ACCOUNTS = 4_000
EACH = pytest.mark.parametrize("version", VERSIONS)


def tally(version: str, accounts: int = ACCOUNTS) -> Tally:
    return judged(VERSIONS[version], Random(version), accounts)  # noqa: S311  (a seeded search)


@EACH
def test_at_the_edge_nobody_is_missed_and_nobody_taken_for_another(version: str) -> None:
    found = tally(version)

    assert (found.missed, found.extra, found.differing) == (0, 0, 0)
    assert found.accounts >= ACCOUNTS
    assert found.under > ACCOUNTS // 5
    assert found.near > ACCOUNTS // 5
    assert found.reverting > ACCOUNTS // 200
    assert found.suspects < found.accounts


@pytest.mark.parametrize("version", ["aave_v3 3.0", "aave_v3 3.7"])
def test_debts_that_are_weighed_too_low_make_it_miss_some(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = AaveV3.weights

    def flattering(*asked: object) -> tuple[Numbers, Numbers]:
        collateral, debt = true(*asked)  # type: ignore[arg-type]
        return collateral, [weight * (1 - 1e-3) for weight in debt]

    monkeypatch.setattr(AaveV3, "weights", flattering)

    assert tally(version, ACCOUNTS // 2).missed > 10
