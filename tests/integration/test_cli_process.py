from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.settings_files import BASE

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


HOLD = """
import asyncio, sys
from chimera.store.history import SqlHistory

async def main():
    history = SqlHistory(sys.argv[1], chain_id=8453)
    await history.open()
    await history.claim()
    print("claimed", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_a_second_daemon_names_the_first_and_not_its_port(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'chimera.db'}"
    hold = [sys.executable, "-c", HOLD, url]
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        subprocess.Popen(hold, stdout=subprocess.PIPE, cwd=ROOT) as first,
    ):
        assert first.stdout is not None
        assert first.stdout.readline() == b"claimed\n"
        port = taken.getsockname()[1]
        config = tmp_path / "chimera.toml"
        config.write_text(
            f'{BASE}\n[history]\nurl = "{url}"\n[http]\nlisten = "127.0.0.1:{port}"\n'
            '[redis]\nurl = ""\n'
        )
        result = chimera(tmp_path, "run", "--config", str(config))
        first.kill()

    complaint = result.stderr.splitlines()[-1]
    assert result.returncode == 2
    assert complaint.startswith(
        f"another chimera (process {first.pid}) works with the history {url}"
    )


def test_an_export_without_a_history_is_refused_and_makes_none(tmp_path: Path) -> None:
    (tmp_path / "chimera.toml").write_text(f'{BASE}\n[history]\nurl = "sqlite+aiosqlite:///h.db"\n')

    result = chimera(tmp_path, "borrowers", "export", "all.gz", "--config", "chimera.toml")

    assert result.returncode == 2
    assert "there is no history at" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["chimera.toml"]


def test_no_words_at_all_are_bad_usage(tmp_path: Path) -> None:
    assert chimera(tmp_path).returncode == 2


def test_a_crash_is_one_line_and_a_fault(tmp_path: Path) -> None:
    result = chimera(tmp_path, "crash", code=CRASH)

    assert result.returncode == 1
    assert result.stderr.startswith("ZeroDivisionError: while reading http://host/*** - ")
    assert result.stderr.count("\n") == 1
