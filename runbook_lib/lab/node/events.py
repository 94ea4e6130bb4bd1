"""Events about pods, counted instead of repeated."""

from __future__ import annotations

import logging
import secrets
import threading
from typing import Any

from runbook_lib.lab.node.api import MERGE, ApiError, KubeApi
from runbook_lib.lab.node.container import timestamp

LOG = logging.getLogger("node.events")
Object = dict[str, Any]
_MOST_KEPT = 500


class Events:
    """Writes events as the kubelet of one node.

    Args:
        api: the API server.
        node: name of the node.
    """

    def __init__(self, api: KubeApi, node: str) -> None:
        self._api, self._node = api, node
        self._known: dict[tuple[str, str, str], tuple[str, int]] = {}
        self._lock = threading.Lock()

    def record(self, pod: Object, kind: str, reason: str, message: str, field_path: str) -> None:
        """Write an event, or raise the count of the same one; an API that is down loses it.

        Args:
            pod: the pod it is about.
            kind: ``"Normal"`` or ``"Warning"``.
            reason: one word.
            message: one sentence.
            field_path: the part of the pod, or an empty string.
        """
        key = (pod["metadata"]["uid"], reason, message)
        with self._lock:
            name, count = self._known.get(key, (f"{pod['metadata']['name']}.{secrets.token_hex(8)}", 0))
            self._known[key] = (name, count + 1)
            if len(self._known) > _MOST_KEPT:
                self._known.pop(next(iter(self._known)))
        base = f"/api/v1/namespaces/{pod['metadata']['namespace']}/events"
        try:
            if count:
                patch = {"count": count + 1, "lastTimestamp": timestamp()}
                self._api.request("PATCH", f"{base}/{name}", patch, content_type=MERGE)
            else:
                self._api.request("POST", base, self._event(pod, name, kind, reason, message, field_path))
        except ApiError as error:
            LOG.info("%s", error)

    def _event(self, pod: Object, name: str, kind: str, reason: str, message: str, field_path: str) -> Object:
        meta = pod["metadata"]
        involved = {"kind": "Pod", "apiVersion": "v1", "uid": meta["uid"], "name": meta["name"]}
        now = timestamp()
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": meta["namespace"]},
            "involvedObject": {**involved, "namespace": meta["namespace"], "fieldPath": field_path},
            "type": kind,
            "reason": reason,
            "message": message[:1024],
            "source": {"component": "kubelet", "host": self._node},
            "reportingComponent": "kubelet",
            "reportingInstance": self._node,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
