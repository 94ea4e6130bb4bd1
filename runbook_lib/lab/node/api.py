"""The little of the Kubernetes API that a node needs: requests, and lists that are kept up to date by a watch."""

from __future__ import annotations

import base64
import json
import logging
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from runbook_lib.errors import LabError

LOG = logging.getLogger("node.api")
Object = dict[str, Any]
STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
_WATCH_SECONDS = 240
_RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0)


class ApiError(Exception):
    """The API refused a request.

    Args:
        status: HTTP status, 0 when there was no answer.
        message: the server's own words.
    """

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(f"{status}: {message}" if status else message)


class KubeApi:
    """A client for one API server.

    Args:
        kubeconfig: path of a kubeconfig whose current context holds a token, client certificate or neither.

    Raises:
        LabError: the kubeconfig cannot be read, or runs a program for its credentials.
    """

    def __init__(self, kubeconfig: Path) -> None:
        cluster, user = _current_context(kubeconfig)
        if "exec" in user or "auth-provider" in user:
            raise LabError(f"{kubeconfig}: it runs a program for its credentials; give one with a token or certificate")
        self.server: str = cluster["server"].rstrip("/")
        headers = {"accept": "application/json", "user-agent": "runbook-lab-node"}
        if "token" in user:
            headers["authorization"] = f"Bearer {user['token']}"
        elif "tokenFile" in user:
            headers["authorization"] = f"Bearer {Path(user['tokenFile']).read_text(encoding='utf-8').strip()}"
        verify = _tls(cluster, user, kubeconfig.parent) if self.server.startswith("https") else True
        self._client = httpx.Client(
            base_url=self.server,
            headers=headers,
            verify=verify,
            trust_env=False,
            timeout=httpx.Timeout(10.0, connect=5.0),
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=8),
        )

    def request(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        content_type: str = "application/json",
        params: Mapping[str, str] | None = None,
    ) -> Object:
        """One request, sent once.

        Args:
            method: HTTP method.
            path: absolute path below the server's root.
            body: JSON body.
            content_type: its media type; the patch type for PATCH.
            params: query parameters.

        Returns:
            The decoded answer.

        Raises:
            ApiError: no answer, or one that is not 2xx.
        """
        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"content-type": content_type}
        try:
            response = self._client.request(method, path, content=content, headers=headers, params=params)
        except httpx.HTTPError as error:
            raise ApiError(0, f"{method} {path}: {error or type(error).__name__}") from error
        if not response.is_success:
            raise ApiError(response.status_code, f"{method} {path}: {_message(response)}")
        answer: Object = response.json()
        return answer

    def watch(self, path: str, params: Mapping[str, str], version: str) -> Iterator[Object]:
        """Events of a collection after ``version``, until the server ends the stream.

        Raises:
            ApiError: no answer, a broken stream, or a version that is gone (410).
        """
        query = {**params, "watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true"}
        query["timeoutSeconds"] = str(_WATCH_SECONDS)
        timeout = httpx.Timeout(10.0, connect=5.0, read=_WATCH_SECONDS + 15)
        try:
            with self._client.stream("GET", path, params=query, timeout=timeout) as response:
                if not response.is_success:
                    response.read()
                    raise ApiError(response.status_code, f"watch {path}: {_message(response)}")
                for line in response.iter_lines():
                    if line:
                        event: Object = json.loads(line)
                        if event["type"] == "ERROR":
                            raise ApiError(int(event["object"].get("code", 500)), str(event["object"].get("message")))
                        yield event
        except (httpx.HTTPError, ValueError) as error:
            raise ApiError(0, f"watch {path}: {error or type(error).__name__}") from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class Informer:
    """A local copy of a collection, kept up to date in its own thread; it survives the API being down.

    Args:
        api: the server.
        path: the collection.
        params: selectors.
        changed: called with the uid and the object, or None when it is gone.
    """

    def __init__(
        self, api: KubeApi, path: str, params: Mapping[str, str], changed: Callable[[str, Object | None], None]
    ) -> None:
        self._api, self._path, self._params, self._changed = api, path, dict(params), changed
        self.objects: dict[str, Object] = {}
        self.synced = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"informer {path}", daemon=True)

    def start(self) -> None:
        """Begin to list and watch."""
        self._thread.start()

    def stop(self) -> None:
        """End after the current event."""
        self._stop.set()

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                version = self._list()
                failures = 0
                while not self._stop.is_set():
                    version = self._follow(version)
            except ApiError as error:
                if error.status != 410:  # 410 only means: list again
                    LOG.warning("%s", error)
                    self._stop.wait(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
                    failures += 1

    def _list(self) -> str:
        answer = self._api.request("GET", self._path, params=self._params)
        found = {item["metadata"]["uid"]: item for item in answer.get("items") or []}
        for uid in self.objects.keys() - found.keys():
            self._set(uid, None)
        for uid, item in found.items():
            self._set(uid, item)
        self.synced.set()
        return str(answer["metadata"]["resourceVersion"])

    def _follow(self, version: str) -> str:
        for event in self._api.watch(self._path, self._params, version):
            item = event["object"]
            version = item["metadata"]["resourceVersion"]
            if event["type"] != "BOOKMARK":
                self._set(item["metadata"]["uid"], None if event["type"] == "DELETED" else item)
            if self._stop.is_set():
                break
        return version

    def _set(self, uid: str, item: Object | None) -> None:
        if item is None:
            self.objects.pop(uid, None)
        else:
            self.objects[uid] = item
        try:
            self._changed(uid, item)
        except Exception:
            # One bad object must not end the watch that all the others depend on.
            LOG.exception("cannot handle %s", uid)


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json().get("message", response.text))
    except ValueError:
        return response.text[:200]


def _current_context(kubeconfig: Path) -> tuple[Object, Object]:
    try:
        config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        context = _named(config, "contexts", config["current-context"])["context"]
        user = _named(config, "users", context["user"])["user"] if context.get("user") else {}
        return _named(config, "clusters", context["cluster"])["cluster"], user or {}
    except (OSError, yaml.YAMLError, KeyError, TypeError, StopIteration) as error:
        raise LabError(f"{kubeconfig}: no usable kubeconfig: {type(error).__name__} {error}") from error


def _named(config: Object, key: str, name: str) -> Object:
    return next(entry for entry in config[key] if entry["name"] == name)


def _tls(cluster: Object, user: Object, folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif "certificate-authority-data" in cluster:
        context.load_verify_locations(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    elif "certificate-authority" in cluster:
        context.load_verify_locations(cafile=folder / cluster["certificate-authority"])
    if "client-certificate" in user:
        context.load_cert_chain(folder / user["client-certificate"], folder / user["client-key"])
    elif "client-certificate-data" in user:
        # The ssl module reads certificates from files only; these are private and gone at once.
        with tempfile.TemporaryDirectory() as private:
            certificate, key = Path(private, "certificate"), Path(private, "key")
            certificate.write_bytes(base64.b64decode(user["client-certificate-data"]))
            key.write_bytes(base64.b64decode(user["client-key-data"]))
            context.load_cert_chain(certificate, key)
    return context
