"""`chimera borrowers`: what is asked of the rooms, and what an operator reads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import chimera
from chimera.cli import app
from chimera.errors import Refuse
from tests.fakes_cli import CONFIG, FakeApplication, document, logging_as_before


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApplication]:
    made = FakeApplication()
    (tmp_path / "chimera.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "chimera.app", made)
    monkeypatch.setattr(chimera, "app", made, raising=False)
    with logging_as_before():
        yield made


def type_in(*words: str) -> Result:
    return CliRunner().invoke(app, ["borrowers", *words, "--config", "chimera.toml"])


def test_an_export_says_what_is_in_the_file(application: FakeApplication) -> None:
    result = type_in("export", "all.jsonl.gz")

    assert result.exit_code == 0
    assert application.asked == [("export_borrowers", (Path("all.jsonl.gz"), None))]
    assert result.stdout.splitlines() == [
        "aave: 7 accounts, searched up to block 900",
        "other: 0 accounts, no search has begun",
    ]


def test_an_import_says_what_is_new_and_where_the_search_goes_on(
    application: FakeApplication,
) -> None:
    result = type_in("import", "all.jsonl", "--protocol", "aave")

    assert result.exit_code == 0
    assert application.asked == [("import_borrowers", (Path("all.jsonl"), "aave"))]
    assert result.stdout.splitlines() == [
        "aave: 7 accounts, 3 of them new; the next search goes on from block 900",
        "other: 2 accounts, 2 of them new; the next search goes on from from_block",
    ]
    assert result.stderr.splitlines() == ["other: its search does not count"]


def test_programs_get_one_document(application: FakeApplication) -> None:
    del application

    assert document(type_in("export", "a.jsonl", "--json").stdout)["protocols"][0] == {
        "protocol": "aave",
        "users": 7,
        "searched_to": 900,
    }
    assert document(type_in("import", "a.jsonl", "--json").stdout)["protocols"][1] == {
        "protocol": "other",
        "users": 2,
        "new": 2,
        "searched_to": None,
        "note": "its search does not count",
    }


@pytest.mark.parametrize("command", ["export", "import"])
def test_what_is_refused_is_one_line_and_exit_code_2(
    application: FakeApplication, command: str
) -> None:
    application.error = Refuse("another chain")

    result = type_in(command, "a.jsonl")

    assert (result.exit_code, result.stderr) == (2, "another chain\n")


@pytest.mark.parametrize("command", ["export", "import"])
def test_a_mistyped_protocol_is_told_from_an_empty_one(
    application: FakeApplication, command: str
) -> None:
    result = type_in(command, "a.jsonl", "--protocol", "ave")

    assert result.exit_code == 2
    assert "expected one of aave, found 'ave'" in result.stderr
    assert application.asked == []
