"""Run the revisions on the connection that the caller hands over; Alembic loads this file."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

from chimera.store.schema import VERSION_TABLE, metadata

MIGRATION_LOCK = 0x6368696D65726131  # one number for all daemons: "chimera1" in ASCII


def migrate(connection: Connection) -> None:
    """Bring the schema up to date, one daemon after the other, all of it or nothing."""
    if connection.dialect.name == "postgresql":
        lock = text("SELECT pg_advisory_xact_lock(:lock)")
        connection.execute(lock, {"lock": MIGRATION_LOCK})
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


migrate(context.config.attributes["connection"])
