"""The systems of a run: each client is made when it is first asked for, so a run imports only what it uses."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import SecretError
from runbook_lib.secrets import Redactor, SecretRef

if TYPE_CHECKING:
    from runbook_lib.clients._tape import Tape
    from runbook_lib.model import Environment, Service, Window

#: Attribute of a run to the source in the catalogue, the module and the class of its client.
CLIENTS: Mapping[str, tuple[str, str, str]] = {
    "metrics": ("prometheus", "prometheus", "PrometheusClient"),
    "kubernetes": ("kubernetes", "kubernetes", "KubernetesClient"),
    "postgres": ("postgres", "postgres", "PostgresClient"),
    "redis": ("redis", "redis", "RedisClient"),
    "grafana": ("grafana", "grafana", "GrafanaClient"),
    "datadog": ("datadog", "datadog", "DatadogClient"),
    "service_probe": ("service", "probe", "HttpProbe"),
}


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
                source, module, name = CLIENTS[attribute]
                made = getattr(importlib.import_module(f"runbook_lib.clients.{module}"), name)
                self._made[attribute] = made(
                    endpoint=self._environment.endpoints.get(source),
                    tape=self._tape,
                    window=self._window,
                    workload=self._service.workload,
                    environment=self._environment.name,
                )
            return self._made[attribute]


def learn_secrets(environment: Environment, redactor: Redactor) -> None:
    """Teach the redactor every secret that the environment names and this process can read."""
    for endpoint in environment.endpoints.values():
        for reference in endpoint.secrets.values():
            try:
                redactor.learn(SecretRef.parse(reference).resolve())
            except SecretError:
                # One that cannot be read cannot leak from here; its client will say that it is missing.
                continue
