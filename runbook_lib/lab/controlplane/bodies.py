"""Read request bodies (JSON, YAML, protobuf) and check that they are of the expected kind."""

from __future__ import annotations

import json
from typing import Any

from runbook_lib.lab.controlplane import protobuf, status
from runbook_lib.lab.controlplane.kinds import Kind
from runbook_lib.lab.controlplane.schema import Type, named
from runbook_lib.lab.controlplane.status import ApiError
from runbook_lib.lab.controlplane.store import Object

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"


def media_type(header: str) -> str:
    """The type without its parameters."""
    return header.split(";")[0].strip().lower()


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


def read_yaml(body: bytes) -> Any:
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
        raise status.bad_request(f"error decoding YAML: {problem}") from None
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
        item = read_yaml(body)
    elif media == JSON:
        item = read_json(body)
    else:
        raise status.unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: application/json, "
            "application/yaml, application/vnd.kubernetes.protobuf"
        )
    if not isinstance(item, dict):
        raise status.bad_request(f"couldn't get version/kind; json parse error: json: cannot unmarshal "
                                 f"{'array' if isinstance(item, list) else 'string'} into Go value of type struct "
                                 "{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string "
                                 "\"json:\\\"kind,omitempty\\\"\" }")  # fmt: skip
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
    if kind == expected.kind:
        raise status.bad_request(f"the API version in the data ({api_version}) does not match the expected API version "
                                 f"({expected.api_version})")  # fmt: skip
    group, _, version = api_version.rpartition("/")
    raise status.bad_request(
        f"{expected.kind} in version \"{expected.version}\" cannot be handled as a {expected.kind}: converting "
        f"({group or 'v1'}.{kind}) to ({expected.group}.{expected.kind}): unknown conversion (version {version})"
    )


def read_delete_options(body: bytes, content_type: str, query: dict[str, str]) -> Object:
    """``DeleteOptions`` from the body, or else from the query.

    Raises:
        ApiError: 400, 422.
    """
    options: Object = {}
    if body.strip():
        media = media_type(content_type) or JSON
        if media == PROTOBUF:
            try:
                options = protobuf.decode(protobuf.envelope(body)[2], named("meta.v1.DeleteOptions"))
            except protobuf.ProtobufError as problem:
                raise status.bad_request(str(problem)) from None
        else:
            options = read_yaml(body) if media == YAML else read_json(body)
    else:
        if "gracePeriodSeconds" in query:
            options["gracePeriodSeconds"] = int(query["gracePeriodSeconds"])
        if "propagationPolicy" in query:
            options["propagationPolicy"] = query["propagationPolicy"]
        if "orphanDependents" in query:
            options["orphanDependents"] = query["orphanDependents"] == "true"
        if query.get("dryRun"):
            options["dryRun"] = [query["dryRun"]]
    policy = options.get("propagationPolicy")
    if policy not in (None, "Background", "Foreground", "Orphan"):
        message = f'Unsupported value: "{policy}": supported values: "Background", "Foreground", "Orphan"'
        cause = {"reason": "FieldValueNotSupported", "message": message, "field": "propagationPolicy"}
        details = {"group": "meta.k8s.io", "kind": "DeleteOptions", "causes": [cause]}
        text = f'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: {message}'
        raise ApiError(422, "Invalid", text, details)
    return options
