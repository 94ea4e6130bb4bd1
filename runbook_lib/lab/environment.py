"""The files through which the library reads the lab: one secret a file, kubeconfigs, and ``environment.toml``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from runbook_lib.lab import cluster
from runbook_lib.lab.postgres import binaries
from runbook_lib.lab.release import CHART, NAMESPACE, merged
from runbook_lib.lab.service.migrations import CONFIG
from runbook_lib.lab.state import State

#: Seconds over which the lab's rates are taken: fifteen of its scrapes of two seconds.
RANGE_SECONDS = 30


def write_secrets(folder: Path, values: Mapping[str, str]) -> None:
    """Write one file for each secret, mode 0600, in a 0700 folder."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, value in values.items():
        cluster.write_private(folder / name, value)


def write(state: State) -> Path:
    """Write ``environment.toml``: the endpoints of the environment ``lab`` in the catalogue's words.

    Secrets stand in it by name (``file:secrets/...``), relative to the file.
    """
    urls, ports = state.urls, state.ports
    tables: dict[str, dict[str, str | int]] = {
        "prometheus": {"url": urls["prometheus_url"], "range_seconds": RANGE_SECONDS},
        "grafana": {"url": urls["grafana_url"], "token": "file:secrets/grafana_token", "dashboard": "api"},
        "datadog": {
            "url": urls["datadog_url"],
            "api_key": "file:secrets/datadog_api_key",
            "application_key": "file:secrets/datadog_app_key",
            "scope": "env:production",
        },
        "postgres": {
            "host": "127.0.0.1",
            "port": ports["postgres"],
            "database": "app",
            "user": "rb_read",
            "password": "file:secrets/postgres_rb_read_password",
            "act_user": "rb_act",
            "act_password": "file:secrets/postgres_rb_act_password",
            "migrate_user": "rb_migrate",
            "migrate_password": "file:secrets/postgres_rb_migrate_password",
            "migrate_role": "app",
            "sslmode": "disable",
            "end_users": "app",
        },
        "redis": {
            "host": "127.0.0.1",
            "port": ports["valkey"],
            "user": "rb_read",
            "password": "file:secrets/redis_rb_read_password",
        },
        "kubernetes": {
            "kubeconfig": "deployer.kubeconfig",
            "namespace": NAMESPACE,
            "chart": str(CHART),
            "values": "values-prod.yaml",
        },
        "service": {"url": urls["service_url"]},
        "slack": {
            "webhook": "file:secrets/slack_webhook_url",
            "url": urls["slack_url"],
            "token": "file:secrets/slack_token",
            "channel": "#api-alerts",
        },
        "pagerduty": {
            "url": urls["pagerduty_url"],
            "routing_key": "file:secrets/pagerduty_routing_key",
            "token": "file:secrets/pagerduty_token",
        },
        "github": {"url": urls["github_url"], "repository": "acme/api", "token": "file:secrets/github_token"},
        "registry": {"url": urls["registry_url"], "repository": "acme/api"},
        "migrations": {"tool": "alembic", "config": str(CONFIG)},
        "backups": {"folder": "backups", "binaries": str(binaries())},
    }
    lines = ["# Written by `runbook lab up`; gone with the lab."]
    for name, table in tables.items():
        # A JSON string is a TOML basic string.
        lines += ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    write_values(state)
    path = state.directory / "environment.toml"
    cluster.write_private(path, "\n".join(lines) + "\n")
    return path


def write_values(state: State) -> None:
    """Write ``values-prod.yaml`` of this lab: the chart's own with the lab's addresses, without an image tag."""
    import yaml

    values = yaml.safe_load((CHART / "values-prod.yaml").read_text(encoding="utf-8"))
    ours = {name: value for name, value in state.values.items() if name != "image"}
    text = yaml.safe_dump(merged(values, ours), sort_keys=True)
    cluster.write_private(state.directory / "values-prod.yaml", text)
