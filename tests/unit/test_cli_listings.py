from __future__ import annotations

import http.client
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import chimera
from chimera.api.server import build_app
from chimera.cli import app
from chimera.domain.notices import ProtocolStatus
from chimera.domain.position import CollateralView
from chimera.errors import Skip
from tests.fakes_api import (
    ALICE,
    BOB,
    FLAG,
    HUGE,
    READY,
    SAFE,
    UNDER,
    USDC,
    FakeOperator,
    FakeOpportunities,
    FakePositions,
)
from tests.fakes_cli import CONFIG, FakeApplication, Wire, document, logging_as_before

IDLE = replace(SAFE, user="0x" + "11" * 20, health_factor=None, debt=(), debt_asset=None)


class Machine:
    """An operator's machine: a configuration, maybe a daemon, maybe Redis."""

    def __init__(self, folder: Path) -> None:
        self.application = FakeApplication()
        self.wire = Wire()
        self.positions = FakePositions()
        self.opportunities = FakeOpportunities()
        self.operator = FakeOperator()
        self.config = folder / "chimera.toml"
        self.config.write_text(CONFIG)

    def start_daemon(self) -> None:
        self.wire.app = build_app(
            positions=self.positions,
            opportunities=self.opportunities,
            operator=self.operator,
            metrics_text=lambda: b"",
        )

    def type(self, *words: str) -> Result:
        command, *rest = words
        return CliRunner().invoke(app, [command, "--config", str(self.config), *rest])


@contextmanager
def working_on(made: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.chdir(made.config.parent)
    monkeypatch.setitem(sys.modules, "chimera.app", made.application)
    monkeypatch.setattr(chimera, "app", made.application, raising=False)
    monkeypatch.setattr(http.client, "HTTPConnection", made.wire.connection)
    with logging_as_before():
        yield made


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    with working_on(Machine(tmp_path), monkeypatch) as made:
        yield made


def test_positions_come_from_the_daemon_as_one_json_document(machine: Machine) -> None:
    machine.start_daemon()

    result = machine.type("positions", "--json")

    assert result.exit_code == 0
    page = document(result.stdout)
    assert page["block"] == 120
    assert [item["user"] for item in page["items"]] == [BOB, ALICE]
    assert page["items"][1]["collateral_amount"] == HUGE
    assert result.stderr == ""


def test_filters_reach_the_daemon(machine: Machine) -> None:
    machine.start_daemon()

    machine.type(
        *("positions", "--protocol", "aave", "--user", BOB, "--asset", USDC),
        *("--max-health-factor", "1.05", "--limit", "7"),
    )

    assert machine.positions.asked == {
        "protocol": "aave",
        "user": bytes.fromhex(BOB[2:]),
        "asset": bytes.fromhex(USDC[2:]),
        "max_health_factor": 105 * 10**16,
        "limit": 7,
        "cursor": None,
    }


def test_fifty_positions_are_usual(machine: Machine) -> None:
    machine.start_daemon()

    machine.type("positions")

    assert machine.positions.asked["limit"] == 50


def test_pages_are_followed_up_to_the_limit(machine: Machine) -> None:
    machine.positions.items = [replace(SAFE, debt_amount=index) for index in range(2500)]
    machine.start_daemon()

    page = document(machine.type("positions", "--limit", "2100", "--json").stdout)

    assert [item["debt_amount"] for item in page["items"]] == list(range(2100))
    assert page["next_cursor"] == "at-2100"
    assert [target for *_, target in machine.wire.asked] == [
        "/v1/positions?limit=1000",
        "/v1/positions?limit=1000&cursor=at-1000",
        "/v1/positions?limit=100&cursor=at-2000",
    ]


def test_people_see_a_table_with_the_whole_address(machine: Machine) -> None:
    machine.start_daemon()

    result = machine.type("positions")

    assert BOB in result.stdout
    assert "0.980000" in result.stdout
    [line] = [line for line in result.stdout.splitlines() if BOB in line]
    assert " ".join(line.split()) == f"aave {BOB} 0.980000 3,000.00 2,000.00 3 WETH / USDC"
    assert result.stdout.splitlines()[-1] == "2 positions at block 120; values in USD"


def test_a_health_factor_just_under_one_does_not_read_as_one(machine: Machine) -> None:
    machine.positions.items = [replace(SAFE, health_factor="0.999999999999999999")]
    machine.start_daemon()

    assert "0.999999 " in machine.type("positions").stdout


def test_a_hostile_symbol_cannot_reach_the_terminal(machine: Machine) -> None:
    leg = CollateralView(USDC, "\x1b[2J[red]X", 1, "1.0", "0.8", enabled=True)
    machine.positions.items = [replace(SAFE, collateral=(leg,))]
    machine.start_daemon()

    result = machine.type("positions")

    assert "\x1b" not in result.stdout
    assert "?[2J[red]X" in result.stdout


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (("positions", "--protocol", "moonwel"), "--protocol"),
        (("opportunities", "--protocol", "moonwel"), "--protocol"),
        (("why", "moonwel", ALICE), "PROTOCOL"),
    ],
)
@pytest.mark.parametrize("running", [True, False])
def test_a_protocol_that_nobody_configured_is_refused(
    machine: Machine, words: tuple[str, ...], place: str, *, running: bool
) -> None:
    if running:
        machine.start_daemon()

    result = machine.type(*words)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == f"{place}: expected one of aave, found 'moonwel'\n"
    assert machine.wire.asked == machine.application.asked == []


