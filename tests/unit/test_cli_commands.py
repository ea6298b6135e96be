from __future__ import annotations

import http.client
import runpy
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import chimera
from chimera.api.server import build_app
from chimera.cli import app, commands
from chimera.cli.client import daemon_url
from chimera.cli.exits import last_resort
from chimera.domain.notices import RebuildReport
from chimera.errors import Halt, Refuse, Retry, Unreachable
from tests.fakes_api import ALICE, READY, FakeOperator, FakeOpportunities, FakePositions
from tests.fakes_cli import CONFIG, FakeApplication, Row, Wire, document, logging_as_before

MISTYPED = ALICE.replace("5aA", "5aa")


class Machine:
    """An operator's machine: a configuration, and maybe a daemon."""

    def __init__(self, folder: Path) -> None:
        self.application = FakeApplication()
        self.wire = Wire()
        self.config = folder / "chimera.toml"
        self.config.write_text(CONFIG)

    def start_daemon(self, operator: FakeOperator) -> None:
        self.wire.app = build_app(
            positions=FakePositions(),
            opportunities=FakeOpportunities(),
            operator=operator,
            metrics_text=lambda: b"",
        )

    def type(self, *words: str) -> Result:
        command, *rest = words
        return CliRunner().invoke(app, [command, "--config", str(self.config), *rest])


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "chimera.app", made.application)
    monkeypatch.setattr(chimera, "app", made.application, raising=False)
    monkeypatch.setattr(http.client, "HTTPConnection", made.wire.connection)
    with logging_as_before():
        yield made


def test_run_runs_the_daemon_of_the_configuration(machine: Machine) -> None:
    result = machine.type("run")

    assert result.exit_code == 0
    assert machine.application.asked == [("run", "base")]
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refuse("the node is on chain 1"), 2),
        (Unreachable("no RPC endpoint answers"), 3),
        (Retry("the node went away"), 3),
        (Halt("money is at risk"), 1),
        (ExceptionGroup("", [ExceptionGroup("", [Refuse("not a pool")])]), 2),
        (ExceptionGroup("", [Unreachable("no database")]), 3),
    ],
)
def test_what_ends_a_command_is_one_line_and_an_exit_code(
    machine: Machine, error: Exception, code: int
) -> None:
    machine.application.error = error

    result = machine.type("run")

    assert result.exit_code == code
    assert "Traceback" not in result.output
    assert result.stderr.count("\n") == 1


def test_an_error_of_many_lines_becomes_one(machine: Machine) -> None:
    machine.application.error = Refuse("the first line\n   and the second " + "x" * 200)

    assert machine.type("run").stderr == f"the first line and the second {'x' * 200}\n"


def test_ctrl_c_is_no_traceback(machine: Machine) -> None:
    machine.application.error = KeyboardInterrupt()

    result = machine.type("check")

    assert result.exit_code == 1
    assert result.stderr == "interrupted\n"


def test_an_error_that_nobody_foresaw_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    error = ZeroDivisionError("at http://host/key")

    with logging_as_before():
        last_resort(type(error), error, None)

    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("ZeroDivisionError: at http://host/*** - ")
    assert "CHIMERA_LOG__LEVEL=debug" in said


@pytest.mark.parametrize("command", ["run", "rebuild", "positions", "check", "status"])
def test_a_bad_configuration_is_refused_in_one_line(machine: Machine, command: str) -> None:
    machine.config.write_text(CONFIG.replace("listen =", "lisen ="))

    result = machine.type(command)

    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert str(machine.config) in result.stderr
    assert "http.lisen" in result.stderr


