"""A better name for the total; no earlier release runs on it."""

from __future__ import annotations

from alembic import op

revision = "4"
down_revision = "3"


def upgrade() -> None:
    """Rename the column."""
    op.execute("ALTER TABLE orders RENAME COLUMN total_cents TO amount_cents")


def downgrade() -> None:
    """Give the column its old name; nothing is lost."""
    op.execute("ALTER TABLE orders RENAME COLUMN amount_cents TO total_cents")
