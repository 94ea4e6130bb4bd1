"""An admission webhook between Helm and the cluster: one that refuses, one that fails, and ones that are slow."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest

from runbook_lib.clients import _helm
from runbook_lib.clients.helm import HelmClient
from runbook_lib.errors import ActionError, ActionRejectedError, OutcomeUnknownError
from runbook_lib.lab.release import CHART, Helm
from runbook_lib.model import Gap

from .answering import Answerer, Request, reply

NAMESPACE = "production"
WORKLOAD = {"release": "api-release", "chart": str(CHART), "values": str(CHART / "values-prod.yaml")}
NEXT = {"image": {"tag": "v2"}}
#: What an API server answers for a webhook that says no, and for one that does not answer within its timeout.
DENIED = 'admission webhook "policy.example.com" denied the request: no releases on Fridays'
LATE = 'failed calling webhook "policy.example.com": failed to call webhook: context deadline exceeded'
ANSWERS = {DENIED: (403, "Forbidden"), LATE: (500, "InternalError")}


class Webhook:
    """A server before the emulated cluster that admits writes of deployments as a webhook would have it.

    Attributes:
        says: what it answers for such a write; empty lets it pass.
        seconds: how long each of them waits before that.
        dry_runs: whether dry runs are asked, too: a webhook without ``sideEffects: None`` never sees them.
    """

    def __init__(self, server: Answerer, kubeconfig: Path) -> None:
        self.says, self.seconds, self.dry_runs = "", 0.0, False
        config = json.loads(kubeconfig.read_text(encoding="utf-8"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._behind = httpx.Client(base_url=cluster["server"], verify=context, trust_env=False, timeout=20.0)
        self._token = user["token"]
        server.behave = self._answer

    def _answer(self, request: Request, handler: BaseHTTPRequestHandler) -> None:
        writes = request.method in {"PATCH", "PUT", "POST"} and "/deployments" in request.path
        if writes and (self.dry_runs or "dryRun" not in request.query):
            time.sleep(self.seconds)
            if self.says:
                code, reason = ANSWERS[self.says]
                status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
                reply(handler, code, {**status, "message": self.says, "reason": reason, "code": code})
                return
        kept = {key: value for key, value in request.headers.items() if key in {"accept", "content-type", "user-agent"}}
        found = self._behind.request(
            request.method, handler.path, content=request.body,
            headers={**kept, "authorization": f"Bearer {self._token}"},
        )  # fmt: skip
        handler.send_response(found.status_code)
        handler.send_header("Content-Type", found.headers["content-type"])
        handler.send_header("Content-Length", str(len(found.content)))
        handler.end_headers()
        handler.wfile.write(found.content)

    def close(self) -> None:
        """Close the connection to the cluster."""
        self._behind.close()


@pytest.fixture
def webhook(answerer: Answerer, emulator: Path) -> Iterator[Webhook]:
    """A webhook that lets everything pass, before a cluster on which revision 1 is deployed with image v1."""
    helm = Helm(emulator)
    helm.uninstall()
    helm.install({"image": {"tag": "v1"}})
    made = Webhook(answerer, emulator)
    yield made
    made.close()
    helm.uninstall()


@pytest.fixture
def helm(webhook: Webhook, answerer: Answerer, make: Callable[..., Any], tmp_path: Path) -> HelmClient:
    """A client of the release that reaches the cluster through the webhook only."""
    path = tmp_path / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": answerer.url}}],
    }
    path.write_text(json.dumps(config), encoding="utf-8")
    settings = {"kubeconfig": str(path), "namespace": NAMESPACE}
    made = make(HelmClient, settings, workload=WORKLOAD, backend=_helm.Sdk())
    assert isinstance(made, HelmClient)
    return made


def newest(helm: HelmClient) -> tuple[int, str]:
    """Number and status of the newest revision."""
    row = helm.history().table.records()[-1]
    return row["revision"], row["status"]


@pytest.mark.parametrize("says", [DENIED, LATE], ids=["refuses", "does-not-answer"])
def test_write_that_a_webhook_stops_has_failed(helm: HelmClient, webhook: Webhook, says: str) -> None:
    """The revision that Helm began is failed, and the webhook's own words say why."""
    webhook.says = says
    with pytest.raises(ActionError, match=r"policy\.example\.com") as raised:
        helm.upgrade(NEXT, from_revision=1)
    assert not isinstance(raised.value, ActionRejectedError | OutcomeUnknownError)
    assert (2, "failed") == newest(helm)


def test_webhook_slower_than_helm_may_wait_leaves_it_unknown(helm: HelmClient, webhook: Webhook) -> None:
    """What was told to end while the webhook thought it over may have been done: unknown, and never sent again."""
    webhook.seconds = 30.0
    with pytest.raises(OutcomeUnknownError, match="took too long"):
        helm.upgrade(NEXT, from_revision=1, deadline_seconds=6.0)


def test_slow_webhook_that_agrees_is_waited_for(helm: HelmClient, webhook: Webhook) -> None:
    """Slow is not wrong."""
    webhook.seconds = 2.0
    helm.upgrade(NEXT, from_revision=1)
    assert (2, "deployed") == newest(helm)


@pytest.mark.parametrize(("says", "kind"), [(DENIED, "denied"), (LATE, "answer")], ids=["refuses", "does-not-answer"])
def test_webhook_that_sees_dry_runs_leaves_no_plan(helm: HelmClient, webhook: Webhook, says: str, kind: str) -> None:
    """A webhook that would refuse the release says so before anybody approves it."""
    webhook.says, webhook.dry_runs = says, True
    found = helm.preview(NEXT)
    assert isinstance(found, Gap)
    assert (True, kind) == ("policy.example.com" in found.reason, found.kind), found
