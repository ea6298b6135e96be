"""How a history opens: from nothing, from its own past, and from what is not its own."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine

from chimera.domain.block import Address
from chimera.errors import Unreachable
from chimera.store.database import open_database
from chimera.store.history import SqlHistory
from chimera.store.schema import REVISIONS, VERSION_TABLE, metadata
from chimera.store.upgrading import MIGRATIONS
from tests.fakes_store import ALICE


def url_of(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


async def open_and_close(url: str) -> None:
    history = SqlHistory(url, chain_id=1)
    await history.open()
    await history.close()


def run(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement).fetchall()


async def test_an_empty_file_gets_every_table(tmp_path: Path) -> None:
    path = tmp_path / "chimera.db"

    await open_and_close(url_of(path))

    tables = {name for (name,) in run(path, "SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == set(metadata.tables) | {VERSION_TABLE}


async def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "chimera.db"
    await open_and_close(url_of(path))
    before = run(path, "SELECT sql FROM sqlite_master ORDER BY name")

    await open_and_close(url_of(path))

    assert run(path, "SELECT sql FROM sqlite_master ORDER BY name") == before


async def test_the_migrated_schema_is_the_schema_of_the_code(tmp_path: Path) -> None:
    def differences(connection: Connection) -> list[Any]:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, metadata))

    engine = await open_database(url_of(tmp_path / "chimera.db"))
    async with engine.connect() as connection:
        found = await connection.run_sync(differences)
    await engine.dispose()

    assert found == []


async def test_a_folder_with_a_percent_sign_is_no_trouble(tmp_path: Path) -> None:
    folder = tmp_path / "100%s"
    folder.mkdir()

    await open_and_close(url_of(folder / "chimera.db"))

    assert (folder / "chimera.db").exists()


async def test_writers_do_not_block_readers(tmp_path: Path) -> None:
    path = tmp_path / "chimera.db"
    await open_and_close(url_of(path))

    assert run(path, "PRAGMA journal_mode") == [("wal",)]


async def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="cannot be opened: unable to open"):
        await open_and_close(url_of(tmp_path))


async def test_a_file_in_a_folder_that_is_not_there_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="unable to open"):
        await open_and_close(url_of(tmp_path / "nowhere" / "chimera.db"))


async def test_a_file_of_something_else_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "chimera.db"
    path.write_text("this is a letter to a friend, and nothing but a letter\n" * 100)

    with pytest.raises(Unreachable, match="not a database"):
        await open_and_close(url_of(path))

    assert path.read_text().startswith("this is a letter")


async def test_a_database_of_another_program_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "chimera.db"
    run(path, "CREATE TABLE recipes (name TEXT)")

    with pytest.raises(Unreachable, match=r"another program \(recipes\)"):
        await open_and_close(url_of(path))

    assert run(path, "SELECT name FROM sqlite_master") == [("recipes",)]


async def test_a_newer_schema_says_that_chimera_is_to_be_updated(tmp_path: Path) -> None:
    path = tmp_path / "chimera.db"
    await open_and_close(url_of(path))
    run(path, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")  # noqa: S608  (our own name)

    with pytest.raises(Unreachable, match=r"\(9999\) is newer than this version"):
        await open_and_close(url_of(path))


@pytest.mark.parametrize("url", ["chimera.db", "", "postgresql"])
async def test_what_is_no_url_is_named(url: str) -> None:
    with pytest.raises(Unreachable, match=r"history\.url is not a database URL"):
        await open_and_close(url)


async def test_an_unknown_driver_is_named() -> None:
    with pytest.raises(Unreachable, match="cannot be used"):
        await open_and_close("oracledb+nothing://host/name")


async def test_a_driver_without_async_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="cannot be used"):
        await open_and_close(f"sqlite:///{tmp_path / 'chimera.db'}")


async def test_a_password_is_not_repeated() -> None:
    with pytest.raises(Unreachable) as refusal:
        await open_and_close("nothing+nothing://chimera:hunter2@127.0.0.1/name")

    assert "hunter2" not in str(refusal.value)


async def test_a_schema_that_alembic_cannot_follow_is_named(tmp_path: Path) -> None:
    path = tmp_path / "chimera.db"
    await open_and_close(url_of(path))
    run(path, f"INSERT INTO {VERSION_TABLE} VALUES ('0001')")  # noqa: S608  (our own name)

    with pytest.raises(Unreachable, match="cannot be opened: Requested revision 0002 overlaps"):
        await open_and_close(url_of(path))


def test_every_revision_is_known_by_name() -> None:
    revisions = ScriptDirectory(str(MIGRATIONS)).walk_revisions()

    assert [script.revision for script in revisions] == list(reversed(REVISIONS))


OPENS = """
import asyncio, sys
from chimera.store.history import SqlHistory

async def open_and_close():
    history = SqlHistory(sys.argv[1], chain_id=1)
    await history.open()
    await history.close()

asyncio.run(open_and_close())
print("alembic" in sys.modules)
"""


def test_alembic_is_imported_only_where_a_revision_is_missing(tmp_path: Path) -> None:
    url = url_of(tmp_path / "chimera.db")
    command = [sys.executable, "-c", OPENS, url]

    told = [subprocess.run(command, capture_output=True, check=True).stdout for _ in range(2)]

    assert told == [b"True\n", b"False\n"]


def migrate(path: Path, way: Callable[[Config, str], None], revision: str) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        way(config, revision)
    engine.dispose()


def first_schema(path: Path) -> None:
    """Make a history as the first version left it, with a borrower and a scan in it."""
    migrate(path, command.upgrade, "0001")
    run(path, f"INSERT INTO users VALUES (1, 'aave', X'{ALICE.hex()}')")  # noqa: S608
    run(path, "INSERT INTO scans VALUES (1, 'aave', 77)")


async def test_a_history_of_the_first_version_is_widened_and_keeps_everything(
    tmp_path: Path,
) -> None:
    path, holder = tmp_path / "chimera.db", Address(b"\x07" * 32 + ALICE)
    first_schema(path)

    history = SqlHistory(url_of(path), chain_id=1)
    await history.open()
    await history.add_users("aave", [ALICE])
    await history.add_users("morpho", [holder])

    assert await history.users("aave") == [ALICE]
    assert await history.users("morpho") == [holder]
    assert await history.scanned_to("aave") == 77
    await history.close()
    assert run(path, f"SELECT version_num FROM {VERSION_TABLE}") == [("0002",)]  # noqa: S608


async def test_going_back_lets_those_go_whom_the_first_version_would_misread(
    tmp_path: Path,
) -> None:
    path = tmp_path / "chimera.db"
    history = SqlHistory(url_of(path), chain_id=1)
    await history.open()
    await history.add_users("morpho", [ALICE, Address(b"\x07" * 32 + ALICE)])
    await history.close()

    migrate(path, command.downgrade, "0001")

    assert run(path, "SELECT address FROM users") == [(ALICE,)]
