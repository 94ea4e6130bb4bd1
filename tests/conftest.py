"""What all tests share: one lab for those that need a whole one, and a search for secrets in every record they made."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.errors import SecretError
from runbook_lib.record import evidence_file
from runbook_lib.secrets import Redactor, Secret, SecretRef

ROOT = Path(__file__).resolve().parents[1]
COMMAND = Path(sys.executable).with_name("runbook")
FAILED = 'sum(rate(http_request_duration_seconds_count{service="api",code=~"5.."}[1m]))'
#: What a role of the runbooks did that is no question.
STATEMENTS = """
SELECT s.query, s.calls FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid
WHERE r.rolname LIKE 'rb\\_%' AND (s.query ~* 'pg_(terminate|cancel)_backend'
   OR s.query !~* '^\\s*(select|with|show|set|begin|commit|rollback|--)')
ORDER BY 1
"""
P95 = 'histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{service="api"}[30s])))'


#: A credential that stands in the environment of every test, every kernel and every helper program.
CANARY = f"ghp_{secrets.token_hex(18)}"


def leaks(folder: Path) -> list[str]:
    """Files of records below ``folder`` that hold the canary or a secret which a catalogue there names."""
    known = Redactor([Secret(CANARY), *_named(folder)])
    records = (journal.parent for journal in folder.rglob("events.jsonl"))
    files = (path for record in records for path in record.rglob("*") if path.is_file())
    return [str(path) for path in files if known.holds_known(evidence_file.read(path))]


def _named(folder: Path) -> Iterator[Secret]:
    for path in folder.rglob("*.toml"):
        for reference in re.findall(r'"((?:env|file):[^"]+)"', path.read_text(encoding="utf-8", errors="replace")):
            with suppress(SecretError):
                yield SecretRef.parse(reference, base=path.parent).resolve()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules that need a whole lab come first: two workers spend their waiting together, and fill up with the rest."""

    def ordinary(item: pytest.Item) -> bool:
        return "practice" not in getattr(item, "fixturenames", ()) and item.get_closest_marker("lab") is None

    items.sort(key=ordinary)


@pytest.fixture(scope="session", autouse=True)
def signals() -> None:
    """Who starts the tests with nohup or in the background would hand ignored signals on to every program started."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Put the canary in place; at the end, no record of any test may hold it or its catalogue's secrets."""
    os.environ["RUNBOOK_CANARY_TOKEN"] = CANARY
    yield CANARY
    del os.environ["RUNBOOK_CANARY_TOKEN"]
    assert [] == leaks(tmp_path_factory.getbasetemp())


JOURNALS = "*/*/*/*/events.jsonl"


