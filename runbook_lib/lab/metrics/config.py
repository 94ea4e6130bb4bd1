"""The store's configuration file; the launcher of a real Prometheus reads the same one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runbook_lib.errors import nearest
from runbook_lib.lab.metrics.errors import ConfigError


@dataclass(frozen=True, slots=True)
class StaticTarget:
    """A page to scrape.

    Attributes:
        url: full address, such as ``http://127.0.0.1:9187/metrics``.
        labels: added to every series of the page; ``job`` is one of them.
    """

    url: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class KubernetesTargets:
    """Where annotated pods are found.

    Attributes:
        kubeconfig: file with the API server's address and the reader's credentials.
        namespace: the only namespace that is looked at.
    """

    kubeconfig: Path
    namespace: str


@dataclass(frozen=True, slots=True)
class AlertRule:
    """A condition that is evaluated all the time.

    Attributes:
        alert: the alert's name.
        expr: a query; each series of the answer is one alert.
        for_seconds: how long the condition must hold before the alert fires.
        labels, annotations: added to the alert; ``{{ $labels.name }}`` and ``{{ $value }}`` are filled in.
    """

    alert: str
    expr: str
    for_seconds: float = 0.0
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the store is told.

    Attributes:
        scrape_interval_seconds: between two scrapes of a target, and between two evaluations of the rules.
        retention_seconds: how much history is kept.
        alertmanager_url: base address of an Alertmanager that gets the firing alerts; empty for none.
    """

    scrape_interval_seconds: float = 2.0
    static_targets: tuple[StaticTarget, ...] = ()
    kubernetes: KubernetesTargets | None = None
    rules: tuple[AlertRule, ...] = ()
    retention_seconds: float = 6 * 3600.0
    alertmanager_url: str = ""


def load_config(path: Path) -> Config:
    """Read and check a configuration file (JSON).

    Raises:
        ConfigError: unreadable, or a key is unknown, missing or of the wrong type; names file and key.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON: {error}") from error
    reader = _Reader(str(path))
    return reader.config(content)


class _Reader:
    """Turns JSON into the classes above, with the file and the key in every error."""

    def __init__(self, file: str) -> None:
        self.file = file

    def config(self, content: Any) -> Config:
        table = self._table(content, "", [field.name for field in fields(Config)])
        interval = self._seconds(table, "scrape_interval_seconds", 2.0)
        if interval <= 0:
            raise self._error("scrape_interval_seconds", "must be more than 0")
        kubernetes = table.get("kubernetes")
        return Config(
            scrape_interval_seconds=interval,
            static_targets=tuple(
                self._target(item, f"static_targets[{index}]")
                for index, item in enumerate(self._list(table, "static_targets"))
            ),
            kubernetes=None if kubernetes is None else self._kubernetes(kubernetes),
            rules=tuple(self._rule(item, f"rules[{index}]") for index, item in enumerate(self._list(table, "rules"))),
            retention_seconds=self._seconds(table, "retention_seconds", 6 * 3600.0),
            alertmanager_url=self._text(table, "", "alertmanager_url", ""),
        )

    def _target(self, item: Any, key: str) -> StaticTarget:
        table = self._table(item, key, ["url", "labels"])
        url = self._text(table, key, "url")
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise self._error(f"{key}.url", f"must be an http or https address, is {url!r}")
        labels = self._labels(table, key, "labels")
        if not labels.get("job"):
            raise self._error(f"{key}.labels", "must hold a job")
        return StaticTarget(url, labels)

    def _kubernetes(self, item: Any) -> KubernetesTargets:
        table = self._table(item, "kubernetes", ["kubeconfig", "namespace"])
        return KubernetesTargets(
            kubeconfig=Path(self._text(table, "kubernetes", "kubeconfig")),
            namespace=self._text(table, "kubernetes", "namespace"),
        )

    def _rule(self, item: Any, key: str) -> AlertRule:
        table = self._table(item, key, [field.name for field in fields(AlertRule)])
        return AlertRule(
            alert=self._text(table, key, "alert"),
            expr=self._text(table, key, "expr"),
            for_seconds=self._seconds(table, f"{key}.for_seconds", 0.0),
            labels=self._labels(table, key, "labels"),
            annotations=self._labels(table, key, "annotations"),
        )

    def _table(self, value: Any, key: str, allowed: list[str]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._error(key, f"must be an object, is {value!r}")
        for name in value:
            if name not in allowed:
                near = nearest(name, allowed)
                hint = f" Did you mean {near!r}?" if near else ""
                raise self._error(f"{key}.{name}".lstrip("."), f"unknown key.{hint} Known: {', '.join(allowed)}")
        return value

    def _list(self, table: dict[str, Any], key: str) -> list[Any]:
        value = table.get(key, [])
        if not isinstance(value, list):
            raise self._error(key, f"must be a list, is {value!r}")
        return value

    def _text(self, table: dict[str, Any], key: str, name: str, default: str | None = None) -> str:
        value = table.get(name, default)
        if not isinstance(value, str) or (not value and default is None):
            raise self._error(f"{key}.{name}".lstrip("."), f"must be a text, is {value!r}")
        return value

    def _seconds(self, table: dict[str, Any], key: str, default: float) -> float:
        value = table.get(key.rpartition(".")[2], default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise self._error(key, f"must be a number of seconds, is {value!r}")
        return float(value)

    def _labels(self, table: dict[str, Any], key: str, name: str) -> dict[str, str]:
        value = table.get(name, {})
        if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
            raise self._error(f"{key}.{name}", f"must map names to texts, is {value!r}")
        return value

    def _error(self, key: str, message: str) -> ConfigError:
        return ConfigError(f"{self.file}: {key or 'the file'} {message}")
