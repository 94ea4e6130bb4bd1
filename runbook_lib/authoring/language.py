"""What the code of a notebook says: its reads, writes, times and imports, found in its syntax."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from runbook_lib.errors import nearest

#: Methods of a run's clients that change something; only the guarded path calls them.
WRITES = frozenset(
    {"scale", "terminate", "cancel", "upgrade", "rollback", "post", "post_to_webhook", "update", "trigger",
     "acknowledge", "resolve", "note", "acquire_lease", "release_lease", "start", "send", "write"}
)  # fmt: skip
_CALLS_OUT = frozenset({"requests", "httpx", "urllib", "urlopen", "socket"})
_TIME = frozenset({"now", "utcnow", "today", "fromtimestamp", "utcfromtimestamp", "strptime"})
_IMPORTABLE = frozenset({"runbook_lib", "datetime", "math", "statistics", "json", "re"})


def systems() -> Mapping[str, type]:
    """Attribute of a run to the class of its client."""
    return _systems()


def aliases(trees: Iterable[ast.Module]) -> dict[str, str]:
    """Names that stand for a client in a whole notebook: ``metrics, cluster = run.metrics, run.kubernetes``."""
    return {name: attribute for tree in trees for name, attribute in _aliases(tree).items()}


def queries(tree: ast.Module, aliases: Mapping[str, str]) -> Iterator[tuple[str, str, ast.expr | None]]:
    """Every read of a run: attribute, method, and the first argument of ``query``.

    Args:
        tree: of a cell.
        aliases: of the notebook.
    """
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        attribute = _attribute(node.value, aliases)
        if attribute:
            yield attribute, node.attr, None
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "query":
            attribute = _attribute(node.func.value, aliases)
            if attribute and node.args:
                yield attribute, "query", node.args[0]


def unknown_queries(tree: ast.Module, aliases: Mapping[str, str]) -> Iterator[str]:
    """Reads that no client has, with the nearest one."""
    from runbook_lib.queries.load import load

    for attribute, method, name in queries(tree, aliases):
        client = systems().get(attribute)
        if client is None:
            continue
        if not hasattr(client, method):
            known = [one for one in dir(client) if not one.startswith("_")]
            yield _unknown(f"run.{attribute}.{method}", method, known)
        elif isinstance(name, ast.Constant) and isinstance(name.value, str):
            named = load(client.source)  # type: ignore[attr-defined]
            if name.value not in named:
                yield _unknown(f"query {name.value!r}", name.value, list(named))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in _ROOMS:
            room = importlib.import_module(f"runbook_lib.{node.value.id}")
            if node.attr not in room.__all__:
                yield _unknown(f"{node.value.id}.{node.attr}", node.attr, list(room.__all__))


def naive_times(tree: ast.Module) -> Iterator[str]:
    """Times without a zone."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        zoned = any(keyword.arg in {"tz", "tzinfo"} for keyword in node.keywords)
        if name == "datetime" and isinstance(node.func, ast.Name | ast.Attribute) and not zoned and len(node.args) < 8:
            yield "datetime(...) without tzinfo: an incident crosses time zones; use UTC"
        elif name in _TIME and _of_datetime(node.func) and not (zoned or (name == "now" and node.args)):
            yield f"{name}() gives a time without a zone; use UTC"


def missing_timeouts(tree: ast.Module) -> Iterator[str]:
    """Calls over the network that may wait for ever."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _root(node.func) in _CALLS_OUT:
            timed = any(keyword.arg in {"timeout", "timeouts"} for keyword in node.keywords)
            if not timed:
                yield f"{ast.unparse(node.func)} without a timeout; better: a client of the run, which has one"


def imports(tree: ast.Module) -> Iterator[str]:
    """Imports of anything but the library: what opens sockets or starts processes belongs into a client."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            if name.partition(".")[0] not in _IMPORTABLE:
                yield f"imports {name}; a notebook asks through run and its clients"


def applies(tree: ast.Module) -> Iterator[str]:
    """Plans that are carried out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "apply" and isinstance(node.value, ast.Name):
            yield "run.apply stands alone in a cell tagged action"


def writes(tree: ast.Module, aliases: Mapping[str, str]) -> Iterator[str]:
    """Changes that pass by the guarded path."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node.attr not in WRITES:
            continue
        if attribute := _attribute(node.value, aliases):
            yield f"run.{attribute}.{node.attr} changes something without a guard; plan it: actions.*, then run.apply"


_ROOMS = frozenset({"actions", "analysis", "charts"})


@cache
def _systems() -> Mapping[str, type]:
    from runbook_lib import plugins
    from runbook_lib.run.systems import CLIENTS

    own = {
        attribute: getattr(importlib.import_module(f"runbook_lib.clients.{one.module}"), one.name)
        for attribute, one in CLIENTS.items()
    }
    return {**{name: one.value for name, one in plugins.clients().items() if one.value is not None}, **own}


def _aliases(tree: ast.Module) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            for name, value in zip(names, values, strict=False):
                attribute = _attribute(value, {})
                if isinstance(name, ast.Name) and attribute:
                    found[name.id] = attribute
    return found


def _attribute(node: ast.expr, aliases: Mapping[str, str]) -> str:
    """The client that an expression stands for; empty when it is none."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id, "")
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "run":
        return node.attr if node.attr in systems() else ""
    return ""


def _of_datetime(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and _root(node) in {"datetime", "date", "dt"}


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _unknown(what: str, name: str, known: list[str]) -> str:
    near = nearest(name, known)
    return f"nobody knows {what}" + (f"; did you mean {near!r}?" if near else "")
