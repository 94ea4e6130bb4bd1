"""The service itself, asked as its users ask it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from runbook_lib.clients._checks import HEALTHY_WORDS, checks
from runbook_lib.clients._http import Http, Reply, bearer
from runbook_lib.clients._retry import Deadline
from runbook_lib.clients._source import SourceClient
from runbook_lib.clients._tape import Answer, LiveTape, Question
from runbook_lib.clients.open_loop import OpenLoop
from runbook_lib.errors import SourceError
from runbook_lib.model import Evidence, Gap
from runbook_lib.model.times import utc_now
from runbook_lib.secrets import Secret


class HttpProbe(SourceClient):
    """Questions to the service. Settings of the endpoint: ``url``, ``token``; paths come from the workload's
    ``health_path`` and ``status_path``."""

    source = "service"

    def health(self, attempts: int = 3) -> Evidence | Gap:
        """Document ``{asked, answered, healthy, ratio, status, checks, latency_seconds, attempts}`` of some requests.

        ``checks`` holds what the service says of its own parts: name to ``{said, failing, answers}``, see
        ``_checks.checks``. An answer that says unhealthy is evidence; only no answer at all is a gap.
        """
        return self._ask(
            "health", self._fetch_health, parameters={"attempts": attempts}, text=self._text("health_path")
        )

    def status(self, attempts: int = 3) -> Evidence | Gap:
        """Document ``{asked, answered, version, versions, attempts, fields}`` of some requests."""
        return self._ask(
            "status", self._fetch_status, parameters={"attempts": attempts}, text=self._text("status_path")
        )

    def open_loop(self, per_second: float) -> Callable[[], Evidence | Gap]:
        """Begin to ask for the service's status at a fixed rate; see ``open_loop.OpenLoop``.

        Args:
            per_second: requests per second; an outage shorter than one over it cannot be seen.

        Returns:
            A function that ends it and gives a table with a row for each request. Replayed, nothing is sent.
        """
        text = self._text("status_path")
        probe: OpenLoop | None = None
        if isinstance(self.tape, LiveTape) and self.endpoint is not None:
            token = bearer(self._secret("token"))
            headers = {name: v.reveal() if isinstance(v, Secret) else v for name, v in token.items()}
            url = self._setting("url").rstrip("/") + text(None, None).removeprefix("GET ")
            probe = OpenLoop(url, headers, per_second=per_second)
            probe.start()

        def fetch(_: Question) -> Answer:
            assert probe is not None  # a tape that fetches is live
            return Answer(probe.stop())

        return lambda: self._ask("open_loop", fetch, parameters={"per_second": per_second}, text=text)

    def _text(self, setting: str) -> Any:
        path = str(self.workload.get(setting) or {"health_path": "/health", "status_path": "/status"}[setting])
        return lambda _query, _window: f"GET {path}"

    def _attempts(self, question: Question) -> tuple[list[dict[str, Any]], list[Any]]:
        """Each attempt, and the body of each answer; raises the last error when there was no answer at all."""
        headers = bearer(self._secret("token"))
        path = question.text.removeprefix("GET ")
        attempts: list[dict[str, Any]] = []
        bodies: list[Any] = []
        failure: SourceError | None = None
        asked = int(question.parameters["attempts"] or 1)
        deadline = Deadline(self.total_seconds)
        for number in range(asked):
            if number and deadline.expired:
                break
            # Its own connection each time: a kept one would ask the same pod again.
            http = Http(
                self.source,
                self._setting("url"),
                headers=headers,
                connect_seconds=self.connect_seconds,
                # Each attempt gets its share of the time, so that one that hangs leaves some for the others.
                total_seconds=min(max(1.0, self.total_seconds / asked), self.total_seconds),
                retry=False,
            )
            at = utc_now().timestamp()
            try:
                reply = http.get(path, any_status=True)
            except SourceError as error:
                failure = error
                attempts.append({"at": at, "status_code": None, "latency_seconds": None, "error": error.reason})
            else:
                bodies.append(_body(reply))
                attempts.append(
                    {"at": at, "status_code": reply.status, "latency_seconds": reply.latency_seconds, "error": ""}
                )
            finally:
                http.close()
        if failure is not None and not bodies:
            raise failure
        return attempts, bodies

    def _fetch_health(self, question: Question) -> Answer:
        attempts, bodies = self._attempts(question)
        answers = iter(bodies)
        for one in attempts:
            body = next(answers) if one["status_code"] is not None else None
            one["status"] = str(body.get("status", "")) if isinstance(body, dict) else str(body or "")[:60]
            # A service without words is judged by its status code alone.
            good = one["status"].lower() in HEALTHY_WORDS or not one["status"]
            one["healthy"] = one["status_code"] is not None and one["status_code"] < 300 and good
        healthy = sum(one["healthy"] for one in attempts)
        return Answer(
            {
                "asked": len(attempts),
                "answered": len(bodies),
                "healthy": healthy,
                "ratio": healthy / len(attempts),
                "status": next((one["status"] for one in reversed(attempts) if one["status_code"] is not None), ""),
                "checks": self._redactor.data(checks(bodies)),
                "latency_seconds": _slowest(attempts),
                "attempts": attempts,
            }
        )

    def _fetch_status(self, question: Question) -> Answer:
        attempts, bodies = self._attempts(question)
        versions: dict[str, int] = {}
        answers = iter(bodies)
        for one in attempts:
            body = next(answers) if one["status_code"] is not None else None
            one["version"] = str(body.get("version", "")) if isinstance(body, dict) else ""
            if one["version"]:
                versions[one["version"]] = versions.get(one["version"], 0) + 1
        fields = bodies[-1] if bodies and isinstance(bodies[-1], dict) else {}
        return Answer(
            {
                "asked": len(attempts),
                "answered": len(bodies),
                "version": next(iter(versions)) if len(versions) == 1 else None,
                "versions": versions,
                "latency_seconds": _slowest(attempts),
                "attempts": attempts,
                "fields": self._redactor.data(fields),
            }
        )


def _body(reply: Reply) -> Any:
    """The body as JSON data, else as text: a page of a proxy is an answer, too."""
    try:
        return json.loads(reply.body)
    except ValueError:
        return " ".join(reply.body[:200].decode(errors="replace").split())


def _slowest(attempts: list[dict[str, Any]]) -> float | None:
    return max((one["latency_seconds"] for one in attempts if one["latency_seconds"] is not None), default=None)
