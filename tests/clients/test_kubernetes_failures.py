"""The Kubernetes client against servers and kubeconfigs that fail in named ways."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from runbook_lib.clients.helm import HelmClient
from runbook_lib.clients.kubernetes import KubernetesClient
from runbook_lib.errors import ActionRejectedError, OutcomeUnknownError
from runbook_lib.lab.release import CHART
from runbook_lib.model import Gap


def kubeconfig(folder: Path, server: str, token: str = "t") -> str:
    path = folder / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    path.write_text(json.dumps(config))
    return str(path)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        ("503", "unreachable"),
        ("429", "unreachable"),
        ("reset", "unreachable"),
        ("closed", "unreachable"),
        ("401", "denied"),
        ("403", "denied"),
        ("500", "answer"),
        ("garbage", "answer"),
        ("not http", "unreachable"),
        ("other json", "answer"),
        ("hang", "timeout"),
        ("slow body", "timeout"),
    ],
)
def test_failure_is_a_gap(make, answerer, tmp_path, failure, kind):
    """Every way in which the server can fail gives a gap of its kind, within the deadline."""
    answerer.fail(failure)
    options = {"connect_seconds": 0.5, "total_seconds": 0.8}
    client = make(KubernetesClient, {"kubeconfig": kubeconfig(tmp_path, answerer.url)}, **options)
    client._server  # noqa: B018 - the first use imports the official client, which has its own time
    started = time.monotonic()
    result = client.deployment()
    assert isinstance(result, Gap)
    assert kind == result.kind, result.reason
    assert time.monotonic() - started < 2.5


@pytest.mark.parametrize("failure", ["500", "503", "reset", "closed", "hang", "garbage"])
def test_write_without_a_clear_answer_is_unknown(make, answerer, tmp_path, failure):
    """Whatever leaves the effect open is unknown, and the request is never repeated."""
    answerer.fail(failure)
    acting = make(
        KubernetesClient, {"kubeconfig": kubeconfig(tmp_path, answerer.url)}, connect_seconds=0.5, total_seconds=0.8
    )
    with pytest.raises(OutcomeUnknownError):
        acting.scale(replicas=5, uid="u", current=3)
    assert 1 == len(answerer.requests)


@pytest.mark.parametrize("failure", ["401", "403", "429"])
def test_write_that_was_refused_is_rejected(make, answerer, tmp_path, failure):
    """A clear no is a rejection; nothing changed, and nothing is sent again."""
    answerer.fail(failure)
    acting = make(KubernetesClient, {"kubeconfig": kubeconfig(tmp_path, answerer.url)})
    with pytest.raises(ActionRejectedError):
        acting.scale(replicas=5, uid="u", current=3)
    assert 1 == len(answerer.requests)


def test_write_to_a_dead_server_is_rejected(make, dead_port, tmp_path):
    """Where no connection was made nothing was sent."""
    acting = make(KubernetesClient, {"kubeconfig": kubeconfig(tmp_path, f"http://127.0.0.1:{dead_port}")})
    with pytest.raises(ActionRejectedError, match="nothing was sent"):
        acting.scale(replicas=5, uid="u", current=3)


def test_token_is_sent_and_never_shown(make, answerer, tmp_path):
    """The token of the kubeconfig goes into the header only."""
    answerer.always(403, {"kind": "Status", "message": "User runbook cannot get deployments"})
    client = make(KubernetesClient, {"kubeconfig": kubeconfig(tmp_path, answerer.url, "canary-token")})
    result = client.deployment()
    assert isinstance(result, Gap)
    assert "Bearer canary-token" == answerer.requests[0].headers["authorization"]
    assert "canary" not in str(result.to_json())
    assert "cannot get deployments" in result.reason


@pytest.mark.parametrize("content", ["", "a: [", "{}", "just text"], ids=["empty", "torn", "no cluster", "text"])
def test_kubeconfig_that_cannot_be_used_is_a_gap(make, tmp_path, content):
    """A broken kubeconfig is a denied source that names the file."""
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    result = make(KubernetesClient, {"kubeconfig": str(path)}).deployment()
    assert isinstance(result, Gap)
    assert ("denied", True) == (result.kind, str(path) in result.reason)


def test_missing_kubeconfig_is_a_gap(make, tmp_path):
    """A kubeconfig that is not there is an unreachable source."""
    result = make(KubernetesClient, {"kubeconfig": str(tmp_path / "none")}).deployment()
    assert isinstance(result, Gap)
    assert "unreachable" == result.kind


def with_program(folder: Path, command: str, *arguments: str) -> str:
    """A kubeconfig that names a program for its credentials."""
    path = Path(kubeconfig(folder, "http://127.0.0.1:1"))
    config = json.loads(path.read_text())
    program = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": command,
        "args": list(arguments),
        "interactiveMode": "Never",
    }
    config["users"][0]["user"] = {"exec": program}
    path.write_text(json.dumps(config))
    return str(path)


@pytest.mark.parametrize(
    ("client", "read", "write"),
    [
        (KubernetesClient, lambda made: made.deployment(), lambda made: made.scale(replicas=5, uid="u", current=3)),
        (HelmClient, lambda made: made.history(), lambda made: made.rollback(1, from_revision=2)),
    ],
    ids=["kubernetes", "helm"],
)
def test_program_for_credentials_is_refused(make, tmp_path, client, read, write):
    """A program that the catalogue does not allow is named and never started, for a read and for a write."""
    path = with_program(tmp_path, "touch", str(tmp_path / "started"))
    made = make(client, {"kubeconfig": path}, workload={"chart": str(CHART)})
    result = read(made)
    assert isinstance(result, Gap)
    assert ("denied", True, True) == (result.kind, "runs 'touch'" in result.reason, "allow_exec" in result.reason)
    with pytest.raises(ActionRejectedError, match="allow_exec"):
        write(made)
    assert not (tmp_path / "started").exists()


def test_hanging_credential_program_is_a_gap(make, tmp_path):
    """An allowed program for credentials that hangs ends at the deadline."""
    settings = {"kubeconfig": with_program(tmp_path, "sleep", "3"), "allow_exec": True}
    started = time.monotonic()
    result = make(KubernetesClient, settings, total_seconds=1.0).deployment()
    assert isinstance(result, Gap)
    assert "timeout" == result.kind
    assert time.monotonic() - started < 5
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(8)
