"""Throw made-up deliveries at the receiver and made-up pages at the import; neither may crash, nor run anything.

``python -m benchmarks.fuzz [NUMBER]`` makes NUMBER examples (default 100,000), half of them deliveries over real
connections and half pages, and prints what came of them. A failure is made as small as possible and raised.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import hmac
import http.client
import io
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from runbook_lib import catalog
from runbook_lib.authoring import compose
from runbook_lib.authoring.draft import read
from runbook_lib.errors import UsageError
from runbook_lib.hooks.alerts import PARSERS, parse
from runbook_lib.hooks.queue import Queue
from runbook_lib.hooks.server import Receiver
from runbook_lib.hooks.settings import Settings

#: Examples of one queue: below the number of waiting jobs at which the receiver turns senders away.
CHUNK = 900
SECRET = "a secret of this fuzzer alone"
#: What starts a process or another program, as Python's audit calls it.
STARTS = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn"}
)
ALLOWED = {200, 202, 400, 401, 404}
CATALOG = """
[services.api]
description = "the service"
owner = "us"
objectives = {}
workload = {}
[environments.here]
"""
RUNBOOKS = ("high_latency", "preflight")

_ALERT: dict[str, Any] = {
    "status": "firing",
    "labels": {"alertname": "Slow", "service": "api"},
    "annotations": {"summary": "slow", "runbook_url": "https://wiki.example.com/runbooks/high-latency"},
    "startsAt": "2026-01-01T00:00:00Z",
    "fingerprint": "f1",
}
_ALERTMANAGER = {"version": "4", "groupKey": "g", "status": "firing", "commonLabels": {}, "commonAnnotations": {},
                 "externalURL": "http://a", "alerts": [_ALERT]}  # fmt: skip
_DATA = {"id": "Q1", "title": "slow", "created_at": "2026-01-01T00:00:00Z", "service": {"summary": "api"}}
_PAGERDUTY = {
    "event": {"event_type": "incident.triggered", "occurred_at": "2026-01-01T00:00:00Z", "data": _DATA},
}
GOOD = {"alertmanager": _ALERTMANAGER, "grafana": _ALERTMANAGER, "pagerduty": _PAGERDUTY}

_ODD = st.sampled_from(
    ["", "../../etc/passwd", "$(touch x)", "`id`", "; reboot", "{{ 1 }}", "${HOME}", "\x00", "\x1b[31m", "\u202e",
     "<script>", "runbook://preflight", "high_latency", "/high_latency.ipynb", "9" * 400, "0001-01-01T00:00:00Z",
     "2026-13-45T99:99:99Z", "resolved", "incident.resolved", "api", "-1", "1e999"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | _ODD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | _ODD, inner, max_size=4),
    max_leaves=12,
)


@dataclass(frozen=True)
class Delivery:
    """What is sent.

    Args:
        source: whose address it is sent to.
        body: bytes.
        signature: ``right``, ``wrong``, ``none``, or a text to be sent as it is.
    """

    source: str
    body: bytes
    signature: str


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    """Anything from noise to a delivery with one odd field, some of them damaged on the way."""
    source = draw(st.sampled_from(list(PARSERS)))
    shape = draw(st.sampled_from(["field", "field", "field", "field", "json", "bytes"]))
    if shape == "bytes":
        body = draw(st.binary(max_size=200))
    elif shape == "json":
        body = json.dumps(draw(JSON)).encode()
    else:
        content = json.loads(json.dumps(GOOD[source]))
        for _ in range(draw(st.integers(0, 3))):
            _put(content, draw(JSON), draw)
        body = json.dumps(content).encode()
    if draw(st.integers(0, 9)) == 0:
        at, to = draw(st.integers(0, len(body))), draw(st.binary(max_size=3))
        body = body[:at] + to + body[at + draw(st.integers(0, 5)) :]
    signature = "right"
    if draw(st.integers(0, 5)) == 0:
        header = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
        signature = draw(st.sampled_from(["wrong", "none"]) | header)
    return Delivery(source, body, signature)


def _put(content: dict[str, Any], value: Any, draw: st.DrawFn) -> None:
    """Replace, at a place that is drawn, what a delivery says there."""
    where: Any = content
    while True:
        keys = list(where) if isinstance(where, dict) else list(range(len(where)))
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        if not isinstance(where[key], dict | list) or draw(st.booleans()):
            where[key] = value
            return
        where = where[key]


MARKS = st.sampled_from(
    [
        "# ", "## Fix\n", "- ", "1. ", "* [ ] ", "```bash\n", "```", "~~~", "\n", "\n\n", "> ", "    ",
        "| a | b |\n|--|--|\n", "`", "**", "$(", "`id`", "kubectl ", "helm upgrade ", "curl ", "psql -c ",
        "rm -rf / ", "<ns>", "${X:-y}", "{{ x }}", "{", "}", "\\\n", "&&", "|", ";", "'", "\"", "# Expected output: ",
        "export A=", "--replicas=", "<script>", "%", "!", "\t", "<<EOF\n", "EOF\n", "p95 latency < 200ms", "Owner: ",
        "- **SLO:** 99.9% uptime\n", "_", "[a](b)", "---\n", "===\n", "import os", "\0", "é", "…",
    ]
)  # fmt: skip
PAGES = st.lists(st.one_of(MARKS, st.text(max_size=12)), max_size=40).map("".join)


def page(text: str) -> str:
    """Import a page: nothing is lost, its code is Python, and calls nothing but the library.

    Returns:
        What it became, for counting.
    """
    draft = read(text)
    assert draft.lost() == ()
    roots = {"Run", "run", "actions", "analysis"}
    for cell in compose.build(draft, "page"):
        if cell.tag:
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func).partition(".")[0]
                    assert called in roots, cell.source
    return "a page"


@dataclass
class Target:
    """A receiver with a queue of its own, and a connection to it.

    Args:
        receiver: as ``runbook hook serve`` has it.
        queue: where it writes.
        answered: status to how often it was answered.
    """

    receiver: Receiver
    queue: Queue
    answered: Counter[str] = field(default_factory=Counter)

    def deliver(self, delivery: Delivery) -> None:
        """Send, and hold the answer and the reading of the body to what is promised."""
        host, port = self.receiver.server_address[:2]
        with contextlib.closing(http.client.HTTPConnection(str(host), int(port), timeout=30)) as connection:
            connection.request("POST", f"/{delivery.source}", delivery.body, self._headers(delivery))
            answer = connection.getresponse()
            told = json.loads(answer.read())
        self.answered[str(answer.status)] += 1
        assert answer.status in ALLOWED, (answer.status, told)
        if answer.status in {200, 202}:
            self._readable(delivery)

    def _headers(self, delivery: Delivery) -> dict[str, str]:
        name = "X-PagerDuty-Signature" if delivery.source == "pagerduty" else "Authorization"
        signed = hmac.new(SECRET.encode(), delivery.body, hashlib.sha256).hexdigest()
        right = f"v1={signed}" if delivery.source == "pagerduty" else f"Bearer {SECRET}"
        known = {"right": {name: right}, "wrong": {name: right[:-1] + "~"}, "none": {}}
        return known.get(delivery.signature, {name: delivery.signature})

    def _readable(self, delivery: Delivery) -> None:
        with contextlib.suppress(UsageError):
            found = parse(delivery.source, delivery.body)
            texts = (found.group, found.name, found.summary, found.runbook, found.link) if found else ()
            assert all(text.isprintable() for text in texts), texts

    def check(self) -> None:
        """Whatever was sent, only runbooks that are allowed wait, for names that the catalogue has."""
        for job in self.queue.jobs():
            assert (job.runbook in RUNBOOKS, "api", "here") == (True, job.service, job.environment), job


@contextmanager
def target(folder: Path) -> Iterator[Target]:
    """A receiver that is told what to allow, without anything behind it that would start runs."""
    path = folder / "runbook.toml"
    path.write_text(CATALOG, encoding="utf-8")
    queue = Queue(folder / "queue.sqlite")
    os.environ["RUNBOOK_FUZZ_SECRET"] = SECRET
    table = Settings("here", "api", RUNBOOKS[0], RUNBOOKS, token="env:RUNBOOK_FUZZ_SECRET",
                     pagerduty=("env:RUNBOOK_FUZZ_SECRET",))  # fmt: skip
    receiver = Receiver(("127.0.0.1", 0), table, catalog.load(path), queue, lambda: None)
    thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield Target(receiver, queue)
    finally:
        receiver.shutdown()
        receiver.server_close()
        thread.join()
        del os.environ["RUNBOOK_FUZZ_SECRET"]


def hook(number: int, start: int = 0) -> Counter[str]:
    """Send so many deliveries.

    Returns:
        How often each status was answered.
    """
    answered: Counter[str] = Counter()
    for first in range(0, number, CHUNK):
        told = io.StringIO()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(told), target(Path(folder)) as to:
            _examples(deliveries(), to.deliver, min(CHUNK, number - first), start + first)
            to.check()
            answered += to.answered
        # The receiver says so when serving a request failed.
        assert "while serving" not in told.getvalue(), told.getvalue()[-2000:]
    return answered


def pages(number: int, start: int = 0) -> int:
    """Import so many pages.

    Returns:
        How many were imported.
    """
    done = [0]

    def one(text: str) -> None:
        page(text)
        done[0] += 1

    for first in range(0, number, CHUNK):
        _examples(PAGES, one, min(CHUNK, number - first), start + first)
    return done[0]


def _examples(strategy: st.SearchStrategy[Any], check: Callable[[Any], object], number: int, start: int) -> None:
    # Hypothesis remembers every example of one test, so a campaign is many tests.
    quiet = settings(max_examples=number, deadline=None, database=None, suppress_health_check=list(HealthCheck))

    @seed(start)
    @quiet
    @given(strategy)
    def test(example: Any) -> None:
        check(example)

    test()


@contextmanager
def nothing_starts() -> Iterator[list[str]]:
    """What this process starts meanwhile; the list must stay empty."""
    started: list[str] = []
    watching = True

    def audit(event: str, given: Any) -> None:
        if watching and event in STARTS:
            started.append(f"{event} {given!r}")

    sys.addaudithook(audit)
    try:
        yield started
    finally:
        watching = False


def main() -> None:
    """The whole campaign."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    begun = time.monotonic()
    with nothing_starts() as started:
        answered = hook(number // 2)
        print(f"{sum(answered.values())} deliveries, answered: {dict(sorted(answered.items()))}", flush=True)
        print(f"{pages(number - number // 2)} pages imported, nothing lost", flush=True)
    print(f"{len(started)} processes started, {time.monotonic() - begun:.0f} s")
    assert started == []


if __name__ == "__main__":
    main()
