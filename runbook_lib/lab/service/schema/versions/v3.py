"""The currency of an order; releases that do not know it still run."""

from __future__ import annotations

import os

from alembic import context, op

revision = "3"
down_revision = "2"


def upgrade() -> None:
    """Add the column; with FAIL_HALF_WAY it is there for good when what follows fails."""
    statement = "ALTER TABLE orders ADD COLUMN currency text NOT NULL DEFAULT 'EUR'"
    if not os.environ.get("FAIL_HALF_WAY"):
        op.execute(statement)
        return
    with context.get_context().autocommit_block():
        op.execute(statement)
    op.execute("ALTER TABLE orders ADD CONSTRAINT total_positive CHECK (no_such_column > 0)")


def downgrade() -> None:
    """Drop the column with what was written into it."""
    op.execute("ALTER TABLE orders DROP COLUMN currency")
