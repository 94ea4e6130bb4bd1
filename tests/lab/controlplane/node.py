"""A node for tests: it starts nothing, but says over the API what a node agent would say."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .servers import ApiServer

HEARTBEAT_SECONDS = 5.0
TAINT_SECONDS = 60.0
LOG = [f"line {i}" for i in range(1, 6)]


class Node:
    """Registers itself, marks pods running and ready, confirms deletions, serves logs and pod metrics.

    Pods whose image holds ``broken`` stay waiting; pods whose image holds ``once`` end well.
    """

    def __init__(self, server: ApiServer, name: str = "node-1", cpu: str = "4") -> None:
        self._server, self.name, self._cpu = server, name, cpu
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._http.serve_forever, daemon=True),
            threading.Thread(target=self._run, daemon=True),
        ]
        self._addresses = 0

    @property
    def port(self) -> int:
        """Port of logs and metrics."""
        return int(self._http.server_address[1])

    def start(self) -> None:
        """Register and begin to act."""
        self._server.json(
            "POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name}}
        )
        resources = {"cpu": self._cpu, "memory": "4Gi", "pods": "110"}
        status = {
            "capacity": resources,
            "allocatable": resources,
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "Ready",
                    "message": "ready",
                    "lastHeartbeatTime": _now(),
                    "lastTransitionTime": _now(),
                }
            ],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.port}},
        }
        self._server.json(
            "PATCH", f"/api/v1/nodes/{self.name}/status", {"status": status}, "application/strategic-merge-patch+json"
        )
        for thread in self._threads:
            thread.start()
        deadline = time.monotonic() + TAINT_SECONDS
        while self._server.json("GET", f"/api/v1/nodes/{self.name}")["spec"].get("taints"):
            assert time.monotonic() < deadline, "the node was not found ready"
            time.sleep(0.05)

    def stop(self) -> None:
        """End the node's threads."""
        self._stop.set()
        self._http.shutdown()
        self._http.server_close()
        for thread in self._threads:
            thread.join(10)

    def _run(self) -> None:
        beat = time.monotonic()
        while not self._stop.wait(0.1):
            if time.monotonic() - beat > HEARTBEAT_SECONDS:
                beat = time.monotonic()
                self._heartbeat()
            pods = self._server.json("GET", f"/api/v1/pods?fieldSelector=spec.nodeName%3D{self.name}")["items"] or []
            for pod in pods:
                self._serve(pod)

    def _heartbeat(self) -> None:
        condition = {"type": "Ready", "status": "True", "lastHeartbeatTime": _now()}
        body = {"status": {"conditions": [condition]}}
        self._server.json("PATCH", f"/api/v1/nodes/{self.name}/status", body, "application/strategic-merge-patch+json")

    def _serve(self, pod: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        if metadata.get("deletionTimestamp"):
            self._server.request(
                "DELETE",
                path,
                body=json.dumps({"gracePeriodSeconds": 0}).encode(),
                headers={"content-type": "application/json"},
            )
            return
        if pod["status"].get("containerStatuses"):
            return
        body = json.dumps({"status": self._status(pod)}).encode()
        self._server.request(
            "PATCH", f"{path}/status", body=body, headers={"content-type": "application/strategic-merge-patch+json"}
        )

    def _status(self, pod: dict[str, Any]) -> dict[str, Any]:
        self._addresses += 1
        address = f"10.244.0.{self._addresses}"
        image = pod["spec"]["containers"][0]["image"]
        ready = "broken" not in image and "once" not in image
        state: dict[str, Any] = {"running": {"startedAt": _now()}}
        phase = "Running"
        if "broken" in image:
            phase, state = "Pending", {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}
        elif "once" in image:
            phase = "Succeeded"
            state = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": _now(), "finishedAt": _now()}}
        container = {
            "name": pod["spec"]["containers"][0]["name"],
            "ready": ready,
            "started": ready,
            "restartCount": 0,
            "image": image,
            "imageID": f"test://{image}",
            "state": state,
        }
        conditions = [
            {"type": name, "status": "True" if ready else "False", "lastProbeTime": None, "lastTransitionTime": _now()}
            for name in ("Initialized", "ContainersReady", "Ready")
        ]
        return {
            "phase": phase,
            "hostIP": "127.0.0.1",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": _now(),
            "containerStatuses": [container],
            "conditions": conditions,
        }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _handler(server: ApiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path.startswith("/containerLogs/"):
                tail = int(parse_qs(url.query).get("tailLines", ["0"])[0])
                self._send(("\n".join(LOG[-tail:]) + "\n").encode(), "text/plain")
            else:
                self._send(json.dumps(_metrics(server, url.path)).encode(), "application/json")

        def _send(self, body: bytes, media: str) -> None:
            self.send_response(200)
            self.send_header("content-type", media)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    return Handler


def _metrics(server: ApiServer, path: str) -> dict[str, Any]:
    parts = path.strip("/").split("/")
    where = f"/namespaces/{parts[4]}" if "namespaces" in parts else ""
    rows = [
        {
            "metadata": {"name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"]},
            "timestamp": _now(),
            "window": "1s",
            "containers": [
                {"name": row["name"], "usage": {"cpu": "7m", "memory": "20Mi"}} for row in pod["spec"]["containers"]
            ],
        }
        for pod in server.json("GET", f"/api/v1{where}/pods")["items"] or []
    ]
    return {"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}, "items": rows}
