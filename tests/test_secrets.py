"""Secrets are given by name, never show themselves, and are removed from everything that is written."""

from __future__ import annotations

import base64
import json
import pickle
import shlex
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.errors import SecretError
from runbook_lib.secrets import MASK, Redactor, Secret, SecretRef, secret_reason

CANARY = "c4n/ary+V4lue 'x\"9"


@pytest.mark.parametrize("show", [repr, str, "{}".format, lambda s: f"{s:>20}"], ids=["repr", "str", "format", "spec"])
def test_secret_masks_itself(show: object) -> None:
    """No representation of a secret holds its value."""
    assert "canary-value" not in show(Secret("canary-value"))  # type: ignore[operator]


def test_secret_cannot_be_pickled() -> None:
    """A secret does not travel to another process by accident."""
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Secret("canary-value"))


@pytest.mark.parametrize("text", ["hunter2", "vault:x", "k8s:only/two", "env:", ""], ids=str)
def test_value_for_a_name_is_refused_without_repeating_it(text: str) -> None:
    """Where a name must stand, a value is refused, and the message does not repeat it."""
    with pytest.raises(SecretError) as caught:
        SecretRef.parse(text)
    assert "hunter2" not in str(caught.value)


def test_file_reference(tmp_path: Path) -> None:
    """A relative file is taken from the folder of the file that names it; the last newline is not part of it."""
    (tmp_path / "token").write_text("abc123\n", encoding="utf-8")
    assert "abc123" == SecretRef.parse("file:token", base=tmp_path).resolve().reveal()


def test_env_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is empty counts as missing."""
    monkeypatch.setenv("RUNBOOK_TEST_TOKEN", "")
    with pytest.raises(SecretError, match="empty or not set"):
        SecretRef.parse("env:RUNBOOK_TEST_TOKEN").resolve()


@pytest.mark.parametrize(
    "encode",
    [
        str,
        lambda v: quote(v, safe=""),
        json.dumps,
        lambda v: v.encode().hex(),
        lambda v: base64.b64encode(v.encode()).decode(),
        lambda v: base64.b64encode(f"user:{v}".encode()).decode(),
        lambda v: base64.urlsafe_b64encode(f"ab{v}".encode()).decode(),
        shlex.quote,
    ],
    ids=["plain", "url", "json", "hex", "base64", "base64-shifted-2", "base64-shifted-1", "shell"],
)
def test_known_secret_is_found_encoded(encode: object) -> None:
    """A known value is removed in every form in which tools write it."""
    written = encode(CANARY)  # type: ignore[operator]
    cleaned = Redactor([Secret(CANARY)]).text(f"before {written} after")
    assert MASK in cleaned
    # What may be left is a fringe of base64 characters that encode the bytes around the secret.
    assert len(cleaned) < len(f"before {MASK} after") + 10


@pytest.mark.parametrize(
    "line",
    [
        "postgres://app:hunter2@db:5432/app",
        "Authorization: Bearer hunter2hunter2",
        "ALTER ROLE app PASSWORD 'hun''ter2'",
        "password=hunter2",
        '{"api_key": "hunter2"}',
        "--token hunter2",
        "DD_APP_KEY=hunter2",
        "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----",
        "https://hooks.slack.com/services/T0/B0/hunter2",
        "Set-Cookie: session=hunter2; Path=/",
    ],
    ids=lambda line: line.split()[0][:24],
)
def test_unknown_secret_is_found_by_its_shape(line: str) -> None:
    """A value that nobody registered is removed when its surroundings say what it is."""
    assert "ter2" not in Redactor().text(line)


@pytest.mark.parametrize(
    "line",
    [
        "password = env:DB_PASSWORD",
        "token: true",
        "max_tokens=100",
        "primary key: id",
        "latency of the token endpoint: 12 ms",
        "signature: sha256:0123456789abcdef",
        "kubectl get secret api -n production",
    ],
    ids=lambda line: line.split()[0],
)
def test_ordinary_lines_stay(line: str) -> None:
    """What is no secret is left as it is."""
    assert line == Redactor().text(line)


@given(st.integers(0, len("x " + CANARY + " y")))
def test_secret_split_over_two_pieces(cut: int) -> None:
    """A secret that arrives in two pieces is removed, wherever it is split."""
    text = f"x {CANARY} y"
    stream = Redactor([Secret(CANARY)]).stream()
    assert f"x {MASK} y" == stream.feed(text[:cut]) + stream.feed(text[cut:]) + stream.flush()


def test_stream_lets_finished_lines_go() -> None:
    """Finished lines are not held back."""
    stream = Redactor().stream()
    assert "one\n" == stream.feed("one\ntwo")
    assert "two" == stream.flush()


def test_data_is_redacted_by_key() -> None:
    """In JSON data a text under a key that names a secret is removed, whatever it looks like."""
    cleaned = Redactor().data({"db_password": "plain words", "nested": [{"token": "abc"}], "rows": 3})
    assert {"db_password": MASK, "nested": [{"token": MASK}], "rows": 3} == cleaned


@pytest.mark.parametrize(
    ("refused", "name", "value"),
    [
        (True, "note", "ghp_abcdefghijklmnopqrstuvwxyz0123"),
        (True, "url", "postgres://u:p@h/d"),
        (True, "db_password", "x"),
        (False, "db_password", "env:DB_PASSWORD"),
        (False, "image_tag", "v2"),
        (False, "token_count", "5"),
    ],
    ids=["github", "dsn", "name", "reference", "tag", "count"],
)
def test_parameters_that_look_secret(refused: bool, name: str, value: str) -> None:
    """A parameter is refused when its name or its value says that it is a secret."""
    assert refused == bool(secret_reason(name, value))
