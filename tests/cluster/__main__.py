"""Run everything that speaks to a cluster on a real one: ``python -m tests.cluster [KUBECONFIG]``.

Without a kubeconfig it is the lab's own real control plane (``runbook lab control-plane build``): then the emulator is
held to it, too, and the notebooks run on a lab whose cluster is real.

The cluster is changed: each test makes namespaces of its own, and the Helm tests need one called ``production``, which
must not be there before and is deleted afterwards. Nothing of the emulator is started. What the cluster or this machine
lacks is skipped by name.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

from runbook_lib.clients._kubernetes import ApiServer
from runbook_lib.errors import ActionError, SourceEmptyError, SourceError
from runbook_lib.lab.cluster import write_tokens
from runbook_lib.lab.components import Spawner
from runbook_lib.lab.process import free_port
from runbook_lib.lab.realplane import programs as realplane
from runbook_lib.lab.realplane import start
from runbook_lib.lab.release import NAMESPACE
from runbook_lib.lab.state import stop_all

ROOT = Path(__file__).resolve().parents[2]
TESTS = (
    "tests/clients/test_kubernetes.py",
    "tests/clients/test_kubernetes_objects.py",
    "tests/clients/test_helm.py",
    "tests/run/test_reconcile_kinds.py",
)
#: With a control plane of our own: the emulator is compared with it, and the runbooks run on a lab that stands on it.
PLANE_TESTS = ("tests/lab/controlplane", "tests/lab/test_realplane.py")
LAB_TESTS = ("tests/notebooks",)
#: It brings a node of its own, and so needs a cluster that has none.
NODE_TESTS = ("tests/lab/test_node.py",)


class Figures:
    """Counts how tests ended, and why the skipped ones were."""

    def __init__(self) -> None:
        self.ended: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest for each phase of each test."""
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.skipped[reason.removeprefix("Skipped: ")] += 1
        elif report.when == "call" or report.failed:
            self.ended[report.outcome] += 1


def main() -> int:
    """Run the tests; 0 when all that could run passed, 2 when the cluster cannot be used."""
    parser = argparse.ArgumentParser(prog="tests.cluster", description=__doc__.splitlines()[0])
    parser.add_argument("kubeconfig", type=Path, nargs="?", help="an administrator's kubeconfig of a cluster for tests")
    given = parser.parse_args()
    if given.kubeconfig is None:
        return _on_our_own()
    return _on(given.kubeconfig, began=time.monotonic())


def _on_our_own() -> int:
    """The same on a control plane that is started here, and what only such a one can do."""
    programs = realplane.find()
    if programs is None:
        sys.stderr.write("no real control plane; build one with: runbook lab control-plane build\n")
        return 2
    began, figures = time.monotonic(), Figures()
    os.environ["RUNBOOK_TEST_CONTROL_PLANE"] = "real"
    if programs.source == "built":
        os.environ["RUNBOOK_CONTROL_PLANE"] = str(realplane.built_path())
    files = [str(ROOT / name) for name in (*PLANE_TESTS, *LAB_TESTS)]
    code = pytest.main([*files, "-q", "-p", "no:cacheprovider", "-p", "no:xdist"], plugins=[figures])
    _print(figures, f"control plane {realplane.VERSION} ({programs.source})", time.monotonic() - began)
    with tempfile.TemporaryDirectory(prefix="runbook-cluster-") as folder:
        place = Path(folder)
        for name in ("logs", "kubernetes"):
            (place / name).mkdir()
        tokens = write_tokens(place / "kubernetes" / "tokens.csv")
        try:
            parts = list(start.start(Spawner(place), programs, free_port(), tokens["admin"]))
            assert all(part.alive for part in parts)
            return int(code) or _on(place / "kubernetes" / "admin.kubeconfig", began=time.monotonic())
        finally:
            stop_all(place)


def _on(kubeconfig: Path, *, began: float) -> int:
    api = ApiServer(str(kubeconfig), "", connect_seconds=3, total_seconds=10)
    try:
        problem, told, nodes = _looked_at(api)
        if problem:
            sys.stderr.write(f"{problem}\n")
            return 2
        os.environ["RUNBOOK_TEST_CLUSTER"] = str(kubeconfig.resolve())
        figures = Figures()
        files = [str(ROOT / name) for name in (*TESTS, *(() if nodes else NODE_TESTS))]
        code = pytest.main([*files, "-q", "-k", "real", "-p", "no:cacheprovider", "-p", "no:xdist"], plugins=[figures])
        _print(figures, told, time.monotonic() - began)
        return int(code)
    finally:
        _leave(api)
        api.close()


def _looked_at(api: ApiServer) -> tuple[str, str, int]:
    """Why the cluster cannot be used, what it is, and how many nodes it has."""
    try:
        version = api.get("/version")["gitVersion"]
        nodes = len(api.get("/api/v1/nodes")["items"])
    except SourceError as error:
        return f"the cluster does not answer: {error.reason}", "", 0
    told = f"Kubernetes {version}, {nodes} nodes"
    try:
        api.get(f"/api/v1/namespaces/{NAMESPACE}")
    except SourceEmptyError:
        return "", told, nodes
    problem = f"the cluster has a namespace {NAMESPACE!r}; these tests would make and delete a release in it"
    return f"{problem}: give one that is for tests only", told, nodes


def _leave(api: ApiServer) -> None:
    """Delete the namespace that the Helm tests made; there was none before, or nothing was run."""
    if "RUNBOOK_TEST_CLUSTER" in os.environ:
        try:
            api.write("DELETE", f"/api/v1/namespaces/{NAMESPACE}", None)
        except (SourceError, ActionError) as error:
            sys.stderr.write(f"namespace {NAMESPACE!r} could not be deleted: {error}\n")


def _print(figures: Figures, told: str, seconds: float) -> None:
    programs = {"helm": shutil.which("helm"), "helm 3": os.environ.get("RUNBOOK_TEST_HELM3"),
                "helm 4": os.environ.get("RUNBOOK_TEST_HELM4")}  # fmt: skip
    there = ", ".join(name for name, place in programs.items() if place) or "no helm command"
    lines = [f"{told}; the Helm SDK and {there}"]
    lines.append(f"{figures.ended['passed']} passed, {figures.ended['failed']} failed in {seconds:.0f} s")
    lines += [f"  {count} skipped: {reason}" for reason, count in figures.skipped.most_common()]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
