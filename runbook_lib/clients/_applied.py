"""What applying a manifest would change, asked of the API server itself, object by object.

``helm --dry-run=server`` reads only Secrets: it shows neither the difference to the cluster nor the fields that
somebody else owns. A server-side apply with ``dryRun=All`` shows both.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runbook_lib.clients._kubernetes import ApiServer, path
from runbook_lib.clients._open_secrets import open_secrets
from runbook_lib.errors import SourceAnswerError, SourceEmptyError
from runbook_lib.model.canonical import digest
from runbook_lib.secrets import Redactor

MANAGER = "helm"
_MOVING = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
_CONFLICT = re.compile(r'conflict with "(?P<manager>[^"]*)"(?: with subresource "(?P<subresource>[^"]*)")?')
_STEP = re.compile(r"\.([^.\[]+)|\[([^\]]+)\]")
_MAX_LINES = 400


def preview(
    server: ApiServer,
    manifest: str,
    release: str,
    namespace: str,
    redactor: Redactor,
    values: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Hold a manifest against the cluster.

    Args:
        server: the cluster, as the user who would apply it.
        manifest: objects as YAML.
        release: name of the release that owns them.
        namespace: namespace of the release, and of objects that name none.
        redactor: takes known and likely secrets out of the difference; it learns those that stand in the open.
        values: what the chart was given to render it.

    Returns:
        ``{manifest, objects, images, changed, diff, conflicts, secrets}``: the manifest's digest, the number of objects
        and of those that would change, the images of its pods, a unified diff, ``{object, field, manager, live,
        wanted}`` of every field that another manager holds with another value, and where a secret stands in the open.

    Raises:
        SourceError: the cluster refuses an object, or does not answer.
    """
    import yaml

    objects = [_owned(one, release, namespace) for one in yaml.safe_load_all(manifest) if one]
    secrets = open_secrets(values or {}, objects, redactor)
    lines: list[str] = []
    conflicts: list[dict[str, Any]] = []
    changed = 0
    for one, place in zip(objects, _paths(server, objects, namespace), strict=True):
        name = f"{str(one['kind']).lower()}/{one['metadata']['name']}"
        live = _live(server, place)
        would = _would_be(server, place, one, name)
        found = _difference(name, live, would)
        changed += bool(found)
        lines += found
        conflicts += _conflicts(server, place, one, name, live)
    if len(lines) > _MAX_LINES:
        lines = [*lines[:_MAX_LINES], f"and {len(lines) - _MAX_LINES} more lines"]
    return {
        "manifest": digest(objects),
        "objects": len(objects),
        "images": sorted({image for one in objects for image in _images(one)}),
        "changed": changed,
        "diff": redactor.text("\n".join(lines)),
        "conflicts": redactor.data(conflicts),
        "secrets": secrets,
    }


def _owned(one: Mapping[str, Any], release: str, namespace: str) -> dict[str, Any]:
    """The object with what Helm itself writes on everything that it applies."""
    meta = dict(one["metadata"])
    meta["labels"] = {**(meta.get("labels") or {}), "app.kubernetes.io/managed-by": "Helm"}
    ours = {"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": namespace}
    meta["annotations"] = {**(meta.get("annotations") or {}), **ours}
    return {**one, "metadata": meta}


def _images(one: Mapping[str, Any]) -> Iterator[str]:
    template = (one.get("spec") or {}).get("template") or {}
    for container in (template.get("spec") or {}).get("containers") or ():
        yield str(container.get("image", ""))


def _paths(server: ApiServer, objects: Sequence[Mapping[str, Any]], namespace: str) -> Iterator[str]:
    kinds: dict[str, dict[str, tuple[str, bool]]] = {}
    for one in objects:
        version = str(one["apiVersion"])
        base = path("apis", *version.split("/")) if "/" in version else path("api", version)
        if version not in kinds:
            known = server.get(base)["resources"]
            kinds[version] = {r["kind"]: (r["name"], r["namespaced"]) for r in known if "/" not in r["name"]}
        if one["kind"] not in kinds[version]:
            raise SourceAnswerError(f"the cluster knows no kind {one['kind']} in {version}", source="kubernetes")
        plural, namespaced = kinds[version][one["kind"]]
        inside = path("namespaces", str(one["metadata"].get("namespace") or namespace)) if namespaced else ""
        yield base + inside + path(plural, str(one["metadata"]["name"]))


def _live(server: ApiServer, place: str) -> dict[str, Any]:
    try:
        return server.get(place)
    except SourceEmptyError:
        return {}


def _would_be(server: ApiServer, place: str, one: Mapping[str, Any], name: str) -> dict[str, Any]:
    status, answer = server.dry_apply(place, one, manager=MANAGER, force=True)
    if status >= 300:
        raise SourceAnswerError(
            f"the cluster would refuse {name}: {answer.get('message', status)}", source="kubernetes"
        )
    return answer


def _conflicts(
    server: ApiServer, place: str, one: Mapping[str, Any], name: str, live: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    status, answer = server.dry_apply(place, one, manager=MANAGER, force=False)
    if status != 409:
        return
    for cause in answer.get("details", {}).get("causes", ()):
        match = _CONFLICT.search(str(cause.get("message", "")))
        manager, subresource = match.groups() if match else ("", None)
        # A release of Helm 3 is owned by its client-side updates, which no later upgrade by Helm 3 conflicts with.
        if manager == MANAGER and not subresource and not _applies(live):
            continue
        field = str(cause.get("field", ""))
        yield {
            "object": name,
            "field": field,
            "manager": f"{manager} ({subresource})" if subresource else manager,
            "live": _value(live, field),
            "wanted": _value(one, field),
        }


def _applies(live: Mapping[str, Any]) -> bool:
    """Whether Helm holds the object by server-side apply, as Helm 4 does."""
    entries = live.get("metadata", {}).get("managedFields", ())
    return any((one.get("manager"), one.get("operation")) == (MANAGER, "Apply") for one in entries)


def _value(found: Any, field: str) -> Any:
    """The value at ``.spec.containers[name="api"].image``; None where there is none."""
    for match in _STEP.finditer(field):
        name, key = match.groups()
        if name is not None:
            found = found.get(name) if isinstance(found, Mapping) else None
        else:
            wanted = dict(part.split("=", 1) for part in key.split(",") if "=" in part)
            items = found if isinstance(found, list) else []
            found = next((i for i in items if all(_text(i.get(k)) == v for k, v in wanted.items())), None)
    return found


def _text(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _difference(name: str, live: Mapping[str, Any], would: Mapping[str, Any]) -> list[str]:
    before, after = _lines(live), _lines(would)
    return list(difflib.unified_diff(before, after, f"live {name}", f"wanted {name}", n=2, lineterm=""))


def _lines(found: Mapping[str, Any]) -> list[str]:
    import yaml

    if not found:
        return []
    shown = {key: value for key, value in found.items() if key != "status"}
    shown["metadata"] = {key: value for key, value in found["metadata"].items() if key not in _MOVING}
    if found.get("kind") == "Secret":
        # A changed value is seen by its digest, never by itself.
        shown["data"] = {key: digest(value)[:19] for key, value in (found.get("data") or {}).items()}
        shown.pop("stringData", None)
    return str(yaml.safe_dump(shown, sort_keys=True)).splitlines()
