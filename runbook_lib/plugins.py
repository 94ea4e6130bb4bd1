"""What other packages bring: runbooks and clients, by entry points. A broken one is told of, and stops nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

#: Entry points that bring runbooks: each names a function that gives a folder of notebooks.
RUNBOOKS = "runbook_lib.runbooks"
#: Entry points that bring clients: each is named as its source, and names a ``clients.plugin.PluginClient``.
CLIENTS = "runbook_lib.clients"
#: Types that a client's settings may have in runbook.toml; a Path is relative to that file.
TYPES = (str, int, float, bool, Path)
#: Names that a run or the library has itself: there, a client of another package would never be reached, or hide ours.
TAKEN = frozenset(
    {"apply", "ask", "availability", "backups", "changed_at", "check", "close", "conclude", "datadog", "environment",
     "findings", "first_questions", "gather", "github", "grafana", "handover", "helm", "id", "kubernetes", "metrics",
     "migrations", "note", "objective", "pagerduty", "postgres", "preflight", "prometheus", "redis", "registry",
     "releases", "runbook", "service", "service_probe", "slack", "start", "stop", "tools", "verify", "watch",
     "window"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plugin:
    """What one entry point brings.

    Args:
        kind: ``"runbooks"`` or ``"client"``.
        name: of the entry point.
        package: that brings it.
        value: folder of notebooks, or class of a client; None when it cannot be used.
        problem: why it cannot be used; empty when it can be.
    """

    kind: str
    name: str
    package: str
    value: Any = None
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name} of {self.package}" + (f": {self.problem}" if self.problem else "")

    def to_json(self) -> dict[str, str]:
        """Plain JSON data."""
        return {"kind": self.kind, "name": self.name, "package": self.package, "problem": self.problem}


@cache
def runbooks() -> tuple[Plugin, ...]:
    """The folders of notebooks that packages bring, in the order of their names."""
    return tuple(_load("runbooks", point, lambda value: Path(value())) for point in _points(RUNBOOKS))


@cache
def clients() -> Mapping[str, Plugin]:
    """Source to the client that a package brings for it; when two bring one, neither is used."""
    found: dict[str, Plugin] = {}
    for point in _points(CLIENTS):
        new = _load("client", point, _client)
        new = replace(new, value=None, problem=_name_problem(new)) if _name_problem(new) else new
        if point.name in found:
            both = f"{found[point.name].package} and {new.package}"
            new = Plugin("client", point.name, both, problem="two packages bring it; remove one of them")
        found[point.name] = new
    return found


def broken() -> tuple[Plugin, ...]:
    """Everything that cannot be used, with the reason."""
    return tuple(one for one in (*runbooks(), *clients().values()) if one.problem)


def _points(group: str) -> list[Any]:
    from importlib.metadata import entry_points

    return sorted(entry_points(group=group), key=lambda one: (one.name, _package(one)))


def _package(point: Any) -> str:
    return str(point.dist.name) if point.dist is not None else str(point.value)


def _load(kind: str, point: Any, use: Callable[[Any], Any]) -> Plugin:
    package = _package(point)
    try:
        return Plugin(kind, point.name, package, use(point.load()))
    except Exception as error:  # noqa: BLE001 - whatever another package does wrong
        return Plugin(kind, point.name, package, problem=" ".join(f"{type(error).__name__}: {error}".split()))


def _client(value: Any) -> Any:
    for problem in _shape_problems(value):
        raise TypeError(problem)
    return value


def _shape_problems(value: Any) -> Iterator[str]:
    """What keeps the catalogue from knowing the settings of a client."""
    missing = [name for name in ("source", "settings", "required", "queries_file", "first") if not hasattr(value, name)]
    if not isinstance(value, type) or missing:
        yield f"{value!r} is no class with {', '.join(missing) or 'a source'}; derive it from PluginClient"
    for name, kind in value.settings.items():
        if kind not in TYPES:
            yield f"settings.{name} is {kind!r}; allowed: {', '.join(one.__name__ for one in TYPES)}"
    for name in (*value.required, *((value.first,) if value.first else ())):
        if name not in value.settings and not hasattr(value, name):
            yield f"{name!r} is neither a setting nor a method of {value.__name__}"


def _name_problem(plugin: Plugin) -> str:
    if plugin.problem:
        return ""
    if not plugin.name.isidentifier() or plugin.name.startswith("_"):
        return "its name can be no attribute of a run"
    if plugin.name in TAKEN:
        return f"run.{plugin.name} is the library's own; give the system another name"
    source = plugin.value.source
    return f"its class has the source {source!r}; both must be one name" if source != plugin.name else ""
