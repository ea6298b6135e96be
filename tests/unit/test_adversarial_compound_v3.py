"""Accounts of a Comet at the edge of 1: the fast ways say of each what the slow one does."""

from __future__ import annotations

from random import Random

import pytest

from benchmarks import edges_compound_v3
from benchmarks.edges import Tally, judged
from chimera.ports import Numbers
from chimera.protocols.compound_v3.adapter import CompoundV3

ACCOUNTS = 6_000


def tally(accounts: int = ACCOUNTS) -> Tally:
    return judged(edges_compound_v3, Random("compound_v3"), accounts)  # noqa: S311  (a seeded search)


def test_at_the_edge_nobody_is_missed_and_nobody_taken_for_another() -> None:
    found = tally()

    assert (found.missed, found.extra, found.differing) == (0, 0, 0)
    assert found.accounts >= ACCOUNTS
    assert found.under > ACCOUNTS // 5
    assert found.near > ACCOUNTS // 5
    assert found.reverting > ACCOUNTS // 200
    assert found.suspects < found.accounts


def test_debts_that_are_weighed_too_low_make_it_miss_some(monkeypatch: pytest.MonkeyPatch) -> None:
    true = CompoundV3.weights

    def flattering(*asked: object) -> tuple[Numbers, Numbers]:
        collateral, debt = true(*asked)  # type: ignore[arg-type]
        return collateral, [weight * (1 - 1e-5) for weight in debt]

    monkeypatch.setattr(CompoundV3, "weights", flattering)

    assert tally(ACCOUNTS // 3).missed > 10
