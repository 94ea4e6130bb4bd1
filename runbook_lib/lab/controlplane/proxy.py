"""Requests that somebody else answers: pod logs by the pod's node, metrics by whoever the APIService names."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlencode, urlsplit

from runbook_lib.lab.controlplane import kinds, status
from runbook_lib.lab.controlplane.requests import Target
from runbook_lib.lab.controlplane.resources import Resources
from runbook_lib.lab.controlplane.status import ApiError
from runbook_lib.lab.controlplane.store import Object

TIMEOUT_SECONDS = 10.0
FOLLOW_TIMEOUT_SECONDS = 3600.0
CHUNK_BYTES = 16384
URL_ANNOTATION = "lab.runbook/url"
SCHEME_ANNOTATION = "lab.runbook/kubelet-scheme"
NODE = kinds.get("nodes")
POD = kinds.get("pods")
API_SERVICE = kinds.get("apiservices", "apiregistration.k8s.io")


def _connection(scheme: str, host: str, port: int, timeout_seconds: float) -> http.client.HTTPConnection:
    if scheme == "https":
        # A node's certificate is self-signed, as a kubelet's is, and both ends are on loopback.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(host, port, timeout=timeout_seconds, context=context)
    return http.client.HTTPConnection(host, port, timeout=timeout_seconds)


def aggregated(resources: Resources) -> dict[tuple[str, str], str]:
    """Base URL of every group and version that an APIService hands to another server."""
    found = {}
    for item in resources.store.list(API_SERVICE):
        url = (item["metadata"].get("annotations") or {}).get(URL_ANNOTATION)
        if url and item["spec"].get("service"):
            found[item["spec"]["group"], item["spec"]["version"]] = url
    return found


async def forward(url: str, path: str, query: str, headers: Mapping[str, str]) -> tuple[int, str, bytes]:
    """GET from an aggregated server: HTTP status, content type, body.

    Raises:
        ApiError: 503 when it does not answer.
    """
    parts = urlsplit(url)

    def call() -> tuple[int, str, bytes]:
        connection = _connection(parts.scheme, parts.hostname or "127.0.0.1", parts.port or 80, TIMEOUT_SECONDS)
        try:
            connection.request(
                "GET", f"{parts.path.rstrip('/')}{path}{'?' + query if query else ''}", headers=dict(headers)
            )
            answer = connection.getresponse()
            return answer.status, answer.getheader("content-type", "application/json"), answer.read()
        finally:
            connection.close()

    try:
        return await asyncio.to_thread(call)
    except (OSError, http.client.HTTPException) as problem:
        raise ApiError(503, "ServiceUnavailable", f"error trying to reach service: {problem}", {}) from None


def log_source(resources: Resources, target: Target, query: Mapping[str, str]) -> tuple[str, str, int, str]:
    """Scheme, host, port and path of a pod's log on its node.

    Raises:
        ApiError: 400 when the container is not named or not started, 404, 500 when the node has no address.
    """
    pod = resources.get(POD, target.namespace, target.name)
    containers = [row["name"] for row in pod["spec"].get("containers") or []]
    container = query.get("container", "") or (containers[0] if len(containers) == 1 else "")
    if not container:
        raise status.bad_request(
            f"a container name must be specified for pod {target.name}, choose one of: [{' '.join(containers)}]"
        )
    if container not in containers:
        raise status.bad_request(f"container {container} is not valid for pod {target.name}")
    node_name = pod["spec"].get("nodeName", "")
    if not node_name:
        # The real server answers an empty body here, too.
        raise status.bad_request(f"pod {target.name} does not have a host assigned")
    node = resources.get(NODE, "", node_name)
    host, port = node_address(node)
    scheme = (node["metadata"].get("annotations") or {}).get(SCHEME_ANNOTATION, "http")
    options = {key: value for key, value in query.items() if key != "container"}
    path = f"/containerLogs/{target.namespace}/{target.name}/{container}"
    return scheme, host, port, f"{path}?{urlencode(options)}" if options else path


def node_address(node: Object) -> tuple[str, int]:
    """Address and port of a node's own server.

    Raises:
        ApiError: 500 when the node did not say.
    """
    state = node.get("status") or {}
    host = next((row["address"] for row in state.get("addresses") or [] if row["type"] == "InternalIP"), "")
    port = ((state.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port", 0)
    if not host or not port:
        raise ApiError(
            500, "InternalError", f"no preferred addresses found; known addresses: {state.get('addresses') or []}", {}
        )
    return host, port


async def logs(scheme: str, host: str, port: int, path: str, *, follow: bool) -> AsyncIterator[bytes]:
    """The bytes of a log, as the node sends them.

    Raises:
        ApiError: the node's own error, or 500 when it cannot be reached.
    """
    connection = _connection(scheme, host, port, FOLLOW_TIMEOUT_SECONDS if follow else TIMEOUT_SECONDS)

    def begin() -> http.client.HTTPResponse:
        connection.request("GET", path)
        return connection.getresponse()

    try:
        answer = await asyncio.to_thread(begin)
        if answer.status != 200:
            text = (await asyncio.to_thread(answer.read)).decode(errors="replace").strip()
            raise ApiError(
                answer.status, "BadRequest" if answer.status == 400 else "InternalError", text or "the node refused", {}
            )
        while True:
            chunk = await asyncio.to_thread(answer.read1, CHUNK_BYTES)
            if not chunk:
                return
            yield chunk
    except (OSError, http.client.HTTPException) as problem:
        text = f'Get "{scheme}://{host}:{port}{path}": {problem}'
        raise ApiError(
            500, "InternalError", f"Internal error occurred: {text}", {"causes": [{"message": text}]}
        ) from None
    finally:
        connection.close()
