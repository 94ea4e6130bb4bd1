"""The catalogue says what is wrong with it: file, key, allowed values, nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook_lib import catalog
from runbook_lib.errors import CatalogError, UnknownNameError

GOOD = """
[services.api]
description = "the API"
owner = "Platform"
[services.api.objectives.latency]
kind = "latency"
target = 0.95
threshold_seconds = 0.2
[services.api.workload]
namespace = "production"
[environments.prod]
actions = ["scale"]
[environments.prod.prometheus]
url = "http://127.0.0.1:9090"
token = "env:PROM_TOKEN"
[environments.prod.kubernetes]
kubeconfig = "kube/config"
"""

YEAR, LOCAL = "2026-01-01T00:00:00Z", "2027-01-01T00:00:00"
FROM = f'reason = "year", from = {YEAR}'


def write(folder: Path, text: str) -> Path:
    """A catalogue with this text."""
    path = folder / "runbook.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_the_projects_own_catalogue() -> None:
    """The catalogue of this project carries the service of the seed runbook with its objectives."""
    api = catalog.load(Path(__file__).parent.parent / "runbook.toml").service("api")
    assert "p95 latency < 200 ms" == str(api.objectives["latency"])
    assert "99.9 % availability per 30 days" == str(api.objectives["availability"])
    assert {"kubectl": "1.28", "docker": "24", "helm": "3.12"} == api.tools


def test_paths_and_secret_names_are_taken_from_the_file(tmp_path: Path) -> None:
    """A kubeconfig is relative to the catalogue, and a secret stays a name."""
    prod = catalog.load(write(tmp_path, GOOD)).environment("prod")
    assert str(tmp_path / "kube/config") == prod.endpoints["kubernetes"].settings["kubeconfig"]
    assert {"token": "env:PROM_TOKEN"} == prod.endpoints["prometheus"].secrets


@pytest.mark.parametrize(
    ("key", "hint", "old", "new"),
    [
        ("services.api.onwer", "Did you mean 'owner'?", 'owner = "Platform"', 'onwer = "Platform"'),
        ("services.api.owner", "is missing", 'owner = "Platform"', ""),
        ("services.api.objectives.latency.kind", "latency or availability", 'kind = "latency"', 'kind = "speed"'),
        ("services.api.objectives.latency.target", "between 0 and 1", "target = 0.95", "target = 95"),
        ("services.api.objectives.latency.threshold_seconds", "above 0", "threshold_seconds = 0.2", ""),
        ("services.api.workload.release", "'-x' is no name", "workload]", 'workload]\nrelease = "-x"'),
        ("services.api.workload.container", "up to 63", "workload]", 'workload]\ncontainer = "A b"'),
        ("environments.prod.actions", "'scael' is no kind of action", '["scale"]', '["scael"]'),
        ("environments.prod.max_changes", "at least 1", '["scale"]', '["scale"]\nmax_changes = 0'),
        (
            "environments.prod.known_by.one",
            "Did you mean 'card'?",
            '["scale"]',
            '["scale"]\nknown_by = {one = ["cart"]}',
        ),
        ("environments.prod.known_by.three", "Allowed: one, two", '["scale"]', '["scale"]\nknown_by = {three = []}'),
        (
            "environments.prod.approvers.scael",
            "Did you mean 'scale'",
            '["scale"]',
            '["scale"]\napprovers = {scael = []}',
        ),
        ("environments.prod.freezes.0.to", "is missing", '["scale"]', f"[]\nfreezes = [{{{FROM}}}]"),
        ("environments.prod.freezes.0.to", "must be after", '["scale"]', f"[]\nfreezes = [{{{FROM}, to = {YEAR}}}]"),
        ("environments.prod.freezes.0.to", "needs an offset", '["scale"]', f"[]\nfreezes = [{{{FROM}, to = {LOCAL}}}]"),
        ("environments.prod.promethues", "Did you mean 'prometheus'?", "prod.prometheus]", "prod.promethues]"),
        ("environments.prod.prometheus.url", "must be text", '"http://127.0.0.1:9090"', "9090"),
        ("environments.prod.prometheus.token", "holds a secret", '"env:PROM_TOKEN"', '"abc123secret"'),
        ("environments.prod.kubernetes.kubeconfig", "is missing", 'kubeconfig = "kube/config"', ""),
    ],
    ids=[
        "typo",
        "missing",
        "kind",
        "target",
        "threshold",
        "release-like-an-option",
        "container",
        "action",
        "rate",
        "known-by",
        "rule",
        "approvers",
        "freeze-end",
        "freeze-order",
        "freeze-zone",
        "source",
        "type",
        "secret",
        "required",
    ],
)
def test_mistakes_are_named(tmp_path: Path, key: str, hint: str, old: str, new: str) -> None:
    """A mistake is reported with the file, the key and what is allowed."""
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(CatalogError) as caught:
        catalog.load(path)
    assert f"{path}: {key}" in str(caught.value)
    assert hint in str(caught.value)
    assert "abc123secret" not in str(caught.value)


def test_unknown_names_offer_the_nearest(tmp_path: Path) -> None:
    """An unknown service or environment names the nearest one and the file."""
    known = catalog.load(write(tmp_path, GOOD))
    with pytest.raises(UnknownNameError, match="Did you mean 'api'"):
        known.service("ap")
    with pytest.raises(UnknownNameError, match="Did you mean 'prod'"):
        known.environment("prd")


def test_missing_include_says_how_to_make_it(tmp_path: Path) -> None:
    """An environment whose included file is not there is unusable, and says what to do."""
    text = GOOD.replace("[environments.prod]", '[environments.lab]\ninclude = "x.toml"\n[environments.prod]')
    with pytest.raises(CatalogError, match="runbook lab up"):
        catalog.load(write(tmp_path, text)).environment("lab")


def test_include_adds_endpoints(tmp_path: Path) -> None:
    """An included file adds endpoints; its secrets are relative to itself."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/env.toml").write_text(
        '[service]\nurl = "http://127.0.0.1:1"\ntoken = "file:t"\n', encoding="utf-8"
    )
    text = GOOD.replace('actions = ["scale"]', 'include = "sub/env.toml"')
    prod = catalog.load(write(tmp_path, text)).environment("prod")
    assert {"token": f"file:{tmp_path}/sub/t"} == prod.endpoints["service"].secrets
    assert "prometheus" in prod.endpoints


@pytest.mark.parametrize("text", ["[services", "services = 3", "\x00"], ids=["syntax", "type", "nul"])
def test_garbage_is_an_error_of_ours(tmp_path: Path, text: str) -> None:
    """A file that is no catalogue is a clear error, never a traceback."""
    with pytest.raises(CatalogError):
        catalog.load(write(tmp_path, text))
