"""The unit as systemd reads it: valid, sandboxed, and with the manners that the daemon needs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parents[2] / "systemd" / "chimera.service"
MOST_EXPOSURE = 20  # tenths


def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        name, is_setting, value = line.partition("=")
        if is_setting and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *words], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that exists on every machine."""
    copy = tmp_path / UNIT.name
    lines = UNIT.read_text().splitlines()
    copy.write_text("\n".join("ExecStart=/bin/true" if "ExecStart=" in it else it for it in lines))
    return copy


def exposed(unit: Path, most: int) -> bool:
    said = analyze("security", "--offline=true", f"--threshold={most}", "--no-pager", str(unit))
    assert "Overall exposure level" in said.stdout, said.stderr
    return said.returncode != 0


def test_systemd_finds_nothing_to_complain_about(unit: Path) -> None:
    said = analyze("verify", str(unit))

    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_a_setting_that_systemd_does_not_know_would_be_noticed(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchdogSeconds="))

    assert "WatchdogSeconds" in analyze("verify", str(unit)).stderr


def test_what_the_service_could_do_to_the_machine_is_little(unit: Path) -> None:
    assert not exposed(unit, MOST_EXPOSURE)


def test_a_wider_sandbox_would_be_noticed(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("CapabilityBoundingSet=\n", ""))

    assert exposed(unit, MOST_EXPOSURE)


def test_systemd_waits_for_the_daemon_and_brings_it_back() -> None:
    manners = {
        "Type": ["notify"],
        "TimeoutStartSec": ["infinity"],
        "Restart": ["on-failure"],
        "RestartPreventExitStatus": ["2"],
        "StartLimitIntervalSec": ["0"],
        "StateDirectory": ["chimera"],
        "DynamicUser": ["yes"],
        "LoadCredential": ["chimera.env:/etc/chimera/chimera.env"],
    }
    said = settings()

    assert {name: said.get(name) for name in manners} == manners


def test_a_clean_stop_has_time_and_a_head_may_wait_for_less_than_the_watchdog() -> None:
    said = settings()

    assert int(said["TimeoutStopSec"][0].removesuffix("s")) > 5
    assert int(said["WatchdogSec"][0].removesuffix("s")) > 30
