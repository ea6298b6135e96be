"""Opening a database: the engine, its pragmas, and the schema brought up to date."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnClause, Connection, column, event, inspect, select, table, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from chimera.errors import Refuse, Unreachable
from chimera.store.schema import REVISIONS, VERSION_TABLE

MIGRATION_LOCK = 0x6368696D65726131  # one number for all daemons: "chimera1" in ASCII
BAD_QUERY = (TypeError, ValueError)  # of drivers, for what they do not know in a URL
CONNECT_SECONDS, COMMAND_SECONDS = 10, 30  # how long PostgreSQL may stay silent
BUSY_SECONDS = 5  # how long SQLite waits for the lock of another writer

READS = "chimera_reads"  # execution option of a connection that only reads

# The first is all that a reader needs. A write survives a crash of the process at once, one of the
# machine within the last checkpoint of the write-ahead log: whatever is lost there is processed
# again from the chain.
PRAGMAS = (
    f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}",
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=NORMAL",
)


async def open_database(url: str, *, reads: bool = False) -> AsyncEngine:
    """
    Return an engine whose database answers and has the schema of this version.

    Args:
        url: SQLAlchemy URL with an async driver.
        reads: Make and change nothing; the schema has to be there.

    Raises:
        Refuse: With `reads`, there is no history at this place.
        Unreachable: It does not answer, is no database, is not ours, or is of a newer version;
            with `reads`, also of an older one.
    """
    parsed = _parse(url)
    name = parsed.render_as_string(hide_password=True)
    if reads and await asyncio.to_thread(_is_yet_to_come, parsed):
        raise _nothing_at(name)
    engine = _engine(parsed, name, reads=reads)
    try:
        await asyncio.to_thread(_probe, parsed)
        async with engine.begin() as connection:
            await connection.run_sync(_prove_current if reads else _upgrade)
    except _Absent as error:
        await engine.dispose()
        raise _nothing_at(name) from error
    except _Unfit as error:
        await engine.dispose()
        raise Unreachable(f"the history database {name} cannot be used: {error}") from error
    except (SQLAlchemyError, sqlite3.Error, OSError, *BAD_QUERY) as error:
        await engine.dispose()
        raise Unreachable(
            f"the history database {name} cannot be opened: {cause(error)}"
        ) from error
    return engine


def unopened(url: str) -> AsyncEngine:
    """
    Return an engine that changes nothing by itself; nobody has looked at its database.

    Raises:
        Unreachable: This is no URL of a database, or its driver is missing.
    """
    parsed = _parse(url)
    return _engine(parsed, parsed.render_as_string(hide_password=True), reads=True)


async def reach(url: str) -> None:
    """
    Connect to a database and leave everything in it as it is; a SQLite file need not exist yet.

    Raises:
        Unreachable: It does not answer, or the file cannot be opened.
    """
    parsed = _parse(url)
    name = parsed.render_as_string(hide_password=True)
    if await asyncio.to_thread(_is_yet_to_come, parsed):
        return
    engine = unopened(url)
    try:
        await asyncio.to_thread(_probe, parsed)
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    except (SQLAlchemyError, sqlite3.Error, OSError, *BAD_QUERY) as error:
        raise Unreachable(
            f"the history database {name} cannot be opened: {cause(error)}"
        ) from error
    finally:
        await engine.dispose()


def _is_yet_to_come(url: URL) -> bool:
    path = Path(url.database or ":memory:")
    return url.get_backend_name() == "sqlite" and not path.exists() and path.parent.is_dir()


def cause(error: BaseException) -> str:
    """Say in one line what the driver said, without the statement and the link to a manual."""
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    said = str(getattr(error, "orig", None) or error).strip()
    return said.splitlines()[0] if said else type(error).__name__


class _Unfit(Exception):
    """The database answers, but is not one that this version can work with."""


class _Absent(Exception):
    """The database answers, and there is nothing of ours in it."""


def _nothing_at(name: str) -> Refuse:
    return Refuse(
        f"there is no history at {name} yet: let `chimera run` search first, or say where it is"
        " (history.url)"
    )


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as error:
        raise Unreachable(
            "history.url is not a database URL; expected for instance"
            " sqlite+aiosqlite:///chimera.db or postgresql+asyncpg://user@host/name"
        ) from error


def _engine(url: URL, name: str, *, reads: bool = False) -> AsyncEngine:
    try:
        patience = {"timeout": CONNECT_SECONDS, "command_timeout": COMMAND_SECONDS}
        engine = create_async_engine(
            url,
            pool_pre_ping=True,
            connect_args=patience if url.drivername == "postgresql+asyncpg" else {},
            execution_options={READS: reads},
        )
    except ModuleNotFoundError as error:
        raise Unreachable(f"{name} needs the Python package {error.name}: install it") from error
    except (SQLAlchemyError, *BAD_QUERY) as error:
        raise Unreachable(f"{name} cannot be used: {cause(error)}") from error
    if engine.dialect.name == "sqlite":
        prepare = functools.partial(_prepare, pragmas=PRAGMAS[:1] if reads else PRAGMAS)
        event.listen(engine.sync_engine, "connect", prepare)
        event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _probe(url: URL) -> None:
    # What is no SQLite file fails here: when aiosqlite fails to open, its thread outlives it.
    path = url.database or ":memory:"
    if url.get_backend_name() == "sqlite" and not path.startswith((":memory:", "file:")):
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
            connection.execute("PRAGMA schema_version")


def _prepare(
    connection: Any,  # noqa: ANN401  (the driver's own)
    _record: object,
    *,
    pragmas: Sequence[str],
) -> None:
    connection.isolation_level = None  # transactions begin where `_begin` says, DDL included
    try:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()
    except sqlite3.Error:
        connection.close()  # the pool has not taken it yet, so nobody else would end its thread
        raise


def _begin(connection: Connection) -> None:
    # IMMEDIATE: a writer waits for the lock here, where waiting helps, and not in the middle.
    # Whoever only reads waits for no writer.
    reads = connection.get_execution_options().get(READS, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # SQLite has the lock since `_begin`
        lock = text("SELECT pg_advisory_xact_lock(:lock)")
        connection.execute(lock, {"lock": MIGRATION_LOCK})
    if _proved(connection) == {REVISIONS[-1]}:
        return
    from chimera.store.upgrading import upgrade  # noqa: PLC0415  (Alembic; most starts do without)

    upgrade(connection)


def _prove_current(connection: Connection) -> None:
    found = _proved(connection)
    if not found:
        raise _Absent
    if found != {REVISIONS[-1]}:
        raise _Unfit("its schema is of an older version, which `chimera run` brings up to date")


def _proved(connection: Connection) -> set[str]:
    """Return the revisions that the schema has, none for an empty database; it has to be ours."""
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE not in tables:
        if tables:
            raise _Unfit(f"it has tables of another program ({', '.join(sorted(tables)[:3])})")
        return set()
    number: ColumnClause[str] = column("version_num")
    found = set(connection.scalars(select(number).select_from(table(VERSION_TABLE))))
    unknown = found - set(REVISIONS)
    if unknown:
        raise _Unfit(
            f"its schema ({', '.join(sorted(unknown))}) is newer than this version of Chimera,"
            " which has to be updated"
        )
    return found
