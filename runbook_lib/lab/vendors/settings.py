"""What the vendors process is told: where the real parts are and which credentials it accepts."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_lib.errors import LabError

SECRET_NAMES = (
    "grafana_token",
    "datadog_api_key",
    "datadog_app_key",
    "github_token",
    "slack_token",
    "slack_webhook_path",
    "pagerduty_routing_key",
    "pagerduty_token",
)


@dataclass(frozen=True)
class Settings:
    """Configuration of the vendors process.

    Args:
        port: loopback port to listen on.
        directory: the lab's folder; ``vendors.jsonl`` is appended there.
        secrets: accepted credentials by name, one for each of ``SECRET_NAMES``.
        metrics_url: base URL of the metrics store that Grafana's proxy and Datadog's queries read.
        images: image tags that the registry holds.
        log_directories: folders below which the pods' ``*.log`` files are.
        postgres: connection parameters of the exporter's session; empty switches that exporter off.
        redis: host, port, username and password of the exporter's session; empty switches that exporter off.
    """

    port: int
    directory: Path
    secrets: dict[str, str]
    metrics_url: str = ""
    images: tuple[str, ...] = ()
    log_directories: tuple[Path, ...] = ()
    postgres: dict[str, Any] | None = None
    redis: dict[str, Any] | None = None

    @property
    def base_url(self) -> str:
        """The address that every vendor's prefix is appended to."""
        return f"http://127.0.0.1:{self.port}"


def create_secrets(folder: Path) -> dict[str, str]:
    """Create the vendors' credentials as one 0600 file each, keeping those that exist.

    Args:
        folder: the lab's ``secrets`` folder (created 0700).
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    values = {}
    for name in SECRET_NAMES:
        path = folder / name
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(_new_secret(name))
        values[name] = path.read_text()
    return values


def load(path: Path) -> Settings:
    """Read the configuration file.

    Raises:
        LabError: a key is missing or unknown; the message names the file and the key.
    """
    raw = json.loads(path.read_text())
    known = {"port", "directory", "secrets_directory", "metrics_url", "images", "log_directories", "postgres", "redis"}
    if unknown := sorted(raw.keys() - known):
        raise LabError(f"{path}: unknown key {unknown[0]!r}; known: {', '.join(sorted(known))}")
    if missing := sorted({"port", "directory", "secrets_directory"} - raw.keys()):
        raise LabError(f"{path}: key {missing[0]!r} is missing")
    return Settings(
        port=int(raw["port"]),
        directory=Path(raw["directory"]),
        secrets=create_secrets(Path(raw["secrets_directory"])),
        metrics_url=raw.get("metrics_url", ""),
        images=tuple(raw.get("images", ())),
        log_directories=tuple(Path(folder) for folder in raw.get("log_directories", ())),
        postgres=raw.get("postgres"),
        redis=raw.get("redis"),
    )


def _new_secret(name: str) -> str:
    """A random credential in the vendor's usual form, so that redaction rules meet realistic values."""
    if name == "grafana_token":
        return f"glsa_{secrets.token_hex(16)}_{secrets.token_hex(4)}"
    if name == "github_token":
        return f"ghp_{secrets.token_hex(18)}"
    if name == "slack_token":
        return f"xoxb-{secrets.randbelow(10**11):011d}-{secrets.token_hex(12)}"
    if name == "slack_webhook_path":
        return f"services/T{secrets.token_hex(4).upper()}/B{secrets.token_hex(4).upper()}/{secrets.token_hex(12)}"
    length_bytes = 20 if name == "datadog_app_key" else 16
    return secrets.token_hex(length_bytes)
