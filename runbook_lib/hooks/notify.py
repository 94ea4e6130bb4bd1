"""One message for an incident in Slack, edited in place; in the alert's thread where the sender names it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from runbook_lib.catalog import Catalog
from runbook_lib.errors import RunbookError
from runbook_lib.hooks.queue import Job, Queue
from runbook_lib.model import Evidence

_SIGNS = {"healthy": "🟢", "degraded": "🟡", "failing": "🔴"}


class Teller:
    """Tells Slack what becomes of an incident; slow or refusing, it never holds a run up.

    Args:
        queue: remembers the message of an incident.
        catalog: where each environment's Slack is.
    """

    def __init__(self, queue: Queue, catalog: Catalog) -> None:
        self._queue, self._catalog = queue, catalog
        # One thread, so that the messages of an incident keep their order.
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="slack")

    def tell(self, job: Job, result: Mapping[str, Any] | None) -> None:
        """Say that a run has begun, or how it ended; returns at once."""
        if "slack" in self._catalog.environment(job.environment).endpoints:
            self._pool.submit(self._say, job, result)

    def close(self) -> None:
        """Wait for what is still to be said."""
        self._pool.shutdown(wait=True)

    def _say(self, job: Job, result: Mapping[str, Any] | None) -> None:
        try:
            self._send(job, words(job, result))
        except RunbookError as error:
            sys.stderr.write(f"hook: Slack was not told: {error}\n")

    def _send(self, job: Job, text: str) -> None:
        client = _client(self._catalog, job)
        known = next((one.message for one in self._queue.jobs() if one.incident == job.incident), "")
        key = f"incident-{job.incident}"
        if known:
            place = json.loads(known)
            client.update(text, channel=place["channel"], ts=place["ts"])
            return
        # After a restart the message may be there already, though we do not remember it.
        found = client.message(key)
        if isinstance(found, Evidence) and found.document.get("found"):
            place = {name: str(found.document[name]) for name in ("channel", "ts")}
            client.update(text, **place)
        else:
            posted = client.post(text, key=key, thread=job.thread)
            place = {name: posted[name] for name in ("channel", "ts")}
        self._queue.say(job.incident, json.dumps(place))


def words(job: Job, result: Mapping[str, Any] | None) -> str:
    """The message, most important first.

    Args:
        job: whose run it is.
        result: how it ended; None while it runs.
    """
    what = "verification" if job.kind == "verify" else job.runbook
    where = f"{job.service} in {job.environment}"
    if result is None:
        return f"🔎 {job.name}: {what} of {where} has begun"
    sign = _SIGNS.get(str(result["verdict"]), "⚪")
    record = f"\nrecord: {result['record']}" if result["record"] else ""
    return f"{sign} {job.name}: {where} is {result['verdict']}: {result['told']}{record}"


def _client(catalog: Catalog, job: Job) -> Any:
    from runbook_lib.clients._tape import LiveTape
    from runbook_lib.clients.slack import SlackClient
    from runbook_lib.model import Window

    return SlackClient(
        endpoint=catalog.environment(job.environment).endpoints["slack"],
        tape=LiveTape(),
        window=Window.last(1),
        workload=catalog.service(job.service).workload,
        environment=job.environment,
    )
