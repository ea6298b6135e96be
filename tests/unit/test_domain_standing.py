from __future__ import annotations

import pytest

from chimera.domain.standing import Standing


def sentence(
    factor: str | None,
    blocks: int | None = 0,
    *,
    error: str | None = None,
    contract: str | None = None,
) -> str:
    return Standing(factor, error, blocks, 2, contract).sentence()


def test_a_healthy_account_is_kept_by_its_health_factor() -> None:
    said = sentence("1.000000000000000000", contract="not liquidatable: healthy")

    assert said == (
        "not flagged: its health factor 1.000000000000000000 is not under 1; "
        "not liquidatable: healthy (the contract wants it under 1)"
    )


def test_an_account_without_debt_is_kept_by_that() -> None:
    assert sentence(None) == "not flagged: it has no debt"


def test_an_account_that_cannot_be_valued_is_not_flagged() -> None:
    assert "the price is dead" in sentence(None, error="the price is dead")


def test_one_block_under_is_not_enough() -> None:
    said = sentence("0.999999999999999999", 1)

    assert said == "not flagged yet: under 1 for 1 of 2 blocks in a row"


@pytest.mark.parametrize("blocks", [2, 9])
def test_enough_blocks_under_flag_the_account(blocks: int) -> None:
    said = sentence("0.98", blocks, contract="liquidatable")

    assert said == f"flagged: under 1 for {blocks} blocks in a row; liquidatable"


def test_a_streak_that_nobody_counted_is_not_made_up() -> None:
    said = sentence("0.98", None)

    assert said == "under 1; flagged once it is for 2 blocks in a row, which a daemon counts"


@pytest.mark.parametrize(
    ("reason", "rule"),
    [
        ("no collateral", "there is nothing to seize"),
        ("price unknown", "the contract's view reverts"),
        ("reserve paused", "until the reserve is unpaused"),
        ("reserve inactive", "only active reserves"),
        ("sentinel", "only accounts under 0.95"),
        ("grace period", "has to pass first"),
        ("too little to seize", "scale to 0"),
        ("dust would be left", "may not leave so little behind"),
        ("figures overflow", "the call reverts"),
    ],
)
def test_the_rule_against_a_liquidation_is_named(reason: str, rule: str) -> None:
    said = sentence("0.98", 2, contract=f"not liquidatable: {reason}")

    assert f"; not liquidatable: {reason} (" in said
    assert rule in said


def test_a_rule_of_another_family_stands_as_it_is() -> None:
    said = sentence("0.98", 2, contract="not liquidatable: the moon is full")

    assert said.endswith("; not liquidatable: the moon is full")
