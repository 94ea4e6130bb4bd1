"""The lab on a real control plane: which programs are taken, and what a person sees."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from runbook_lib.errors import LabError, UsageError
from runbook_lib.lab import supervisor
from runbook_lib.lab.cluster import Cluster, write_tokens
from runbook_lib.lab.components import Spawner
from runbook_lib.lab.process import free_port
from runbook_lib.lab.realplane import programs, start
from runbook_lib.lab.release import NAMESPACE
from runbook_lib.lab.state import stop_all, strays
from tests.clients.conftest import emulator  # noqa: F401 - the fixture


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any control plane and without Go; the folder is its whole PATH."""
    empty = tmp_path / "bin"
    empty.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return empty


def program(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return folder


def test_all_four_parts_on_path_are_taken(nothing: Path) -> None:
    """Programs that somebody installed are used as they are."""
    program(nothing, *programs.PARTS)
    found = programs.find()
    assert found is not None
    assert ("PATH", (str(nothing / "etcd"),)) == (found.source, found.commands["etcd"])


def test_a_missing_part_is_no_control_plane(nothing: Path) -> None:
    """Without controllers nothing would become of a Deployment, so the emulator is the better choice."""
    program(nothing, "etcd", "kube-apiserver")
    assert programs.find() is None


def test_assets_are_completed_from_path(nothing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kubebuilder's folder has no controllers; they come from PATH."""
    assets = program(tmp_path / "assets", "etcd", "kube-apiserver")
    program(nothing, "kube-controller-manager", "kube-scheduler")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    found = programs.find()
    assert found is not None
    assert ("KUBEBUILDER_ASSETS", (str(assets / "etcd"),)) == (found.source, found.commands["etcd"])


def test_what_was_built_comes_first(nothing: Path) -> None:
    """One program with all parts, in the user's cache."""
    program(nothing, *programs.PARTS)
    built = programs.built_path()
    program(built.parent, built.name)
    found = programs.find()
    assert found is not None
    assert ("built", (str(built), "kube-scheduler")) == (found.source, found.commands["kube-scheduler"])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param("\x7fELF", "cannot start etcd: .*format", id="torn"),
        pytest.param(
            "#!/bin/sh\necho half a program >&2; exit 3\n", "kube-apiserver ended with 3: half a p", id="ends"
        ),
    ],
)
def test_a_half_built_plane_is_named(nothing: Path, tmp_path: Path, content: str, told: str) -> None:
    """A program that is not whole ends the start at once, with the part and the end of its log."""
    built, lab = programs.built_path(), tmp_path / "lab"
    program(built.parent, built.name)
    built.write_text(content)
    (lab / "logs").mkdir(parents=True)
    (lab / "kubernetes").mkdir()
    write_tokens(lab / "kubernetes" / "tokens.csv")
    found = programs.find()
    assert found is not None
    try:
        with pytest.raises(LabError, match=told):
            list(start.start(Spawner(lab), found, free_port(), "token"))
    finally:
        stop_all(lab)
    assert {} == strays(lab)


def test_building_without_go_says_what_to_do(nothing: Path) -> None:
    """The error names what is missing and the other way."""
    with pytest.raises(LabError, match=r"go is not on PATH: install Go .* or use the emulated one"):
        programs.build()


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("real", "build one with `runbook lab control-plane build`"),
        ("kind", "control plane 'kind' is unknown; give auto, real or emulated"),
    ],
)
def test_a_choice_that_cannot_be_kept_is_refused(nothing: Path, tmp_path: Path, choice: str, told: str) -> None:
    """Nothing is started, and the error says what is possible."""
    with pytest.raises(UsageError, match=told):
        supervisor.up(tmp_path / "lab", control_plane=choice)
    assert not (tmp_path / "lab").exists()


