"""Run one contract case against an API server and bring its answers into a comparable form.

A case is a list of steps. A step names one verb with its path and may carry:

    body      document to send (``text`` sends raw text instead)
    type      content type; ``merge``, ``strategic``, ``json-patch`` and ``apply`` are short for the patch types
    accept    ``table`` or a whole Accept header
    user      who asks; the administrator by default
    keep      variables to take from the answer: ``{rv: metadata.resourceVersion}``
    until     status code to wait for: the real server learns of new roles a moment after they are stored
    quiet     only the status code is compared

``$ns`` is the case's own namespace; ``$name`` is a kept variable. WATCH reads events until the server ends the watch.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import yaml

from tests.lab.controlplane.servers import ApiServer

TYPES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json-patch": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
    "yaml": "application/yaml",
}
ACCEPTS = {
    "table": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    "partial": "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json",
    "partial-list": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json",
}
VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE", "WATCH")
SETTLE_SECONDS = 10.0
CASES = Path(__file__).parent / "cases"
VOLATILE = {
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "time",
    "continue",
    "lastTransitionTime",
    "controller-uid",
}
PATTERNS = [
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<uid>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "<time>"),
    (re.compile(r"\b10\.96\.\d+\.\d+\b"), "<cluster-ip>"),
    (re.compile(r"\b(made-)[a-z0-9]{5}\b"), r"\1<x>"),
    (re.compile(r"too old resource version: \d+ \(\d+\)"), "too old resource version"),
    (re.compile(r"Too large resource version: \d+, current: \d+"), "Too large resource version"),
    (re.compile(r"in object meta: \d+"), "in object meta: <version>"),
    (re.compile(r"in record \(\d+\)"), "in record (<version>)"),
    (re.compile(r"(continue key is not valid).*"), r"\1"),
    # The real server adds a text diff of two internal structures.
    (re.compile(r"(previously negative\))\n.*", re.DOTALL), r"\1"),
    # How a parser words its complaint about broken JSON or YAML, and the document it quotes, is the parser's affair.
    (re.compile(r"json parse error: .*", re.DOTALL), "json parse error"),
    (re.compile(r"\byaml: .*", re.DOTALL), "yaml error"),
    (re.compile(r"error decoding patch: (unexpected|invalid|couldn't).*", re.DOTALL), "error decoding patch"),
    (re.compile(r'patch: Invalid value: "\{.*\}": ', re.DOTALL), "patch: Invalid value: <document>: "),
    (re.compile(r'^Invalid value: "\{.*\}": ', re.DOTALL), "Invalid value: <document>: "),
]
AGE = re.compile(r"^\d+m?s$")


def load() -> list[tuple[str, dict[str, Any]]]:
    """Every case with its id ``file/name``."""
    found = []
    for path in sorted(CASES.glob("*.yaml")):
        for case in yaml.safe_load(path.read_text())["cases"]:
            found.append((f"{path.stem}/{case['case']}", case))
    return found


def run(server: ApiServer, case: dict[str, Any], namespace: str) -> list[Any]:
    """The normalised answers of one case, in a namespace of its own."""
    server.json(
        "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    )
    variables = {"ns": namespace}
    return [_step(server, step, variables) for step in case["steps"]]


def _step(server: ApiServer, step: dict[str, Any], variables: dict[str, str]) -> Any:
    verb = next(name for name in VERBS if name in step)
    path = _filled(step[verb], variables)
    body: bytes | None = None
    if "text" in step:
        body = _filled(step["text"], variables).encode()
    elif "body" in step:
        body = json.dumps(_filled(step["body"], variables)).encode()
    headers = (
        {"content-type": TYPES.get(step.get("type", ""), step.get("type", "application/json"))}
        if body is not None
        else {}
    )
    if "accept" in step:
        headers["accept"] = ACCEPTS.get(step["accept"], step["accept"])
    method = "GET" if verb == "WATCH" else verb
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        response = server.request(method, path, user=step.get("user", "admin"), body=body, headers=headers)
        if response.status_code == step.get("until", response.status_code) or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    answer: dict[str, Any] = {"code": response.status_code}
    if step.get("quiet"):
        assert response.is_success, f"{verb} {path}: {response.status_code} {response.text[:500]}"
    content: Any
    try:
        content = [json.loads(line) for line in response.text.splitlines()] if verb == "WATCH" else response.json()
    except ValueError:
        content = response.text.strip()
    for name, where in step.get("keep", {}).items():
        variables[name] = str(_at(content, where))
    if step.get("quiet"):
        return answer
    answer["body"] = normalised(content, variables["ns"])
    if response.headers.get_list("warning"):
        answer["warnings"] = [normalised(text, variables["ns"]) for text in response.headers.get_list("warning")]
    return answer


def _filled(value: Any, variables: dict[str, str]) -> Any:
    if isinstance(value, str):
        return re.sub(r"\$(\w+)", lambda match: variables.get(match[1], match[0]), value)
    if isinstance(value, dict):
        return {_filled(key, variables): _filled(item, variables) for key, item in value.items()}
    return [_filled(item, variables) for item in value] if isinstance(value, list) else value


def _at(content: Any, path: str) -> Any:
    for part in path.split("."):
        content = content[int(part)] if isinstance(content, list) else content[part]
    return content


def normalised(value: Any, namespace: str) -> Any:
    """The value without what differs between two runs: identities, versions, times, generated names."""
    if isinstance(value, dict):
        if "columnDefinitions" in value:
            # The words that explain a column are documentation; its name, type and priority are the contract.
            columns = [
                {key: column[key] for key in ("name", "type", "format", "priority")}
                for column in value["columnDefinitions"] or []
            ]
            value = value | {"columnDefinitions": columns}
        return {key: _volatile(key, item, namespace) for key, item in sorted(value.items())}
    if isinstance(value, list):
        return [normalised(item, namespace) for item in value]
    if isinstance(value, str):
        text = value.replace(namespace, "$ns")
        if AGE.match(text):
            return "<age>"
        for pattern, replacement in PATTERNS:
            text = pattern.sub(replacement, text)
        return text
    return value


def _volatile(key: str, item: Any, namespace: str) -> Any:
    if key in VOLATILE and isinstance(item, str) and item:
        return f"<{key}>"
    if key == "nodePort" and item:
        return "<node-port>"
    found = normalised(item, namespace)
    if key == "managedFields" and isinstance(found, list):
        # Sorted by operation and then by the second of the request: two requests may fall into one second or into two.
        return sorted(found, key=lambda one: [one.get(name, "") for name in ("operation", "manager", "subresource")])
    return found
