"""Prometheus and everything that answers its HTTP API."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from runbook_lib.clients import _matrix
from runbook_lib.clients import _promql as promql
from runbook_lib.clients._http import Http, Reply, bearer, vendor_words
from runbook_lib.clients._source import SourceClient
from runbook_lib.clients._tape import Answer, Question
from runbook_lib.errors import (
    CatalogError,
    SourceAnswerError,
    SourceDeniedError,
    SourceEmptyError,
    SourceError,
    SourceTimeoutError,
    UnknownNameError,
)
from runbook_lib.model import Evidence, Gap, Series, Table, Window
from runbook_lib.model.evidence import Scalar
from runbook_lib.model.times import parse_rfc3339
from runbook_lib.queries import Query, metric_names
from runbook_lib.secrets import Secret

#: The server refuses more points a series than 11,000 (web/api/v1/api.go); slices stay below.
SLICE_POINTS = 10_000
#: A chart is about this many points wide; a finer step costs time and shows nothing.
CHART_POINTS = 240
#: Distance of points from which burn rates over five minutes can be told, seconds.
FINE_STEP_SECONDS = 300.0
#: Range of rates when the endpoint does not say, seconds: four times the usual scrape interval of 15 s.
RANGE_SECONDS = 60.0
_NICE_STEPS_SECONDS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


class PrometheusClient(SourceClient):
    """Named questions to Prometheus. Settings of the endpoint: ``url``, ``token`` or ``user`` and ``password``,
    ``range_seconds`` (range of rates, at least four scrape intervals)."""

    source = "prometheus"
    _server_read = False

    def latency_seconds(self, quantile: float = 0.95) -> Evidence | Gap:
        """A quantile (0 to 1) of the time to answer, seconds, one series."""
        return self.query("latency_seconds", quantile=quantile)

    def latency_by_route_seconds(self, quantile: float = 0.95) -> Evidence | Gap:
        """The same for each route, seconds."""
        return self.query("latency_by_route_seconds", quantile=quantile)

    def latency_by_pod_seconds(self, quantile: float = 0.95) -> Evidence | Gap:
        """The same for each pod, seconds."""
        return self.query("latency_by_pod_seconds", quantile=quantile)

    def latency_buckets(self) -> Evidence | Gap:
        """Requests per second that took at most each bound ``le`` (seconds); see ``analysis.quantile``."""
        return self.query("latency_buckets")

    def latency_buckets_by_pod(self) -> Evidence | Gap:
        """The same for each pod."""
        return self.query("latency_buckets_by_pod")

    def requests_per_second(self, *, fine: bool = False) -> Evidence | Gap:
        """Requests per second, one series; ``fine``: in steps of five minutes or less, also over a month."""
        return self.query("requests_per_second", step_seconds=self._fine_step if fine else None)

    def failed_per_second(self) -> Evidence | Gap:
        """Requests per second that were answered with a 5xx code, one series in fine steps."""
        return self.query("failed_per_second", step_seconds=self._fine_step)

    def slow_per_second(self, seconds: float) -> Evidence | Gap:
        """Requests per second that took longer than ``seconds``, one series in fine steps.

        ``seconds`` must be a bound of the histogram: no other number of slow requests is known.
        """
        # Prometheus 3 writes the bound 1 as 1.0; earlier versions write what the service wrote.
        bounds = dict.fromkeys((f"{seconds:g}", repr(float(seconds))))
        return self.query(
            "slow_per_second", step_seconds=self._fine_step, bound="|".join(promql.pattern(one) for one in bounds)
        )

    def requests_by_route(self) -> Evidence | Gap:
        """Requests per second for each route."""
        return self.query("requests_by_route")

    def error_ratio(self) -> Evidence | Gap:
        """Share of answers with a 5xx code, 0 to 1, one series."""
        return self.query("error_ratio")

    def in_flight(self) -> Evidence | Gap:
        """Requests being worked on, one series."""
        return self.query("in_flight")

    def cpu_of_limit(self) -> Evidence | Gap:
        """Processor time used over the limit, ratio for each pod."""
        return self.query("cpu_of_limit")

    def throttled_ratio(self) -> Evidence | Gap:
        """Share of scheduling periods in which the pod was stopped, for each pod."""
        return self.query("throttled_ratio")

    def memory_of_limit(self) -> Evidence | Gap:
        """Working set over the limit, ratio for each pod."""
        return self.query("memory_of_limit")

    def pool_connections(self) -> Evidence | Gap:
        """Connections used over the size of the pool, ratio for each pod."""
        return self.query("pool_connections")

    def pool_waiting(self) -> Evidence | Gap:
        """Requests waiting for a connection of the pool, for each pod."""
        return self.query("pool_waiting")

    def pool_wait_seconds(self, quantile: float = 0.95) -> Evidence | Gap:
        """A quantile of the wait for a connection of the pool, seconds, one series."""
        return self.query("pool_wait_seconds", quantile=quantile)

    def dependency_latency_seconds(self, quantile: float = 0.95) -> Evidence | Gap:
        """A quantile of the latency of each system behind the service, seconds."""
        return self.query("dependency_latency_seconds", quantile=quantile)

    def dependency_seconds_per_second(self) -> Evidence | Gap:
        """Seconds per second spent waiting for each system behind the service."""
        return self.query("dependency_seconds_per_second")

    def dependency_errors_per_second(self) -> Evidence | Gap:
        """Failed calls per second to each system behind the service."""
        return self.query("dependency_errors_per_second")

    def restarts(self) -> Evidence | Gap:
        """Restarts of each pod's containers, a count that only rises."""
        return self.query("restarts")

    def replicas(self) -> Evidence | Gap:
        """Two series by label ``state``: ``available`` and ``wanted``."""
        return self.query("replicas")

    def up(self) -> Evidence | Gap:
        """1 or 0 for each pod: whether its metrics can be read."""
        return self.query("up")

    def database_sessions(self) -> Evidence | Gap:
        """Sessions in PostgreSQL for each state."""
        return self.query("database_sessions")

    def database_transaction_seconds(self) -> Evidence | Gap:
        """Age of the oldest open transaction in PostgreSQL for each state, seconds."""
        return self.query("database_transaction_seconds")

    def cache_evictions_per_second(self) -> Evidence | Gap:
        """Entries thrown out of the cache per second, one series."""
        return self.query("cache_evictions_per_second")

    def cache_memory_ratio(self) -> Evidence | Gap:
        """Memory of the cache over its limit, one series."""
        return self.query("cache_memory_ratio")

    def alerts(self) -> Evidence | Gap:
        """Table ``alert, state, severity, started_at, value, summary`` of the service's alerts now.

        ``started_at`` is in epoch seconds. No row means that no alert is pending or firing.
        """
        return self._ask("alerts", self._fetch_alerts)

    def server(self) -> Evidence | Gap:
        """Document ``{version, revision, application}`` of the server; ``version`` is empty where it does not tell."""
        self._server_read = True
        return self._ask("server", self._fetch_server)

    def query(self, name: str, *, step_seconds: float | None = None, **parameters: Scalar) -> Evidence | Gap:
        """Ask a named question over the window.

        Args:
            name: a query of ``queries/prometheus.toml``.
            step_seconds: distance of the points, seconds; default: as fine as a chart of the window shows.
            parameters: values of the query's parameters.

        Raises:
            UnknownNameError: there is no such query or parameter.
            ParameterError: a value does not fit.
        """
        if name not in self.queries:
            raise UnknownNameError("query", name, self.queries, "queries/prometheus.toml")
        if self.queries[name].text.startswith("GET "):
            return self.alerts() if name == "alerts" else self.server()
        result = self._ask(
            name,
            lambda question: self._fetch_range(question, step_seconds),
            parameters=parameters,
            window=self.window,
            text=lambda query, window: self._text(query, query.bind(parameters), window, step_seconds),
        )
        self._note_server(result)
        return result

    def _note_server(self, result: Evidence | Gap) -> None:
        """Read the server's version once, after its first answer, so that every record says who answered."""
        if isinstance(result, Gap):
            return
        with self._lock:
            first, self._server_read = not self._server_read, True
        if first:
            self.server()

    @property
    def _http(self) -> Http:
        return self._shared(self._open)

    def _open(self) -> Http:
        headers = bearer(self._secret("token"))
        password = self._secret("password")
        if password:
            pair = f"{self._setting('user')}:{password.reveal()}"
            headers["Authorization"] = Secret("Basic " + base64.b64encode(pair.encode()).decode())
        return Http(
            self.source,
            self._setting("url"),
            headers=headers,
            connect_seconds=self.connect_seconds,
            total_seconds=self.total_seconds,
        )

    @property
    def _names(self) -> Mapping[str, str]:
        """Metric and label names, with those of the catalogue in place of the defaults."""
        names = dict(metric_names())
        for name, value in self.workload.get("metrics", {}).items():
            if name not in names:
                raise UnknownNameError("metric", name, names, "workload.metrics")
            names[name] = promql.metric(str(value), f"workload.metrics.{name}")
        return names

    @property
    def _range_seconds(self) -> float:
        return float(self.endpoint.settings.get("range_seconds", RANGE_SECONDS)) if self.endpoint else RANGE_SECONDS

    @property
    def _fine_step(self) -> float:
        return min(self._step(self.window, None), FINE_STEP_SECONDS)

    def _step(self, window: Window, step_seconds: float | None) -> float:
        if step_seconds is not None:
            if not math.isfinite(step_seconds) or step_seconds < 0.001:
                raise CatalogError(f"step_seconds must be above 0, not {step_seconds}")
            return step_seconds
        # Four scrapes lie in a range, so a step below a quarter of it shows no new sample.
        wanted = max(window.seconds / CHART_POINTS, self._range_seconds / 4)
        return float(next((step for step in _NICE_STEPS_SECONDS if step >= wanted), math.ceil(wanted)))

    def _text(
        self, query: Query, bound: Mapping[str, Scalar], window: Window | None, step_seconds: float | None
    ) -> str:
        values = dict(self._names)
        values.update((name, promql.scalar(value)) for name, value in bound.items())
        # A range below the step would leave samples between two points unseen.
        step = self._step(window, step_seconds) if window else 0
        values["range"] = promql.duration(max(self._range_seconds, step))
        values.update(self._selectors())
        return promql.fill(query.text, values)

    def _selectors(self) -> dict[str, str]:
        where = self.workload
        namespace, deployment = str(where.get("namespace", "")), str(where.get("deployment", ""))
        labels = where.get("selector") or {"namespace": namespace, "service": str(where.get("service", ""))}
        # Two parts follow the deployment's name in a pod's: the hash of its template and its own suffix.
        pod = promql.text(f"{promql.pattern(deployment)}-[a-z0-9]+-[a-z0-9]+")
        container = {"container": where["container"]} if where.get("container") else {}
        return {
            "selector": promql.matchers(labels),
            "pods": promql.matchers({"namespace": namespace, **container}) + f",pod=~{pod}",
            "workload": promql.matchers({"namespace": namespace, "deployment": deployment}),
        }

    def _fetch_range(self, question: Question, step_seconds: float | None) -> Answer:
        window = question.window
        if window is None:
            raise SourceAnswerError("a ranged question needs a window", source=self.source)
        merged: dict[tuple[tuple[str, str], ...], Series] = {}
        warnings: list[str] = []
        for start, end, step in slices(window, self._step(window, step_seconds)):
            reply = self._reply(
                "/api/v1/query_range",
                {"query": question.text, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"},
            )
            try:
                body, series = _matrix.read(reply.body)
            except ValueError as error:
                self._judge(reply.json())
                raise SourceAnswerError("answered with samples that are no numbers", source=self.source) from error
            self._judge(body)
            warnings += [*(str(one) for key in ("warnings", "infos") for one in body.get(key, ())), *reply.warnings]
            _merge(merged, body["data"], series)
        if not merged:
            raise SourceEmptyError("no series answers this question in the window", source=self.source)
        ordered = tuple(merged[key] for key in sorted(merged))
        return Answer(ordered, tuple(dict.fromkeys(warnings)))

    def _fetch_alerts(self, question: Question) -> Answer:
        body, notes = self._api("/api/v1/alerts", {})
        labels = {k: str(v) for k, v in (self.workload.get("selector") or {}).items()}
        rows = [
            {
                "alert": one["labels"].get("alertname", ""),
                "state": one["state"],
                "severity": one["labels"].get("severity", ""),
                "started_at": parse_rfc3339(_microseconds(one["activeAt"])).timestamp()
                if one.get("activeAt")
                else None,
                "value": float(one["value"]),
                "summary": one.get("annotations", {}).get("summary", ""),
            }
            for one in body["data"]["alerts"]
            # An alert without a label of the selector may still be ours; one with another value is not.
            if all(one["labels"].get(name, value) == value for name, value in labels.items())
        ]
        return Answer(Table.of(rows, ("alert", "state", "severity", "started_at", "value", "summary")), notes)

    def _fetch_server(self, question: Question) -> Answer:
        reply = self._http.get("/api/v1/status/buildinfo", any_status=True)
        # Only Prometheus itself has this page; Thanos, Mimir and others may not.
        data = reply.json().get("data", {}) if reply.status == 200 else {}
        known = {key: str(data.get(key, "")) for key in ("version", "revision")}
        return Answer({**known, "application": str(data.get("application", "Prometheus" if known["version"] else ""))})

    def _api(self, path: str, params: Mapping[str, str]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The body of a good answer, and what speaks against its times."""
        reply = self._reply(path, params)
        body = reply.json()
        self._judge(body)
        return body, reply.warnings

    def _reply(self, path: str, params: Mapping[str, str]) -> Reply:
        return self._http.get(
            path, {**params, "timeout": f"{self.total_seconds:g}s"} if params else None, explain=_explain
        )

    def _judge(self, body: Any) -> None:
        if not isinstance(body, dict) or body.get("status") != "success":
            raise SourceAnswerError("the answer is not one of the Prometheus API", source=self.source)


def slices(window: Window, step_seconds: float) -> Iterator[tuple[float, float, float]]:
    """``(start, end, step)`` in epoch seconds, both ends included, each below the server's limit of points.

    The last point is the last millisecond of the half-open window, so that it is both fresh and inside.
    """
    last = window.end.timestamp() - 0.001
    count = max(1, int((last - window.start.timestamp()) / step_seconds) + 1)
    first = last - (count - 1) * step_seconds
    for begin in range(0, count, SLICE_POINTS):
        size = min(SLICE_POINTS, count - begin)
        yield first + begin * step_seconds, first + (begin + size - 1) * step_seconds, step_seconds


def _merge(
    merged: dict[tuple[tuple[str, str], ...], Series],
    data: Mapping[str, Any],
    found: Iterable[tuple[_matrix.Labels, _matrix.Columns]],
) -> None:
    if data["resultType"] != "matrix":
        raise SourceAnswerError(f"answered with a {data['resultType']} where a matrix was asked for")
    for labels, (times, values) in found:
        key = tuple(sorted(labels.items()))
        if key in merged:
            merged[key].times.extend(times)
            merged[key].values.extend(values)
        else:
            merged[key] = Series(labels, times, values)


def _explain(reply: Reply) -> SourceError | None:
    """Prometheus's own error answers; https://prometheus.io/docs/prometheus/latest/querying/api/#format-overview."""
    if reply.status < 400 or b'"errorType"' not in reply.body:
        return None
    body = reply.json()
    kind, words = str(body.get("errorType", "")), str(body.get("error", ""))[:300]
    if kind in {"timeout", "canceled"}:
        return SourceTimeoutError(f"the query took too long: {words}", source=reply.source)
    if reply.status in {401, 403}:
        return SourceDeniedError(f"answered {reply.status}: {words or vendor_words(reply)}", source=reply.source)
    if kind == "unavailable":
        return None
    return SourceAnswerError(f"refused the query ({kind}): {words}", source=reply.source)


def _microseconds(text: str) -> str:
    """RFC 3339 with Go's nanoseconds cut to what Python reads."""
    head, dot, tail = text.partition(".")
    digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
    return f"{head}{dot}{digits[:6]}{tail[len(digits) :]}"
