"""The systems of a run: each client is made when it is first asked for, so a run imports only what it uses."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook_lib import plugins
from runbook_lib.errors import RunbookError, SecretError
from runbook_lib.model import Endpoint
from runbook_lib.secrets import Redactor, SecretRef

if TYPE_CHECKING:
    from runbook_lib.clients._tape import Tape
    from runbook_lib.clients.backups import BackupsClient
    from runbook_lib.clients.datadog import DatadogClient
    from runbook_lib.clients.github import GitHubClient
    from runbook_lib.clients.grafana import GrafanaClient
    from runbook_lib.clients.helm import HelmClient
    from runbook_lib.clients.kubernetes import KubernetesClient
    from runbook_lib.clients.migrations import MigrationsClient
    from runbook_lib.clients.pagerduty import PagerDutyClient
    from runbook_lib.clients.postgres import PostgresClient
    from runbook_lib.clients.probe import HttpProbe
    from runbook_lib.clients.prometheus import PrometheusClient
    from runbook_lib.clients.redis import RedisClient
    from runbook_lib.clients.registry import RegistryClient
    from runbook_lib.clients.slack import SlackClient
    from runbook_lib.clients.tools import ToolsClient
    from runbook_lib.model import Environment, Evidence, Gap, Service, Window


@dataclass(frozen=True, slots=True)
class Client:
    """How one system of a run is reached.

    Args:
        source: its name in the catalogue.
        module: module of ``clients`` that speaks to it.
        name: class in that module.
        first: method that asks it a first, cheap question; empty for one that is asked only when it is needed.
    """

    source: str
    module: str
    name: str
    first: str


#: Attribute of a run to the client behind it.
CLIENTS: Mapping[str, Client] = {
    "metrics": Client("prometheus", "prometheus", "PrometheusClient", "server"),
    "kubernetes": Client("kubernetes", "kubernetes", "KubernetesClient", "server"),
    "postgres": Client("postgres", "postgres", "PostgresClient", "permissions"),
    "redis": Client("redis", "redis", "RedisClient", "latency_seconds"),
    "grafana": Client("grafana", "grafana", "GrafanaClient", "server"),
    "datadog": Client("datadog", "datadog", "DatadogClient", "connections"),
    "github": Client("github", "github", "GitHubClient", "runs"),
    "service_probe": Client("service", "probe", "HttpProbe", "health"),
    # Helm reaches its release through the cluster.
    "helm": Client("kubernetes", "helm", "HelmClient", ""),
    "registry": Client("registry", "registry", "RegistryClient", ""),
    "slack": Client("slack", "slack", "SlackClient", ""),
    "pagerduty": Client("pagerduty", "pagerduty", "PagerDutyClient", ""),
    "migrations": Client("migrations", "migrations", "MigrationsClient", ""),
    "backups": Client("backups", "backups", "BackupsClient", ""),
    "tools": Client("tools", "tools", "ToolsClient", "version"),
}

#: Commands of this machine are no system of an environment.
LOCAL = Endpoint("tools", {})


class Systems:
    """Makes the clients of one service in one environment.

    Args:
        service: whose workload the queries are about.
        environment: how each system is reached.
        window: the interval of the run's evidence.
        tape: answers the questions.
    """

    def __init__(self, service: Service, environment: Environment, window: Window, tape: Tape) -> None:
        self._service, self._environment, self._window, self._tape = service, environment, window, tape
        self._made: dict[str, Any] = {}
        self._lock = threading.Lock()

    def client(self, attribute: str) -> Any:
        """The client behind an attribute of a run, made once."""
        with self._lock:
            if attribute not in self._made:
                known = CLIENTS.get(attribute)
                self._made[attribute] = self._make(known) if known else self._brought(attribute)
            return self._made[attribute]

    def _make(self, known: Client) -> Any:
        made = getattr(importlib.import_module(f"runbook_lib.clients.{known.module}"), known.name)
        return self._reaching(made, LOCAL if known.source == LOCAL.source else self._endpoint(known.source))

    def _brought(self, source: str) -> Any:
        """The client that another package brings; one that cannot be made stands there and says so."""
        from runbook_lib.clients.plugin import BrokenClient, PluginClient

        plugin = plugins.clients()[source]
        problem = plugin.problem or ("" if issubclass(plugin.value, PluginClient) else "it is no PluginClient")
        if not problem:
            try:
                return self._reaching(plugin.value, self._endpoint(source))
            except RunbookError as error:
                problem = str(error)
            except Exception as error:  # noqa: BLE001 - whatever another package does wrong
                problem = f"{type(error).__name__}: {error}"
        return BrokenClient(source, f"{plugin.package}: {problem}", self._tape)

    def _endpoint(self, source: str) -> Endpoint | None:
        return self._environment.endpoints.get(source)

    def _reaching(self, made: Callable[..., Any], endpoint: Endpoint | None) -> Any:
        return made(
            endpoint=endpoint,
            tape=self._tape,
            window=self._window,
            workload=self._service.workload,
            environment=self._environment.name,
        )

    def close(self) -> None:
        """Let go of every connection; the clients may be used again afterwards."""
        with self._lock:
            for client in self._made.values():
                client.close()

    def first_questions(self) -> Mapping[str, Callable[[], Evidence | Gap]]:
        """Source to a first, cheap question, for every system that the environment has."""
        own = {known.source: (attribute, known.first) for attribute, known in CLIENTS.items() if known.first}
        others = {name: (name, _first(plugins.clients()[name])) for name in self._environment.endpoints if _other(name)}
        return {
            source: getattr(self.client(attribute), first)
            for source, (attribute, first) in {**own, **others}.items()
            if first and source in self._environment.endpoints
        }


def _other(source: str) -> bool:
    """Whether another package brings the client of a system."""
    return source not in {known.source for known in CLIENTS.values()} and source in plugins.clients()


def _first(plugin: plugins.Plugin) -> str:
    return str(plugin.value.first) if plugin.value is not None else "loads"


def learn_secrets(environment: Environment, redactor: Redactor) -> None:
    """Teach the redactor every secret that the environment names and this process can read."""
    for endpoint in environment.endpoints.values():
        for reference in endpoint.secrets.values():
            try:
                redactor.learn(SecretRef.parse(reference).resolve())
            except SecretError:
                # One that cannot be read cannot leak from here; its client will say that it is missing.
                continue


class Clients:
    """What a run asks its systems with; each is made when it is first used."""

    _systems: Systems
    metrics: PrometheusClient
    kubernetes: KubernetesClient
    postgres: PostgresClient
    redis: RedisClient
    grafana: GrafanaClient
    datadog: DatadogClient
    github: GitHubClient
    helm: HelmClient
    registry: RegistryClient
    pagerduty: PagerDutyClient
    service_probe: HttpProbe
    slack: SlackClient
    tools: ToolsClient
    migrations: MigrationsClient
    backups: BackupsClient

    def __getattr__(self, name: str) -> Any:
        if name in CLIENTS or (not name.startswith("_") and name in plugins.clients()):
            return self._systems.client(name)
        raise AttributeError(f"a run has no {name!r}")