def test_a_configuration_that_is_not_there_is_refused(machine: Machine) -> None:
    machine.config.unlink()

    result = machine.type("run")

    assert result.exit_code == 2
    assert str(machine.config) in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("positions", "--limit", "0"),
        ("positions", "--limit", "many"),
        ("positions", "--user", "0x12"),
        ("positions", "--user", MISTYPED),
        ("positions", "--asset", "WETH"),
        ("positions", "--max-health-factor", "-1"),
        ("positions", "--url", "ftp://host"),
        ("positions", "--url", "http://host:port"),
        ("opportunities", "--state", "ajar"),
        ("opportunities", "--user", ALICE),
        ("why", "aave", "alice"),
        ("why", "aave"),
        ("rebuild", "--from-block", "-1"),
        ("rebuild", "--protocol", "moonwel"),
        ("check", "--everything"),
        ("fly",),
    ],
)
def test_bad_usage_is_refused(machine: Machine, words: tuple[str, ...]) -> None:
    result = machine.type(*words)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr != ""


def test_a_rebuild_without_a_daemon_is_done_here(machine: Machine) -> None:
    result = machine.type("rebuild", "--protocol", "aave", "--from-block", "5", "--verify")

    assert result.exit_code == 0
    assert result.stdout == "rebuilt 7 accounts, 0 mismatches, 1.250 s\n"
    wanted = {"protocol": "aave", "from_block": 5, "verify": True}
    assert machine.application.asked == [("rebuild", wanted)]


def test_a_rebuild_is_asked_of_a_running_daemon(machine: Machine) -> None:
    operator = FakeOperator()
    machine.start_daemon(operator)

    result = machine.type("rebuild", "--protocol", "aave", "--from-block", "5", "--json")

    assert result.exit_code == 0
    done = {"accounts": 2, "mismatches": 0, "milliseconds": 1500, "seconds": "1.500"}
    assert document(result.stdout) == done
    assert operator.asked == [("aave", 5)]
    assert machine.application.asked == []


def test_a_rebuild_that_finds_mismatches_is_a_fault(machine: Machine) -> None:
    machine.application.report = RebuildReport(accounts=7, mismatches=2, milliseconds=1)

    result = machine.type("rebuild", "--verify")

    assert result.exit_code == 1
    assert result.stdout == "rebuilt 7 accounts, 2 mismatches, 0.001 s\n"


def test_a_daemon_of_another_chain_is_not_asked(machine: Machine) -> None:
    operator = FakeOperator(state=replace(READY, chain_id=1))
    machine.start_daemon(operator)

    result = machine.type("rebuild")

    assert result.exit_code == 2
    assert "follows chain 1" in result.stderr
    assert operator.asked == []


def test_a_daemon_without_a_node_is_a_service_that_is_missing(machine: Machine) -> None:
    machine.start_daemon(FakeOperator(error=Retry("no node")))

    result = machine.type("rebuild")

    assert result.exit_code == 3
    assert "cannot do it now: no node" in result.stderr


def test_check_shows_every_fact(machine: Machine) -> None:
    machine.application.rows = [Row("chain", "id 8453", ok=True), Row("aave", "a pool", ok=True)]

    result = machine.type("check")

    assert result.exit_code == 0
    assert "id 8453" in result.stdout
    assert "everything holds" in result.stdout
    assert "FAILS" not in result.stdout


WSTETH = {
    "asset": ALICE,
    "symbol": "wstETH",
    "address": ALICE,
    "kind": "capped ratio",
    "description": "wstETH / USD",
    "beneath": None,
    "capped": True,
    "alive": True,
    "price": "2950.00000000",
    "currency": "USD",
    "age": 12,
}
DEAD = {**WSTETH, "symbol": "LINK", "alive": False, "price": None, "age": None, "capped": False}


def test_every_price_source_is_a_line_of_its_own(machine: Machine) -> None:
    machine.application.rows = [
        Row("aave wstETH", "alive", ok=True, source=WSTETH),
        Row("aave LINK", "dead", ok=False, source=DEAD),
    ]

    people, program = machine.type("check"), machine.type("check", "--json")

    assert (people.exit_code, program.exit_code) == (1, 1)
    alive, dead = (line.split() for line in people.stdout.splitlines() if "aave " in line)
    assert " ".join(alive) == (
        f"ok aave wstETH {ALICE} capped ratio (at its cap) 2950.00000000 USD yes, 12 s old"
    )
    assert " ".join(dead) == f"FAILS aave LINK {ALICE} capped ratio - no"
    assert "1 of 2 facts do not hold" in people.stdout
    assert [item["source"] for item in document(program.stdout)["items"]] == [WSTETH, DEAD]


