"""The same history, in a real PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from chimera.domain.block import Address
from chimera.errors import Refuse, Retry, Unreachable
from chimera.store.database import open_database
from chimera.store.history import SqlHistory
from chimera.store.schema import VERSION_TABLE, metadata
from devnet.ports import free_port, port_for
from tests.fakes_store import ALICE, BOB, checkpoint, opportunity

SECONDS = 60  # of patience with a server that starts
OPEN = """
import asyncio, sys
from chimera.store.database import open_database

async def main():
    engine = await open_database(sys.argv[1])
    await engine.dispose()

asyncio.run(main())
"""


class PostgresServer:
    """A PostgreSQL in a folder of its own; it refuses to run as root, so root steps down."""

    def __init__(self) -> None:
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self._folder = Path(tempfile.mkdtemp(prefix="chimera-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._port = port_for(self)
        if self._as:
            shutil.chown(self._folder, "postgres")
        options = ["--username=chimera", "--auth=trust", "--no-sync", "--encoding=UTF8"]
        subprocess.run(
            [*self._as, "initdb", "-D", str(self._folder / "data"), *options],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+asyncpg://chimera@127.0.0.1:{self._port}/{database}"

    def start(self) -> None:
        options = ["-h", "127.0.0.1", "-p", str(self._port), "-k", str(self._folder), "-F"]
        # Not through runuser, which would stay in between: the server itself gets our signal.
        step_down: dict[str, Any] = {"user": "postgres", "group": "postgres"} if self._as else {}
        self._process = subprocess.Popen(
            ["postgres", "-D", str(self._folder / "data"), *options],
            stderr=subprocess.DEVNULL,
            cwd="/",
            **step_down,
        )

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # a fast shutdown
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture
async def url(server: PostgresServer, request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty database, named by the test."""
    name = str(request.node.name)[:60].rstrip("_")
    async with asyncio.timeout(SECONDS):
        while not await _made(server, name):  # noqa: ASYNC110  (another process)
            await asyncio.sleep(0.1)
    return server.url(name)


async def _made(server: PostgresServer, name: str) -> bool:
    engine = create_async_engine(server.url(), isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            await connection.execute(text(f'CREATE DATABASE "{name}"'))
    except (OSError, SQLAlchemyError):
        return False
    finally:
        await engine.dispose()
    return True


async def opened(url: str, chain_id: int = 8453) -> SqlHistory:
    history = SqlHistory(url, chain_id=chain_id, undo_window=4)
    await history.open()
    return history


async def test_everything_survives_a_restart(url: str) -> None:
    history = await opened(url)
    await history.record(
        checkpoints=[checkpoint(n) for n in range(100, 110)],
        opportunities=[opportunity("a"), opportunity("b", closed=105)],
        users={"aave": [BOB, ALICE, ALICE]},
        scanned_to={"aave": 109},
    )
    await history.save(checkpoint(108, fork=1), [opportunity("a", closed=108)])
    await history.close()

    history = await opened(url)
    assert await history.checkpoints() == [
        checkpoint(108, fork=1),
        checkpoint(107),
        checkpoint(106),
    ]
    assert await history.opportunities(9) == [
        opportunity("b", closed=105),
        opportunity("a", closed=108),
    ]
    assert await history.users("aave") == [ALICE, BOB]
    assert await history.scanned_to("aave") == 109
    await history.close()


async def test_several_daemons_can_open_an_empty_database_at_once(url: str) -> None:
    daemons = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", OPEN, url) for _ in range(3)
    ]

    assert [await daemon.wait() for daemon in daemons] == [0, 0, 0]


async def test_the_migrated_schema_is_the_schema_of_the_code(url: str) -> None:
    def differences(connection: Connection) -> list[Any]:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, metadata))

    engine = await open_database(url)
    async with engine.connect() as connection:
        found = await connection.run_sync(differences)
    await engine.dispose()

    assert found == []


async def test_a_history_of_the_first_version_takes_wider_holders(url: str) -> None:
    history = await opened(url)
    await history.add_users("aave", [ALICE])
    await history.close()
    engine = create_async_engine(url)
    async with engine.begin() as connection:  # the first version's tables are the same
        await connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0001'"))  # noqa: S608
    await engine.dispose()

    history, holder = await opened(url), Address(b"\x07" * 32 + ALICE)
    await history.add_users("morpho", [holder])

    assert await history.users("morpho") == [holder]
    assert await history.users("aave") == [ALICE]
    await history.close()


async def test_a_database_of_another_program_is_refused(url: str) -> None:
    engine = await open_database(url)
    async with engine.begin() as connection:
        await connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
    await engine.dispose()

    with pytest.raises(Unreachable, match="tables of another program"):
        await opened(url)


async def test_a_database_that_is_not_there_is_named(url: str) -> None:
    with pytest.raises(Unreachable, match='database "nowhere" does not exist'):
        await opened(url.rpartition("/")[0] + "/nowhere")


async def test_two_daemons_of_one_chain_are_refused_and_of_two_chains_are_not(url: str) -> None:
    first, second, elsewhere = await opened(url), await opened(url), await opened(url, 1 << 40)
    await first.claim()
    await elsewhere.claim()

    with pytest.raises(Refuse, match="another chimera works with the history"):
        await second.claim()

    await first.close()
    await second.claim()
    await second.close()
    await elsewhere.close()


async def test_a_server_that_does_not_answer_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="cannot be opened"):
        await opened(f"postgresql+asyncpg://chimera:hunter2@127.0.0.1:{free_port()}/chimera")


async def test_a_server_that_goes_away_is_waited_for(url: str, server: PostgresServer) -> None:
    history = await opened(url)
    await history.save(None, [opportunity()])
    server.stop()

    with pytest.raises(Retry):
        await history.save(None, [opportunity(closed=105)])

    server.start()
    async with asyncio.timeout(SECONDS):
        while not await _saved(history):  # noqa: ASYNC110  (another process)
            await asyncio.sleep(0.1)
    assert await history.opportunities(9) == [opportunity(closed=105)]
    await history.close()


async def _saved(history: SqlHistory) -> bool:
    try:
        await history.save(None, [opportunity(closed=105)])
    except Retry:
        return False
    return True


async def test_a_claim_that_ends_with_the_server_is_taken_again(
    url: str, server: PostgresServer
) -> None:
    history, second = await opened(url), await opened(url)
    await history.claim()
    server.stop()
    server.start()
    async with asyncio.timeout(SECONDS):
        while not await _saved(history):  # noqa: ASYNC110  (another process)
            await asyncio.sleep(0.1)

    with pytest.raises(Refuse, match="another chimera works with the history"):
        await _patiently_claimed(second)

    await history.close()
    await second.claim()
    await second.close()


async def test_who_finds_another_at_its_history_after_a_restart_writes_nothing(
    url: str, server: PostgresServer
) -> None:
    history, second = await opened(url), await opened(url)
    await history.claim()
    server.stop()
    server.start()
    await _patiently_claimed(second)

    for _ in range(2):
        with pytest.raises(Retry, match="another chimera works with the history"):
            await history.save(None, [opportunity()])
    assert await second.opportunities(9) == []

    await second.close()
    assert await _saved(history)
    await history.close()


async def _patiently_claimed(history: SqlHistory) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await history.claim()
            except Unreachable:
                await asyncio.sleep(0.1)
