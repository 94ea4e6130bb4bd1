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
    for i, finalizer in enumerate(metadata.get("finalizers") or []):
        if "/" not in finalizer and finalizer not in ("kubernetes", "orphan", "foregroundDeletion"):
            causes.append(
                names.wrong(
                    f"metadata.finalizers[{i}]",
                    finalizer,
                    "name is neither a standard finalizer name nor is it fully qualified",
                )
            )
    causes.extend(_owners(metadata.get("ownerReferences") or []))
    return causes


def _owners(owners: list[Object]) -> list[Cause]:
    field = "metadata.ownerReferences"
    causes: list[Cause] = []
    for owner in owners:
        for key in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(key):
                message = "version must not be empty" if key == "apiVersion" else "must not be empty"
                causes.append(names.wrong(f"{field}.{key}", owner.get(key, ""), message))
    leading = [owner for owner in owners if owner.get("controller")]
    if len(leading) > 1:
        pair = " and ".join(f"{owner['kind']}/{owner['name']}" for owner in leading[:2])
        message = f'Only one reference can have Controller set to true. Found "true" in references for {pair}'
        causes.append(names.wrong(field, owners, message))
    return causes


def check_identity(live: Object, item: Object) -> list[Cause]:
    """Changes of what identifies an object; the server's two layers of rules both complain."""
    causes: list[Cause] = []
    for key in ("uid",):
        given = item["metadata"].get(key)
        if given and given != live["metadata"].get(key):
            causes.append(names.wrong(f"metadata.{key}", given, "field is immutable"))
    if live["metadata"].get("deletionTimestamp"):
        known = live["metadata"].get("finalizers") or []
        late = [name for name in item["metadata"].get("finalizers") or [] if name not in known]
        if late:
            shown = "[]string{" + ", ".join(names.shown(name) for name in late) + "}"
            text = f"no new finalizers can be added if the object is being deleted, found new finalizers {shown}"
            causes.append(names.forbidden("metadata.finalizers", text))
    return causes * 2


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
    causes: list[Cause] = []
    for key in sorted(annotations):
        causes.extend(
            names.wrong("metadata.annotations", key, problem) for problem in names.qualified_problems(key.lower())
        )
    if sum(len(key) + len(value) for key, value in annotations.items()) > ANNOTATIONS_BYTES:
        causes.append(names.too_long("metadata.annotations", ANNOTATIONS_BYTES))
    return causes