def test_positions_of_different_blocks_are_said_to_be(machine: Machine) -> None:
    machine.application.published = [SAFE, replace(UNDER, block=117), replace(IDLE, block=118)]

    told = machine.type("positions").stdout.splitlines()[-1]

    assert told == "3 positions at blocks 117 to 120; values in USD"


def test_collateral_that_does_not_count_is_in_brackets_and_not_in_the_sum(machine: Machine) -> None:
    idle = CollateralView(USDC, "LINK", 1, "70.0", "0.8", enabled=False)
    machine.positions.items = [replace(SAFE, collateral=(*SAFE.collateral, idle))]
    machine.start_daemon()

    result = machine.type("positions")

    assert "3,000.00" in result.stdout
    assert "WETH, (LINK) / USDC" in result.stdout
    assert "tokens in brackets are not enabled as collateral" in result.stdout


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("1234567.8999", "1,234,567.89"),
        ("0.5", "0.500000"),
        ("0.00000001", "<0.000001"),
        ("0.00000000", "-"),
        ("9" * 60 + ".5", f"{int('9' * 60):,}.50"),
    ],
)
def test_values_are_cut_to_what_people_read(machine: Machine, value: str, shown: str) -> None:
    machine.opportunities.items = [replace(FLAG, debt_value=value)]
    machine.start_daemon()

    assert f" {shown} " in machine.type("opportunities").stdout


def test_opportunities_come_as_documents(machine: Machine) -> None:
    machine.start_daemon()

    result = machine.type("opportunities", "--state", "open", "--protocol", "aave", "--json")

    assert document(result.stdout)["items"] == [asdict(FLAG)]
    assert machine.wire.asked[0][-1] == "/v1/opportunities?state=open&protocol=aave&limit=50"


def test_people_see_opportunities_with_their_outcome(machine: Machine) -> None:
    paused = replace(FLAG, liquidatable=False, reason="market paused", best=None)
    gone = replace(FLAG, state="closed", closed_block=121, closed_reason="recovered")
    machine.opportunities.items = [FLAG, paused, gone]
    machine.start_daemon()

    result = machine.type("opportunities")

    first, second, third = (" ".join(line.split()) for line in result.stdout.splitlines()[1:4])
    assert first == f"aave {BOB} 0.980000 118 3 2,500.00 12.50 liquidatable"
    assert second.endswith(" - not liquidatable: market paused")
    assert third.endswith("recovered at block 121")
    assert "3 opportunities at block 120" in result.stdout


@pytest.mark.parametrize("command", ["opportunities", "status"])
def test_without_a_daemon_there_is_nothing_to_show(machine: Machine, command: str) -> None:
    result = machine.type(command)

    assert result.exit_code == 3
    assert result.stderr.startswith("no daemon answers at http://127.0.0.1:9650")
    assert result.stderr.count("\n") == 1


def test_status_is_the_body_of_readyz(machine: Machine) -> None:
    machine.operator.state = replace(READY, ready=False, lag_blocks=2, reasons=("2 blocks behind",))
    machine.start_daemon()

    result = machine.type("status", "--json")

    assert result.exit_code == 0
    assert document(result.stdout)["reasons"] == ["2 blocks behind"]


def test_people_see_the_status_with_its_reasons(machine: Machine) -> None:
    faulty = {"aave": ProtocolStatus(accounts=9, borrowers=4, mismatches=1)}
    machine.operator.state = replace(READY, reasons=("Redis does not answer",), protocols=faulty)
    machine.start_daemon()

    result = machine.type("status")

    assert "ready" in result.stdout
    assert "120 of 120 (0 behind)" in result.stdout
    assert "- Redis does not answer" in result.stdout
    assert "aave" in result.stdout


def test_why_shows_the_steps_and_the_verdict(machine: Machine) -> None:
    machine.start_daemon()

    result = machine.type("why", "aave", BOB)

    assert result.exit_code == 0
    assert "collateral  3000.00000000 USD" in result.stdout
    assert "flagged: under 1 for 3 blocks in a row; liquidatable" in result.stdout


def test_why_of_an_unknown_account_is_a_fault(machine: Machine) -> None:
    machine.positions.items = [UNDER]
    machine.start_daemon()

    result = machine.type("why", "aave", ALICE)

    assert result.exit_code == 1
    assert result.stderr == f"aave has no account of {ALICE}\n"


def test_why_without_a_daemon_reads_the_chain(machine: Machine) -> None:
    explanation = {
        "protocol": "aave",
        "user": ALICE,
        "block": 120,
        "health_factor": "1.5",
        "steps": [{"name": "debt", "value": "5 USD"}],
        "verdict": "not flagged",
    }
    machine.application.explanation = explanation

    people, program = (
        machine.type("why", "aave", ALICE),
        machine.type("why", "aave", ALICE, "--json"),
    )

    assert machine.application.asked == [("explain", ("aave", bytes.fromhex(ALICE[2:])))] * 2
    assert document(program.stdout) == explanation
    assert f"aave {ALICE} at block 120" in people.stdout
    assert "debt  5 USD" in people.stdout
    assert "reading the chain instead" in people.stderr


def test_why_without_a_daemon_says_when_there_is_no_account(machine: Machine) -> None:
    machine.application.error = Skip(f"aave has no account of {ALICE}")

    result = machine.type("why", "aave", ALICE)

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == f"aave has no account of {ALICE}"
