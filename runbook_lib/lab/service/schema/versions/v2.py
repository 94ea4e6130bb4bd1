"""A note on an order; releases that do not know it still run."""

from __future__ import annotations

from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Add the column."""
    op.execute("ALTER TABLE orders ADD COLUMN note text")


def downgrade() -> None:
    """Drop the column with what was written into it."""
    op.execute("ALTER TABLE orders DROP COLUMN note")
