"""Alembic's environment of the lab's api: online with DATABASE_URL, offline as SQL for PostgreSQL."""

from __future__ import annotations

import os

from alembic import context


def _online() -> None:
    from sqlalchemy import create_engine, pool

    url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1)
    options = {"application_name": "api-migrate", "connect_timeout": 3, "options": "-c lock_timeout=5s"}
    with create_engine(url, poolclass=pool.NullPool, connect_args=options).connect() as connection:
        context.configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()


def _offline() -> None:
    context.configure(dialect_name="postgresql", literal_binds=True, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    _offline()
else:
    _online()
