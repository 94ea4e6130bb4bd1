"""Reads the query files of this folder and checks them; a bad file is an error that names file and key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from runbook_lib import plugins
from runbook_lib.errors import CatalogError, ParameterError, UnknownNameError, nearest
from runbook_lib.model.units import UNITS
from runbook_lib.queries.query import TYPES, Query, QueryParameter

_FOLDER = Path(__file__).parent
_NAMES_FILE = "metric_names"
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")
_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_PLACEHOLDER = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?")
_QUERY_KEYS: Mapping[str, type] = {
    "title": str,
    "description": str,
    "text": str,
    "unit": str,
    "needed": bool,
    "parameters": dict,
}
_PARAMETER_KEYS = ("type", "default", "description", "minimum", "maximum")
#: What a client fills in from the catalogue and the window, besides parameters and metric names.
PLACEHOLDERS: Mapping[str, tuple[str, ...]] = {
    "prometheus": ("selector", "pods", "workload", "range"),
    "datadog": ("scope",),
}


@cache
def load(source: str) -> Mapping[str, Query]:
    """The queries of a source, name to query: of our own, or of a client that another package brings.

    Raises:
        UnknownNameError: no file holds queries of that source.
        CatalogError: the file is missing or wrong.
    """
    path = _FOLDER / f"{source}.toml"
    known = sorted(one.stem for one in _FOLDER.glob("*.toml") if one.stem != _NAMES_FILE)
    if source not in known:
        brought = {name: one.value for name, one in plugins.clients().items() if one.value is not None}
        if source not in brought:
            raise UnknownNameError("source", source, (*known, *brought), str(_FOLDER))
        path = Path(brought[source].queries_file)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"cannot be read: {error}", file=str(path)) from error
    return parse(source, text, str(path))


@cache
def metric_names() -> Mapping[str, str]:
    """Our name of a metric or label to its default name in Prometheus; ``workload.metrics`` overrides them.

    Raises:
        CatalogError: the file is wrong.
    """
    path = _FOLDER / f"{_NAMES_FILE}.toml"
    names = tomllib.loads(path.read_text(encoding="utf-8"))
    for key, value in names.items():
        if not isinstance(value, str) or not _METRIC_NAME.fullmatch(value):
            raise CatalogError(f"must be the name of a metric or label, not {value!r}", file=str(path), key=key)
    return names


def parse(source: str, text: str, file: str) -> Mapping[str, Query]:
    """Read the text of one query file.

    Args:
        source: the system its questions are for.
        text: TOML, one table per query.
        file: where it came from, for errors.

    Raises:
        CatalogError: names file and key, what is allowed and the nearest valid name.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CatalogError(f"is not TOML: {error}", file=file) from error
    return {name: _query(source, name, table, file) for name, table in tables.items()}


def _query(source: str, name: str, table: Any, file: str) -> Query:
    if not _IDENTIFIER.fullmatch(name):
        raise CatalogError("a query's name is lower case letters, digits and _", file=file, key=name)
    if not isinstance(table, dict):
        raise CatalogError(f"must be a table, not {table!r}", file=file, key=name)
    _known(table, tuple(_QUERY_KEYS), file, name)
    for key, wanted in _QUERY_KEYS.items():
        if key in table and not isinstance(table[key], wanted):
            raise CatalogError(f"must be {wanted.__name__}, not {table[key]!r}", file=file, key=f"{name}.{key}")
    for key in ("title", "description", "text"):
        if not table.get(key, "").strip():
            raise CatalogError("is missing", file=file, key=f"{name}.{key}")
    unit = table.get("unit", "")
    if unit not in UNITS:
        raise CatalogError(f"{unit!r} is no unit. Allowed: {', '.join(filter(None, UNITS))}", file=file, key=name)
    parameters = {
        key: _parameter(key, value, file, f"{name}.parameters.{key}")
        for key, value in table.get("parameters", {}).items()
    }
    words = " ".join(table["text"].split()) if source == "prometheus" else table["text"].strip()
    query = Query(
        source, name, table["title"], table["description"], words, unit, table.get("needed", False), parameters
    )
    _check_placeholders(query, file)
    return query


def _parameter(name: str, table: Any, file: str, key: str) -> QueryParameter:
    if not _IDENTIFIER.fullmatch(name):
        raise CatalogError("a parameter's name is lower case letters, digits and _", file=file, key=key)
    if not isinstance(table, dict):
        raise CatalogError(f"must be a table, not {table!r}", file=file, key=key)
    _known(table, _PARAMETER_KEYS, file, key)
    for needed in ("type", "default", "description"):
        if needed not in table:
            raise CatalogError("is missing", file=file, key=f"{key}.{needed}")
    if table["type"] not in TYPES:
        raise CatalogError(f"{table['type']!r} is no type. Allowed: {', '.join(TYPES)}", file=file, key=f"{key}.type")
    parameter = QueryParameter(name=name, **table)
    try:
        parameter.check(parameter.default)
    except ParameterError as error:
        raise CatalogError(str(error), file=file, key=f"{key}.default") from error
    return parameter


def _check_placeholders(query: Query, file: str) -> None:
    if query.source not in PLACEHOLDERS:
        return
    allowed = {*PLACEHOLDERS[query.source], *query.parameters}
    if query.source == "prometheus":
        allowed |= metric_names().keys()
    for name in _PLACEHOLDER.findall(query.text):
        if name not in allowed:
            near = nearest(name, allowed)
            hint = f" Did you mean ${near}?" if near else ""
            raise CatalogError(f"${name} is not known.{hint}", file=file, key=f"{query.name}.text")


def _known(table: Mapping[str, Any], allowed: tuple[str, ...], file: str, key: str) -> None:
    for name in table:
        if name not in allowed:
            near = nearest(name, allowed)
            hint = f" Did you mean {near!r}?" if near else ""
            raise CatalogError(f"unknown key.{hint} Allowed: {', '.join(allowed)}", file=file, key=f"{key}.{name}")