def test_a_fact_that_does_not_hold_is_a_fault(machine: Machine) -> None:
    machine.application.rows = [Row("chain", "id 8453", ok=True), Row("aave", "no code", ok=False)]

    people, program = machine.type("check"), machine.type("check", "--json")

    assert (people.exit_code, program.exit_code) == (1, 1)
    assert "FAILS" in people.stdout
    assert document(program.stdout) == {
        "ok": False,
        "items": [
            {"subject": "chain", "fact": "id 8453", "ok": True},
            {"subject": "aave", "fact": "no code", "ok": False},
        ],
    }


def test_the_demo_runs_what_the_checkout_has(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "devnet").mkdir()
    (tmp_path / "devnet" / "demo.py").write_text("")
    ran: list[str] = []
    monkeypatch.setattr(commands, "CHECKOUT", tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(runpy, "run_module", lambda name, **_: ran.append(name))

    assert CliRunner().invoke(app, ["demo"]).exit_code == 0
    assert ran == ["devnet.demo"]
    assert machine.application.asked == []


def test_the_demo_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(commands, "CHECKOUT", tmp_path)

    result = CliRunner().invoke(app, ["demo"])

    assert result.exit_code == 2
    assert "source checkout" in result.stderr


def test_the_version_can_be_asked() -> None:
    result = CliRunner().invoke(app, ["--version"])

    assert (result.exit_code, result.stdout) == (0, f"chimera {chimera.__version__}\n")


def test_every_command_takes_a_configuration() -> None:
    for command in app.registered_commands:
        assert command.callback is not None
        assert "config" in command.callback.__annotations__


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:9650", "http://127.0.0.1:9650"),
        ("0.0.0.0:9650", "http://127.0.0.1:9650"),
        ("[::]:9650", "http://[::1]:9650"),
        ("node.local:80", "http://node.local:80"),
        ("", None),
        ("127.0.0.1:0", None),
    ],
)
def test_the_daemon_is_asked_where_it_listens(listen: str, url: str | None) -> None:
    assert daemon_url(listen) == url


def test_a_daemon_on_a_port_that_nobody_knows_has_to_be_named(machine: Machine) -> None:
    machine.config.write_text(CONFIG.replace(":9650", ":0"))

    result = machine.type("status")

    assert result.exit_code == 3
    assert "--url" in result.stderr


def test_another_daemon_can_be_named(machine: Machine) -> None:
    machine.start_daemon(FakeOperator())

    assert machine.type("status", "--url", "other.host:9000").exit_code == 0
    assert machine.wire.asked == [("other.host", 9000, "GET", "/readyz")]


@pytest.mark.parametrize("fixed", [(200, b"<html>"), (200, b"[]"), (404, b"{}"), (500, b"{}")])
def test_something_else_on_the_port_is_refused(machine: Machine, fixed: tuple[int, bytes]) -> None:
    machine.wire.fixed = fixed

    result = machine.type("positions")

    assert result.exit_code == 2
    assert "is not a Chimera daemon" in result.stderr


@pytest.mark.parametrize(
    "breaks", [TimeoutError(), ConnectionResetError(104, "reset"), http.client.BadStatusLine("x")]
)
def test_a_daemon_that_breaks_off_is_not_taken_for_an_absent_one(
    machine: Machine, breaks: Exception
) -> None:
    machine.wire.breaks = breaks

    result = machine.type("positions")

    assert result.exit_code == 3
    assert result.stderr.startswith("the daemon at http://127.0.0.1:9650 ")
    assert machine.application.asked == []
