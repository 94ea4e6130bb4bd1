"""What a container would run: its image, command and environment as a local process."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_lib.lab.service.releases import RELEASES, REPOSITORY
from runbook_lib.lab.vendors import images as manifests

Object = dict[str, Any]
Reader = Callable[[str, str, str], Mapping[str, str]]  # kind, namespace, name -> data
_REGISTRY = "docker.io"
_REFERENCE = re.compile(
    r"(?P<repository>[a-z0-9./:_-]*?[a-z0-9._-]+)(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@sha256:[0-9a-f]{64})?"
)
_VARIABLE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")


class StartError(Exception):
    """A container cannot be started.

    Args:
        reason: the kubelet's word for it, such as ``"ErrImagePull"``.
        message: the sentence that goes with it.
    """

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


@dataclass(frozen=True)
class Image:
    """A resolved image.

    Args:
        name: the reference as the pod gives it.
        digest_id: ``repository@sha256:...``, equal for equal references.
        entrypoint: argv of the image.
        env: environment that the image brings.
    """

    name: str
    digest_id: str
    entrypoint: tuple[str, ...]
    env: Mapping[str, str]


def pull(reference: str, *, has_command: bool) -> Image:
    """Resolve an image reference.

    The ``api`` repository holds the releases of the lab; any other image stands for the programs of this machine and
    needs a ``command``.

    Args:
        reference: such as ``acme/api:v2``.
        has_command: whether the container names its own program.

    Raises:
        StartError: ErrImagePull or InvalidImageName, worded as containerd does.
    """
    match = _REFERENCE.fullmatch(reference)
    if not match:
        raise StartError(
            "InvalidImageName", f'Failed to apply default image tag "{reference}": invalid reference format'
        )
    repository, tag = match["repository"].removeprefix(f"{_REGISTRY}/"), match["tag"] or "latest"
    full = f"{_REGISTRY}/{repository}"
    known = tag in RELEASES if repository == REPOSITORY else has_command
    if not known:
        raise StartError(
            "ErrImagePull",
            f'failed to pull and unpack image "{full}:{tag}": failed to resolve reference "{full}:{tag}": '
            f"{full}:{tag}: not found",
        )
    if repository != REPOSITORY:
        digest = f"{full}@sha256:{hashlib.sha256(f'{repository}:{tag}'.encode()).hexdigest()}"
        return Image(reference, digest, (), {})
    # The registry's digest: a rollout is held against it.
    digest = f"{full}@{manifests.digest(tag)}"
    return Image(reference, digest, (sys.executable, "-m", "runbook_lib.lab.service"), {"APP_VERSION": tag})


def argv(container: Object, image: Image, env: Mapping[str, str]) -> list[str]:
    """The container's argv: command and args over the image's entrypoint, with ``$(NAME)`` replaced."""
    program = container.get("command") or list(image.entrypoint)
    return [expand(part, env) for part in [*program, *(container.get("args") or [])]]


def environment(pod: Object, container: Object, image: Image, read: Reader, pod_ip: str) -> dict[str, str]:
    """The container's environment.

    Args:
        pod: the pod.
        container: one of its containers.
        image: its image, whose environment comes first.
        read: reads the data of a ConfigMap or Secret; raises KeyError when there is none.
        pod_ip: address for ``status.podIP``.

    Raises:
        StartError: CreateContainerConfigError for a missing ConfigMap, Secret or key.
    """
    env = {**_base(), **image.env}
    namespace = pod["metadata"]["namespace"]
    for source in container.get("envFrom") or []:
        for kind in ("configMapRef", "secretRef"):
            if kind in source:
                data = _data(read, kind, namespace, source[kind])
                env.update({source.get("prefix", "") + key: value for key, value in data.items()})
    for entry in container.get("env") or []:
        value = entry.get("value", "")
        if "valueFrom" in entry:
            value = _value_from(entry["valueFrom"], pod, container, read, pod_ip)
        env[entry["name"]] = expand(value, env)
    return env


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` by its value; unknown names stay, ``$$`` is a dollar."""
    return _VARIABLE.sub(lambda m: "$" if m[0] == "$$" else env.get(m[1], m[0]), text)


def _base() -> dict[str, str]:
    package_root = str(Path(__file__).resolve().parents[3])
    inherited = os.environ.get("PYTHONPATH", "")
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONPATH": os.pathsep.join(part for part in (package_root, inherited) if part),
        "PYTHONUNBUFFERED": "1",
        "MALLOC_ARENA_MAX": "2",  # one malloc arena per thread would cost megabytes in every pod
    }


def _data(read: Reader, kind: str, namespace: str, reference: Object) -> Mapping[str, str]:
    word = "configmap" if kind.startswith("configMap") else "secret"
    try:
        return read(word, namespace, reference["name"])
    except KeyError:
        if reference.get("optional"):
            return {}
        raise StartError("CreateContainerConfigError", f'{word} "{reference["name"]}" not found') from None


def _value_from(source: Object, pod: Object, container: Object, read: Reader, pod_ip: str) -> str:
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if kind in source:
            reference = source[kind]
            data = _data(read, kind, pod["metadata"]["namespace"], reference)
            if reference["key"] not in data and not reference.get("optional"):
                word = "ConfigMap" if kind.startswith("configMap") else "Secret"
                where = f"{pod['metadata']['namespace']}/{reference['name']}"
                message = f"couldn't find key {reference['key']} in {word} {where}"
                raise StartError("CreateContainerConfigError", message)
            return data.get(reference["key"], "")
    if "resourceFieldRef" in source:
        resource = source["resourceFieldRef"]["resource"]
        kind, _, name = resource.partition(".")
        return str((container.get("resources") or {}).get(kind, {}).get(name, ""))
    return _field(source.get("fieldRef", {}).get("fieldPath", ""), pod, pod_ip)


def _field(path: str, pod: Object, pod_ip: str) -> str:
    keyed = re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path)
    if keyed:
        return str((pod["metadata"].get(keyed[1]) or {}).get(keyed[2], ""))
    values = {
        "metadata.name": pod["metadata"]["name"],
        "metadata.namespace": pod["metadata"]["namespace"],
        "metadata.uid": pod["metadata"]["uid"],
        "spec.nodeName": pod["spec"].get("nodeName", ""),
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", ""),
        "status.podIP": pod_ip,
        "status.hostIP": "127.0.0.1",
    }
    if path not in values:
        raise StartError("CreateContainerConfigError", f"unsupported fieldPath: {path}")
    return str(values[path])
