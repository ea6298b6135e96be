"""What an operator types to record and to replay, and what is printed."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import chimera
from chimera.cli import app
from chimera.replay.recording import Damaged
from tests.fakes_cli import CONFIG, logging_as_before

FLAG = {
    "id": "abc",
    "protocol": "aave",
    "user": "0xA1",
    "health_factor": "0.900000000000000000",
    "blocks_unhealthy": 2,
    "first_unhealthy_block": 6,
    "closed_reason": None,
    "reason": None,
}
END = {
    "event": "end",
    "first_block": 5,
    "last_block": 8,
    "blocks": 4,
    "rollbacks": 1,
    "flagged": 1,
    "closed": 1,
    "open": 0,
    "ended": "stopped",
    "misfit": None,
    "digest": "d00d",
}
DOCUMENTS: list[dict[str, Any]] = [
    {"event": "flagged", "block": 7, "flag": FLAG},
    {"event": "heard", "what": {"event": "connected"}},
    {"event": "closed", "block": 8, "flag": {**FLAG, "closed_reason": "recovered"}},
    END,
]


class Application:
    """A composition root that has recorded nothing much."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.damage: str | None = None

    async def record(self, settings: Any, folder: Path, **asked: Any) -> None:  # noqa: ANN401
        self.asked.append({"chain": settings.chain.name, "folder": folder, **asked})

    async def replay(self, path: Path, **asked: Any) -> AsyncIterator[dict[str, Any]]:  # noqa: ANN401
        self.asked.append({"path": path, **asked})
        yield DOCUMENTS[0]
        if self.damage is not None:
            raise Damaged(self.damage)
        for document in DOCUMENTS[1:]:
            yield document


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Iterator[Application]:
    made = Application()
    monkeypatch.setitem(sys.modules, "chimera.app", made)
    monkeypatch.setattr(chimera, "app", made, raising=False)
    with logging_as_before():
        yield made


def typed(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_a_replay_prints_a_line_for_each_flag_and_what_came_of_it(application: Application) -> None:
    result = typed("replay", "some.gz")

    assert result.stdout.splitlines() == [
        "block 7 flagged abc aave 0xA1 health factor 0.900000000000000000, 2 blocks since 6",
        'heard {"event": "connected"}',
        (
            "block 8 closed abc aave 0xA1 health factor 0.900000000000000000, 2 blocks since 6"
            " (recovered)"
        ),
        (
            "replayed 4 blocks after 5, up to 8, 1 rollbacks: 1 flagged, 1 closed, 0 open;"
            " the recording ends: stopped; state d00d"
        ),
    ]
    assert application.asked == [{"path": Path("some.gz"), "speed": None, "heard": False}]


def test_programs_get_one_document_a_line(application: Application) -> None:
    result = typed("replay", "some.gz", "--json", "--heard", "--speed", "2.5")

    assert [json.loads(line) for line in result.stdout.splitlines()] == DOCUMENTS
    assert str(application.asked[0]["speed"]) == "2.5"
    assert application.asked[0]["heard"]


def test_flags_before_the_damage_are_printed(application: Application) -> None:
    application.damage = "it is damaged"

    result = typed("replay", "some.gz")

    assert (result.exit_code, result.stderr) == (1, "it is damaged\n")
    assert result.stdout.startswith("block 7 flagged")


def test_a_configuration_is_not_needed_for_a_replay(application: Application) -> None:
    result = typed("replay", "some.gz", "--config", "nowhere.toml")

    assert result.exit_code == 0
    assert "--config is not used" in result.stderr
    assert len(application.asked) == 1


@pytest.mark.parametrize("speed", ["0", "-1", "fast", "nan", "inf"])
def test_a_speed_that_is_none_is_refused(application: Application, speed: str) -> None:
    result = typed("replay", "some.gz", "--speed", speed)

    assert result.exit_code == 2
    assert "--speed" in result.stderr
    assert application.asked == []


def test_a_recording_is_bounded_as_asked(application: Application, tmp_path: Path) -> None:
    config = tmp_path / "chimera.toml"
    config.write_text(CONFIG)
    words = ("record", "--config", str(config), "--out", "there", "--size", "2")

    bounded = typed(*words, "--keep", "8")
    too_little = typed(*words, "--keep", "7")

    [asked] = application.asked
    assert bounded.exit_code == 0
    assert (asked["folder"], asked["size"], asked["keep"]) == (Path("there"), 2 << 20, 8 << 20)
    assert too_little.exit_code == 2
    assert "--keep: expected 8 or more" in too_little.stderr
