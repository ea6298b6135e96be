"""Run the revisions on the connection that the caller hands over; Alembic loads this file."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from chimera.store.schema import VERSION_TABLE, metadata


def migrate(connection: Connection) -> None:
    """Run what is missing inside the transaction of the caller: all of it or nothing."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


migrate(context.config.attributes["connection"])
