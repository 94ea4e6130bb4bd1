"""What the ``api`` service asks PostgreSQL, through one real connection pool."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from runbook_lib.lab.service.migrations import migrate
from runbook_lib.lab.service.settings import Settings
from runbook_lib.lab.service.telemetry import Telemetry

Row = dict[str, Any]
_MIGRATION_PATIENCE_SECONDS = 10.0


class Database:
    """The tables of the service.

    Args:
        settings: pool sizes, timeouts, and the release, which knows its column names.
        telemetry: where calls and waits are counted.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        self._settings, self._telemetry = settings, telemetry
        self._total = "amount_cents" if settings.release.schema_version >= 4 else "total_cents"
        self._lost: list[psycopg.Connection[Row]] = []
        options = f"-c statement_timeout={int(settings.statement_timeout_seconds * 1000)}"
        self.pool: ConnectionPool[psycopg.Connection[Row]] = ConnectionPool(
            settings.database_url,
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                "connect_timeout": 3,
                "application_name": "api",
                "options": options,
            },
            min_size=settings.pool_min,
            max_size=settings.pool_max,
            timeout=settings.pool_timeout_seconds,
            max_lifetime=settings.connection_lifetime_seconds,
            max_idle=10.0,
            reconnect_timeout=5.0,
            num_workers=1,
            open=False,
        )
        telemetry.watch_pool(self.pool)

    def open(self) -> None:
        """Run the migrations of this release, then open the pool.

        Raises:
            psycopg.Error: the database does not answer in time.
            MigrationError: a migration failed.
        """
        release = self._settings.release
        with self._first_connection() as connection:
            connection.execute("SET lock_timeout = '5s'")
            url = self._settings.database_url
            migrate(connection, url, release.schema_version, failing=release.failing_migration)
        self.pool.open()

    def close(self) -> None:
        """Close the pool and what the release lost."""
        for connection in self._lost:
            connection.close()
        self.pool.close(timeout=1.0)

    def latest_orders(self, account: int) -> list[Row]:
        """The three latest orders of every customer of an account; needs ``orders_customer_id_idx``."""
        return self._rows(
            f"""SELECT c.id AS customer_id, c.name, o.id, o.{self._total} AS total_cents, o.status, o.created_at
                FROM customers c
                CROSS JOIN LATERAL (SELECT * FROM orders WHERE orders.customer_id = c.id
                                    ORDER BY created_at DESC LIMIT 3) o
                WHERE c.account_id = %s""",
            account,
        )

    def order(self, order_id: int) -> Row | None:
        """One order, or None."""
        columns = f"id, customer_id, product_id, quantity, {self._total} AS total_cents, status, created_at"
        rows = self._rows(f"SELECT {columns} FROM orders WHERE id = %s", order_id)
        return rows[0] if rows else None

    def create_order(self, customer: int, product: int, quantity: int, *, lose_connection: bool = False) -> Row | None:
        """Take stock and write an order in one transaction; None when the product does not exist.

        Args:
            customer: id of the customer.
            product: id of the product, whose row is locked until the end of the transaction.
            quantity: pieces.
            lose_connection: whether the connection stays open in its transaction for ever, as a bug would do it.
        """
        if lose_connection:
            lost = self.pool.getconn()
            lost.execute("BEGIN")
            lost.execute("SELECT stock FROM products WHERE id = %s", [product])
            self._lost.append(lost)
        take = "UPDATE products SET stock = stock - %s WHERE id = %s RETURNING price_cents"
        columns = f"customer_id, product_id, quantity, {self._total}"
        write = f"INSERT INTO orders ({columns}) VALUES (%s, %s, %s, %s) RETURNING id"
        with self._connection() as connection, self._telemetry.call("postgres"), connection.transaction():
            price = connection.execute(take, [quantity, product]).fetchone()
            if price is None:
                return None
            total = price["price_cents"] * quantity
            row = connection.execute(write, [customer, product, quantity, total]).fetchone()
            return {"id": row["id"] if row else None, "total_cents": total}

    def products(self, page: int) -> list[Row]:
        """Twenty products with the pieces sold in the latest orders: a sum that is worth a cache."""
        return self._rows(
            """SELECT p.id, p.name, p.price_cents, p.stock > 0 AS available, coalesce(s.pieces, 0) AS sold
               FROM products p
               LEFT JOIN (SELECT product_id, sum(quantity)::int AS pieces
                          FROM (SELECT product_id, quantity FROM orders ORDER BY id DESC LIMIT 90000) latest
                          GROUP BY product_id) s ON s.product_id = p.id
               ORDER BY p.id LIMIT 20 OFFSET %s""",
            page * 20,
        )

    def check(self) -> None:
        """Prove that the release can read its own columns; fails within a second.

        Raises:
            psycopg.Error: no connection, no answer, or a schema that this release does not fit.
        """
        with self.pool.connection(timeout=0.5) as connection, connection.transaction():
            connection.execute("SET LOCAL statement_timeout = 500")
            connection.execute(f"SELECT {self._total} FROM orders LIMIT 0")

    def _rows(self, query: str, *parameters: object) -> list[Row]:
        with self._connection() as connection, self._telemetry.call("postgres"):
            return connection.execute(query, parameters).fetchall()

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Row]]:
        started = time.monotonic()
        try:
            connection = self.pool.getconn()
        except psycopg.Error:
            self._telemetry.dependency_errors.labels("postgres").inc()
            raise
        finally:
            self._telemetry.pool_wait.observe(time.monotonic() - started)
        try:
            yield connection
        finally:
            self.pool.putconn(connection)

    def _first_connection(self) -> psycopg.Connection[Any]:
        deadline = time.monotonic() + _MIGRATION_PATIENCE_SECONDS
        while True:
            try:
                return psycopg.connect(
                    self._settings.database_url, autocommit=True, connect_timeout=3, application_name="api-migrate"
                )
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
