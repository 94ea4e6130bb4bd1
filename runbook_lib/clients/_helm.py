"""The two back ends of Helm: the ``helm`` command, and the pip-installable SDK in a child process."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from runbook_lib.clients._process import Finished, run
from runbook_lib.errors import (
    ActionRejectedError,
    SourceAnswerError,
    SourceDeniedError,
    SourceError,
    SourceTimeoutError,
)

SOURCE = "helm"
_READ_SECONDS = 20.0
#: Revisions that are kept: what the command does by default (``--history-max``), and the SDK only when told.
MAX_HISTORY = 10
#: A dry run loads the cluster's schemas first.
_RENDER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Target:
    """Which release of which cluster.

    Args:
        release: name of the release.
        namespace: where it lives.
        kubeconfig: file with the cluster's address and credentials.
        context: context of that file; empty for its current one.
    """

    release: str
    namespace: str
    kubeconfig: str
    context: str


class Backend(Protocol):
    """What both back ends do. Reads raise SourceError; writes return how the program ended."""

    name: str

    def version(self) -> str:
        """Version of Helm, such as ``v4.2.3``."""
        ...

    def history(self, target: Target) -> list[dict[str, Any]]:
        """The revisions, oldest first."""
        ...

    def values(self, target: Target) -> dict[str, Any]:
        """The values that were given to the newest revision."""
        ...

    def manifest(self, target: Target, revision: int) -> str:
        """The manifest of a revision, as YAML without hooks; may hold secrets."""
        ...

    def render(self, target: Target, chart: str, values: Mapping[str, Any]) -> Finished:
        """What an upgrade would apply, as JSON with ``manifest``; changes nothing."""
        ...

    def upgrade(
        self, target: Target, chart: str, values: Mapping[str, Any], *, force_conflicts: bool, deadline_seconds: float
    ) -> Finished:
        """Upgrade, without waiting for the rollout."""
        ...

    def rollback(self, target: Target, revision: int, *, force_conflicts: bool, deadline_seconds: float) -> Finished:
        """Return to a revision, without waiting for the rollout."""
        ...


def backend() -> Backend:
    """The ``helm`` command where there is one, else the SDK.

    Raises:
        SourceError: there is neither.
    """
    if shutil.which("helm"):
        return Command()
    if importlib.util.find_spec("helm_python") is not None:
        return Sdk()
    raise SourceDeniedError(
        "neither the helm command nor the extra 'lab' (helm-python-sdk) is installed", source=SOURCE
    )


class Command:
    """The ``helm`` command, 3.12 or later.

    Args:
        program: its file; default: the one on PATH.
    """

    name = "command"

    def __init__(self, program: str = "helm") -> None:
        self._program = program
        self._version = ""

    def version(self) -> str:
        """Version of the command."""
        if not self._version:
            self._version = _text(self._run(["version", "--template", "{{.Version}}"], _READ_SECONDS)).strip()
        return self._version

    def history(self, target: Target) -> list[dict[str, Any]]:
        """The revisions, oldest first."""
        argv = ["history", target.release, *_where(target), "--output", "json"]
        return list(_json(self._run(argv, _READ_SECONDS)))

    def values(self, target: Target) -> dict[str, Any]:
        """The values that were given to the newest revision."""
        argv = ["get", "values", target.release, *_where(target), "--output", "json"]
        return dict(_json(self._run(argv, _READ_SECONDS)) or {})

    def manifest(self, target: Target, revision: int) -> str:
        """The manifest of a revision."""
        argv = ["get", "manifest", target.release, "--revision", str(revision), *_where(target)]
        return _text(self._run(argv, _READ_SECONDS))

    def render(self, target: Target, chart: str, values: Mapping[str, Any]) -> Finished:
        """What an upgrade would apply."""
        return self._upgrade(target, chart, values, ["--dry-run=server"], _RENDER_SECONDS)

    def upgrade(
        self, target: Target, chart: str, values: Mapping[str, Any], *, force_conflicts: bool, deadline_seconds: float
    ) -> Finished:
        """Upgrade, without waiting for the rollout."""
        return self._upgrade(target, chart, values, self._force(force_conflicts), deadline_seconds)

    def rollback(self, target: Target, revision: int, *, force_conflicts: bool, deadline_seconds: float) -> Finished:
        """Return to a revision, without waiting for the rollout."""
        argv = ["rollback", target.release, str(revision), *_where(target), *self._force(force_conflicts)]
        return self._run(argv, deadline_seconds)

    def _force(self, force_conflicts: bool) -> list[str]:
        # Helm 3 applies on the client's side: it overwrites other managers anyway and has no such option.
        return ["--force-conflicts"] if force_conflicts and not self.version().startswith("v3") else []

    def _upgrade(
        self, target: Target, chart: str, values: Mapping[str, Any], more: list[str], deadline_seconds: float
    ) -> Finished:
        with tempfile.TemporaryDirectory() as folder:  # mode 0700: values may hold secrets
            file = Path(folder) / "values.json"  # JSON is YAML
            file.write_text(json.dumps(values), encoding="utf-8")
            argv = ["upgrade", target.release, chart, *_where(target), "--values", str(file), "--output", "json", *more]
            return self._run(argv, deadline_seconds)

    def _run(self, argv: list[str], deadline_seconds: float) -> Finished:
        return run([self._program, *argv], deadline_seconds=deadline_seconds, environment=_environment())


class Sdk:
    """Helm 4 as a library, in a child whose ``argv[0]`` ends in ``/helm``.

    Helm takes its field manager from the base name of ``argv[0]``: with another name an upgrade of a release made by
    the command conflicts with the command's own fields.
    """

    name = "sdk"

    def version(self) -> str:
        """Version of the library's Helm."""
        return str(_json(self._call({"verb": "version"}, _READ_SECONDS)))

    def history(self, target: Target) -> list[dict[str, Any]]:
        """The revisions, oldest first."""
        return list(_json(self._call({"verb": "history", **_named(target)}, _READ_SECONDS)))

    def values(self, target: Target) -> dict[str, Any]:
        """The values that were given to the newest revision."""
        return dict(_json(self._call({"verb": "values", **_named(target)}, _READ_SECONDS)) or {})

    def manifest(self, target: Target, revision: int) -> str:
        """The manifest of a revision."""
        return str(_json(self._call({"verb": "manifest", **_named(target), "revision": revision}, _READ_SECONDS)))

    def render(self, target: Target, chart: str, values: Mapping[str, Any]) -> Finished:
        """What an upgrade would apply."""
        request = {"chart": chart, "values": dict(values), "options": {"dry_run": "server"}}
        return self._call({"verb": "upgrade", **_named(target), **request}, _RENDER_SECONDS)

    def upgrade(
        self, target: Target, chart: str, values: Mapping[str, Any], *, force_conflicts: bool, deadline_seconds: float
    ) -> Finished:
        """Upgrade, without waiting for the rollout."""
        options = {"force_conflicts": force_conflicts, "max_history": MAX_HISTORY}
        request = {"chart": chart, "values": dict(values), "options": options}
        return self._call({"verb": "upgrade", **_named(target), **request}, deadline_seconds)

    def rollback(self, target: Target, revision: int, *, force_conflicts: bool, deadline_seconds: float) -> Finished:
        """Return to a revision, without waiting for the rollout."""
        request = {"options": {"version": revision, "force_conflicts": force_conflicts, "max_history": MAX_HISTORY}}
        return self._call({"verb": "rollback", **_named(target), **request}, deadline_seconds)

    def _call(self, request: Mapping[str, Any], deadline_seconds: float) -> Finished:
        # The file need not exist: Python finds its environment from the folder, Helm its manager from the name.
        argv = [str(Path(sys.executable).with_name("helm")), "-m", "runbook_lib.clients._helm_child"]
        return run(
            argv,
            executable=sys.executable,
            text=json.dumps(request),
            deadline_seconds=deadline_seconds,
            environment=_environment(),
        )


