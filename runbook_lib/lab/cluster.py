"""The lab's own objects in its cluster: namespace, credentials, roles; and the kubeconfigs of its users."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runbook_lib.errors import LabError
from runbook_lib.lab.release import DEPLOYMENT, NAMESPACE
from runbook_lib.model import rights

#: Marks the namespace that a lab made and may empty.
LAB_LABEL = "lab.runbook/owned"
#: User -> group of the control plane's static tokens. Rights come from the roles that users of the library get, too.
USERS = {
    "admin": "system:masters",
    "lab-node": "system:masters",
    **{f"runbook-{role}": f"runbook-{role}s" for role in rights.ROLES},
}


class Cluster:
    """The Kubernetes API as the lab's administrator sees it.

    Args:
        kubeconfig: file with the address and an administrator's credentials.
    """

    def __init__(self, kubeconfig: Path) -> None:
        from runbook_lib.lab.node.api import KubeApi

        self._api = KubeApi(kubeconfig)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.close()

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """Send one request and return the decoded answer.

        Raises:
            LabError: the API server refused it or did not answer; carries its message.
        """
        from runbook_lib.lab.node.api import ApiError

        try:
            return self._api.request(method, path, body, content_type=content_type)
        except ApiError as error:
            raise LabError(str(error)) from error

    def apply(self, path: str, value: Mapping[str, Any]) -> Any:
        """Server-side apply one object as manager ``lab``, creating it when it is missing."""
        target = f"{path}/{value['metadata']['name']}?fieldManager=lab&force=true"
        return self.request("PATCH", target, value, "application/apply-patch+yaml")

    def deployment(self) -> dict[str, Any]:
        """The api's Deployment."""
        found: dict[str, Any] = self.request("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{DEPLOYMENT}")
        return found

    def complaints(self) -> str:
        """Why pods do not run: waiting reasons and messages, for an error message."""
        pods = self.request("GET", f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
        found = []
        for pod in pods:
            for container in pod.get("status", {}).get("containerStatuses") or []:
                waiting = container.get("state", {}).get("waiting")
                if waiting:
                    found.append(f"{pod['metadata']['name']}: {waiting.get('reason')} {waiting.get('message', '')}")
        return "; ".join(found) or f"{len(pods)} pods, none of which says why"

    def delete_pods(self) -> None:
        """Delete all pods of the namespace at once: without their node nobody would confirm their end."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
        self.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods", body)

    def refuse_others(self) -> None:
        """Make sure that the namespace is free or a lab's own: the lab deletes what it finds there.

        Raises:
            LabError: somebody else's namespace has this name.
        """
        found = self.request("GET", "/api/v1/namespaces?fieldSelector=metadata.name%3D" + NAMESPACE)["items"]
        if any((one["metadata"].get("labels") or {}).get(LAB_LABEL) != "true" for one in found):
            raise LabError(
                f"the cluster has a namespace {NAMESPACE!r} that no lab made: the lab would delete what is in it. "
                f"Give a cluster for tests, or label the namespace {LAB_LABEL}=true if all of it may go"
            )

    def prepare(self, credentials: Mapping[str, str]) -> None:
        """Create namespace, roles and the Secret that the release reads its credentials from.

        Args:
            credentials: environment variable -> value of the Secret ``api-credentials``.
        """
        namespace = _object("v1", "Namespace", NAMESPACE)
        namespace["metadata"]["labels"] = {LAB_LABEL: "true"}
        self.apply("/api/v1/namespaces", namespace)
        secret = _object("v1", "Secret", "api-credentials")
        secret["type"] = "Opaque"
        secret["data"] = {key: base64.b64encode(value.encode()).decode() for key, value in credentials.items()}
        self.apply(f"/api/v1/namespaces/{NAMESPACE}/secrets", secret)
        for role in rights.ROLES:
            for one in rights.manifests(role, NAMESPACE):
                version = str(one["apiVersion"])
                base = f"/apis/{version}" if "/" in version else f"/api/{version}"
                self.apply(f"{base}/namespaces/{NAMESPACE}/{str(one['kind']).lower()}s", one)

    def serve_metrics(self, port: int) -> None:
        """Let the API server hand the pod metrics API on to the node, which measures its processes.

        Args:
            port: of the node's own server on loopback, which answers over TLS, too.
        """
        service = _object("v1", "Service", "node-metrics")
        service["spec"] = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}
        self.apply("/api/v1/namespaces/kube-system/services", service)
        made = _object("apiregistration.k8s.io/v1", "APIService", "v1beta1.metrics.k8s.io")
        # The emulator does not look services up.
        made["metadata"]["annotations"] = {"lab.runbook/url": f"http://127.0.0.1:{port}"}
        made["spec"] = {
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"name": "node-metrics", "namespace": "kube-system", "port": port},
        }
        self.apply("/apis/apiregistration.k8s.io/v1/apiservices", made)

    def service_account_token(self, name: str) -> str:
        """A token of a service account; those of the roles are made with them."""
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 86400},
        }
        return str(self.request("POST", f"{path}/{name}/token", request)["status"]["token"])


def write_tokens(path: Path) -> dict[str, str]:
    """Write the control plane's static token file and return user -> token."""
    tokens = {user: secrets.token_urlsafe(24) for user in USERS}
    lines = [f'{token},{user},{user},"{USERS[user]}"' for user, token in tokens.items()]
    write_private(path, "\n".join(lines) + "\n")
    return tokens


def write_kubeconfig(path: Path, user: str, token: str, base: Path) -> None:
    """Write a kubeconfig (JSON is YAML) for a user with a token.

    Args:
        path: file to write, 0600.
        user: name of the user.
        token: the user's bearer token.
        base: kubeconfig whose cluster (address, certificate to trust) is taken over.
    """
    import yaml

    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": yaml.safe_load(base.read_text())["clusters"][0]["cluster"]}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user, "namespace": NAMESPACE}}],
        "current-context": "lab",
    }
    write_private(path, json.dumps(content, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text, encoding="utf-8")


def _object(api_version: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}}
