"""`chimera positions` without a daemon: what Redis still holds, and no more of it than is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chimera.errors import Unreachable
from tests.fakes_api import ALICE, BOB, SAFE, UNDER, USDC
from tests.fakes_cli import CONFIG, document
from tests.unit.test_cli_listings import IDLE, Machine, working_on


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    with working_on(Machine(tmp_path), monkeypatch) as made:
        yield made


def test_without_a_daemon_positions_come_from_redis_in_the_same_order(machine: Machine) -> None:
    machine.application.published = [IDLE, SAFE, UNDER]

    result = machine.type("positions", "--json")

    assert result.exit_code == 0
    page = document(result.stdout)
    assert [item["user"] for item in page["items"]] == [BOB, ALICE, IDLE.user]
    assert page["block"] == 120
    assert "no daemon answers at http://127.0.0.1:9650" in result.stderr


@pytest.mark.parametrize(
    ("filters", "users"),
    [
        (("--user", BOB.lower()), [BOB]),
        (("--asset", USDC.lower()), [BOB, ALICE]),
        (("--max-health-factor", "1"), [BOB]),
        (("--max-health-factor", "1.26052223667317384"), [BOB, ALICE]),
        (("--protocol", "aave", "--limit", "1"), [BOB]),
    ],
)
def test_filters_hold_for_redis_too(
    machine: Machine, filters: tuple[str, ...], users: list[str]
) -> None:
    machine.application.published = [IDLE, SAFE, UNDER]

    page = document(machine.type("positions", *filters, "--json").stdout)

    assert [item["user"] for item in page["items"]] == users


@pytest.mark.parametrize(
    ("protocol", "users"), [("aave", [BOB, ALICE]), ("aave.0xab", [BOB]), ("aave.0xcd", [])]
)
def test_a_protocol_is_all_its_isolated_markets_or_one_of_them(
    machine: Machine, protocol: str, users: list[str]
) -> None:
    machine.application.published = [SAFE, replace(UNDER, protocol="aave.0xab")]

    page = document(machine.type("positions", "--protocol", protocol, "--json").stdout)

    assert [item["user"] for item in page["items"]] == users


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ((), {"count": 50, "bound": None, "instance": None}),
        (("--limit", "7"), {"count": 7, "bound": None, "instance": None}),
        (("--protocol", "aave"), {"count": 50, "bound": None, "instance": "aave"}),
        (("--max-health-factor", "1.5"), {"count": 50, "bound": 1.5, "instance": None}),
        (("--protocol", "aave.0xab"), {}),
        (("--user", BOB), {}),
        (("--asset", USDC), {}),
    ],
)
def test_of_redis_no_more_is_asked_than_is_shown(
    machine: Machine, filters: tuple[str, ...], wanted: dict[str, object]
) -> None:
    machine.type("positions", *filters)

    assert machine.application.asked == [("cached_positions", wanted)]


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        (("--limit", "1"), "42 more are not shown"),
        (("--limit", "2"), "41 more are not shown"),
        (("--limit", "2", "--max-health-factor", "9"), ""),
        (("--limit", "1", "--max-health-factor", "9"), "1 more are not shown"),
    ],
)
def test_who_was_not_read_from_redis_is_counted(
    machine: Machine, filters: tuple[str, ...], told: str
) -> None:
    machine.application.published, machine.application.unread = [SAFE, UNDER], 41

    stderr = machine.type("positions", *filters).stderr

    assert told in stderr
    assert ("more are not shown" in stderr) is bool(told)


def test_without_daemon_and_redis_the_exit_code_is_3(machine: Machine) -> None:
    machine.application.error = ExceptionGroup("", [Unreachable("redis://:secret@127.0.0.1")])

    result = machine.type("positions", "--json")

    assert result.exit_code == 3
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "secret" not in result.stderr


def test_without_daemon_and_with_memory_only_the_exit_code_is_3(machine: Machine) -> None:
    machine.config.write_text(CONFIG.replace("redis://127.0.0.1:6379/0", ""))

    result = machine.type("positions")

    assert result.exit_code == 3
    assert "redis.url" in result.stderr
