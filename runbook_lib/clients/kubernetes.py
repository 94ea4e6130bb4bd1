"""Kubernetes: what was asked for, what runs, what changed; and the scale of a deployment as one guarded request."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from runbook_lib.clients import _kubernetes_objects as objects
from runbook_lib.clients._kubernetes import ApiServer, path
from runbook_lib.clients._source import SourceClient
from runbook_lib.clients._tape import Answer, Question
from runbook_lib.errors import (
    ActionRejectedError,
    CatalogError,
    OutcomeUnknownError,
    SourceEmptyError,
    SourceError,
    SourceUnreachableError,
)
from runbook_lib.model import Evidence, Gap, Table
from runbook_lib.model.rights import Right
from runbook_lib.model.times import parse_rfc3339, utc_now

#: A sample older than this says nothing about now; metrics-server measures every 15 s.
USAGE_MAX_AGE_SECONDS = 60.0
#: Between two readings of a rollout, seconds.
_WATCH_SECONDS = 1.0
_JSON_PATCH = "application/json-patch+json"


class KubernetesClient(SourceClient):
    """Named questions to one cluster about one deployment. Settings of the endpoint: ``kubeconfig``, ``context``,
    ``namespace`` (default: that of the workload), ``allow_exec`` (the kubeconfig may run a program for credentials)."""

    source = "kubernetes"

    def deployment(self) -> Evidence | Gap:
        """Document ``{replicas, total, updated, ready, available, unavailable, paused, complete, progress, images,
        replicas_managers, metadata, spec, status}``; the last three are the object's own, without variables' values."""
        return self._ask("deployment", lambda _: self._answer(objects.deployment(self._deployment())))

    def rollouts(self) -> Evidence | Gap:
        """Table of the revisions, newest last; ``started_at`` in epoch seconds."""
        return self._ask("rollouts", self._fetch_rollouts)

    def rollout(
        self, settled: Callable[[Mapping[str, Any]], bool] = lambda _: True, *, within_seconds: float = 0.0
    ) -> Evidence | Gap:
        """Watch the rollout until it is settled or the time is over.

        Args:
            settled: judges one reading: complete, or beyond hope.
            within_seconds: how long to watch, seconds; 0 reads once.

        Returns:
            Document ``{deployment, pods, endpoints, waited_seconds, restarts_before, steps}`` of the last reading.
        """
        return self._ask("rollout", lambda _: self._answer(self._watch(settled, within_seconds)))

    def pods(self) -> Evidence | Gap:
        """Table of the pods, oldest first; times in epoch seconds, cores and bytes."""
        return self._ask("pods", lambda _: self._answer(objects.pods(self._pods(self._deployment()), self._container)))

    def pod_usage(self) -> Evidence | Gap:
        """Table ``name, cpu_cores, memory_bytes, at, window_seconds`` from the metrics API."""
        return self._ask("pod_usage", self._fetch_usage)

    def events(self) -> Evidence | Gap:
        """Table of the window's events of the deployment and its pods, oldest first."""
        return self._ask("events", self._fetch_events, window=self.window)

    def endpoints(self) -> Evidence | Gap:
        """Table ``address, pod, ready, serving, terminating`` behind the service."""
        return self._ask("endpoints", lambda _: self._answer(self._endpoints()))

    def horizontal_autoscaler(self) -> Evidence | Gap:
        """Document ``{found, minimum, maximum, current, desired, limited, metadata}`` of its autoscaler."""
        return self._ask("horizontal_autoscaler", self._fetch_autoscaler)

    def quotas(self) -> Evidence | Gap:
        """Table ``quota, resource, used, limit, ratio``; no row when nothing is limited."""
        return self._ask("quotas", self._fetch_quotas)

    def may(self, right: Right) -> Evidence | Gap:
        """As ``can``, of one of the rights that runbooks need."""
        return self.can(right.verb, group=right.group, resource=right.resource, subresource=right.subresource)

    def can(
        self, verb: str, *, group: str = "", resource: str, subresource: str = "", name: str = ""
    ) -> Evidence | Gap:
        """Document ``{allowed, denied, reason}``: whether we may do this in the namespace.

        Args:
            verb: such as ``"patch"``.
            group: API group; empty for the core group.
            resource: plural name, such as ``"deployments"``.
            subresource: such as ``"scale"``.
            name: name of one object; empty for all.
        """
        asked = {"verb": verb, "group": group, "resource": resource, "subresource": subresource, "name": name}
        return self._ask("permission", self._fetch_permission, parameters=asked)

    def server(self) -> Evidence | Gap:
        """Document ``{version, platform}`` of the API server."""
        return self._ask("server", self._fetch_server)

    def scale(self, *, replicas: int, uid: str, current: int, dry_run: bool = False) -> dict[str, Any]:
        """Set the replicas of the deployment by one request that holds only while it is the one of the plan.

        Args:
            replicas: how many pods are asked for.
            uid: uid of the deployment that the plan was made for.
            current: replicas that it must still ask for.
            dry_run: only ask the server whether it would do it.

        Returns:
            ``{replicas, resource_version, dry_run}`` as the server answered.

        Raises:
            ActionRejectedError: the deployment is another one or asks for another number by now, the server said no,
                or nothing was sent.
            OutcomeUnknownError: it cannot be told whether the request took effect.
        """
        # replicas has no key in the object while it is 0, and a test of a missing key fails: then its parent is tested.
        before = {"path": "/spec/replicas", "value": current} if current else {"path": "/spec", "value": {}}
        change = [
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "test", **before},
            {"op": "add", "path": "/spec/replicas", "value": replicas},
        ]
        place = f"{self._path_of_deployment}/scale"
        answer = self._acting().write("PATCH", place, change, content_type=_JSON_PATCH, dry_run=dry_run)
        found = answer.get("spec", {}).get("replicas", 0)
        if found != replicas:
            raise OutcomeUnknownError(f"the cluster answered with {found} replicas where {replicas} were asked for")
        return {
            "replicas": found,
            "resource_version": str(answer.get("metadata", {}).get("resourceVersion", "")),
            "dry_run": dry_run,
        }

    def acquire_lease(self, name: str, *, holder: str, seconds: int) -> str:
        """Take a Lease in the namespace; for liveness only, it does not make a write safe.

        Args:
            name: name of the lease (RFC 1123).
            holder: who takes it.
            seconds: how long it holds without renewal, seconds.

        Returns:
            The resource version of the lease, for ``release_lease``.

        Raises:
            ActionRejectedError: another holder has it, or the cluster said no.
            OutcomeUnknownError: it cannot be told whether we have it.
        """
        acting = self._acting()
        place = path("apis", "coordination.k8s.io", "v1", "namespaces", self._namespace, "leases")
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": seconds,
            "acquireTime": _micro_time(utc_now()),
            "renewTime": _micro_time(utc_now()),
        }
        meta: dict[str, Any] = {"name": name, "namespace": self._namespace}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
        try:
            found = acting.get(place + path(name))
        except SourceEmptyError:
            return str(acting.write("POST", place, body)["metadata"]["resourceVersion"])
        except SourceError as error:
            raise ActionRejectedError(f"lease {name} cannot be read; nothing was sent: {error.reason}") from error
        owner = found.get("spec", {}).get("holderIdentity")
        if owner and owner != holder and not _expired(found["spec"]):
            raise ActionRejectedError(f"lease {name} is held by {owner}")
        # The version makes two takers of one expired lease fight fairly: the second gets a conflict.
        meta["resourceVersion"] = found["metadata"]["resourceVersion"]
        return str(acting.write("PUT", place + path(name), body)["metadata"]["resourceVersion"])

    def release_lease(self, name: str, *, resource_version: str) -> None:
        """Give a lease back, unless it has changed hands since.

        Raises:
            ActionRejectedError: it has changed hands.
            OutcomeUnknownError: it cannot be told; the lease expires by itself.
        """
        place = path("apis", "coordination.k8s.io", "v1", "namespaces", self._namespace, "leases", name)
        change = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": resource_version},
            {"op": "add", "path": "/spec/holderIdentity", "value": ""},
        ]
        self._acting().write("PATCH", place, change, content_type=_JSON_PATCH)

    def secret_value(self, namespace: str, name: str, key: str) -> str:
        """A value of a Secret, for references of the form ``k8s:namespace/name/key``; never through the tape.

        Raises:
            SourceError: it cannot be read.
        """
        import base64

        data = self._server.get(path("api", "v1", "namespaces", namespace, "secrets", name)).get("data", {})
        return base64.b64decode(data.get(key, "")).decode()

    @property
    def _server(self) -> ApiServer:
        return self._shared(self._open)

    def _open(self) -> ApiServer:
        return ApiServer(
            self._setting("kubeconfig"),
            self._setting("context"),
            connect_seconds=self.connect_seconds,
            total_seconds=self.total_seconds,
            allow_exec=self._setting("allow_exec") == "True",
        )

    def _acting(self) -> ApiServer:
        """The server for a write; without one nothing is sent."""
        try:
            return self._server
        except SourceError as error:
            raise ActionRejectedError(f"nothing was sent: {error.reason}") from error

    @property
    def _namespace(self) -> str:
        return self._setting("namespace") or str(self._of_workload("namespace"))

    @property
    def _container(self) -> str:
        return str(self.workload.get("container", ""))

    @property
    def _path_of_deployment(self) -> str:
        return path("apis", "apps", "v1", "namespaces", self._namespace, "deployments", self._of_workload("deployment"))

    def _of_workload(self, name: str) -> str:
        if not self.workload.get(name):
            raise CatalogError("is missing", key=f"workload.{name}")
        return str(self.workload[name])

    def _answer(self, data: Table | Mapping[str, Any], *warnings: str) -> Answer:
        return Answer(data, (*self._server.warnings, *self._server.skew, *warnings))

    def _list(self, *parts: str, **query: str) -> list[dict[str, Any]]:
        """A list of the namespace: ``parts`` are the API's group and version, then the resource."""
        return self._server.items(path(*parts[:-1], "namespaces", self._namespace, parts[-1]), **query)

    def _deployment(self) -> dict[str, Any]:
        return self._server.get(self._path_of_deployment)

    def _pods(self, found: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self._list("api", "v1", "pods", labelSelector=objects.selector(found["spec"]["selector"]))

    def _watch(self, settled: Callable[[Mapping[str, Any]], bool], within_seconds: float) -> dict[str, Any]:
        began, steps, before = time.monotonic(), list[dict[str, Any]](), dict[str, Any]()
        while True:
            found = self._deployment()
            pods = objects.pods(self._pods(found), self._container).records()
            endpoints = self._endpoints().records()
            document = objects.deployment(found)
            before = before or {str(pod["name"]): pod["restarts"] for pod in pods}
            step = {name: document[name] for name in ("total", "updated", "available")}
            step["ready_endpoints"] = sum(bool(one["ready"]) for one in endpoints)
            if not steps or {**steps[-1], "at": 0} != {**step, "at": 0}:
                steps.append({**step, "at": utc_now().timestamp()})
            waited = time.monotonic() - began
            reading = {
                "deployment": document,
                "pods": pods,
                "endpoints": endpoints,
                "waited_seconds": round(waited, 3),
                "restarts_before": before,
                "steps": steps,
            }
            if waited >= within_seconds or settled(reading):
                return reading
            time.sleep(min(_WATCH_SECONDS, within_seconds - waited))

    def _fetch_rollouts(self, question: Question) -> Answer:
        found = self._deployment()
        labels = objects.selector(found["spec"]["selector"])
        sets = self._list("apis", "apps", "v1", "replicasets", labelSelector=labels)
        mine = objects.owned(sets, found["metadata"]["uid"])
        return self._answer(objects.rollouts(found, mine, self._pods(found), self._container))

    def _fetch_usage(self, question: Question) -> Answer:
        labels = objects.selector(self._deployment()["spec"]["selector"])
        try:
            found = self._list("apis", "metrics.k8s.io", "v1beta1", "pods", labelSelector=labels)
        except (SourceEmptyError, SourceUnreachableError) as error:
            raise SourceEmptyError(f"the metrics API does not answer: {error.reason}", source=self.source) from error
        rows, old = [], 0
        now = utc_now().timestamp()
        for one in found:
            at = objects.epoch(one["timestamp"])
            if at is None or now - at > USAGE_MAX_AGE_SECONDS:
                old += 1
                continue
            usage = [container["usage"] for container in one["containers"]]
            cores, size = (sum(objects.quantity(u[kind]) for u in usage) for kind in ("cpu", "memory"))
            rows.append((one["metadata"]["name"], cores, size, at, objects.go_seconds(one.get("window", ""))))
        if not rows:
            raise SourceEmptyError("no sample of the pods is younger than 60 s", source=self.source)
        notes = (f"{old} samples older than {USAGE_MAX_AGE_SECONDS:g} s left out",) if old else ()
        columns = ("name", "cpu_cores", "memory_bytes", "at", "window_seconds")
        return self._answer(Table(columns, tuple(sorted(rows))), *notes)

    def _fetch_events(self, question: Question) -> Answer:
        window = question.window or self.window
        found = self._list("api", "v1", "events")
        name, start, end = self._of_workload("deployment"), window.start.timestamp(), window.end.timestamp()
        return self._answer(objects.events(found, name, start, end))

    def _endpoints(self) -> Table:
        service = self.workload.get("kubernetes_service") or self.workload.get("selector", {}).get("service", "")
        labels = f"kubernetes.io/service-name={service}"
        found = self._list("apis", "discovery.k8s.io", "v1", "endpointslices", labelSelector=labels)
        if not found:
            raise SourceEmptyError(f"service {service!r} has no endpoint slices", source=self.source)
        rows = [
            (
                ",".join(one["addresses"]),
                (one.get("targetRef") or {}).get("name", ""),
                # An unset condition means ready, by the API's documentation.
                one.get("conditions", {}).get("ready", True) is not False,
                one.get("conditions", {}).get("serving", True) is not False,
                bool(one.get("conditions", {}).get("terminating")),
            )
            for each in found
            for one in each.get("endpoints") or ()
        ]
        return Table(("address", "pod", "ready", "serving", "terminating"), tuple(sorted(rows)))

    def _fetch_autoscaler(self, question: Question) -> Answer:
        name = self._of_workload("deployment")
        for one in self._list("apis", "autoscaling", "v2", "horizontalpodautoscalers"):
            target = one["spec"]["scaleTargetRef"]
            if (target["kind"], target["name"]) == ("Deployment", name):
                break
        else:
            return self._answer({"found": False, "metadata": {}})
        spec, status = one["spec"], one.get("status", {})
        limited = any(c["type"] == "ScalingLimited" and c["status"] == "True" for c in status.get("conditions", ()))
        return self._answer(
            {
                "found": True,
                "minimum": spec.get("minReplicas", 1),
                "maximum": spec["maxReplicas"],
                "current": status.get("currentReplicas"),
                "desired": status.get("desiredReplicas"),
                "limited": limited,
                "metadata": {"name": one["metadata"]["name"], "uid": one["metadata"]["uid"]},
            }
        )

    def _fetch_quotas(self, question: Question) -> Answer:
        rows = []
        for one in self._list("api", "v1", "resourcequotas"):
            status = one.get("status", {})
            for resource, limit in sorted(status.get("hard", {}).items()):
                used, most = objects.quantity(status.get("used", {}).get(resource, "0")), objects.quantity(limit)
                rows.append((one["metadata"]["name"], resource, used, most, used / most if most else None))
        return self._answer(Table(("quota", "resource", "used", "limit", "ratio"), tuple(rows)))

    def _fetch_permission(self, question: Question) -> Answer:
        return self._answer(self._server.access({"namespace": self._namespace, **question.parameters}))

    def _fetch_server(self, question: Question) -> Answer:
        found = self._server.get("/version")
        return self._answer({"version": str(found["gitVersion"]), "platform": str(found.get("platform", ""))})


def _micro_time(moment: datetime) -> str:
    """A MicroTime of the API."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _expired(spec: Mapping[str, Any]) -> bool:
    renewed = spec.get("renewTime") or spec.get("acquireTime")
    if not renewed:
        return True
    return utc_now() > parse_rfc3339(renewed) + timedelta(seconds=int(spec.get("leaseDurationSeconds") or 0))
