"""A dump restored into a PostgreSQL server of its own, in a process of its own: JSON on stdin, JSON on stdout.

The server listens on a socket in a private folder only; server and folder are gone when this process ends. It refuses
to run as root, so ``backups`` starts this under another id where it has to.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_START_SECONDS = 30.0
_SERVER = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "5",
    "shared_buffers": "32MB",
    "autovacuum": "off",
}


def main() -> None:
    """Restore ``{binaries, dump}`` and say what is there."""
    request = json.load(sys.stdin)
    binaries, dump = Path(request["binaries"]), request["dump"]
    # A socket's path has room for 107 bytes.
    with tempfile.TemporaryDirectory(prefix="rb-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        try:
            with _server(binaries, Path(folder)):
                words = ["--no-owner", "--no-privileges", "--exit-on-error", "-U", "postgres", "-h", folder]
                _run([str(binaries / "pg_restore"), *words, "-d", "postgres", dump])
                answer: dict[str, Any] = {"restored": True, "reason": "", **_counted(folder)}
        except subprocess.CalledProcessError as error:
            told = str(error.stderr).strip().splitlines()[-1:] or [str(error)]
            answer = {"restored": False, "reason": told[0][:500], "tables": 0, "rows": 0}
    json.dump(answer, sys.stdout)


@contextmanager
def _server(binaries: Path, folder: Path) -> Iterator[None]:
    data = folder / "data"
    words = ["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    _run([str(binaries / "initdb"), "-D", str(data), *words])
    argv = [str(binaries / "postgres"), "-D", str(data), "-k", str(folder)]
    for name, value in _SERVER.items():
        argv += ["-c", f"{name}={value}"]
    log = folder / "log"
    with log.open("wb") as output, subprocess.Popen(argv, stdout=output, stderr=output) as server:
        try:
            deadline = time.monotonic() + _START_SECONDS
            ready = [str(binaries / "pg_isready"), "-q", "-h", str(folder)]
            while subprocess.run(ready, check=False, timeout=10).returncode:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise subprocess.CalledProcessError(1, argv, stderr=log.read_text(errors="replace"))
                time.sleep(0.05)
            yield
        finally:
            server.kill()


def _counted(folder: str) -> dict[str, int]:
    import psycopg
    from psycopg import sql

    with psycopg.connect(host=folder, user="postgres", dbname="postgres", connect_timeout=5) as connection:
        names = connection.execute("SELECT schemaname, relname FROM pg_stat_user_tables ORDER BY 1, 2").fetchall()
        rows = 0
        for schema, table in names:
            statement = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table))
            found = connection.execute(statement).fetchone()
            rows += int(found[0]) if found else 0
    return {"tables": len(names), "rows": rows}


def _run(argv: Sequence[str]) -> None:
    subprocess.run(argv, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600)


if __name__ == "__main__":
    main()