def test_a_namespace_of_others_is_refused(emulator: Path, tmp_path: Path) -> None:  # noqa: F811 - the fixture
    """On a cluster whose namespace no lab made nothing is touched, and the error says why."""
    with Cluster(emulator) as kubernetes:
        kubernetes.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        try:
            with pytest.raises(LabError, match="that no lab made: the lab would delete what is in it"):
                supervisor.up(tmp_path / "lab", kubeconfig=emulator)
            found = kubernetes.request("GET", f"/api/v1/namespaces/{NAMESPACE}")
            assert "Active" == found["status"]["phase"]
        finally:
            kubernetes.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A lab on a real control plane."""
    if programs.find() is None:
        pytest.skip("no real control plane: runbook lab control-plane build")
    folder = tmp_path_factory.mktemp("real") / "lab"
    try:
        yield supervisor.up(folder, control_plane="real", seconds_of_history=0)
    finally:
        supervisor.down(folder)
        stop_all(folder)


def kubectl(status: dict[str, Any], *words: str) -> str:
    command = with_kubectl(status, *words)
    deadline = time.monotonic() + 60
    # The API server asks only now and then whether the node's metrics answer.
    while (done := subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)).returncode:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(1)
    return done.stdout


@pytest.mark.lab
@pytest.mark.slow
def test_status_names_kind_and_version(real: dict[str, Any]) -> None:
    """A person sees that the cluster is real, and which one."""
    shown = real["components"]["kubernetes"]
    assert ("real", "running") == (shown["kind"], shown["state"])
    assert programs.find().source != "built" or programs.VERSION == shown["version"]  # type: ignore[union-attr]


@pytest.mark.lab
@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("rollout", "status", "deployment/api-deployment"), "successfully rolled out"),
        (("top", "pods"), "CPU(cores)"),
        (("logs", "deployment/api-deployment"), "started"),
        (("get", "nodes"), "Ready"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_kubectl_works(real: dict[str, Any], words: tuple[str, ...], expected: str) -> None:
    """What people type at a cluster is answered by the real API server, with the node's own numbers and logs."""
    assert expected in kubectl(real, *words)


def with_kubectl(status: dict[str, Any], *words: str) -> list[str]:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl")
    return ["kubectl", "--kubeconfig", status["kubeconfig"], "-n", "production", *words]


@pytest.mark.lab
@pytest.mark.slow
def test_command_runs_in_a_pod(real: dict[str, Any]) -> None:
    """kubectl exec gives a command its input and the pod's environment; its output, errors and exit code come back."""
    script = 'read word; echo "$word of $PORT"; echo trouble >&2; exit 3'
    words = with_kubectl(real, "exec", "-i", "deployment/api-deployment", "--", "sh", "-c", script)
    done = subprocess.run(words, input="hello\n", capture_output=True, text=True, check=False, timeout=60)
    assert (3, True) == (done.returncode, done.stdout.startswith("hello of ")), done.stderr
    assert "trouble" in done.stderr


@pytest.mark.lab
@pytest.mark.slow
def test_missing_program_is_said(real: dict[str, Any]) -> None:
    """A command that is not there fails by its name."""
    words = with_kubectl(real, "exec", "deployment/api-deployment", "--", "no-such-program")
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert 0 != done.returncode
    assert 'exec: "no-such-program": No such file or directory' in done.stderr


@pytest.mark.lab
@pytest.mark.slow
def test_port_of_a_pod_is_forwarded(real: dict[str, Any]) -> None:
    """kubectl port-forward reaches the service of one pod, again and again."""
    port = free_port()
    words = with_kubectl(real, "port-forward", "deployment/api-deployment", f"{port}:8080")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as forwarding:
        try:
            assert forwarding.stdout is not None
            assert "Forwarding from" in forwarding.stdout.readline()
            answers = [httpx.get(f"http://127.0.0.1:{port}/health", timeout=30).status_code for _ in range(3)]
        finally:
            forwarding.terminate()
    assert [200] * 3 == answers


@pytest.mark.lab
@pytest.mark.slow
def test_every_part_is_written_down(real: dict[str, Any]) -> None:
    """The four parts are processes of the lab like all others, written down to be stopped."""
    written = (Path(real["directory"]) / "processes.jsonl").read_text()
    assert all(f'"{part}"' in written for part in programs.PARTS)
