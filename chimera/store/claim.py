"""One writer at a time: a claim on a chain's part of a history, while a process has it open."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path
from typing import IO, Protocol

from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chimera.errors import Refuse

CLAIM_LOCK = 0x6368696D  # "chim" in ASCII: beside it in the lock's number stands the chain
CHAINS = 1 << 31  # PostgreSQL takes two signed numbers of 32 bits
ANSWER_SECONDS = 5.0  # after which a session counts as lost


class Claim(Protocol):
    """Ends with the process, however that ends, or when it is given back."""

    async def held(self) -> bool:
        """Tell whether it is still ours; once lost, it stays lost."""

    async def release(self) -> None:
        """Give it back."""


class FileClaim:
    """A lock on a file beside the SQLite database; the file stays, its lock does not."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    async def held(self) -> bool:
        """Tell that it is still ours: only we can end it."""
        return True

    async def release(self) -> None:
        """Give it back."""
        self._file.close()


class ServerClaim:
    """A lock of PostgreSQL, held by a connection of its own: it ends with the server, too."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._lost = False
        self._asking = asyncio.Lock()

    async def held(self) -> bool:
        """Tell whether the session that holds it lives; a new one would not hold it."""
        async with self._asking:
            if not self._lost:
                try:
                    async with asyncio.timeout(ANSWER_SECONDS):
                        await self._connection.execute(text("SELECT 1"))
                        await self._connection.commit()
                except (SQLAlchemyError, OSError):  # a timeout is an OSError
                    self._lost = True
                    await self._connection.invalidate()
            return not self._lost

    async def release(self) -> None:
        """Give it back."""
        await self._connection.close()


async def claim(engine: AsyncEngine, chain_id: int, *, leave: bool = False) -> Claim | None:
    """
    Claim a chain's part of this database; None where nobody else can reach it (in memory).

    With `leave`, a file that is not there is not made and not claimed: nobody has it then.

    Raises:
        Refuse: Another process has it.
        SQLAlchemyError, OSError: The database does not answer.
    """
    if engine.dialect.name == "postgresql":
        return await _claim_server(engine, chain_id)
    path = engine.url.database or ":memory:"
    if path.startswith((":memory:", "file:")):
        return None
    return _claim_file(Path(f"{path}.{chain_id}.lock"), engine.url, leave=leave)


def _claim_file(path: Path, url: URL, *, leave: bool) -> FileClaim | None:
    if leave and not path.exists():
        return None
    file = path.open("a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise _taken(url, f" (process {holder})" if holder else "") from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return FileClaim(file)


async def _claim_server(engine: AsyncEngine, chain_id: int) -> ServerClaim:
    connection = await engine.connect()
    try:
        key = {"kind": CLAIM_LOCK, "chain": chain_id % CHAINS}
        asked = text("SELECT pg_try_advisory_lock(:kind, :chain)")
        is_ours = await connection.scalar(asked, key)
        await connection.commit()  # the lock belongs to the session, not to the transaction
    except SQLAlchemyError:
        await connection.close()
        raise
    if not is_ours:
        await connection.close()
        raise _taken(engine.url, "")
    return ServerClaim(connection)


def _taken(url: URL, who: str) -> Refuse:
    name = url.render_as_string(hide_password=True)
    return Refuse(
        f"another chimera{who} works with the history {name} on this chain: stop it first, or give"
        " each a history of its own (history.url)"
    )
