"""Secrets in the open among values and rendered objects: found by name or look, and never a Secret's own name."""

from __future__ import annotations

from typing import Any

import pytest

from runbook_lib.clients._open_secrets import open_secrets
from runbook_lib.secrets import Redactor

CANARY = "kept-nowhere-91"
TEMPLATE = "deployment/api.spec.template.spec.containers.api"


def pod(env: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A deployment whose only container has these variables."""
    container = {"name": "api", "image": "acme/api:v2", "env": env}
    template = {"metadata": more, "spec": {"containers": [container]}}
    return {"kind": "Deployment", "metadata": {"name": "api"}, "spec": {"template": template}}


@pytest.mark.parametrize(
    ("values", "rendered", "place"),
    [
        pytest.param({"database": {"password": CANARY}}, {}, "values.database.password", id="value"),
        pytest.param({"dsn": f"postgres://u:{CANARY}@db/app"}, {}, "values.dsn", id="address-in-values"),
        pytest.param({"users": [{"token": CANARY}]}, {}, "values.users.0.token", id="list-in-values"),
        pytest.param({}, pod([{"name": "API_TOKEN", "value": CANARY}]), f"{TEMPLATE}.env.API_TOKEN", id="variable"),
        pytest.param(
            {},
            {"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"app.ini": f"[db]\npassword = {CANARY}"}},
            "configmap/c.data.app.ini",
            id="file-in-a-config-map",
        ),
    ],
)
def test_secret_in_the_open_is_placed(values: Any, rendered: Any, place: str) -> None:
    """The place is named, the secret is not, and from then on the redactor knows it."""
    redactor = Redactor()
    found = open_secrets(values, [rendered] if rendered else [], redactor)
    assert [place] == found
    assert CANARY not in redactor.text(f"helm says: {values or rendered}")


@pytest.mark.parametrize(
    ("values", "rendered"),
    [
        pytest.param(
            {"credentialsSecret": "api-credentials"},
            [pod([{"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "api-credentials", "key": "p"}}}])],
            id="name-of-a-secret",
        ),
        pytest.param(
            {}, [{"kind": "Secret", "metadata": {"name": "s"}, "stringData": {"token": CANARY}}], id="in-a-secret"
        ),
        pytest.param({}, [pod([], annotations={"checksum/secret": "9f86d081884c7d659a2f"})], id="digest-of-a-secret"),
        pytest.param({"token": "vault:secret/data/api#token"}, [], id="kept-in-a-vault"),
        pytest.param({"password": "${DB_PASSWORD}", "token": ""}, [], id="filled-in-elsewhere"),
        pytest.param(
            {"image": {"tag": "v2"}, "replicaCount": 3}, [pod([{"name": "MODE", "value": "fast"}])], id="none"
        ),
    ],
)
def test_what_only_names_a_secret_is_none(values: Any, rendered: Any) -> None:
    """References, digests and real Secrets stand in no way of a release."""
    assert [] == open_secrets(values, rendered, Redactor())
