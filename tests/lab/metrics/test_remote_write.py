"""Remote write: both directions, and what a real Prometheus sends."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.lab.metrics import remote_write
from runbook_lib.lab.metrics.errors import QueryError
from runbook_lib.lab.metrics.labels import Labels, make_labels
from runbook_lib.lab.process import Process, free_port

PAIRS = st.dictionaries(st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=300), max_size=4)
SAMPLES = st.lists(st.tuples(st.integers(-(2**62), 2**62), st.floats(allow_nan=False)), max_size=5)


def decoded(body: bytes) -> list[tuple[Labels, list[tuple[int, float]]]]:
    found = remote_write.decode(body)
    return [(one.labels, list(zip(one.times_ms, one.values, strict=True))) for one in found]


@given(st.lists(st.tuples(PAIRS, SAMPLES), max_size=4))
def test_what_is_encoded_is_decoded(rows: list[tuple[dict[str, str], list[tuple[int, float]]]]) -> None:
    """Labels, times before 1970 and values survive the way through protobuf and Snappy."""
    series = [(make_labels({**pairs, "__name__": "m"}), samples) for pairs, samples in rows]
    assert series == decoded(remote_write.encode(series))


@given(st.binary(max_size=80))
def test_garbage_is_an_error(body: bytes) -> None:
    """Nothing but the error of the API comes out of a wrong body."""
    with contextlib.suppress(QueryError):
        remote_write.decode(body)


def _literal(text: bytes) -> bytes:
    return bytes([(len(text) - 1) << 2]) + text


@pytest.mark.parametrize(
    "copy",
    [
        bytes([(6 - 4) << 2 | 1, 1]),
        bytes([(6 - 1) << 2 | 2, 1, 0]),
        bytes([(6 - 1) << 2 | 3, 1, 0, 0, 0]),
    ],
    ids=["offset of 11 bits", "offset of 2 bytes", "offset of 4 bytes"],
)
def test_copies_of_a_snappy_block_are_unpacked(copy: bytes) -> None:
    """A copy may overlap what it writes: one letter becomes seven."""
    label = b"\x0a\x13\x0a\x08__name__\x12\x07" + b"b" * 7
    message = b"\x0a" + bytes([len(label)]) + label
    block = bytes([len(message)]) + _literal(message[:-6]) + copy
    assert [(make_labels({"__name__": "b" * 7}), [])] == decoded(block)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"\xff\xff\xff\xff\x7f", "bytes in one request"),
        (b"\x05\x00a", "announced"),
        (b"\x04\x01\x05", "before the block"),
        (remote_write.encode([((("a", "b"),), [(1, 1.0)])]), "metric name"),
    ],
    ids=["too large", "too short", "copy from nowhere", "no name"],
)
def test_wrong_body_says_what_is_wrong(body: bytes, word: str) -> None:
    """The error names the fault."""
    with pytest.raises(QueryError, match=word):
        remote_write.decode(body)


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus on PATH")
def test_real_prometheus_can_write_here(embedded: Any, tmp_path: Path) -> None:
    """What a real server sends, compressed by the real library, arrives."""
    port = free_port()
    config = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
        "scrape_configs": [{"job_name": "itself", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
        "remote_write": [{"url": f"{embedded.url}/api/v1/write", "queue_config": {"batch_send_deadline": "200ms"}}],
    }
    path = tmp_path / "prometheus.json"
    path.write_text(json.dumps(config))
    process = Process.start(
        "prometheus",
        [
            str(shutil.which("prometheus")),
            f"--config.file={path}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        log_path=tmp_path / "log",
        die_with_parent=True,
    )
    try:
        for _ in range(150):
            _, body = embedded.get("/api/v1/query", query='count({job="itself"})')
            if body["data"]["result"]:
                break
            threading.Event().wait(0.1)
        assert 200 < float(body["data"]["result"][0]["value"][1])
    finally:
        process.stop()
