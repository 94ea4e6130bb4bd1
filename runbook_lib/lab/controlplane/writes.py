"""Write requests: options, bodies, patch types, subresources."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from runbook_lib.lab.controlplane import bodies, defaults, go_text, lists, status
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
        causes.append(names.unsupported("dryRun", [dry_run], ["All"]))
    validation = query.get("fieldValidation", "") or "Warn"
    if validation not in ("Ignore", "Strict", "Warn"):
        causes.append(names.unsupported("fieldValidation", validation, ["", "Ignore", "Strict", "Warn"]))
    if causes:
        raise options_error(OPTIONS[method], causes)
    manager = manager or user_agent.split("/", maxsplit=1)[0][:128] or "unknown"
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
    joined = status.joined_causes(causes)
    details = {"group": "meta.k8s.io", "kind": kind, "causes": [cause.as_dict() for cause in causes]}
    return ApiError(422, "Invalid", f'{kind}.meta.k8s.io "" is invalid: {joined}', details)


def patch(
    resources: Resources, kind: Kind, target: Target, body: bytes, content_type: str, write: Write
) -> tuple[Object, bool]:
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
    quoted = bodies.read_json(body) if media == STRATEGIC_PATCH else None
    item = decode_patched(resources, kind, patched, write, quoted)
    check_identity(live, item)
    defaults.fill(kind.type_name, item)
    return resources.commit(kind, live, item, write, target.subresource), False


def check_applied_kind(document: Object, kind: Kind) -> None:
    """Refuse an applied document of another kind.

    Raises:
        ApiError: 400.
    """
    given = (document.get("apiVersion", ""), document.get("kind", ""))
    if given != (kind.api_version, kind.kind):
        raise status.bad_request(f"invalid object type: {group_version_kind(*given)}")


def group_version_kind(api_version: str, kind: str) -> str:
    """``apps/v1, Kind=Deployment``; the core group leaves a lone slash."""
    group, _, version = api_version.rpartition("/")
    return f"{group}/{version}, Kind={kind}"


def check_identity(live: Object, item: Object) -> None:
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


def patched_document(live: Object, body: bytes, media: str, kind: Kind) -> Any:
    """The live object with the patch laid over it, not yet decoded.

    Raises:
        ApiError: 400 for a body that is no patch, 415 for an unknown type, 422 for a patch that does not fit.
    """
    if media not in PATCH_TYPES:
        raise ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
    document = bodies.read_json(body, "error decoding patch: ")
    if media == JSON_PATCH:
        if not isinstance(document, list):
            raise status.bad_request(
                "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
            )
        try:
            return json_patch(live, document)
        except JsonPatchError:
            raise ApiError(
                422, "Invalid", "the server rejected our request due to an error in our request", {}
            ) from None
    if not isinstance(document, dict):
        raise status.bad_request(
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
        )
    if media == MERGE_PATCH:
        return merge_patch(live, document)
    try:
        return strategic_patch(copy.deepcopy(live), document, kind.type)
    except StrategicPatchError as problem:
        raise ApiError(500, "", str(problem)) from None


def decode_patched(resources: Resources, kind: Kind, patched: Any, write: Write, strategic: Any = None) -> Object:
    """The canonical form of a patched document.

    Args:
        resources: decodes.
        kind: what it should be.
        patched: the document.
        write: says what to do about unknown fields.
        strategic: the patch, when it was a strategic one; errors quote it instead of the document.

    Raises:
        ApiError: 422 when the patch made it unreadable.
    """
    try:
        return resources.decode(kind, patched, write)
    except ApiError as error:
        why = error.message.split(f"cannot be handled as a {kind.kind}: ")[-1]
        shown = json.dumps(patched, separators=(",", ":"))
        if strategic is not None:
            shown = go_text.shown(strategic)
            why = f"unrecognized type: {why.rpartition(' ')[2]}" if why.startswith("json: cannot") else why
        message = f"Invalid value: {json.dumps(shown)}: {why}"
        cause = {"reason": "FieldValueInvalid", "message": message, "field": "patch"}
        raise ApiError(422, "Invalid", f' "" is invalid: patch: {message}', {"causes": [cause]}) from None


def delete_collection(
    resources: Resources, kind: Kind, target: Target, query: Mapping[str, str], options: Object
) -> Object:
    """Delete every object that the query selects; returns the list of what was deleted."""
    found = lists.select(kind, resources.store.list(kind, target.namespace), query)
    gone = []
    for item in found:
        metadata = item["metadata"]
        last, _ = resources.delete(
            kind, metadata.get("namespace", ""), metadata["name"], options, dry_run=bool(options.get("dryRun"))
        )
        gone.append({key: value for key, value in last.items() if key not in ("kind", "apiVersion")})
    version = {"resourceVersion": str(resources.store.version)}
    return {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": version, "items": gone}
