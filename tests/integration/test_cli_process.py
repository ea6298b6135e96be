from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

CRASH = """
from chimera.cli import app, main

@app.command()
def crash() -> None:
    raise ZeroDivisionError("while reading http://host/key")

main()
"""


def chimera(folder: Path, *words: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    start = ["-m", "chimera"] if code is None else ["-c", code]
    kept = {name: text for name, text in os.environ.items() if not name.startswith("CHIMERA_")}
    return subprocess.run(
        [sys.executable, *start, *words],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_command_without_its_configuration_is_refused(tmp_path: Path) -> None:
    result = chimera(tmp_path, "run", "--config", "absent.toml")

    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == "absent.toml: there is no such file; expected a configuration in TOML\n"


def test_a_command_without_its_daemon_says_so(tmp_path: Path) -> None:
    result = chimera(tmp_path, "status", "--json", "--url", "http://127.0.0.1:1")

    assert result.returncode == 3
    assert result.stdout == ""
    assert result.stderr == "no daemon answers at http://127.0.0.1:1 (Connection refused)\n"


def test_no_words_at_all_are_bad_usage(tmp_path: Path) -> None:
    assert chimera(tmp_path).returncode == 2


def test_a_crash_is_one_line_and_a_fault(tmp_path: Path) -> None:
    result = chimera(tmp_path, "crash", code=CRASH)

    assert result.returncode == 1
    assert result.stderr.startswith("ZeroDivisionError: while reading http://host/*** - ")
    assert result.stderr.count("\n") == 1
