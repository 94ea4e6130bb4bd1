"""Requests for streams that make no sense, and sessions that a peer breaks off or writes nonsense into."""

from __future__ import annotations

import io
import struct

import pytest

from runbook_lib.lab.node.exec import Command
from runbook_lib.lab.node.spdy import Session, Stream


@pytest.fixture
def clean() -> None:
    """No cluster is needed here."""


@pytest.mark.parametrize(
    "query", [{}, {"command": ["ls"]}, {"output": ["1"]}], ids=["nothing", "no stream", "no command"]
)
def test_request_without_sense_is_refused(query: dict[str, list[str]]) -> None:
    """A command and a stream are the least that is needed."""
    with pytest.raises(ValueError, match="you must specify"):
        Command.parse(query)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x80\x03",
        struct.pack(">II", 0x80030001, 18) + b"\x00" * 18,
        struct.pack(">II", 0x80030001, 0xFFFFFF),
        struct.pack(">II", 7, 3) + b"abc",
        struct.pack(">II", 0x80030007, 8) + b"\x00" * 8,
    ],
    ids=["nothing", "half a frame", "headers are no zlib", "torn", "data of no stream", "peer leaves"],
)
def test_broken_session_ends(sent: bytes) -> None:
    """Whatever a peer writes, the session ends with it and opens no stream."""
    opened: list[Stream] = []
    Session(io.BytesIO(sent), lambda _: None, opened.append).run()
    assert [] == opened
