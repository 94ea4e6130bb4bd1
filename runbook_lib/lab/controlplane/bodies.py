"""Read request bodies (JSON, YAML, protobuf) and check that they are of the expected kind."""

from __future__ import annotations

import json
from typing import Any

from runbook_lib.lab.controlplane import kinds, protobuf, status
from runbook_lib.lab.controlplane.kinds import Kind
from runbook_lib.lab.controlplane.schema import Type, named
from runbook_lib.lab.controlplane.status import ApiError
from runbook_lib.lab.controlplane.store import Object

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"


def media_type(header: str) -> str:
    """The type without its parameters."""
    return header.split(";", maxsplit=1)[0].strip().lower()


def read_json(body: bytes, what: str = "") -> Any:
    """The decoded JSON document.

    Raises:
        ApiError: 400.
    """
    try:
        return json.loads(body)
    except ValueError as problem:
        detail = "unexpected end of JSON input" if not body.strip() else f"couldn't parse JSON: {problem}"
        raise status.bad_request(f"{what}{detail}") from None


def read_yaml(body: bytes, what: str = "error decoding YAML: error converting YAML to JSON: ") -> Any:
    """The decoded YAML (or JSON) document.

    Raises:
        ApiError: 400.
    """
    if body.lstrip()[:1] == b"{":
        return read_json(body)
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document = yaml.load(body, Loader=loader)  # noqa: S506 - a safe loader, in C where it was built
    except yaml.YAMLError as problem:
        text = " ".join(str(problem).split())
        raise status.bad_request(f"{what}yaml: {text}") from None
    return json.loads(json.dumps(document, default=str))


def read_object(body: bytes, content_type: str, expected: Kind, type_: Type | None = None) -> Object:
    """The object in a body, checked to be of the expected kind.

    Args:
        body: the bytes.
        content_type: the ``Content-Type`` header.
        expected: kind that the path takes.
        type_: structure of a protobuf body, when it is not the kind's own.

    Raises:
        ApiError: 400 for another kind or unreadable bytes, 415 for an unknown type.
    """
    media = media_type(content_type) or JSON
    if media == PROTOBUF:
        try:
            api_version, kind, raw = protobuf.envelope(body)
            item: Any = protobuf.decode(raw, type_ or expected.type) | {"apiVersion": api_version, "kind": kind}
        except (protobuf.ProtobufError, UnicodeDecodeError) as problem:
            raise status.bad_request(str(problem)) from None
    elif media == YAML:
        item = read_yaml(body, f"the object provided is unrecognized (must be of type {expected.kind}): ")
    elif media == JSON:
        item = read_json(body, unrecognized(expected))
    else:
        raise status.unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: application/json, "
            "application/yaml, application/vnd.kubernetes.protobuf"
        )
    if not isinstance(item, dict):
        what = {list: "array", str: "string", bool: "bool"}.get(type(item), "number")
        raise status.bad_request(f"{unrecognized(expected)}json: cannot unmarshal {what} into Go value of type struct")
    check_kind(item, expected)
    return item


def check_kind(item: Object, expected: Kind) -> None:
    """Refuse an object of another kind; an object that does not say is taken as the expected one.

    Raises:
        ApiError: 400.
    """
    api_version = item.get("apiVersion") or expected.api_version
    kind = item.get("kind") or expected.kind
    if (api_version, kind) == (expected.api_version, expected.kind):
        return
    version = api_version.rpartition("/")[2]
    title = f'{kind} in version "{version}" cannot be handled as a {expected.kind}: '
    if kinds.of(api_version, kind) is None:
        title = f'{kind} in version "{expected.version}" cannot be handled as a {expected.kind}: '
        why = f'no kind "{kind}" is registered for version "{api_version}" in scheme "pkg/runtime/scheme.go:111"'
        raise status.bad_request(title + why)
    group = expected.group.split(".")[0] or "core"
    raise status.bad_request(f"{title}converting ({version}.{kind}) to ({group}.{expected.kind}): unknown conversion")


def unrecognized(expected: Kind) -> str:
    """How the server begins to complain about a body without form."""
    what = f"the object provided is unrecognized (must be of type {expected.kind})"
    return f"{what}: couldn't get version/kind; json parse error: "


def read_delete_options(body: bytes, content_type: str, query: dict[str, str]) -> Object:
    """``DeleteOptions`` from the body, or else from the query.

    Raises:
        ApiError: 400, 422.
    """
    options = _options_of(body, content_type) if body.strip() else _options_in(query)
    policy, orphan = options.get("propagationPolicy"), options.get("orphanDependents")
    if policy not in (None, "Background", "Foreground", "Orphan"):
        known = '"Foreground", "Background", "Orphan", "nil"'
        raise _wrong_option("FieldValueNotSupported", f'Unsupported value: "{policy}": supported values: {known}')
    if policy is not None and orphan is not None:
        text = f'Invalid value: "{policy}": orphanDependents and deletionPropagation cannot be both set'
        raise _wrong_option("FieldValueInvalid", text)
    return options


def _options_of(body: bytes, content_type: str) -> Object:
    media = media_type(content_type) or JSON
    if media == PROTOBUF:
        try:
            return protobuf.decode(protobuf.envelope(body)[2], named("meta.v1.DeleteOptions"))
        except protobuf.ProtobufError as problem:
            raise status.bad_request(str(problem)) from None
    options = read_yaml(body) if media == YAML else read_json(body, "couldn't get version/kind; json parse error: ")
    return options if isinstance(options, dict) else {}


def _options_in(query: dict[str, str]) -> Object:
    options: Object = {}
    seconds = query.get("gracePeriodSeconds")
    if seconds is not None:
        if not seconds.lstrip("-").isdigit():
            raise status.bad_request(f'strconv.ParseInt: parsing "{seconds}": invalid syntax')
        options["gracePeriodSeconds"] = int(seconds)
    if "propagationPolicy" in query:
        options["propagationPolicy"] = query["propagationPolicy"]
    if "orphanDependents" in query:
        options["orphanDependents"] = query["orphanDependents"] == "true"
    if query.get("dryRun"):
        options["dryRun"] = [query["dryRun"]]
    return options


def _wrong_option(reason: str, message: str) -> ApiError:
    cause = {"reason": reason, "message": message, "field": "propagationPolicy"}
    details = {"group": "meta.k8s.io", "kind": "DeleteOptions", "causes": [cause]}
    return ApiError(422, "Invalid", f'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: {message}', details)