@dataclass(frozen=True)
class Practice:
    """A running lab with a catalogue and an archive of its own.

    Args:
        folder: the lab's folder.
        status: what ``runbook lab status --json`` says.
    """

    folder: Path
    status: dict[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        """Variables under which the command finds this lab, its catalogue and its archive."""
        return {
            **os.environ,
            "RUNBOOK_LAB": str(self.folder),
            "RUNBOOK_CATALOG": str(self.folder / "runbook.toml"),
            "RUNBOOK_ARCHIVE": str(self.folder / "outputs"),
        }

    def command(self, *words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run the command as a person does, in the lab's folder."""
        return subprocess.run(
            [str(COMMAND), *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def run(self, runbook: str, *words: str) -> dict[str, Any]:
        """Run a runbook with ``--json`` and return what it prints; without ``--apply`` it must change nothing."""
        before = None if "--apply" in words else self.effects()
        done = self.command("run", runbook, "--json", "--out", str(self.folder / "outputs"), *words)
        assert done.stdout, done.stderr
        assert before is None or (before == self.effects()), f"{runbook} changed something, and was not asked to"
        told: dict[str, Any] = json.loads(done.stdout)
        assert told["exit_code"] == done.returncode
        return told

    def interrupted(self, runbook: str, *words: str, after: str, seconds: float = 300) -> dict[str, Any]:
        """Run a runbook, press Ctrl-C once its journal holds an event of a kind, and return what it printed."""
        archive = self.folder / "outputs"
        command = [str(COMMAND), "run", runbook, "--json", "--out", str(archive), *words]
        old, deadline = set(archive.glob(JOURNALS)), time.monotonic() + seconds
        with subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True
        ) as process:
            while not any(f'"{after}"' in path.read_text() for path in set(archive.glob(JOURNALS)) - old):
                assert process.poll() is None, f"the run ended without {after}"
                assert time.monotonic() < deadline, f"no {after} within {seconds:g} s"
                time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            told: dict[str, Any] = json.loads(process.communicate(timeout=60)[0])
        return told

    def effects(self) -> dict[str, list[str]]:
        """What runs have done to the lab until now: requests to the cluster, SQL, and messages to vendors.

        The lab's own processes act under other names.
        """
        audit = self.folder / "kubernetes" / "audit.jsonl"
        events = [json.loads(line) for line in audit.read_text().splitlines()] if audit.exists() else []
        requests = [
            f"{one['verb']} {one['requestURI']}"
            for one in events
            if one["user"]["username"].startswith("runbook-")
            # A real API server's log holds what they read, too.
            and one["verb"] not in {"get", "list", "watch"}
            and "dryRun=All" not in one["requestURI"]
            and "selfsubject" not in one["requestURI"]
        ]
        vendors = self.status["slack_url"].removesuffix("/slack")
        with urllib.request.urlopen(f"{vendors}/lab/inbox", timeout=5) as answer:
            messages = [str(one.get("vendor")) for one in json.load(answer)]
        return {"requests": requests, "statements": self._statements(), "messages": messages}

    def _statements(self) -> list[str]:
        """Statements of the runbooks' roles that change something or end a session; none from a server that is down."""
        import psycopg

        try:
            with psycopg.connect(self.status["postgres_url"], connect_timeout=3) as admin:
                rows = admin.execute(STATEMENTS).fetchall()
        except psycopg.Error:
            return []
        return [f"{calls} times {query}" for query, calls in rows]

    def p95(self) -> float | None:
        """The service's p95 latency now, seconds; None when the metrics do not answer."""
        return self._now(P95)

    def _now(self, query: str) -> float | None:
        address = f"{self.status['prometheus_url']}/api/v1/query?query={urllib.parse.quote(query)}"
        try:
            with urllib.request.urlopen(address, timeout=3) as answer:
                found = json.load(answer)["data"]["result"]
        except OSError:
            return None
        return float(found[0]["value"][1]) if found else None

    def wait(self, *, above: float = 0.0, below: float = float("inf"), seconds: float = 120) -> bool:
        """Wait until p95 lies between the bounds (seconds) in three readings in a row; whether it did.

        Below an upper bound also means that no request failed lately: a fault's errors stay in a rate for its range.
        """
        deadline, good = time.monotonic() + seconds, 0
        while time.monotonic() < deadline:
            now = self.p95()
            fits = now is not None and above < now < below
            good = good + 1 if fits and (below == float("inf") or not self._now(FAILED)) else 0
            if good == 3:
                return True
            time.sleep(2)
        return False


@pytest.fixture(scope="module")
def practice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Practice]:
    """The whole lab, healthy and under load; one for each module, so that no incident is in another's window."""
    from runbook_lib.lab import supervisor

    folder = tmp_path_factory.mktemp("practice") / "lab"
    status = supervisor.up(folder, control_plane=os.environ.get("RUNBOOK_TEST_CONTROL_PLANE", "emulated"))
    text = (ROOT / "runbook.toml").read_text(encoding="utf-8")
    (folder / "runbook.toml").write_text(text.replace(".lab/environment.toml", "environment.toml"), encoding="utf-8")
    try:
        yield Practice(folder, status)
        assert [] == leaks(folder)
    finally:
        supervisor.down(folder)


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, which checks a page's accessibility; skips where it cannot be had."""
    from tests.axe import source

    return source()
