"""Which alert starts which runbook: a table of one's own, ``hook.toml``; names of secrets, never values."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runbook_lib.catalog import Catalog
from runbook_lib.errors import CatalogError, SecretError, UnknownNameError, nearest
from runbook_lib.headless.notebooks import named_in
from runbook_lib.hooks.alerts import Notification
from runbook_lib.secrets import SecretRef

FILE_NAME = "hook.toml"
_KEYS: Mapping[str, type] = {
    "environment": str,
    "service": str,
    "runbook": str,
    "runbooks": list,
    "verify": str,
    "service_labels": list,
    "environment_labels": list,
    "window_minutes": int,
    "verify_minutes": int,
    "runs_at_once": int,
    "routes": dict,
    "token": str,
    "pagerduty": list,
}


@dataclass(frozen=True, slots=True)
class Route:
    """What an alert starts.

    Args:
        runbook: name of the runbook.
        service: a service of the catalogue.
        environment: an environment of the catalogue.
    """

    runbook: str
    service: str
    environment: str


@dataclass(frozen=True, slots=True)
class Settings:
    """The table.

    Args:
        environment: where alerts come from, unless a label says otherwise.
        service: the service that is meant when no label names a known one; empty for none.
        runbook: what is run when neither the alert nor ``routes`` names one; empty for none.
        runbooks: names that an alert may start; nothing else is ever started.
        verify: what is run when an incident is resolved; empty for the same runbook once more.
        service_labels: labels that may name the service, the first that does wins.
        environment_labels: labels that may name the environment.
        window_minutes: minutes of history that a run reads.
        verify_minutes: minutes that a verification reads; it begins that long after the end was delivered, so that it
            sees the time since and none of the incident.
        runs_at_once: runs that go on at the same time, at most.
        routes: name of an alert to name of a runbook.
        token: name of the secret that a sender must show as a bearer; empty for none, on loopback only.
        pagerduty: names of the secrets that PagerDuty signs with.
    """

    environment: str
    service: str = ""
    runbook: str = ""
    runbooks: tuple[str, ...] = ()
    verify: str = ""
    service_labels: tuple[str, ...] = ("service", "app", "job")
    environment_labels: tuple[str, ...] = ("environment", "env")
    window_minutes: int = 60
    verify_minutes: int = 5
    runs_at_once: int = 2
    routes: Mapping[str, str] = field(default_factory=dict)
    token: str = ""
    pagerduty: tuple[str, ...] = ()

    def route(self, notification: Notification, catalog: Catalog) -> Route | str:
        """What a notification starts; or why it starts nothing.

        Args:
            notification: untrusted.
            catalog: what there is.
        """
        wished = self.routes.get(notification.name) or named_in(notification.runbook) or self.runbook
        if wished not in self.runbooks:
            return f"no runbook that an alert may start: {wished or 'none is named'}"
        services = [notification.labels.get(label, "") for label in self.service_labels]
        service = _first(services, catalog.services) or self.service
        if service not in catalog.services:
            return f"no label names a service of the catalogue: {', '.join(filter(None, services)) or 'none is there'}"
        places = [notification.labels.get(label, "") for label in self.environment_labels]
        return Route(wished, service, _first(places, catalog.environments) or self.environment)


def load(path: Path, known: Iterable[str], catalog: Catalog) -> Settings:
    """Read and check the table.

    Args:
        path: ``hook.toml``.
        known: names of the runbooks there are.
        catalog: what there is.

    Raises:
        CatalogError: the file is missing or wrong; names the key, what is allowed and the nearest name.
        UnknownNameError: it names a runbook, service or environment that nobody knows.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CatalogError(f"cannot be read: {error.strerror}", file=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogError(f"is not TOML: {error}", file=str(path)) from error
    for key, value in table.items():
        _check_type(path, key, value)
    for missing in ("environment", "runbooks"):
        if missing not in table:
            raise CatalogError("is missing", file=str(path), key=missing)
    lists = ("runbooks", "service_labels", "environment_labels", "pagerduty")
    given: dict[str, Any] = {key: tuple(value) if key in lists else value for key, value in table.items()}
    settings = Settings(**given)
    _check_names(path, settings, tuple(known), catalog)
    return settings


def _check_type(path: Path, key: str, value: Any) -> None:
    if key not in _KEYS:
        near = nearest(key, _KEYS)
        hint = f" Did you mean {near!r}?" if near else ""
        raise CatalogError(f"unknown key.{hint} Allowed: {', '.join(_KEYS)}", file=str(path), key=key)
    wanted = _KEYS[key]
    inner = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    if type(value) is not wanted or not all(isinstance(one, str) for one in inner):
        raise CatalogError(f"must be of type {wanted.__name__}, with texts in it", file=str(path), key=key)
    if isinstance(value, int) and not 1 <= value <= 10_000:
        raise CatalogError("must be 1 to 10000", file=str(path), key=key)


def _check_names(path: Path, settings: Settings, known: tuple[str, ...], catalog: Catalog) -> None:
    named = (*settings.runbooks, *settings.routes.values(), settings.runbook, settings.verify)
    for name in filter(None, named):
        if name not in known:
            raise UnknownNameError("runbook", name, known, str(path))
    for name in filter(None, (*settings.routes.values(), settings.runbook)):
        if name not in settings.runbooks:
            raise CatalogError(f"{name!r} must stand in runbooks, too", file=str(path), key="runbooks")
    if settings.environment not in catalog.environments:
        raise UnknownNameError("environment", settings.environment, catalog.environments, str(path))
    if settings.service:
        catalog.service(settings.service)
    for reference in filter(None, (settings.token, *settings.pagerduty)):
        try:
            SecretRef.parse(reference)
        except SecretError as error:
            raise CatalogError(str(error), file=str(path), key="token or pagerduty") from error


def _first(wanted: Iterable[str], known: Iterable[str]) -> str:
    folded = {one.casefold(): one for one in known}
    return next((folded[one.casefold()] for one in wanted if one.casefold() in folded), "")
