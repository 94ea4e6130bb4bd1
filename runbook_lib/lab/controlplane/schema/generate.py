"""Derive ``fields.json``, the table of Kubernetes object fields, from the published API descriptions.

Needs two public inputs of one Kubernetes release: the folder of its OpenAPI v3 documents and the root of the Go
modules that hold the API types (for field numbers and for what an absent or empty field means on the wire)::

    python -m runbook_lib.lab.controlplane.schema.generate --openapi DIR --types DIR [--types DIR]... > fields.json

Only facts are kept: names, numbers, types and list kinds. No descriptions.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

# OpenAPI document -> root kinds that the emulator serves.
ROOTS = {
    "api__v1": "Namespace Node Pod Service Endpoints ConfigMap Secret ServiceAccount Event ResourceQuota LimitRange "
    "Binding Eviction TokenRequest",
    "apis__apps__v1": "Deployment ReplicaSet Scale",
    "apis__autoscaling__v2": "HorizontalPodAutoscaler",
    "apis__batch__v1": "Job",
    "apis__coordination.k8s.io__v1": "Lease",
    "apis__discovery.k8s.io__v1": "EndpointSlice",
    "apis__events.k8s.io__v1": "Event",
    "apis__networking.k8s.io__v1": "Ingress NetworkPolicy",
    "apis__policy__v1": "PodDisruptionBudget",
    "apis__rbac.authorization.k8s.io__v1": "Role RoleBinding ClusterRole ClusterRoleBinding",
    "apis__authorization.k8s.io__v1": "SelfSubjectAccessReview SelfSubjectRulesReview "
    "SubjectAccessReview LocalSubjectAccessReview",
    "apis__authentication.k8s.io__v1": "SelfSubjectReview",
    "apis__apiregistration.k8s.io__v1": "APIService",
}
PREFIXES = (
    ("io.k8s.api.", ""),
    ("io.k8s.apimachinery.pkg.apis.", ""),
    ("io.k8s.kube-aggregator.pkg.apis.", ""),
    ("io.k8s.apimachinery.pkg.", ""),
)
SCALARS = {
    "meta.v1.Time": "time",
    "meta.v1.MicroTime": "microtime",
    "api.resource.Quantity": "quantity",
    "util.intstr.IntOrString": "intstr",
    "meta.v1.FieldsV1": "raw",
    "runtime.RawExtension": "raw",
}
STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
FIELD = re.compile(r"^\t(?:(\w+)\s+)?(\S+)\s+`(.*)`", re.MULTILINE)


def short(name: str) -> str:
    """``io.k8s.api.core.v1.Pod`` -> ``core.v1.Pod``."""
    for prefix, replacement in PREFIXES:
        if name.startswith(prefix):
            return replacement + name.removeprefix(prefix)
    return name


def go_tags(roots: list[Path]) -> dict[str, dict[str, tuple[int, str]]]:
    """Field number and wire flags per type: ``{"core.v1.Pod": {"spec": (2, "o")}}``.

    Flags: ``p`` pointer, ``o`` omitted when empty, ``z`` omitted when zero.
    """
    tags: dict[str, dict[str, tuple[int, str]]] = {}
    for root in roots:
        for path in root.rglob("types.go"):
            parts = path.relative_to(root).parts[:-1]
            package = ".".join(parts[-2:])
            for struct, body in STRUCT.findall(path.read_text()):
                fields = tags.setdefault(f"{package}.{struct}", {})
                for _, go_type, tag in FIELD.findall(body):
                    written = re.search(r'json:"([^"]*)"', tag)
                    name, *options = (written[1] if written else "").split(",")
                    number = re.search(r'protobuf:"\w+,(\d+)', tag)
                    if not name:
                        fields["<inline>"] = (int(number[1]) if number else 0, go_type)
                        continue
                    flags = (
                        "p" * go_type.startswith("*") + "o" * ("omitempty" in options) + "z" * ("omitzero" in options)
                    )
                    fields[name] = (int(number[1]) if number else 0, flags)
    return tags


class Table:
    """Collects every type that is reachable from the root kinds."""

    def __init__(self, tags: dict[str, dict[str, tuple[int, str]]]) -> None:
        self.tags, self.types = tags, dict[str, dict[str, list[Any]]]()

    def type_of(self, node: dict[str, Any], schemas: dict[str, Any]) -> str:
        """Type expression: ``str``, ``int``, ``list:core.v1.Container``, ``map:str``, ..."""
        ref = node.get("$ref") or next((part["$ref"] for part in node.get("allOf", []) if "$ref" in part), None)
        if ref:
            name = ref.rsplit("/", 1)[1]
            if short(name) not in SCALARS:
                self.add(name, schemas)
            return SCALARS.get(short(name), short(name))
        if node.get("type") == "array":
            return "list:" + self.type_of(node["items"], schemas)
        if node.get("type") == "object" and "additionalProperties" in node:
            return "map:" + self.type_of(node["additionalProperties"], schemas)
        if node.get("format") == "byte":
            return "bytes"
        names = {"string": "str", "integer": "int", "boolean": "bool", "number": "float", "object": "raw"}
        if "oneOf" in node:
            return "intstr"
        return names[node["type"]]

    def _extra(self, node: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
        """How a field's list merges, and its default."""
        extra: dict[str, Any] = {}
        if node.get("x-kubernetes-list-type"):
            extra["list"] = node["x-kubernetes-list-type"]
        if node.get("x-kubernetes-list-map-keys"):
            extra["keys"] = node["x-kubernetes-list-map-keys"]
        if node.get("x-kubernetes-map-type") == "atomic":
            extra["atomic"] = True
        if node.get("x-kubernetes-patch-strategy"):
            extra["strategy"] = node["x-kubernetes-patch-strategy"]
        if node.get("x-kubernetes-patch-merge-key"):
            extra["merge_key"] = node["x-kubernetes-patch-merge-key"]
        if "default" in node and node["default"] not in ({}, ""):
            extra["default"] = node["default"]
        keys = extra.get("keys", [])
        if keys and "allOf" in node.get("items", {}):
            item = node["items"]["allOf"][0]["$ref"].rsplit("/", 1)[1]
            properties = schemas[item]["properties"]
            extra["key_defaults"] = {k: properties[k]["default"] for k in keys if properties[k].get("default")}
        return extra

    def add(self, name: str, schemas: dict[str, Any]) -> None:
        """Record one type and, through it, all that it refers to."""
        key, schema = short(name), schemas[name]
        if key in self.types:
            return
        fields: dict[str, list[Any]] = {}
        self.types[key] = fields
        if schema.get("x-kubernetes-map-type") == "atomic":
            fields["@atomic"] = []
        tags = dict(self.tags.get(key, {}))
        if "<inline>" in tags:
            # An embedded struct is one message of its own in protobuf; its fields carry that message's number too.
            outer, embedded = tags.pop("<inline>")
            inner = self.tags.get(f"{key.rsplit('.', 1)[0]}.{embedded}", {})
            if outer and inner:
                tags.update({field: (outer * 1000 + number, flags) for field, (number, flags) in inner.items()})
        for field, node in schema.get("properties", {}).items():
            if field in ("kind", "apiVersion") and "metadata" in schema["properties"]:
                continue
            number, flags = tags.get(field, (0, "o"))
            extra = self._extra(node, schemas)
            fields[field] = [number, self.type_of(node, schemas), flags, *([extra] if extra else [])]


def main() -> None:
    """Print the table as JSON with one type a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--openapi", type=Path, required=True, help="folder with *_openapi.json")
    parser.add_argument(
        "--types", type=Path, action="append", required=True, help="root that holds <group>/<version>/types.go"
    )
    arguments = parser.parse_args()
    table = Table(go_tags(arguments.types))
    for document, kinds in ROOTS.items():
        schemas = json.loads((arguments.openapi / f"{document}_openapi.json").read_text())["components"]["schemas"]
        for kind in kinds.split():
            match = [name for name in schemas if name.endswith(f".{kind}") and short(name).count(".") == 2]
            table.add(match[0], schemas)
        if document == "api__v1":
            table.add("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions", schemas)
    lines = [
        f"{json.dumps(name)}: {json.dumps(fields, separators=(',', ':'))}"
        for name, fields in sorted(table.types.items())
    ]
    sys.stdout.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
