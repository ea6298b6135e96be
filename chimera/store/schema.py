"""The tables. Every key begins with the chain, so that several daemons can share a database."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
)

VERSION_TABLE = "chimera_schema"  # where Alembic notes the revision, under a name that is ours
REVISIONS = ("0001", "0002")  # all that are in `migrations`, the newest last

metadata = MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_name)s"}
)

users = Table(
    "users",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("protocol", String(160), primary_key=True),
    Column("address", LargeBinary(52), primary_key=True),  # of the account: see domain `Holder`
)

scans = Table(
    "scans",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("scan", String(160), primary_key=True),
    Column("scanned_to", BigInteger, nullable=False),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary(32), nullable=False),
    Column("parent_hash", LargeBinary(32), nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("streaks", JSON, nullable=False),  # {protocol: {user in hex: [first block, length]}}
)

opportunities = Table(
    "opportunities",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("id", String(64), primary_key=True),
    Column("protocol", String(160), nullable=False),
    Column("user", String(42), nullable=False),  # EIP-55
    Column("state", String(8), nullable=False),
    Column("flagged_block", BigInteger, nullable=False),
    Column("closed_block", BigInteger),
    Column("closed_reason", String(16)),
    Column("document", JSON, nullable=False),  # as the HTTP API gives it out
    Index("ix_opportunities_listing", "chain_id", "state", "flagged_block"),
)
