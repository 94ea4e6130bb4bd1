"""Rules of object metadata."""

from __future__ import annotations

from runbook_lib.lab.controlplane.kinds import Kind
from runbook_lib.lab.controlplane.rules import names
from runbook_lib.lab.controlplane.status import Cause
from runbook_lib.lab.controlplane.store import Object

ANNOTATIONS_BYTES = 256 * 1024
LABEL_NAMES = {"namespaces"}
LABEL_1035_NAMES = {"services"}
PATH_NAMES = {"roles", "rolebindings", "clusterroles", "clusterrolebindings"}


def check(kind: Kind, item: Object) -> list[Cause]:
    """Broken rules of name, labels, annotations, finalizers and owner references."""
    metadata = item["metadata"]
    causes: list[Cause] = []
    name = metadata.get("name", "")
    if not name:
        causes.append(names.required("metadata.name", "name or generateName is required"))
    else:
        causes.extend(names.wrong("metadata.name", name, problem) for problem in name_problems(kind, name))
    causes.extend(names.check_labels(metadata.get("labels"), "metadata.labels"))
    causes.extend(_annotations(metadata.get("annotations") or {}))
    for finalizer in metadata.get("finalizers") or []:
        if "/" not in finalizer and finalizer not in ("kubernetes", "orphan", "foregroundDeletion"):
            causes.append(names.wrong("metadata.finalizers", finalizer,
                                      "name is neither a standard finalizer name nor is it fully qualified"))  # fmt: skip
    for i, owner in enumerate(metadata.get("ownerReferences") or []):
        for key in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(key):
                message = "version must not be empty" if key == "apiVersion" else "must not be empty"
                causes.append(names.wrong(f"metadata.ownerReferences[{i}].{key}", owner.get(key, ""), message))
    return causes


def name_problems(kind: Kind, name: str) -> list[str]:
    """What keeps a text from being a name of that kind."""
    if kind.resource in LABEL_NAMES:
        return names.label_problems(name)
    if kind.resource in LABEL_1035_NAMES:
        return names.label_1035_problems(name)
    if kind.resource in PATH_NAMES:
        return names.path_segment_problems(name)
    return names.subdomain_problems(name)


def _annotations(annotations: dict[str, str]) -> list[Cause]:
    causes = []
    for key in sorted(annotations):
        causes.extend(names.wrong("metadata.annotations", key, problem) for problem in names.qualified_problems(key.lower()))
    if sum(len(key) + len(value) for key, value in annotations.items()) > ANNOTATIONS_BYTES:
        causes.append(names.too_long("metadata.annotations", ANNOTATIONS_BYTES))
    return causes
