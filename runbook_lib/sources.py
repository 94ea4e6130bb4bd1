"""The systems that an environment may have, and the settings of each: our own, and those that other packages bring."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from runbook_lib import plugins

#: Source to its settings. A setting that holds a secret is given as the secret's name.
SETTINGS: Mapping[str, Mapping[str, type]] = {
    "prometheus": {"url": str, "token": str, "user": str, "password": str, "range_seconds": int},
    "grafana": {"url": str, "token": str, "dashboard": str},
    "datadog": {"url": str, "api_key": str, "application_key": str, "scope": str},
    "postgres": {
        "host": str,
        "port": int,
        "database": str,
        "user": str,
        "password": str,
        "act_user": str,
        "act_password": str,
        "migrate_user": str,
        "migrate_password": str,
        "migrate_role": str,
        "sslmode": str,
        "end_users": str,
    },
    "redis": {"host": str, "port": int, "user": str, "password": str, "tls": bool},
    "kubernetes": {
        "kubeconfig": Path,
        "context": str,
        "namespace": str,
        "allow_exec": bool,
        "chart": Path,
        "values": Path,
    },
    "service": {"url": str, "token": str},
    "slack": {"webhook": str, "url": str, "token": str, "channel": str},
    "pagerduty": {"url": str, "routing_key": str, "token": str},
    "github": {"url": str, "repository": str, "token": str},
    "registry": {"url": str, "repository": str, "token": str},
    "migrations": {"tool": str, "config": Path, "program": str},
    "backups": {"folder": Path, "binaries": Path, "trial_max_bytes": int},
}
_REQUIRED: Mapping[str, str] = {
    "postgres": "host",
    "redis": "host",
    "kubernetes": "kubeconfig",
    "slack": "webhook",
    "migrations": "config",
    "backups": "folder",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What runbook.toml may say of a system.

    Args:
        types: name of a setting to its type; a Path is relative to the file.
        required: settings that must be there.
        known: False where the package that knows them cannot be loaded.
    """

    types: Mapping[str, type]
    required: tuple[str, ...]
    known: bool = True


def brought(names: Iterable[str]) -> tuple[str, ...]:
    """The systems that other packages bring. They are looked up only when one of ``names`` is none of our own."""
    return tuple(one for one in plugins.clients() if one not in SETTINGS) if set(names) - set(SETTINGS) else ()


def settings(source: str) -> Settings:
    """The settings of a system: one of ``SETTINGS`` or of ``brought``."""
    if source in SETTINGS:
        return Settings(SETTINGS[source], (_REQUIRED.get(source, "url"),))
    client = plugins.clients()[source].value
    return Settings(client.settings, tuple(client.required)) if client is not None else Settings({}, (), known=False)
