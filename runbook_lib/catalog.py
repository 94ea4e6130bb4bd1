"""runbook.toml -> services, environments, objectives and endpoints; holds names of secrets, never values."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook_lib import sources
from runbook_lib.errors import CatalogError, SecretError, UnknownNameError, nearest
from runbook_lib.model import Endpoint, Environment, Objective, Service
from runbook_lib.model.service import KNOWN_BY, Freeze
from runbook_lib.secrets import SecretRef, secret_reason

FILE_NAME = "runbook.toml"
#: Environment variable that names the catalogue to use.
VARIABLE = "RUNBOOK_CATALOG"

_SERVICE: Mapping[str, type] = {
    "description": str,
    "owner": str,
    "contacts": dict,
    "dependencies": dict,
    "tools": dict,
    "access": list,
    "links": dict,
    "alerts": list,
    "objectives": dict,
    "workload": dict,
}
_OBJECTIVE: Mapping[str, type] = {"kind": str, "target": float, "threshold_seconds": float, "window_days": int}
_ENVIRONMENT: Mapping[str, type] = {
    "description": str,
    "include": str,
    "actions": list,
    "approval": dict,
    "freeze": str,
    "freezes": list,
    "max_replicas": int,
    "max_factor": float,
    "max_changes": int,
    "known_by": dict,
    "approvers": dict,
    "signers": str,
}
_RECORD_FILES, _KEYS = ("signing_key", "allowed_signers"), ("access_key", "secret_key")
_RECORDS: Mapping[str, type] = {
    **dict.fromkeys((*_RECORD_FILES, *_KEYS, "archive", "endpoint", "region"), str),
    "anchors": dict,
}
_ANCHORS: Mapping[str, type] = {"git": str, "slack": str, "rfc3161": str, "rfc3161_ca": str}
_FREEZE: Mapping[str, type] = {"from": datetime, "to": datetime, "reason": str, "allow": list}
#: Paths of a workload are relative to the catalogue, as those of an environment are.
_PATHS = ("chart", "values")
#: Key of a workload to the longest name that Kubernetes takes there, and Helm for a release.
_NAMES: Mapping[str, int] = {"release": 53, "namespace": 63, "container": 63, "deployment": 253}
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?")
ACTION_KINDS = (
    "scale",
    "end_backend",
    "deploy",
    "rollback",
    "stop_service",
    "migrate_down",
    "unlock_release",
    "notify",
    "command",
)
_APPROVALS = ("none", "one", "two")


@dataclass(frozen=True, slots=True)
class Catalog:
    """The services and environments of one ``runbook.toml``.

    Args:
        path: the file it was read from.
        services: name to service.
        signing_key: key that seals are signed with, see ``ssh-keygen -Y``; None leaves records unsigned.
        allowed_signers: public keys whose seals are trusted; None when no signature is asked for.
        records: where records go, see docs/record-format.md; keys of a bucket are names of secrets.
        anchors: kind to where the head of the archive's chain is put, see docs/record-format.md.
    """

    path: Path
    services: Mapping[str, Service]
    _environments: Mapping[str, Mapping[str, Any]]
    signing_key: Path | None = None
    allowed_signers: Path | None = None
    records: Mapping[str, str] = field(default_factory=dict)
    anchors: Mapping[str, str] = field(default_factory=dict)

    @property
    def archive(self) -> str:
        """Path or address of the archive: as ``records.archive`` says, or ``outputs`` beside the file."""
        named = self.records.get("archive", "outputs")
        return named if "://" in named else str(self.path.parent / Path(named).expanduser())

    @property
    def environments(self) -> tuple[str, ...]:
        """The names of the environments."""
        return tuple(self._environments)

    def service(self, name: str) -> Service:
        """The service of that name.

        Raises:
            UnknownNameError: there is none; carries the nearest name.
        """
        if name not in self.services:
            raise UnknownNameError("service", name, self.services, str(self.path))
        return self.services[name]

    def environment(self, name: str, *, offline: bool = False) -> Environment:
        """The environment of that name, with what its ``include`` file adds.

        Args:
            name: as the catalogue has it.
            offline: whether an included file may be missing, because no system is going to be asked.

        Raises:
            UnknownNameError: there is none; carries the nearest name.
            CatalogError: the included file is missing or wrong.
        """
        if name not in self._environments:
            raise UnknownNameError("environment", name, self._environments, str(self.path))
        table = dict(self._environments[name])
        key = f"environments.{name}"
        base = _Reader(self.path, key).environment(name, table)
        if "include" not in table:
            return base
        included = self.path.parent / table["include"]
        if not included.exists():
            if offline:
                return base
            hint = "; start it with: runbook lab up" if name == "lab" else ""
            raise CatalogError(f"{included} is not there{hint}", file=str(self.path), key=f"{key}.include")
        return _Reader(included, name).environment(name, {**table, **_toml(included)})


def find(start: Path | None = None) -> Path:
    """The nearest ``runbook.toml``, in ``start`` or above it; without ``start`` the one that ``RUNBOOK_CATALOG`` names,
    else the nearest to the current folder.

    Raises:
        CatalogError: there is none.
    """
    named = os.environ.get(VARIABLE, "")
    if named and start is None:
        return Path(named)
    here = (start or Path()).resolve()
    for folder in (here, *here.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise CatalogError(f"no {FILE_NAME} in {here} or above it; make one with: runbook init .")


def load(path: Path | None = None) -> Catalog:
    """Read and check a catalogue.

    Args:
        path: the file; default: the nearest ``runbook.toml``.

    Raises:
        CatalogError: the file is missing or wrong; names file, key, allowed values and the nearest name.
    """
    path = path or find()
    table = _toml(path)
    reader = _Reader(path, "")
    reader.typed(table, {"services": dict, "environments": dict, "records": dict})
    services = {
        name: _Reader(path, f"services.{name}").service(name, v) for name, v in table.get("services", {}).items()
    }
    environments = table.get("environments", {})
    for name, value in environments.items():
        _Reader(path, f"environments.{name}").environment(name, value)
    records = dict(_Reader(path, "records").typed(table.get("records", {}), _RECORDS))
    files = {name: path.parent / Path(records.pop(name)).expanduser() for name in _RECORD_FILES if name in records}
    anchors = _Reader(path, "records.anchors").typed(records.pop("anchors", {}), _ANCHORS)
    keys = {name: _Reader(path, "records").reference(name, records[name]) for name in _KEYS if name in records}
    return Catalog(path, services, environments, **files, records={**records, **keys}, anchors=anchors)


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CatalogError(f"cannot be read: {error.strerror}", file=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogError(f"is not TOML: {error}", file=str(path)) from error


@dataclass(frozen=True, slots=True)
class _Reader:
    """Checks one table of the file and names the key at fault."""

    path: Path
    key: str

    def fail(self, key: str, message: str) -> CatalogError:
        return CatalogError(message, file=str(self.path), key=".".join(filter(None, (self.key, key))))

    def known(self, table: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
        for name in table:
            if name not in allowed:
                near = nearest(name, allowed)
                hint = f" Did you mean {near!r}?" if near else ""
                raise self.fail(name, f"unknown key.{hint} Allowed: {', '.join(allowed)}")

    def typed(self, table: Any, types: Mapping[str, type]) -> dict[str, Any]:
        if not isinstance(table, dict):
            raise self.fail("", f"must be a table, not {type(table).__name__}")
        self.known(table, tuple(types))
        for name, value in table.items():
            wanted = types[name]
            fits = isinstance(value, str if wanted is Path else wanted) or (wanted is float and isinstance(value, int))
            if not fits or (isinstance(value, bool) and wanted is not bool):
                raise self.fail(name, f"must be {_WORDS[wanted]}, not {value!r}")
        return table

    def service(self, name: str, table: Any) -> Service:
        values = self.typed(table, _SERVICE)
        for missing in ("description", "owner", "objectives", "workload"):
            if missing not in values:
                raise self.fail(missing, "is missing")
        objectives = {
            key: _Reader(self.path, f"{self.key}.objectives.{key}").objective(key, v)
            for key, v in values["objectives"].items()
        }
        return Service(
            name=name,
            description=values["description"],
            owner=values["owner"],
            contacts=values.get("contacts", {}),
            dependencies=values.get("dependencies", {}),
            tools=values.get("tools", {}),
            access=tuple(values.get("access", ())),
            links=values.get("links", {}),
            alerts=tuple(values.get("alerts", ())),
            objectives=objectives,
            workload=_Reader(self.path, f"{self.key}.workload").workload(values["workload"]),
        )

    def workload(self, table: Mapping[str, Any]) -> dict[str, Any]:
        for key, longest in _NAMES.items():
            name = table.get(key, "a")
            if not isinstance(name, str) or len(name) > longest or not _NAME.fullmatch(name):
                told = f"{name!r} is no name: a-z, 0-9, '-' and '.', a letter or digit at both ends, up to {longest}"
                raise self.fail(key, told)
        # Paths of the catalogue are relative to it, wherever a run is started.
        return {key: str(self.path.parent / value) if key in _PATHS else value for key, value in table.items()}

    def objective(self, name: str, table: Any) -> Objective:
        values = self.typed(table, _OBJECTIVE)
        kind, target = values.get("kind", ""), float(values.get("target", 0))
        if kind not in {"latency", "availability"}:
            raise self.fail("kind", f"must be latency or availability, not {kind!r}")
        if not 0 < target < 1:
            raise self.fail("target", f"must be a share between 0 and 1, such as 0.999, not {target:g}")
        threshold = values.get("threshold_seconds")
        if (kind == "latency") != (threshold is not None) or (threshold is not None and threshold <= 0):
            raise self.fail("threshold_seconds", "is needed for latency, above 0, and stands nowhere else")
        days = values.get("window_days", 30)
        if days < 1:
            raise self.fail("window_days", f"must be at least 1, not {days}")
        return Objective(name, kind, target, float(threshold) if threshold is not None else None, days)

    def environment(self, name: str, table: Mapping[str, Any]) -> Environment:
        systems = (*sources.SETTINGS, *sources.brought(name for name in table if name not in _ENVIRONMENT))
        self.known(table, (*_ENVIRONMENT, *systems))
        values = self.typed({key: value for key, value in table.items() if key in _ENVIRONMENT}, _ENVIRONMENT)
        approval = values.get("approval", {})
        for kind, who in approval.items():
            self.known({kind: who}, ("default", *ACTION_KINDS))
            if who not in _APPROVALS:
                raise self.fail(f"approval.{kind}", f"must be one of {', '.join(_APPROVALS)}, not {who!r}")
        endpoints = {
            source: _Reader(self.path, f"{self.key}.{source}").endpoint(source, table[source])
            for source in systems
            if source in table
        }
        return Environment(
            name=name,
            description=values.get("description", ""),
            actions=self.names("actions", values.get("actions", []), ACTION_KINDS, "kind of action"),
            approval=approval,
            endpoints=endpoints,
            freeze=values.get("freeze", ""),
            max_replicas=self.positive("max_replicas", values.get("max_replicas", 20)),
            max_factor=float(self.positive("max_factor", values.get("max_factor", 2.0))),
            max_changes=self.positive("max_changes", values.get("max_changes", 10)),
            freezes=tuple(self.freeze(number, one) for number, one in enumerate(values.get("freezes", ()))),
            known_by=self.named_lists("known_by", values.get("known_by", {}), ("one", "two"), KNOWN_BY),
            approvers=self.named_lists("approvers", values.get("approvers", {}), ("default", *ACTION_KINDS)),
            signers=str(self.path.parent / Path(values["signers"]).expanduser()) if values.get("signers") else "",
        )

    def names(self, key: str, given: Any, allowed: tuple[str, ...] = (), what: str = "known word") -> tuple[str, ...]:
        """A list of texts, each one of ``allowed`` where that is not empty."""
        if not isinstance(given, list) or not all(isinstance(one, str) and one for one in given):
            raise self.fail(key, f"must be a list of texts, not {given!r}")
        for one in given:
            if allowed and one not in allowed:
                near = nearest(one, allowed)
                hint = f" Did you mean {near!r}?" if near else ""
                raise self.fail(key, f"{one!r} is no {what}.{hint} Allowed: {', '.join(allowed)}")
        return tuple(given)

    def named_lists(
        self, key: str, table: Mapping[str, Any], keys: tuple[str, ...], allowed: tuple[str, ...] = ()
    ) -> dict[str, tuple[str, ...]]:
        reader = _Reader(self.path, f"{self.key}.{key}")
        reader.known(table, keys)
        return {name: reader.names(name, given, allowed) for name, given in table.items()}

    def positive(self, key: str, value: Any) -> Any:
        if value < 1:
            raise self.fail(key, f"must be at least 1, not {value}")
        return value

    def freeze(self, number: int, table: Any) -> Freeze:
        reader = _Reader(self.path, f"{self.key}.freezes.{number}")
        values = reader.typed(table, _FREEZE)
        for name in ("from", "to", "reason"):
            if name not in values:
                raise reader.fail(name, "is missing")
        for name in ("from", "to"):
            if values[name].tzinfo is None:
                raise reader.fail(name, f"needs an offset, such as {values[name].isoformat()}Z")
        if not values["from"] < values["to"]:
            raise reader.fail("to", f"must be after {values['from'].isoformat()}")
        allow = reader.names("allow", values.get("allow", []), ACTION_KINDS)
        return Freeze(values["from"], values["to"], values["reason"], allow)

    def endpoint(self, source: str, table: Any) -> Endpoint:
        allowed = sources.settings(source)
        as_given = {name: type(value) for name, value in table.items()} if isinstance(table, dict) else {}
        values = self.typed(table, allowed.types if allowed.known else as_given)
        for needed in allowed.required:
            if needed not in values:
                raise self.fail(needed, "is missing")
        settings: dict[str, str | int | float | bool] = {}
        secrets: dict[str, str] = {}
        for name, value in values.items():
            if isinstance(value, str) and value.partition(":")[0] in {"env", "file", "k8s"}:
                secrets[name] = self.reference(name, value)
            elif isinstance(value, str) and (name == "webhook" or secret_reason(name, value)):
                raise self.fail(
                    name, "holds a secret; write its name instead: env:NAME, file:PATH or k8s:namespace/name/key"
                )
            else:
                is_path = allowed.types.get(name) is Path
                settings[name] = str(self.path.parent / Path(value).expanduser()) if is_path else value
        return Endpoint(source, settings, secrets)

    def reference(self, name: str, value: str) -> str:
        try:
            return str(SecretRef.parse(value, base=self.path.parent.resolve()))
        except SecretError as error:
            raise self.fail(name, str(error)) from error


_WORDS = {
    str: "text",
    Path: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
    datetime: "a time with an offset, such as 2026-12-20T00:00:00Z",
}
