"""Errors of the API as ``Status`` objects, worded as the real server words them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runbook_lib.lab.controlplane.kinds import Kind


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason of an ``Invalid`` or ``Conflict`` answer: the field's path, a reason word and a sentence."""

    field: str
    reason: str
    message: str

    def as_dict(self) -> dict[str, str]:
        """The cause as it stands in ``details.causes``."""
        return {"reason": self.reason, "message": self.message, "field": self.field}


class ApiError(Exception):
    """An answer that is not a success.

    Args:
        code: HTTP status.
        reason: the machine-readable word, such as ``NotFound``.
        message: the sentence for a person.
        details: ``name``, ``group``, ``kind``, ``uid``, ``causes``, ``retryAfterSeconds``.
    """

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details

    def body(self) -> dict[str, Any]:
        """The ``Status`` object."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        return status | {"code": self.code}


def qualified(kind: Kind) -> str:
    """``deployments.apps`` or ``pods``."""
    return f"{kind.resource}.{kind.group}" if kind.group else kind.resource


def _details(of: Kind, name: str, **more: Any) -> dict[str, Any]:
    details = {"name": name} if name else {}
    if of.group:
        details["group"] = of.group
    return details | {"kind": of.resource} | more


def not_found(kind: Kind, name: str) -> ApiError:
    """No object of that name."""
    return ApiError(404, "NotFound", f'{qualified(kind)} "{name}" not found', _details(kind, name))


def already_exists(kind: Kind, name: str, *, deleting: bool = False) -> ApiError:
    """The name is taken, maybe by an object that is on its way out."""
    text = f'{qualified(kind)} "{name}" already exists'
    return ApiError(
        409, "AlreadyExists", f"object is being deleted: {text}" if deleting else text, _details(kind, name)
    )


def failed_precondition(kind: Kind, name: str, why: str) -> ApiError:
    """A deletion named another state of the object."""
    title = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    details = _details(kind, name, kind=kind.kind)
    return ApiError(409, "Conflict", f'Operation cannot be fulfilled on {title} "{name}": {why}', details)


def conflict(kind: Kind, name: str, why: str = "") -> ApiError:
    """The object changed since it was read, or a precondition does not hold."""
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {qualified(kind)} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(kind, name))


def apply_conflict(causes: list[Cause]) -> ApiError:
    """Server-side apply would change fields that other managers own."""
    by_manager: dict[str, list[str]] = {}
    for cause in causes:
        by_manager.setdefault(cause.message, []).append(cause.field)
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0].message}: {causes[0].field}"
    else:
        lines = []
        for text, fields in sorted(by_manager.items()):
            lines.append(text.replace("conflict with", "conflicts with", 1) + ":")
            lines.extend(f"- {one}" for one in fields)
        message = f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines)
    return ApiError(409, "Conflict", message, {"causes": [cause.as_dict() for cause in causes]})


def bad_request(message: str) -> ApiError:
    """The request cannot be understood."""
    return ApiError(400, "BadRequest", message)


def joined_causes(causes: list[Cause]) -> str:
    """Causes as one text; each sentence once."""
    texts = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    return texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"


def invalid(kind: Kind, name: str, causes: list[Cause]) -> ApiError:
    """The object breaks a rule."""
    joined = joined_causes(causes)
    title = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    details = {"name": name} if name else {}
    if kind.group:
        details["group"] = kind.group
    details |= {"kind": kind.kind} if kind.kind else {}
    more = details | {"causes": [cause.as_dict() for cause in causes]}
    return ApiError(422, "Invalid", f'{title} "{name}" is invalid: {joined}', more)


def forbidden(group: str, resource: str, name: str, why: str) -> ApiError:
    """The user may not do that."""
    what = f"{resource}.{group}" if group else resource
    details = {"name": name} if name else {}
    if group:
        details["group"] = group
    shown = f'{what} "{name}"' if name else what
    return ApiError(403, "Forbidden", f"{shown} is forbidden: {why}", details | {"kind": resource})


def method_not_allowed() -> ApiError:
    """The resource does not know that verb."""
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message, {})


def expired(message: str) -> ApiError:
    """A resource version or a continue token is too old."""
    return ApiError(410, "Expired", message)


def unsupported_media_type(message: str) -> ApiError:
    """The body's type is not known."""
    return ApiError(415, "UnsupportedMediaType", message)
