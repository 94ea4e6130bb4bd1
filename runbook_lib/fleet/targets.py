"""The targets of a fleet: from a TOML or CSV file, or from the catalogue; all checked before anything is started."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from runbook_lib.catalog import Catalog
from runbook_lib.errors import ParameterError, UnknownNameError, UsageError, nearest
from runbook_lib.headless.parameters import Parameters, Value

_KEYS = ("defaults", "target")


@dataclass(frozen=True, slots=True)
class Target:
    """What one run of a fleet is about.

    Args:
        name: unique in the fleet, such as ``api@production``.
        values: every parameter's value.
    """

    name: str
    values: Mapping[str, Value]

    @property
    def service(self) -> str:
        """Name of the service; empty when the runbook has no such parameter."""
        return str(self.values.get("service", ""))

    @property
    def environment(self) -> str:
        """Name of the environment; empty when the runbook has no such parameter."""
        return str(self.values.get("environment", ""))


def from_file(path: Path) -> list[dict[str, Any]]:
    """The parameters of each target.

    A TOML file holds ``[[target]]`` tables of parameters and may hold ``[defaults]`` for all of them. A CSV file has
    the names of parameters as its first line and one target on each further line; an empty cell is left to the default.

    Raises:
        ParameterError: the file cannot be read or is of another shape; names the file and the place.
    """
    readers = {".toml": _toml, ".csv": _csv}
    if path.suffix not in readers:
        raise ParameterError(f"{path}: targets are given as a file that ends in {' or '.join(readers)}")
    try:
        found = readers[path.suffix](path)
    except (OSError, ValueError, csv.Error) as error:
        raise ParameterError(f"{path}: cannot be read: {error}") from error
    if not found:
        raise ParameterError(f"{path}: holds no target")
    return found


def from_catalog(catalog: Catalog, pattern: str, environments: Sequence[str]) -> list[dict[str, Any]]:
    """Every service whose name fits a pattern, in each of the environments.

    Args:
        catalog: the service catalogue.
        pattern: such as ``api-*``; ``*`` for all.
        environments: names of environments; may be left out when the catalogue has only one.

    Raises:
        UnknownNameError: no service fits, or an environment is not known.
        UsageError: no environment is named where there are several.
    """
    services = [name for name in catalog.services if fnmatchcase(name, pattern)]
    if not services:
        raise UnknownNameError("service", pattern, catalog.services, str(catalog.path))
    if not environments and len(catalog.environments) != 1:
        raise UsageError(f"which environment? Add --environment with one of: {', '.join(catalog.environments)}")
    chosen = environments or catalog.environments
    for name in chosen:
        if name not in catalog.environments:
            raise UnknownNameError("environment", name, catalog.environments, str(catalog.path))
    return [{"service": service, "environment": place} for service in services for place in chosen]


def check(
    given: Sequence[Mapping[str, Any]],
    declared: Parameters,
    common: Mapping[str, Any],
    catalog: Catalog | None,
    *,
    where: str,
) -> tuple[Target, ...]:
    """The targets with every parameter's value; nothing is started for any of them when one is wrong.

    Args:
        given: the parameters of each target.
        declared: what the runbook takes.
        common: parameters of all targets; a target's own come first.
        catalog: knows services and environments; None when there is no catalogue.
        where: the file, for messages.

    Raises:
        UsageError: a parameter, service or environment is wrong, or a target comes twice; names the target.
    """
    targets: dict[str, Target] = {}
    seen: dict[str, int] = {}
    for number, own in enumerate(given, start=1):
        place = f"{where}, target {number}"
        try:
            values = declared.check({**common, **own})
            _known(values, catalog)
        except UsageError as error:
            raise ParameterError(f"{place}: {error}") from error
        key = repr(sorted(values.items()))
        if key in seen:
            raise ParameterError(f"{place}: is the same as target {seen[key]}")
        seen[key] = number
        name = _name(values, own)
        unique = name if name not in targets else f"{name} ({number})"
        targets[unique] = Target(unique, values)
    return tuple(targets.values())


def _known(values: Mapping[str, Value], catalog: Catalog | None) -> None:
    if catalog is None:
        return
    if "service" in values:
        catalog.service(str(values["service"]))
    if "environment" in values:
        catalog.environment(str(values["environment"]))


def _name(values: Mapping[str, Value], own: Mapping[str, Any]) -> str:
    parts = [str(values[name]) for name in ("service", "environment") if values.get(name)]
    return "@".join(parts) or ", ".join(f"{key}={value}" for key, value in own.items()) or "run"


def _toml(path: Path) -> list[dict[str, Any]]:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    for key in table:
        if key not in _KEYS:
            near = nearest(key, _KEYS)
            hint = f" Did you mean {near!r}?" if near else ""
            raise ParameterError(f"{path}: {key}: unknown key.{hint} Allowed: {', '.join(_KEYS)}")
    defaults, targets = table.get("defaults", {}), table.get("target", [])
    if not isinstance(defaults, dict):
        raise ParameterError(f"{path}: defaults: must be a table")
    if not isinstance(targets, list) or not all(isinstance(one, dict) for one in targets):
        raise ParameterError(f"{path}: target: write each target as [[target]]")
    return [{**defaults, **one} for one in targets]


def _csv(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.DictReader(file, strict=True, skipinitialspace=True)
        found = []
        for row in lines:
            if None in row or None in row.values():
                raise ParameterError(f"{path}: line {lines.line_num}: has not as many cells as the first line")
            found.append({name.strip(): value.strip() for name, value in row.items() if value.strip()})
        return found
