"""Targets: the configured ones, and annotated pods found through the Kubernetes API."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from runbook_lib.lab.metrics import labels as label_sets
from runbook_lib.lab.metrics.config import Config, KubernetesTargets
from runbook_lib.lab.metrics.errors import ConfigError
from runbook_lib.lab.metrics.scrape import Target

SCRAPE_ANNOTATION = "prometheus.io/scrape"
PATH_ANNOTATION = "prometheus.io/path"
ADDRESS_ANNOTATION = "lab.runbook/address"
NAME_LABEL = "app.kubernetes.io/name"

_CONNECT_SECONDS = 5.0
# The API server ends a watch after this time; the connection's own timeout is a little longer.
_WATCH_SECONDS = 30
_RETRY_SECONDS = 1.0


def static_targets(config: Config) -> list[Target]:
    """The configured targets; ``instance`` is their address."""
    return [
        Target(
            url=target.url,
            labels=label_sets.make_labels({"instance": urlsplit(target.url).netloc, **target.labels}),
            discovered={"__address__": urlsplit(target.url).netloc},
        )
        for target in config.static_targets
    ]


def pod_target(pod: Mapping[str, Any]) -> Target | None:
    """The target of a pod, or None when it is not annotated, has no address yet, or has ended."""
    meta = pod.get("metadata", {})
    notes: Mapping[str, str] = meta.get("annotations") or {}
    address = notes.get(ADDRESS_ANNOTATION, "")
    ended = pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}
    if notes.get(SCRAPE_ANNOTATION) != "true" or not address or ended:
        return None
    service = (meta.get("labels") or {}).get(NAME_LABEL, meta.get("name", ""))
    labels = {
        "job": service,
        "service": service,
        "namespace": meta.get("namespace", ""),
        "pod": meta.get("name", ""),
        "instance": address,
    }
    url = f"http://{address}{notes.get(PATH_ANNOTATION, '/metrics')}"
    discovered = {"__address__": address, "__meta_kubernetes_pod_ip": pod.get("status", {}).get("podIP", "")}
    return Target(url=url, labels=label_sets.make_labels(labels), discovered=discovered)


@dataclass(frozen=True, slots=True)
class ApiServer:
    """Where a Kubernetes API listens and how to speak to it; ``headers`` hold the credential."""

    host: str
    prefix: str
    headers: Mapping[str, str]
    tls: ssl.SSLContext | None

    def connect(self, timeout_seconds: float) -> http.client.HTTPConnection:
        """Open a connection."""
        if self.tls is not None:
            return http.client.HTTPSConnection(self.host, timeout=timeout_seconds, context=self.tls)
        return http.client.HTTPConnection(self.host, timeout=timeout_seconds)


def read_kubeconfig(path: Path) -> ApiServer:
    """Read the current context of a kubeconfig: server, authority, token or client certificate.

    Raises:
        ConfigError: unreadable, or it asks for a way to log in other than these.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        context = _named(content, "contexts", content["current-context"])["context"]
        cluster = _named(content, "clusters", context["cluster"])["cluster"]
        user = _named(content, "users", context["user"]).get("user") or {}
        address = urlsplit(cluster["server"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: not a usable kubeconfig: {type(error).__name__}: {error}") from error
    if "exec" in user or "auth-provider" in user:
        raise ConfigError(f"{path}: users that log in by a command are not supported; give a token or a certificate")
    token = user.get("token") or (Path(user["tokenFile"]).read_text().strip() if user.get("tokenFile") else "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    tls = _tls(cluster, user, path.parent) if address.scheme == "https" else None
    return ApiServer(address.netloc, address.path.rstrip("/"), headers, tls)


def _named(content: Mapping[str, Any], table: str, name: str) -> Mapping[str, Any]:
    for entry in content[table]:
        if entry["name"] == name:
            return dict(entry)
    raise KeyError(f"{table}: {name}")


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif "certificate-authority-data" in cluster:
        context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    elif "certificate-authority" in cluster:
        context = ssl.create_default_context(cafile=str(folder / cluster["certificate-authority"]))
    if "client-certificate-data" in user:
        # The ssl module reads certificates from files only; these are private and gone at once.
        with tempfile.TemporaryDirectory() as private:
            certificate, key = Path(private, "certificate"), Path(private, "key")
            certificate.write_bytes(base64.b64decode(user["client-certificate-data"]))
            key.write_bytes(base64.b64decode(user["client-key-data"]))
            context.load_cert_chain(certificate, key)
    elif "client-certificate" in user:
        context.load_cert_chain(folder / user["client-certificate"], folder / user["client-key"])
    return context


class PodWatcher:
    """Lists and watches the pods of a namespace and reports their targets whenever they change.

    Args:
        source: the API server and the namespace.
        report: called with all current targets, from the watcher's own thread.
    """

    def __init__(self, source: KubernetesTargets, report: Callable[[list[Target]], None]) -> None:
        self._source, self._report = source, report
        self._pods: dict[str, Target] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pod discovery", daemon=True)
        self.error = ""

    def start(self) -> None:
        """Begin in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End after the event in flight; does not wait for it."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
                self.error = ""
            except (OSError, http.client.HTTPException, ValueError, ConfigError) as failure:
                # Targets that are known stay: an API server that is down does not stop the pods.
                self.error = f"{type(failure).__name__}: {failure}"
                self._stop.wait(_RETRY_SECONDS)

    def _follow(self) -> None:
        server = read_kubeconfig(self._source.kubeconfig)
        path = f"{server.prefix}/api/v1/namespaces/{quote(self._source.namespace)}/pods"
        with contextlib.closing(server.connect(_CONNECT_SECONDS)) as connection:
            listing = json.loads(_get(connection, path, server).read())
        self._pods = {}
        for pod in listing.get("items") or []:
            self._take("ADDED", pod)
        self._tell()
        version = listing["metadata"]["resourceVersion"]
        query = f"?watch=true&allowWatchBookmarks=true&timeoutSeconds={_WATCH_SECONDS}&resourceVersion={version}"
        with contextlib.closing(server.connect(_WATCH_SECONDS + _CONNECT_SECONDS)) as connection:
            for event in _events(_get(connection, path + query, server)):
                if self._stop.is_set() or event["type"] == "ERROR":
                    return
                if self._take(event["type"], event["object"]):
                    self._tell()

    def _take(self, kind: str, pod: Mapping[str, Any]) -> bool:
        """Take over one pod's state; tells whether a target changed."""
        if kind == "BOOKMARK":
            return False
        uid = str(pod["metadata"].get("uid") or pod["metadata"].get("name"))
        target = None if kind == "DELETED" else pod_target(pod)
        before = self._pods.pop(uid, None)
        if target is not None:
            self._pods[uid] = target
        return before != target

    def _tell(self) -> None:
        self._report(list(self._pods.values()))


def _get(connection: http.client.HTTPConnection, path: str, server: ApiServer) -> http.client.HTTPResponse:
    connection.request("GET", path, headers={"Accept": "application/json", **server.headers})
    response = connection.getresponse()
    if response.status != 200:
        raise http.client.HTTPException(f"GET {path.partition('?')[0]}: HTTP status {response.status}")
    return response


def _events(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    lines: Iterable[bytes] = iter(response.readline, b"")
    for line in lines:
        if line.strip():
            yield json.loads(line)
