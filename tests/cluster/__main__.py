"""Run everything that speaks to a cluster on a real one: ``python -m tests.cluster [KUBECONFIG]``.

Without a kubeconfig it is the lab's own real control plane (``runbook lab control-plane build``): then the emulator is
held to it, too, the roles are proven on it, and the notebooks and scenarios run on a lab whose cluster is real.
``--short`` leaves out what needs a lab under load for long: the notebooks and the scenarios. ``--contract`` runs what a
minute is enough for, and of that only what is on this machine already: the emulator against the real API server, and
the store against Prometheus's own test files.

The cluster is changed: each test makes namespaces of its own, and the Helm tests need one called ``production``, which
must not be there before and is deleted afterwards. Nothing of the emulator is started. What the cluster or this machine
lacks is skipped by name.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runbook_lib.clients._kubernetes import ApiServer
from runbook_lib.errors import ActionError, SourceEmptyError, SourceError
from runbook_lib.lab.cluster import write_tokens
from runbook_lib.lab.components import Spawner
from runbook_lib.lab.process import free_port
from runbook_lib.lab.realplane import programs as realplane
from runbook_lib.lab.realplane import start
from runbook_lib.lab.release import NAMESPACE
from runbook_lib.lab.state import stop_all
from tests.cluster.figures import FILE, Figures

ROOT = Path(__file__).resolve().parents[2]
TESTS = (
    "tests/clients/test_kubernetes.py",
    "tests/clients/test_kubernetes_objects.py",
    "tests/clients/test_helm.py",
    "tests/run/test_reconcile_kinds.py",
    "tests/authoring/test_held_fields.py",
)
#: With a control plane of our own: the emulator is compared with it, and the lab stands on it.
PLANE_TESTS = ("tests/lab/controlplane", "tests/lab/test_realplane.py")
#: The emulator's answers are compared with those of the real one, so both sides run.
PLANE_WORDS = "real or as_recorded"
CONTRACT_TESTS = ("tests/lab/controlplane/contract",)
METRICS_TESTS = ("tests/lab/metrics/test_promql_files.py",)
LONG_TESTS = (
    "tests/cluster/test_bad_clusters.py",
    "tests/cluster/test_roles.py",
    "tests/notebooks",
    "tests/cluster/test_scenarios.py",
)
#: It brings a node of its own, and so needs a cluster that has none.
NODE_TESTS = ("tests/lab/node",)
#: What tells the tests to use a control plane of our own.
OURS = {"RUNBOOK_TEST_CONTROL_PLANE": "real"}
#: Prometheus's own test files, as the module of its v3 line carries them.
PROMETHEUS = "github.com/prometheus/prometheus@v0.316.0"
PROMQL_FILES = "RUNBOOK_PROMQL_TESTDATA"
DOWNLOAD_SECONDS = 180


@dataclass
class Suite:
    """Runs tests, each part in a process of its own, and adds up what they count.

    Attributes:
        figures: what was counted.
        code: exit status of the first part that failed; 0 when none did.
    """

    figures: Figures = field(default_factory=Figures)
    code: int = 0
    began: float = field(default_factory=time.monotonic)

    def run(self, files: tuple[str, ...], *, words: str = "", **environment: str) -> None:
        """Run test files; ``words`` selects among their tests, as pytest's ``-k``."""
        began = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.cluster.figures"]
        with tempfile.NamedTemporaryFile("r", prefix="runbook-figures-", encoding="utf-8") as file:
            done = subprocess.run(
                [*command, *(("-k", words) if words else ()), *(str(ROOT / name) for name in files)],
                cwd=ROOT,
                env={**os.environ, **environment, FILE: file.name},
                check=False,
            )
            for line in file:
                self.figures.add(line)
        self.code = self.code or done.returncode
        sys.stdout.write(f"{', '.join(files)}: {time.monotonic() - began:.0f} s\n\n")


def main() -> int:
    """Run the tests; 0 when all that could run passed, 2 when the cluster cannot be used."""
    parser = argparse.ArgumentParser(prog="tests.cluster", description=__doc__.splitlines()[0])
    parser.add_argument("kubeconfig", type=Path, nargs="?", help="an administrator's kubeconfig of a cluster for tests")
    parser.add_argument("--short", action="store_true", help="without the notebooks and the scenarios")
    parser.add_argument(
        "--contract", action="store_true", help="what is here already and takes a minute; builds nothing"
    )
    given = parser.parse_args()
    if given.contract:
        return _contract()
    if given.kubeconfig is not None:
        suite = Suite()
        told = _on(given.kubeconfig, suite, {})
    else:
        programs = realplane.find()
        if programs is None:
            sys.stderr.write("no real control plane; build one with: runbook lab control-plane build\n")
            return 2
        suite = Suite()
        told = _on_our_own(suite, programs, short=given.short)
    if told:
        _print(suite, told)
    return suite.code


