"""The durable memory of one chain, in SQLite or PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Table, delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chimera.domain.block import Address
from chimera.domain.opportunity import Checkpoint, Opportunity
from chimera.errors import Refuse, Retry, Unreachable
from chimera.store import schema
from chimera.store.claim import Claim, claim
from chimera.store.database import READS, cause, open_database, unopened
from chimera.store.rows import (
    Values,
    checkpoint_of,
    checkpoint_row,
    opportunity_of,
    opportunity_row,
    reading,
)

FAREWELL_SECONDS = 1.0  # for a transaction under way when its writer is cancelled

log = structlog.get_logger()


class SqlHistory:
    """
    Users, scans, checkpoints and episodes of one chain (`ports.History`).

    Args:
        url: SQLAlchemy URL with an async driver, sqlite+aiosqlite or postgresql+asyncpg.
        chain_id: Whose rows are read and written; other chains may share the database.
        undo_window: How many of the newest checkpoints are kept.

    Once it is open, every method raises `Retry` when the database fails: nothing of that call was
    written, and the same call may work again.
    """

    def __init__(self, url: str, *, chain_id: int, undo_window: int = 64) -> None:
        self._url = url
        self._chain_id = chain_id
        self._undo_window = undo_window
        self._engine: AsyncEngine | None = None
        self._claimant: AsyncEngine | None = None  # has claimed before anything was open
        self._claim: Claim | None = None

    async def open(self, *, reads: bool = False) -> None:
        """
        Open the database and bring its schema up to date; with `reads`, leave all as it is.

        Raises:
            Refuse: With `reads`, there is no history yet.
            Unreachable: It cannot be opened, is not ours, or is of a newer version.
        """
        self._engine = await open_database(self._url, reads=reads)

    async def claim_first(self) -> None:
        """
        Claim what is there before it is opened, and make nothing: `claim` does the rest.

        Raises:
            Refuse: Another process works with it.
            Unreachable: The database fails.
        """
        self._claimant = unopened(self._url)
        await self._claimed(self._claimant, leave=True)

    async def claim(self) -> None:
        """
        Keep every other process from working with this chain's history, until it is closed.

        Raises:
            Refuse: One does already.
            Unreachable: The database fails.
        """
        engine = self._opened()
        if self._claim is None:
            await self._claimed(engine)

    async def _claimed(self, engine: AsyncEngine, *, leave: bool = False) -> None:
        try:
            self._claim = await claim(engine, self._chain_id, leave=leave)
        except (SQLAlchemyError, OSError) as error:
            name = engine.url.render_as_string(hide_password=True)
            raise Unreachable(
                f"the history database {name} cannot be claimed: {cause(error)}"
            ) from error

    async def _keep_claim(self) -> None:
        """
        Claim again what ended with the session that held it, as when the server was restarted.

        Raises:
            Retry: The database fails, or another process was quicker: nothing is written beside it.
        """
        if self._claim is None or await self._claim.held():
            return
        lost = self._claim
        try:
            await self._claimed(self._opened())
        except (Refuse, Unreachable) as fault:
            raise Retry(str(fault)) from fault
        await lost.release()
        log.warning("history_claimed_again")

    def _opened(self) -> AsyncEngine:
        if self._engine is None:
            raise Retry("the history database is not open")
        return self._engine

    async def close(self) -> None:
        """Close every connection. What a `HistoryWriter` still holds must be flushed before."""
        if self._claim is not None:
            await self._claim.release()
            self._claim = None
        for engine in (self._claimant, self._engine):
            if engine is not None:
                await engine.dispose()
        self._claimant = self._engine = None

    async def users(self, protocol: str) -> list[Address]:
        """Return every user that discovery or following has recorded."""
        table = schema.users
        wanted = select(table.c.address).where(self._of(table), table.c.protocol == protocol)
        async with self._transaction(reads=True) as connection:
            rows = await connection.execute(wanted.order_by(table.c.address))
            return [Address(address) for address in rows.scalars()]

    async def add_users(self, protocol: str, users: Iterable[Address]) -> None:
        """Record users; known ones stay as they are."""
        await self.record(users={protocol: users})

    async def scanned_to(self, scan: str) -> int | None:
        """Return the last block that this scan has covered, or None."""
        table = schema.scans
        wanted = select(table.c.scanned_to).where(self._of(table), table.c.scan == scan)
        async with self._transaction(reads=True) as connection:
            number: int | None = await connection.scalar(wanted)
            return number

    async def set_scanned_to(
        self, protocol: str, block_number: int, users: Iterable[Address], *, scan: str
    ) -> None:
        """Record users of a protocol and how far the scan for them got, in one transaction."""
        await self.record(users={protocol: users}, scanned_to={scan: block_number})

    async def checkpoints(self) -> list[Checkpoint]:
        """Return the remembered checkpoints, newest first."""
        table = schema.checkpoints
        wanted = select(table).where(self._of(table)).order_by(table.c.number.desc())
        async with self._transaction(reads=True) as connection:
            rows = await connection.execute(wanted)
            with reading("a checkpoint"):
                return [checkpoint_of(row) for row in rows]

    async def save(
        self, checkpoint: Checkpoint | None, opportunities: Sequence[Opportunity]
    ) -> None:
        """Record a checkpoint (pruning those past the undo window) and changed episodes."""
        await self.record(
            checkpoints=() if checkpoint is None else (checkpoint,), opportunities=opportunities
        )

    async def opportunities(self, limit: int) -> list[Opportunity]:
        """Return episodes, newest first; all open ones are among them, whatever the limit."""
        table = schema.opportunities
        wanted = (
            select(table.c.document)
            .where(self._of(table))
            .order_by(table.c.flagged_block.desc(), table.c.id.desc())
        )
        async with self._transaction(reads=True) as connection:
            rows = await connection.execute(wanted.where(table.c.state == "open"))
            with reading("an episode"):
                found = [opportunity_of(row) for row in rows]
            ended = wanted.where(table.c.state == "closed").limit(max(0, limit - len(found)))
            rows = await connection.execute(ended)
            with reading("an episode"):
                found += [opportunity_of(row) for row in rows]
        return sorted(found, key=lambda o: (o.flagged_block, o.id), reverse=True)

    async def record(
        self,
        *,
        checkpoints: Sequence[Checkpoint] = (),
        opportunities: Iterable[Opportunity] = (),
        users: Mapping[str, Iterable[Address]] | None = None,
        scanned_to: Mapping[str, int] | None = None,
    ) -> None:
        """
        Write all of it in one transaction.

        Args:
            checkpoints: In the order of the chain. Stored ones above the last of them left the
                chain, stored ones past the undo window are of no use: both are deleted.
            opportunities: Episodes, written over what stands under their ids.
            users: Per protocol; known ones stay as they are.
            scanned_to: Per scan, the last block whose users are all recorded.
        """
        await _to_its_end(self._record(checkpoints, opportunities, users or {}, scanned_to or {}))

    async def _record(
        self,
        checkpoints: Sequence[Checkpoint],
        opportunities: Iterable[Opportunity],
        users: Mapping[str, Iterable[Address]],
        scanned_to: Mapping[str, int],
    ) -> None:
        chain = self._chain_id
        who = [
            {"chain_id": chain, "protocol": protocol, "address": address}
            for protocol, addresses in users.items()
            for address in addresses
        ]
        how_far = [
            {"chain_id": chain, "scan": scan, "scanned_to": number}
            for scan, number in scanned_to.items()
        ]
        await self._keep_claim()
        async with self._transaction() as connection:
            await _upsert(connection, schema.users, who)
            await _upsert(connection, schema.scans, how_far)
            await self._replace_checkpoints(connection, checkpoints)
            episodes = [opportunity_row(chain, opportunity) for opportunity in opportunities]
            await _upsert(connection, schema.opportunities, episodes)

    async def _replace_checkpoints(
        self, connection: AsyncConnection, new: Sequence[Checkpoint]
    ) -> None:
        if not new:
            return
        kept = new[-self._undo_window :]
        rows = [checkpoint_row(self._chain_id, checkpoint) for checkpoint in kept]
        await _upsert(connection, schema.checkpoints, rows)
        table, newest = schema.checkpoints, kept[-1].block.number
        useless = or_(table.c.number > newest, table.c.number <= newest - self._undo_window)
        await connection.execute(delete(table).where(self._of(table), useless))

    def _of(self, table: Table) -> ColumnElement[bool]:
        return table.c.chain_id == self._chain_id

    @asynccontextmanager
    async def _transaction(self, *, reads: bool = False) -> AsyncIterator[AsyncConnection]:
        engine = self._opened()
        try:
            async with engine.connect() as connection:
                await connection.execution_options(**{READS: reads})
                async with connection.begin():
                    yield connection
        except (SQLAlchemyError, OSError) as error:
            raise Retry(f"the history database failed: {cause(error)}") from error


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """
    Await a transaction; a cancellation waits for it first, but not for ever.

    SQLite keeps the lock of a transaction that is cut off in the middle, and whoever writes next,
    such as the flush of a stop, would wait for it.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=FAREWELL_SECONDS)
        task.cancel()
        task.add_done_callback(_nobody_asks)
        raise


def _nobody_asks(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # what failed stays pending with the writer


async def _upsert(connection: AsyncConnection, table: Table, rows: Sequence[Values]) -> None:
    if not rows:
        return
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
    key = [column.name for column in table.primary_key]
    rest = {c.name: insert.excluded[c.name] for c in table.c if not c.primary_key}
    if rest:
        statement = insert.on_conflict_do_update(index_elements=key, set_=rest)
    else:
        statement = insert.on_conflict_do_nothing(index_elements=key)
    await connection.execute(statement, rows)
