"""Reaching Prometheus: credentials, certificates and addresses."""

from __future__ import annotations

import shutil
import ssl
import subprocess

import pytest

from runbook_lib.clients.prometheus import PrometheusClient
from runbook_lib.model import Evidence, Gap

from .test_prometheus import answers, matrix


def test_credentials_are_sent_and_never_shown(make, answerer, monkeypatch):
    """The token goes into the header only; an answer that echoes it does not bring it into the reason."""
    monkeypatch.setenv("PROMETHEUS_TOKEN", "canary-7f3a9c-token")
    answerer.always(403, {"error": "token canary-7f3a9c-token is not allowed"})
    metrics = make(PrometheusClient, {"url": answerer.url}, secrets={"token": "env:PROMETHEUS_TOKEN"})
    result = metrics.up()
    assert "Bearer canary-7f3a9c-token" == answerer.requests[0].headers["authorization"]
    assert isinstance(result, Gap)
    assert "canary" not in str(result.to_json())


def test_missing_secret_is_a_gap(make, answerer):
    """A secret that is not there is a denied source, not a crash."""
    result = make(PrometheusClient, {"url": answerer.url}, secrets={"token": "env:NOT_SET_ANYWHERE"}).up()
    assert isinstance(result, Gap)
    assert ("denied", True) == (result.kind, "NOT_SET_ANYWHERE" in result.reason)


@pytest.fixture
def certificate(tmp_path):
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    subprocess.run([*made, *names, *files], check=True, capture_output=True)
    return tmp_path / "cert.pem", tmp_path / "key.pem"


@pytest.mark.parametrize("trusted", [False, True], ids=["unknown", "trusted"])
def test_certificate_is_checked(make, answerer, certificate, monkeypatch, trusted):
    """A certificate that the machine does not trust is not talked to; one that it trusts is."""
    cert, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    answerer.server.socket = context.wrap_socket(answerer.server.socket, server_side=True)
    answers(answerer, matrix(({}, [[1767322800, "1"]])))
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    result = make(PrometheusClient, {"url": f"https://127.0.0.1:{answerer.port}"}).in_flight()
    assert trusted is isinstance(result, Evidence), result
    assert trusted or ("unreachable", True) == (result.kind, "certificate" in result.reason)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:9090", "http://user:canary@127.0.0.1:1"])
def test_address_that_cannot_be_used_is_a_gap(make, url):
    """An address of another kind, or one with a password in it, is refused without showing it."""
    result = make(PrometheusClient, {"url": url}).in_flight()
    assert isinstance(result, Gap)
    assert "canary" not in str(result.to_json())
