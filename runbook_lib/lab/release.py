"""Helm operations on the lab's release, by the Helm SDK in a child process or by the ``helm`` command.

The SDK takes its field manager from the base name of ``argv[0]``: the child is started as ``.../helm``, so that a
release made here can be upgraded by the ``helm`` command and the other way round. A child also has its own process
group and deadline, and keeps the Go runtime out of this process.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_lib.errors import LabError

NAMESPACE = "production"
RELEASE = "api-release"
DEPLOYMENT = "api-deployment"
CHART = Path(__file__).parent / "charts" / "api"


@dataclass(frozen=True)
class Helm:
    """Helm for one cluster.

    Args:
        kubeconfig: file with the cluster's address and credentials.
        chart: folder of the chart; ``values-prod.yaml`` in it is always applied.
        deadline_seconds: after which an operation's process group is ended.
    """

    kubeconfig: Path
    chart: Path = CHART
    deadline_seconds: float = 60.0

    @property
    def backend(self) -> str:
        """``sdk`` or ``command``.

        Raises:
            LabError: neither the SDK nor the ``helm`` command is there.
        """
        if importlib.util.find_spec("helm_python") is not None:
            return "sdk"
        if shutil.which("helm"):
            return "command"
        raise LabError("no Helm: install the extra 'lab' (helm-python-sdk) or put helm on PATH")

    def version(self) -> str:
        """Version of Helm, such as ``v4.2.3``."""
        if self.backend == "command":
            return _run(["helm", "version", "--template", "{{.Version}}"], "", 10.0).strip()
        return str(self._call("version"))

    def install(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Install the release, creating its namespace.

        Args:
            values: on top of the chart's ``values-prod.yaml``.

        Returns:
            The new revision's summary.
        """
        if self.backend == "command":
            return self._command("install", values, ["--create-namespace"])
        return dict(self._call("install", values=dict(values)))

    def upgrade(self, values: Mapping[str, Any], *, force_conflicts: bool = False) -> dict[str, Any]:
        """Upgrade the release.

        Args:
            values: on top of the chart's ``values-prod.yaml``; values of earlier revisions are not reused.
            force_conflicts: whether to take fields back that another manager owns, such as a scaled replica count.
        """
        if self.backend == "command":
            return self._command("upgrade", values, ["--force-conflicts"] if force_conflicts and self._is_4() else [])
        return dict(self._call("upgrade", values=dict(values), force_conflicts=force_conflicts))

    def rollback(self, revision: int, *, force_conflicts: bool = False) -> None:
        """Return to a named revision; this makes a new one."""
        if self.backend == "command":
            force = ["--force-conflicts"] if force_conflicts and self._is_4() else []
            argv = ["helm", "rollback", RELEASE, str(revision), *self._target(), *force]
            _run(argv, "", self.deadline_seconds)
        else:
            self._call("rollback", revision=revision, force_conflicts=force_conflicts)

    def uninstall(self) -> None:
        """Remove the release and its history; nothing happens when there is none."""
        if self.backend == "command":
            argv = ["helm", "uninstall", RELEASE, *self._target(), "--ignore-not-found"]
            _run(argv, "", self.deadline_seconds)
        else:
            self._call("uninstall")

    def history(self) -> list[dict[str, Any]]:
        """All revisions, oldest first."""
        if self.backend == "command":
            argv = ["helm", "history", RELEASE, *self._target(), "--output", "json"]
            return list(json.loads(_run(argv, "", self.deadline_seconds)))
        return list(self._call("history"))

    def _is_4(self) -> bool:
        return self.version().startswith("v4")

    def _target(self) -> list[str]:
        return ["--namespace", NAMESPACE, "--kubeconfig", str(self.kubeconfig)]

    def _command(self, verb: str, values: Mapping[str, Any], more: list[str]) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "values.json"  # JSON is YAML
            file.write_text(json.dumps(dict(values)))
            argv = ["helm", verb, RELEASE, str(self.chart), *self._target(), "--output", "json", *more]
            argv += ["--values", str(self.chart / "values-prod.yaml"), "--values", str(file)]
            return dict(json.loads(_run(argv, "", self.deadline_seconds)))

    def _call(self, verb: str, **arguments: Any) -> Any:
        request = {"verb": verb, "kubeconfig": str(self.kubeconfig), "chart": str(self.chart), **arguments}
        name = str(Path(sys.executable).with_name("helm"))
        answer = _run([name, "-m", __name__], json.dumps(request), self.deadline_seconds, executable=sys.executable)
        return json.loads(answer)


def _run(argv: list[str], text: str, deadline_seconds: float, *, executable: str | None = None) -> str:
    """Run a program in its own process group; SIGTERM at the deadline, so that Helm can mark its release."""
    environment = {**os.environ, "HELM_NO_PLUGINS": "1"}
    with subprocess.Popen(
        argv,
        executable=executable,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment,
    ) as child:
        try:
            output, errors = child.communicate(text, timeout=deadline_seconds)
        except BaseException as error:
            os.killpg(child.pid, signal.SIGTERM)
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise LabError(f"helm did not end within {deadline_seconds:g} s") from error
            raise
    if child.returncode != 0:
        raise LabError(f"helm failed: {errors.strip().splitlines()[-1] if errors.strip() else child.returncode}")
    return output


def _child() -> None:
    """One SDK operation: a JSON request on stdin, its JSON answer on stdout, one line on stderr when it failed."""
    import helm_python
    from helm_python import _native

    request = json.load(sys.stdin)
    if request["verb"] == "version":
        json.dump(helm_python.helm_sdk_version(), sys.stdout)
        return
    try:
        with helm_python.Config(kubeconfig_path=request["kubeconfig"], namespace=NAMESPACE) as config:
            json.dump(_operation(request, config, helm_python, _native), sys.stdout)
    except helm_python.HelmError as error:
        raise SystemExit(" ".join(str(error).split())) from None


def _operation(request: Mapping[str, Any], config: Any, helm: Any, native: Any) -> Any:
    verb, chart = request["verb"], request["chart"]
    if verb == "history":
        return config.history(RELEASE)
    if verb == "uninstall":
        config.uninstall(RELEASE, ignore_not_found=True)
        return None
    if verb == "rollback":
        options = {"version": request["revision"], "force_conflicts": request["force_conflicts"]}
        native.call_status("helm_rollback", config._raw(), RELEASE, json.dumps(options))
        return None
    values = helm.values_from_yaml((Path(chart) / "values-prod.yaml").read_text())
    values = merged(values, request["values"])
    if verb == "install":
        answer = config.install(chart, RELEASE, values, create_namespace=True)
    else:
        # The public upgrade() has no force_conflicts.
        none, options = native.HANDLE(0), {"force_conflicts": request["force_conflicts"]}
        arguments = (config._raw(), none, none, chart, RELEASE, json.dumps(values), json.dumps(options))
        answer = json.loads(native.call_string("helm_upgrade", *arguments))
    return {key: value for key, value in answer.items() if key != "manifest"}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Values merged as Helm merges several files: tables key by key, everything else replaced."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


if __name__ == "__main__":
    _child()
