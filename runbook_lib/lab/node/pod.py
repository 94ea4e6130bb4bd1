"""One pod on this node: a thread that runs its containers and reports their status as a kubelet does."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

from runbook_lib.lab.node.api import MERGE, STRATEGIC, ApiError, KubeApi
from runbook_lib.lab.node.container import Container, timestamp
from runbook_lib.lab.node.events import Events
from runbook_lib.lab.node.probes import attempt
from runbook_lib.lab.throttle import Throttle

LOG = logging.getLogger("node.pod")
Object = dict[str, Any]
ADDRESS_ANNOTATION = "lab.runbook/address"
_RETRY_SECONDS = 0.5
_FORCED_GRACE_SECONDS = 2.0


class PodRunner:
    """Runs one pod until it is deleted.

    Args:
        pod: the pod as the API gave it.
        ip: address that names the pod; its real one is an annotation.
        folder: takes its logs; removed with the pod.
        api: the API server.
        throttle: enforces CPU limits.
        events: writes events.
    """

    def __init__(self, pod: Object, ip: str, folder: Path, api: KubeApi, throttle: Throttle, events: Events) -> None:
        self.pod, self.ip, self.folder = pod, ip, folder
        self._api, self._events = api, events
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._gone = False
        self._closing = False
        self._published: Object = {}
        self._conditions: dict[str, Object] = {}
        self._addressed = False
        self.started = timestamp()
        policy = pod["spec"].get("restartPolicy", "Always")
        before = {entry["name"]: entry for entry in (pod.get("status") or {}).get("containerStatuses") or []}

        def make(spec: Object, restart_policy: str) -> Container:
            # A pod that an earlier agent ran is started again, and that is a restart.
            count = before[spec["name"]]["restartCount"] + 1 if spec["name"] in before else 0
            path = f"spec.containers{{{spec['name']}}}"

            def record(kind: str, reason: str, message: str) -> None:
                self._events.record(self.pod, kind, reason, message, path)

            return Container(spec, folder / spec["name"], throttle, record, restart_policy, count)

        init_policy = "Never" if policy == "Never" else "OnFailure"
        self.init_containers = [make(spec, init_policy) for spec in pod["spec"].get("initContainers") or []]
        self.containers = [make(spec, policy) for spec in pod["spec"]["containers"]]
        name = f"pod {pod['metadata']['name']}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def path(self) -> str:
        """API path of the pod."""
        meta = self.pod["metadata"]
        return f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"

    @property
    def address(self) -> tuple[str, int]:
        """Where the first container really listens."""
        return "127.0.0.1", self.containers[0].port

    def start(self) -> None:
        """Begin to run."""
        self._thread.start()

    def update(self, pod: Object | None) -> None:
        """Take a new version of the pod; None when the API no longer has it."""
        if pod is None:
            self._gone = True
        else:
            self.pod = pod
        self._notify()

    def close(self, timeout_seconds: float) -> None:
        """End the processes because the node ends; the API is not told."""
        self._closing = True
        self._notify()
        self._thread.join(timeout_seconds)

    @property
    def alive(self) -> bool:
        """Whether the pod is still being run."""
        return self._thread.is_alive()

    def _notify(self) -> None:
        with contextlib.suppress(OSError):
            os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        try:
            while not (self._gone or self._closing or self._deleting):
                due = self._step(time.monotonic())
                self._wait(due)
            self._terminate()
        except Exception:
            LOG.exception("pod %s", self.pod["metadata"]["name"])
        finally:
            for container in self.init_containers + self.containers:
                container.terminate(signal.SIGKILL)
            os.close(self._wake)

    @property
    def _deleting(self) -> bool:
        return "deletionTimestamp" in self.pod["metadata"]

    def _step(self, now: float) -> float:
        if not self._publish_address():
            return now + _RETRY_SECONDS
        due = float("inf")
        for container in self._current():
            try:
                due = min(due, container.step(self.pod, self._read, self.ip, now))
            except ApiError as error:  # a ConfigMap or Secret could not be read: not the same as missing
                LOG.warning("%s", error)
                due = min(due, now + _RETRY_SECONDS)
        return due if self._publish() else min(due, now + _RETRY_SECONDS)

    def _current(self) -> list[Container]:
        """The first init container that has not ended well, else the containers."""
        for container in self.init_containers:
            if not container.done or container.state["terminated"]["exitCode"] != 0:
                return [container]
        return self.containers

    def _wait(self, due: float) -> None:
        """Sleep until something is due, a process ends, or the pod changes."""
        running = [container.process.pid for container in self.init_containers + self.containers if container.process]
        fds = []
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                fds.append(os.pidfd_open(pid))
        try:
            timeout = None if due == float("inf") else max(due - time.monotonic(), 0.0) * 1000
            # Not select(), which refuses descriptors from 1,024 on: an agent of many pods has such.
            ready = select.poll()
            for fd in (self._wake, *fds):
                ready.register(fd, select.POLLIN)
            ready.poll(timeout)
        finally:
            for fd in fds:
                os.close(fd)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)

    def _terminate(self) -> None:
        grace = float(self.pod["metadata"].get("deletionGracePeriodSeconds") or 0) if self._deleting else 0.0
        if self._gone or self._closing:
            grace = min(grace or _FORCED_GRACE_SECONDS, _FORCED_GRACE_SECONDS)
        deadline = time.monotonic() + grace
        for container in self.containers:
            if container.running and not self._closing:
                self._events.record(self.pod, "Normal", "Killing", f"Stopping container {container.name}", "")
                _pre_stop(container, deadline - time.monotonic())
        for container in self.init_containers + self.containers:
            container.terminate(signal.SIGTERM)
        self._await_end(deadline)
        for container in self.init_containers + self.containers:
            container.terminate(signal.SIGKILL)
        self._await_end(time.monotonic() + 5)
        if not (self._gone or self._closing):
            self._publish()
            self._delete()
        if not self._closing:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _await_end(self, deadline: float) -> None:
        every = self.init_containers + self.containers
        while any(container.running for container in every) and time.monotonic() < deadline:
            self._wait(min(deadline, time.monotonic() + 1.0))
            for container in every:
                container.reap(time.monotonic())

    def _delete(self) -> None:
        """Tell the API that nothing of the pod runs any more; it waits for that."""
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.pod["metadata"]["uid"]}}
        while not (self._gone or self._closing):
            try:
                self._api.request("DELETE", self.path, body)
            except ApiError as error:
                if error.status in {404, 409}:
                    return
                LOG.warning("%s", error)
                time.sleep(_RETRY_SECONDS)
            else:
                return

    def _publish_address(self) -> bool:
        if not self._addressed:
            host, port = self.address
            patch = {"metadata": {"annotations": {ADDRESS_ANNOTATION: f"{host}:{port}"}}}
            self._addressed = self._patch(self.path, patch, MERGE)
        return self._addressed

    def _publish(self) -> bool:
        """Send the status when it changed; False when that has to be tried again."""
        status = self._status()
        if status == self._published:
            return True
        sent = self._patch(f"{self.path}/status", {"status": status}, STRATEGIC)
        if sent:
            self._published = status
        return sent

    def _patch(self, path: str, patch: Object, content_type: str) -> bool:
        try:
            self._api.request("PATCH", path, patch, content_type=content_type)
        except ApiError as error:
            if error.status == 404:  # deleted meanwhile; the watch will say so
                return True
            LOG.warning("%s", error)
            return False
        return True

    def _read(self, kind: str, namespace: str, name: str) -> dict[str, str]:
        return read_data(self._api, kind, namespace, name)

    def _status(self) -> Object:
        statuses = [container.status() for container in self.containers]
        initialized = all(container.done for container in self.init_containers)
        ready = initialized and all(container.ready for container in self.containers)
        phase = self._phase()
        reason = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase, "ContainersNotReady")
        unready = [container.name for container in self.containers if not container.ready]
        message = f"containers with unready status: [{' '.join(unready)}]"
        self._condition("PodReadyToStartContainers", value=True)
        self._condition("Initialized", value=initialized, reason="ContainersNotInitialized")
        self._condition("Ready", value=ready, reason=reason, message=message)
        self._condition("ContainersReady", value=ready, reason=reason, message=message)
        status: Object = {
            "phase": phase,
            "hostIP": "127.0.0.1",
            "podIP": self.ip,
            # The list is merged by address: one of an agent before this one would stay, and a pod may have only one.
            "podIPs": [{"$patch": "replace"}, {"ip": self.ip}],
            "startTime": self.started,
            "conditions": [dict(condition) for condition in self._conditions.values()],
            "containerStatuses": statuses,
        }
        if self.init_containers:
            status["initContainerStatuses"] = [container.status() for container in self.init_containers]
        return status

    def _phase(self) -> str:
        every = self.containers
        if all(container.done for container in every):
            failed = any(container.state["terminated"]["exitCode"] for container in every)
            return "Failed" if failed else "Succeeded"
        stuck = [c for c in self.init_containers if c.done and c.state["terminated"]["exitCode"]]
        if stuck:
            return "Failed"
        begun = all(c.running or c.last_state or "terminated" in c.state for c in every)
        return "Running" if begun else "Pending"

    def _condition(self, kind: str, *, value: bool, reason: str = "", message: str = "") -> None:
        word = "True" if value else "False"
        condition: Object = {"type": kind, "status": word, "lastTransitionTime": timestamp()}
        if not value and reason:
            condition |= {"reason": reason, "message": message}
        old = self._conditions.get(kind)
        if old is not None and old["status"] == word:
            condition["lastTransitionTime"] = old["lastTransitionTime"]
        self._conditions[kind] = condition


def read_data(api: KubeApi, kind: str, namespace: str, name: str) -> dict[str, str]:
    """Data of a ConfigMap or Secret as text.

    Args:
        api: the API server.
        kind: ``"configmap"`` or ``"secret"``.
        namespace: its namespace.
        name: its name.

    Raises:
        KeyError: there is none of that name.
        ApiError: it could not be read.
    """
    import base64

    try:
        found = api.request("GET", f"/api/v1/namespaces/{namespace}/{kind}s/{name}")
    except ApiError as error:
        if error.status == 404:
            raise KeyError(name) from None
        raise
    data = found.get("data") or {}
    if kind == "configmap":
        return {str(key): str(value) for key, value in data.items()}
    return {str(key): base64.b64decode(value).decode() for key, value in data.items()}


def _pre_stop(container: Container, most_seconds: float) -> None:
    """Run the preStop hook, for as long as the grace period allows."""
    hook = (container.spec.get("lifecycle") or {}).get("preStop") or {}
    if "sleep" in hook:
        time.sleep(max(min(float(hook["sleep"].get("seconds", 0)), most_seconds), 0.0))
    elif hook and most_seconds > 0:
        attempt(hook, most_seconds, container.real_port, container.env, container.folder)
