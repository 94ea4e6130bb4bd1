"""Where the programs of a real control plane are: built by us with Go, named by ``KUBEBUILDER_ASSETS``, or on PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from runbook_lib.errors import LabError

#: The release that ``module/go.mod`` pins.
VERSION = "v1.35.4"
PARTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
#: Compiling a control plane takes about five minutes on two cores; downloads come on top.
BUILD_SECONDS = 3600
_VERSION_PACKAGE = "k8s.io/component-base/version"


@dataclass(frozen=True, slots=True)
class Programs:
    """How each part is called.

    Args:
        commands: part -> the words that start it, before its own flags.
        source: where they are from: ``built``, ``KUBEBUILDER_ASSETS`` or ``PATH``.
    """

    commands: Mapping[str, tuple[str, ...]]
    source: str


def built_path() -> Path:
    """Where ``build`` puts the program: in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "runbook" / "control-plane" / VERSION


def find() -> Programs | None:
    """The programs of a real control plane; None when a part is missing."""
    built = built_path()
    if os.access(built, os.X_OK):
        return Programs({part: (str(built), part) for part in PARTS}, "built")
    assets = os.environ.get("KUBEBUILDER_ASSETS", "")
    # The assets of kubebuilder may lack the controllers; the missing parts come from PATH.
    path = os.pathsep.join(place for place in (assets, os.environ.get("PATH", "")) if place)
    found = {part: shutil.which(part, path=path) for part in PARTS}
    if not all(found.values()):
        return None
    return Programs({part: (str(place),) for part, place in found.items()}, "KUBEBUILDER_ASSETS" if assets else "PATH")


def build() -> Path:
    """Compile the control plane with Go, once; returns the program.

    Raises:
        LabError: Go is missing, or it could not compile; carries the end of what it said.
    """
    target = built_path()
    if os.access(target, os.X_OK):
        return target
    go = shutil.which("go")
    if go is None:
        raise LabError(
            "go is not on PATH: install Go 1.25 or newer to build a real control plane, or use the emulated one"
        )
    major, minor, _ = VERSION.removeprefix("v").split(".")
    stamps = {"gitVersion": VERSION, "gitMajor": major, "gitMinor": minor}
    flags = " ".join(["-s", "-w", *(f"-X {_VERSION_PACKAGE}.{name}={value}" for name, value in stamps.items())])
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(f".{os.getpid()}")
    with resources.as_file(resources.files("runbook_lib.lab.realplane").joinpath("module")) as module:
        done = subprocess.run(
            [go, "build", "-trimpath", "-ldflags", flags, "-o", str(unfinished), "."],
            cwd=module,
            env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"},
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    if done.returncode:
        unfinished.unlink(missing_ok=True)
        raise LabError(f"go build ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    unfinished.replace(target)
    return target
