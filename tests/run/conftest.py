"""A real API server with a deployment, and what a run needs to act on it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.actions.lock import file_lock
from runbook_lib.actions.protocol import Context
from runbook_lib.clients._kubernetes import ApiServer
from runbook_lib.clients._tape import LiveTape
from runbook_lib.clients.kubernetes import KubernetesClient
from runbook_lib.model import Endpoint, Environment, Window
from runbook_lib.record.folder import RecordFolder
from tests.clients.conftest import emulator, proxy  # noqa: F401 - fixtures

SETTLED_GENERATION = 2
CATALOG = """
[services.api]
description = "the API"
owner = "Platform"
[services.api.objectives.availability]
kind = "availability"
target = 0.999
[services.api.workload]
namespace = "{namespace}"
deployment = "api-deployment"
[environments.prod]
actions = ["scale"]
approval = {{ default = "none" }}
[environments.prod.kubernetes]
kubeconfig = "{kubeconfig}"
"""


@dataclass
class Place:
    """A deployment of its own on the API server.

    Args:
        kubeconfig: of an administrator.
        namespace: where the deployment is.
        folder: holds the catalogue and the archive.
    """

    kubeconfig: Path
    namespace: str
    folder: Path
    api: ApiServer

    def client(self, kubeconfig: Path | None = None, total_seconds: float = 10.0) -> KubernetesClient:
        """A client of the deployment."""
        return KubernetesClient(
            endpoint=Endpoint("kubernetes", {"kubeconfig": str(kubeconfig or self.kubeconfig)}),
            tape=LiveTape(),
            window=Window.last(10),
            workload={"namespace": self.namespace, "deployment": "api-deployment"},
            environment="prod",
            total_seconds=total_seconds,
        )

    def context(self, record: RecordFolder, archive: Path) -> Context:
        """A run that writes to this record and asked for changes."""
        ledger = archive / "ledger"
        return Context(
            run_id=record.run_id,
            actor="ann",
            environment=Environment("prod", "", ("scale",), {"default": "none"}, {}),
            requested=True,
            ledger=ledger,
            journal=lambda kind, data: record.journal.append(kind, data, durable=True) and None,
            lock=lambda target: file_lock(ledger / "locks", target),
        )

    def found(self) -> tuple[int, int]:
        """Replicas that the deployment asks for, and how often its spec was changed."""
        found = self.api.get(f"/apis/apps/v1/namespaces/{self.namespace}/deployments/api-deployment")
        return int(found["spec"]["replicas"]), int(found["metadata"]["generation"])


@pytest.fixture
def place(emulator: Path, tmp_path: Path) -> Iterator[Place]:  # noqa: F811 - the fixture
    """A namespace with a deployment of three replicas, and a catalogue that names it."""
    api = ApiServer(str(emulator), "", connect_seconds=3, total_seconds=10)
    namespace = f"rb-{uuid.uuid4().hex[:8]}"
    api.write("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    labels = {"app": "api"}
    body: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "api-deployment"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "api", "image": "acme/api:v1"}]},
            },
        },
    }
    api.write("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", body)
    text = CATALOG.format(namespace=namespace, kubeconfig=emulator)
    (tmp_path / "runbook.toml").write_text(text)
    made, end = Place(emulator, namespace, tmp_path, api), time.monotonic() + 20
    # The controller's own annotation counts as a change of the deployment, once.
    while made.found()[1] < SETTLED_GENERATION:
        assert time.monotonic() < end, "no controller has seen the deployment"
        time.sleep(0.05)
    yield made
    api.write("DELETE", f"/api/v1/namespaces/{namespace}", None)
    api.close()