def _where(target: Target) -> list[str]:
    context = ["--kube-context", target.context] if target.context else []
    return ["--namespace", target.namespace, "--kubeconfig", target.kubeconfig, *context]


def _named(target: Target) -> dict[str, str]:
    return {
        "release": target.release,
        "namespace": target.namespace,
        "kubeconfig": target.kubeconfig,
        "context": target.context,
    }


def _environment() -> dict[str, str]:
    """Ours without what would turn Helm to another cluster or storage; and no plugins."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("HELM_KUBE", "HELM_DRIVER"))}
    return {**ours, "HELM_NO_PLUGINS": "1"}


def _text(done: Finished) -> str:
    if done.timed_out:
        raise SourceTimeoutError("helm did not end in time", source=SOURCE)
    if done.code != 0:
        raise read_error(done)
    return done.output


def _json(done: Finished) -> Any:
    try:
        return json.loads(_text(done))
    except ValueError as error:
        raise SourceAnswerError("helm wrote something that is not JSON", source=SOURCE) from error


def read_error(done: Finished) -> SourceError:
    """Why a read failed, from Helm's own words."""
    said = words(done)
    if "forbidden" in said.lower() or "unauthorized" in said.lower():
        return SourceDeniedError(said, source=SOURCE)
    return SourceAnswerError(said, source=SOURCE)


def words(done: Finished) -> str:
    """The last line that Helm wrote about its failure."""
    lines = [line for line in done.errors.splitlines() if line.strip()]
    said = lines[-1].strip().removeprefix("Error: ") if lines else f"it ended with {done.code} and said nothing"
    return said[:500]


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Values merged as Helm merges several files: tables key by key, everything else replaced."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def read_values(path: Path) -> dict[str, Any]:
    """Values of a YAML file.

    Raises:
        ActionRejectedError: it cannot be read, or is no table.
    """
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ActionRejectedError(f"values file {path} cannot be read: {type(error).__name__}") from error
    if not isinstance(found, dict):
        raise ActionRejectedError(f"values file {path} holds no table")
    return found
