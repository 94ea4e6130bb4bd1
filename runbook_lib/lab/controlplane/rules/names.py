"""Names, labels and other identifiers, and the sentences about wrong ones."""

from __future__ import annotations

import json
import re
from typing import Any

from runbook_lib.lab.controlplane.status import Cause

LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN = rf"{LABEL}(\.{LABEL})*"
QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
LABEL_VALUE = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
CONFIG_KEY = r"[-._a-zA-Z0-9]+"

SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
CONFIG_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


def shown(value: Any) -> str:
    """A value as error messages quote it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def required(field: str, message: str = "") -> Cause:
    """A value is missing."""
    return Cause(field, "FieldValueRequired", "Required value" + (f": {message}" if message else ""))


def wrong(field: str, value: Any, message: str) -> Cause:
    """A value breaks a rule."""
    return Cause(field, "FieldValueInvalid", f"Invalid value: {shown(value)}: {message}")


def duplicate(field: str, value: Any) -> Cause:
    """A value occurs twice."""
    return Cause(field, "FieldValueDuplicate", f"Duplicate value: {shown(value)}")


def forbidden(field: str, message: str) -> Cause:
    """A value may not be set or changed."""
    return Cause(field, "FieldValueForbidden", f"Forbidden: {message}")


def unsupported(field: str, value: Any, allowed: list[str]) -> Cause:
    """A value is none of the known ones."""
    known = ", ".join(shown(one) for one in allowed)
    return Cause(field, "FieldValueNotSupported", f"Unsupported value: {shown(value)}: supported values: {known}")


def too_long(field: str, limit: int) -> Cause:
    """A text is too long."""
    return Cause(field, "FieldValueTooLong", f"Too long: may not be more than {limit} bytes")


def subdomain_problems(name: str) -> list[str]:
    """What keeps a name from being a DNS-1123 subdomain."""
    problems = [] if len(name) <= 253 else ["must be no more than 253 characters"]
    return problems + ([] if re.fullmatch(SUBDOMAIN, name) else [SUBDOMAIN_TEXT])


def label_problems(name: str) -> list[str]:
    """What keeps a name from being a DNS-1123 label."""
    problems = [] if len(name) <= 63 else ["must be no more than 63 bytes"]
    if "." in name:
        return [*problems, "must not contain dots"]
    return problems + ([] if re.fullmatch(LABEL, name) else [LABEL_TEXT])


def label_1035_problems(name: str) -> list[str]:
    """What keeps a name from being a DNS-1035 label."""
    problems = [] if len(name) <= 63 else ["must be no more than 63 bytes"]
    return problems + ([] if re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) else [LABEL_1035_TEXT])


def path_segment_problems(name: str) -> list[str]:
    """What keeps a name from being one segment of a path."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{mark}'" for mark in ("/", "%") if mark in name]


def qualified_problems(name: str) -> list[str]:
    """What keeps a text from being a qualified name such as ``example.com/name``."""
    prefix, slash, part = name.rpartition("/")
    problems = []
    if slash:
        if not prefix:
            problems.append("prefix part must be non-empty")
        else:
            problems.extend("prefix part " + problem for problem in subdomain_problems(prefix))
    if not part:
        problems.append("name part must be non-empty")
    elif len(part) > 63:
        problems.append("name part must be no more than 63 bytes")
    if not re.fullmatch(QUALIFIED, part):
        problems.append(QUALIFIED_TEXT)
    return problems


def label_value_problems(value: str) -> list[str]:
    """What keeps a text from being a label's value."""
    problems = [] if len(value) <= 63 else ["must be no more than 63 bytes"]
    return problems + ([] if re.fullmatch(LABEL_VALUE, value) else [LABEL_VALUE_TEXT])


def check_labels(labels: dict[str, str] | None, field: str) -> list[Cause]:
    """Broken rules of labels."""
    causes: list[Cause] = []
    for key, value in sorted((labels or {}).items()):
        causes.extend(wrong(field, key, problem) for problem in qualified_problems(key))
        causes.extend(wrong(f"{field}", value, problem) for problem in label_value_problems(value))
    return causes
