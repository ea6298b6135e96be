"""Users, scans, checkpoints and episodes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the four tables."""
    op.create_table(
        "users",
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("protocol", sa.String(160), nullable=False),
        sa.Column("address", sa.LargeBinary(20), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "protocol", "address", name="pk_users"),
    )
    op.create_table(
        "scans",
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("scan", sa.String(160), nullable=False),
        sa.Column("scanned_to", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "scan", name="pk_scans"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("parent_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("timestamp", sa.BigInteger(), nullable=False),
        sa.Column("streaks", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "number", name="pk_checkpoints"),
    )
    op.create_table(
        "opportunities",
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("protocol", sa.String(160), nullable=False),
        sa.Column("user", sa.String(42), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("flagged_block", sa.BigInteger(), nullable=False),
        sa.Column("closed_block", sa.BigInteger()),
        sa.Column("closed_reason", sa.String(16)),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "id", name="pk_opportunities"),
    )
    listing = ["chain_id", "state", "flagged_block"]
    op.create_index("ix_opportunities_listing", "opportunities", listing)


def downgrade() -> None:
    """Drop them."""
    for table in ("opportunities", "checkpoints", "scans", "users"):
        op.drop_table(table)