def _contract() -> int:
    """What was built and downloaded before, compared; the rest is named. 0 also when nothing is here."""
    suite, skipped = Suite(), list[str]()
    programs = realplane.find()
    if programs is None:
        skipped.append(
            "the emulator against a real API server: none is built (runbook lab control-plane build, with Go)"
        )
    else:
        suite.run(CONTRACT_TESTS, words=PLANE_WORDS, **OURS)
    files = _promql_files(download=False)
    if not Path(files.get(PROMQL_FILES) or os.environ.get(PROMQL_FILES) or "/nowhere").is_dir():
        skipped.append(f"Prometheus's own test files: not in Go's module cache (go mod download {PROMETHEUS})")
    else:
        suite.run(METRICS_TESTS, **files)
    suite.figures.skipped.update(skipped)
    _print(suite, f"control plane {'none' if programs is None else programs.source}")
    return suite.code


def _on_our_own(suite: Suite, programs: realplane.Programs, *, short: bool) -> str:
    """Everything, on control planes that are started here; returns what they are."""
    suite.run(PLANE_TESTS, words=PLANE_WORDS, **OURS)
    suite.run(METRICS_TESTS, **_promql_files())
    with tempfile.TemporaryDirectory(prefix="runbook-cluster-") as folder:
        place = Path(folder)
        for name in ("logs", "kubernetes"):
            (place / name).mkdir()
        tokens = write_tokens(place / "kubernetes" / "tokens.csv")
        try:
            parts = list(start.start(Spawner(place), programs, free_port(), tokens["admin"]))
            assert all(part.alive for part in parts)
            _on(place / "kubernetes" / "admin.kubeconfig", suite, OURS)
        finally:
            stop_all(place)
    if not short:
        suite.run(LONG_TESTS, **OURS)
    return f"control plane {realplane.VERSION if programs.source == 'built' else ''} ({programs.source})"


def _promql_files(*, download: bool = True) -> dict[str, str]:
    """Where Prometheus's test files are: as the environment says, else in Go's module cache, else nowhere."""
    go = shutil.which("go")
    if os.environ.get(PROMQL_FILES) or go is None:
        return {}
    try:
        if download:
            # Outside a module: the versions of a go.mod nearby are not meant.
            subprocess.run([go, "mod", "download", PROMETHEUS], cwd="/", capture_output=True, timeout=DOWNLOAD_SECONDS,
                           check=True)  # fmt: skip
        cache = subprocess.run([go, "env", "GOMODCACHE"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"Prometheus's test files could not be had: {type(error).__name__}\n")
        return {}
    return {PROMQL_FILES: str(Path(cache.strip()) / PROMETHEUS / "promql" / "promqltest" / "testdata")}


def _on(kubeconfig: Path, suite: Suite, environment: Mapping[str, str]) -> str:
    """The tests for any cluster; returns what it is, empty when it cannot be used."""
    api = ApiServer(str(kubeconfig), "", connect_seconds=3, total_seconds=10)
    used = False
    try:
        problem, told, nodes = _looked_at(api)
        if problem:
            sys.stderr.write(f"{problem}\n")
            suite.code = suite.code or 2
            return ""
        used = True
        where = {"RUNBOOK_TEST_CLUSTER": str(kubeconfig.resolve())}
        suite.run((*TESTS, *(() if nodes else NODE_TESTS)), words="real", **environment, **where)
        return told
    finally:
        if used:
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
    try:
        api.write("DELETE", f"/api/v1/namespaces/{NAMESPACE}", None)
    except (SourceError, ActionError) as error:
        sys.stderr.write(f"namespace {NAMESPACE!r} could not be deleted: {error}\n")


def _print(suite: Suite, told: str) -> None:
    figures = suite.figures
    programs = {"helm": shutil.which("helm"), "helm 3": os.environ.get("RUNBOOK_TEST_HELM3"),
                "helm 4": os.environ.get("RUNBOOK_TEST_HELM4")}  # fmt: skip
    there = ", ".join(name for name, place in programs.items() if place) or "no helm command"
    lines = [f"{told}; the Helm SDK and {there}"]
    lines.append(
        f"{figures.ended['passed']} passed, {figures.ended['failed']} failed in {time.monotonic() - suite.began:.0f} s"
    )
    lines += [f"  {count} skipped: {reason}" for reason, count in figures.skipped.most_common()]
    count = figures.counted
    if count["answers compared"]:
        compared, still = count["answers compared"], count["recorded answers still real"]
        lines.append(f"the real server's answers as recorded: {still} of {compared}")
        lines.append(f"the emulator's answers alike: {count['answers alike']} of {compared}")
    if count["right"]:
        told = ", ".join(f"{count[name]} {name}" for name in ("right", "refused", "wrong"))
        lines.append(f"PromQL tests of Prometheus: {told}")
    if count["scenarios"]:
        lines.append(f"scenarios right on a real control plane: {count['scenarios right']} of {count['scenarios']}")
    lines += [f"  {line}" for line in figures.listed.get("scenarios wrong", ())]
    for name in ("verbs granted", "verbs used"):
        lines += [f"{name}: {line}" for line in figures.listed.get(name, ())]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
