"""Write requests: options, bodies, patch types, subresources."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from runbook_lib.lab.controlplane import bodies, defaults, lists, status
from runbook_lib.lab.controlplane.kinds import Kind
from runbook_lib.lab.controlplane.patches.json import JsonPatchError, json_patch
from runbook_lib.lab.controlplane.patches.merge import merge_patch
from runbook_lib.lab.controlplane.patches.strategic import StrategicPatchError, strategic_patch
from runbook_lib.lab.controlplane.requests import Target, is_true
from runbook_lib.lab.controlplane.resources import APPLY_TYPE, Resources, Write
from runbook_lib.lab.controlplane.rules import names
from runbook_lib.lab.controlplane.status import ApiError, Cause
from runbook_lib.lab.controlplane.store import Object

JSON_PATCH, MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, APPLY_TYPE, STRATEGIC_PATCH)
OPTIONS = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions", "DELETE": "DeleteOptions"}


def write_options(method: str, query: Mapping[str, str], user_agent: str, *, apply: bool = False) -> Write:
    """Field manager, dry run and validation of a write.

    Raises:
        ApiError: 422 for a wrong option or an apply without a manager.
    """
    causes: list[Cause] = []
    manager = query.get("fieldManager", "")
    if apply and not manager:
        causes.append(names.required("fieldManager", "is required for apply patch"))
    if len(manager) > 128:
        causes.append(names.too_long("fieldManager", 128))
    if "force" in query and method == "PATCH" and not apply:
        causes.append(names.forbidden("force", "may not be specified for non-apply patch"))
    dry_run = query.get("dryRun", "")
    if dry_run not in ("", "All"):
        causes.append(names.unsupported("dryRun", dry_run, ["All"]))
    validation = query.get("fieldValidation", "") or "Warn"
    if validation not in ("Ignore", "Strict", "Warn"):
        causes.append(names.unsupported("fieldValidation", validation, ["Ignore", "Strict", "Warn"]))
    if causes:
        raise options_error(OPTIONS[method], causes)
    manager = manager or user_agent.split("/")[0][:128] or "unknown"
    return Write(manager, bool(dry_run), validation, is_true(query.get("force", "")))


def check_dry_run(options: Object, query: Mapping[str, str]) -> None:
    """Refuse a dry run that is no dry run.

    Raises:
        ApiError: 422.
    """
    given = options.get("dryRun") or ([query["dryRun"]] if query.get("dryRun") else [])
    if given not in ([], ["All"]):
        raise options_error("DeleteOptions", [names.unsupported("dryRun", given, ["All"])])


def options_error(kind: str, causes: list[Cause]) -> ApiError:
    """A 422 about the request's options."""
    texts = [f"{cause.field}: {cause.message}" for cause in causes]
    joined = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    details = {"group": "meta.k8s.io", "kind": kind, "causes": [cause.as_dict() for cause in causes]}
    return ApiError(422, "Invalid", f'{kind}.meta.k8s.io "" is invalid: {joined}', details)


def patch(resources: Resources, kind: Kind, target: Target, body: bytes, content_type: str, write: Write) -> tuple[Object, bool]:
    """Patch an object or its status; returns it and whether it was created.

    Raises:
        ApiError: 400, 404, 409, 415, 422.
    """
    media = bodies.media_type(content_type)
    if media == APPLY_TYPE:
        document = bodies.read_yaml(body)
        if not isinstance(document, dict):
            raise status.bad_request("error decoding YAML: expected an object")
        check_applied_kind(document, kind)
        return resources.apply(kind, target.namespace, target.name, document, write, target.subresource)
    live = resources.get(kind, target.namespace, target.name)
    patched = patched_document(live, body, media, kind)
    item = resources.decode(kind, patched, write)
    check_identity(kind, live, item)
    defaults.fill(kind.type_name, item)
    return resources.commit(kind, live, item, write, target.subresource), False


def check_applied_kind(document: Object, kind: Kind) -> None:
    """Refuse an applied document of another kind.

    Raises:
        ApiError: 400.
    """
    if not document.get("apiVersion") or not document.get("kind"):
        raise status.bad_request("apiVersion and kind must be set" if not document.get("kind") else "apiVersion must be set")
    given = (document["apiVersion"], document["kind"])
    if given != (kind.api_version, kind.kind):
        group, _, version = document["apiVersion"].rpartition("/")
        shown = f"{group}/{version}" if group else f"/{version}"
        own = f"{kind.group}/{kind.version}" if kind.group else f"/{kind.version}"
        raise status.bad_request(
            f"invalid object type: {shown}, Kind={document['kind']}, expected: {own}, Kind={kind.kind}"
        )


def check_identity(kind: Kind, live: Object, item: Object) -> None:
    """Refuse a patch that renames the object.

    Raises:
        ApiError: 400.
    """
    for key in ("name", "namespace"):
        if item["metadata"].get(key) != live["metadata"].get(key):
            word = "name" if key == "name" else "namespace"
            raise status.bad_request(
                f"the {word} of the object ({item['metadata'].get(key)}) does not match the {word} on the URL "
                f"({live['metadata'].get(key)})"
            )
    del kind


def patched_document(live: Object, body: bytes, media: str, kind: Kind) -> Any:
    """The live object with the patch laid over it, not yet decoded.

    Raises:
        ApiError: 400 for a body that is no patch, 415 for an unknown type, 422 for a patch that does not fit.
    """
    if media not in PATCH_TYPES:
        accepted = ", ".join(PATCH_TYPES)
        raise status.unsupported_media_type(
            f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        )
    document = bodies.read_json(body)
    name = live["metadata"]["name"]
    if media == JSON_PATCH:
        if not isinstance(document, list):
            raise status.bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
        try:
            return json_patch(live, document)
        except JsonPatchError as problem:
            raise _unprocessable(kind, name, str(problem)) from None
    if not isinstance(document, dict):
        raise status.bad_request("json: cannot unmarshal array into Go value of type map[string]interface {}")
    if media == MERGE_PATCH:
        return merge_patch(live, document)
    try:
        return strategic_patch(copy.deepcopy(live), document, kind.type)
    except StrategicPatchError as problem:
        raise status.bad_request(str(problem)) from None


def _unprocessable(kind: Kind, name: str, message: str) -> ApiError:
    del kind, name
    text = "the server rejected our request due to an error in our request"
    return ApiError(422, "Invalid", text, {"causes": [{"reason": "UnexpectedServerResponse", "message": message}]})


def delete_collection(resources: Resources, kind: Kind, target: Target, query: Mapping[str, str], options: Object) -> Object:
    """Delete every object that the query selects; returns the list of what was deleted."""
    found = lists.select(kind, resources.store.list(kind, target.namespace), query)
    gone = []
    for item in found:
        metadata = item["metadata"]
        last, _ = resources.delete(kind, metadata.get("namespace", ""), metadata["name"], options, dry_run=bool(options.get("dryRun")))
        gone.append(last)
    version = {"resourceVersion": str(resources.store.version)}
    return {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": version, "items": gone}
