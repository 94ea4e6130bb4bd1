"""What a kubeconfig asks for before it is used: some name a program that fetches credentials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runbook_lib.errors import SourceDeniedError

#: Settings of a user that start a program or a plugin (kubeconfig v1 reference, ``AuthInfo``).
_PROGRAMS = ("exec", "auth-provider")


def refuse_program(kubeconfig: str, context: str) -> None:
    """Refuse a kubeconfig whose user starts a program: whoever can write the file could run anything as us.

    Args:
        kubeconfig: the file; one that is malformed or missing is left to its reader.
        context: context of that file; empty for its current one.

    Raises:
        SourceDeniedError: it names a program; carries its name and the setting that allows it.
    """
    for kind in _PROGRAMS:
        named = _user(kubeconfig, context).get(kind)
        if not named:
            continue
        program = named.get("command") or named.get("name") if isinstance(named, dict) else named
        told = f"kubeconfig {kubeconfig} runs {str(program)!r} for its credentials ({kind})"
        raise SourceDeniedError(
            f"{told}; allow_exec = true beside kubeconfig in runbook.toml allows it", source="kubernetes"
        )


def _user(kubeconfig: str, context: str) -> dict[str, Any]:
    """The user behind a context; empty where there is none to be found."""
    import yaml

    try:
        content = yaml.safe_load(Path(kubeconfig).read_text(encoding="utf-8"))
        name = _named(content, "contexts", context or content["current-context"])["context"]["user"]
        found = _named(content, "users", name)["user"]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, StopIteration):
        return {}
    return found if isinstance(found, dict) else {}


def _named(content: Any, key: str, name: str) -> Any:
    return next(one for one in content[key] if one["name"] == name)
