"""Label selectors (text and object form) and field selectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from runbook_lib.lab.controlplane.kinds import Kind
from runbook_lib.lab.controlplane.status import bad_request

Matcher = Callable[[Mapping[str, Any]], bool]
TOKEN = re.compile(r"\s*(==|!=|=|\(|\)|,|!|<|>|[^\s=!(),<>]+)")


def label_selector(text: str) -> Matcher:
    """Predicate over an object's labels for ``app=api,tier in (web,db),!canary``.

    Raises:
        ApiError: 400 for text that is no selector.
    """
    terms = _parse(text)
    return lambda labels: all(_holds(labels, *term) for term in terms)


def selector_of(selector: Mapping[str, Any] | None) -> Matcher:
    """Predicate for a ``LabelSelector`` object; None selects nothing and an empty one everything."""
    if selector is None:
        return lambda _labels: False
    terms: list[tuple[str, str, list[str]]] = [
        (key, "in", [value]) for key, value in (selector.get("matchLabels") or {}).items()
    ]
    operators = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
    for row in selector.get("matchExpressions") or []:
        terms.append((row["key"], operators[row["operator"]], row.get("values") or []))
    return lambda labels: all(_holds(labels, *term) for term in terms)


def selector_text(selector: Mapping[str, Any] | None) -> str:
    """The text form that ``kubectl`` prints and that the scale subresource carries."""
    selector = selector or {}
    parts = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    for row in selector.get("matchExpressions") or []:
        key, values = row["key"], ",".join(sorted(row.get("values") or []))
        texts = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        parts.append((key, texts[row["operator"]]))
    return ",".join(text for _, text in sorted(parts))


def _holds(labels: Mapping[str, Any], key: str, operator: str, values: list[str]) -> bool:
    if operator == "exists":
        return key in labels
    if operator == "!":
        return key not in labels
    if operator == "in":
        return labels.get(key) in values and key in labels
    if operator == "notin":
        return labels.get(key) not in values
    try:
        left, right = int(labels[key]), int(values[0])
    except (KeyError, ValueError):
        return False
    return left > right if operator == ">" else left < right


def _parse(text: str) -> list[tuple[str, str, list[str]]]:
    words = TOKEN.findall(text)
    if "".join(words) != re.sub(r"\s", "", text):
        raise bad_request(f"unable to parse requirement: {text}")
    terms: list[tuple[str, str, list[str]]] = []
    position = 0

    def take(expected: str = "") -> str:
        nonlocal position
        word = words[position] if position < len(words) else ""
        if expected and word != expected:
            raise bad_request(
                f"found '{word}', expected: ',' or 'end of string'"
                if expected == ","
                else f"unable to parse requirement: found '{word}' expected: '{expected}'"
            )
        position += 1
        return word

    def values() -> list[str]:
        take("(")
        found: list[str] = []
        while True:
            word = take()
            if word == ")":
                return found
            if word in ("", "("):
                raise bad_request(f"unable to parse requirement: found '{word}', expected: ',', ')' or identifier")
            if word != ",":
                found.append(_value(word))

    while position < len(words):
        word = take()
        if word == "!":
            terms.append((_key(take()), "!", []))
        else:
            key = _key(word)
            operator = words[position] if position < len(words) else ","
            if operator == ",":
                terms.append((key, "exists", []))
            elif operator in ("=", "==", "!="):
                take()
                found = words[position] if position < len(words) and words[position] != "," else ""
                position += bool(found)
                terms.append((key, "notin" if operator == "!=" else "in", [_value(found)]))
            elif operator in ("in", "notin"):
                take()
                terms.append((key, operator, values()))
            elif operator in ("<", ">"):
                take()
                terms.append((key, operator, [take()]))
            else:
                raise bad_request(
                    f"unable to parse requirement: found '{operator}', expected: in, notin, =, ==, !=, gt, lt"
                )
        if position < len(words):
            take(",")
            if position == len(words):
                raise bad_request("found '', expected: identifier after ','")
    return terms


LABEL_KEY = re.compile(r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
LABEL_VALUE = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")


def _key(word: str) -> str:
    if not LABEL_KEY.match(word):
        raise bad_request(
            f'unable to parse requirement: <nil>: Invalid value: "{word}": name part must consist of '
            "alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
            "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
            "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
        )
    return word


def _value(word: str) -> str:
    if not LABEL_VALUE.match(word):
        raise bad_request(
            f'unable to parse requirement: values[0][]: Invalid value: "{word}": a valid label must be an '
            "empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with "
            "an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation "
            "is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
        )
    return word


SELECTABLE: dict[str, dict[str, str]] = {
    "/pods": {
        "spec.nodeName": "",
        "spec.restartPolicy": "",
        "spec.schedulerName": "",
        "spec.serviceAccountName": "",
        "spec.hostNetwork": "false",
        "status.phase": "",
        "status.podIP": "",
        "status.podIPs": "",
        "status.nominatedNodeName": "",
    },
    "/nodes": {"spec.unschedulable": "false"},
    "/namespaces": {"status.phase": ""},
    "/secrets": {"type": ""},
    "/services": {"spec.clusterIP": "", "spec.type": ""},
    "apps/replicasets": {"status.replicas": "0"},
    "batch/jobs": {"status.successful": "0"},
    "/events": {
        **{
            f"involvedObject.{name}": ""
            for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        },
        "reason": "",
        "reportingComponent": "",
        "source": "",
        "type": "",
    },
}
"""Fields besides name and namespace that each resource's selector knows, with the text of an absent value."""


def field_selector(kind: Kind, text: str) -> Matcher:
    """Predicate over an object for ``metadata.name=x,status.phase!=Running``.

    Raises:
        ApiError: 400 for a field that the resource's selector does not know.
    """
    known = (
        {"metadata.name": ""} | ({"metadata.namespace": ""} if kind.namespaced else {}) | SELECTABLE.get(kind.key, {})
    )
    terms: list[tuple[str, bool, str]] = []
    for part in filter(None, text.split(",")):
        match = re.match(r"^([^=!]+?)(!=|==|=)(.*)$", part)
        if not match:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        field, operator, value = match.groups()
        if field not in known:
            raise bad_request(_unknown_field(kind, field))
        terms.append((field, operator == "!=", value))

    def matches(item: Mapping[str, Any]) -> bool:
        return all((_field_text(item, field, known[field]) == value) != negated for field, negated, value in terms)

    return matches


def _unknown_field(kind: Kind, field: str) -> str:
    if kind.key in SELECTABLE:
        return f"field label not supported: {field}"
    only = '"metadata.name", "metadata.namespace"' if kind.namespaced else '"metadata.name"'
    return f'"{field}" is not a known field selector: only {only}'


def _field_text(item: Mapping[str, Any], field: str, absent: str) -> str:
    if field == "source":
        return str((item.get("source") or {}).get("component") or item.get("reportingComponent") or "")
    if field == "status.successful":
        return str((item.get("status") or {}).get("succeeded", 0))
    value: Any = item
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None:
        return absent
    return str(value).lower() if isinstance(value, bool) else str(value)
