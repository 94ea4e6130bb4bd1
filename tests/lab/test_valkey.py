"""The lab's Valkey is real: limited reader, real slow log, real eviction."""

from __future__ import annotations

import subprocess

import pytest
import redis

from runbook_lib.lab.valkey import MAX_MEMORY_BYTES, Valkey


@pytest.fixture
def reader(valkey: Valkey) -> redis.Redis:
    return redis.Redis.from_url(valkey.url("rb_read"), decode_responses=True, socket_timeout=5)


@pytest.fixture
def app(valkey: Valkey) -> redis.Redis:
    return redis.Redis.from_url(valkey.url(), decode_responses=True, socket_timeout=5)


@pytest.mark.parametrize(
    "command",
    [["GET", "x"], ["SET", "x", "1"], ["CONFIG", "GET", "*"], ["FLUSHALL"], ["KEYS", "*"], ["DEBUG", "SLEEP", "0"]],
    ids=lambda command: "-".join(command).lower(),
)
def test_reader_is_refused(reader: redis.Redis, command: list[str]) -> None:
    """The reader can neither see nor change data nor read the configuration."""
    with pytest.raises(redis.exceptions.NoPermissionError):
        reader.execute_command(*command)


@pytest.mark.parametrize(
    "command",
    [["INFO"], ["SLOWLOG", "GET"], ["LATENCY", "LATEST"], ["CLIENT", "LIST"], ["MEMORY", "STATS"], ["DBSIZE"]],
    ids=lambda command: "-".join(command).lower(),
)
def test_reader_may_investigate(reader: redis.Redis, command: list[str]) -> None:
    """The reader gets what an investigation asks for."""
    assert reader.execute_command(*command) is not None


def test_slow_command_is_in_the_slow_log(app: redis.Redis, reader: redis.Redis) -> None:
    """A command of 30 ms is logged with its time in microseconds."""
    app.execute_command("DEBUG", "SLEEP", "0.03")

    entries = [entry for entry in reader.slowlog_get() if "DEBUG" in str(entry["command"])]
    assert 30_000 <= entries[0]["duration"] < 300_000


def test_full_memory_evicts_keys(app: redis.Redis, reader: redis.Redis) -> None:
    """Past maxmemory keys are evicted and counted."""
    value = "x" * 1_000_000
    for number in range(80):
        app.set(f"fill:{number}", value)
    info = reader.info()
    app.flushall()

    assert info["evicted_keys"] > 0
    assert MAX_MEMORY_BYTES == info["maxmemory"]


def test_no_password_is_needed_on_a_command_line(valkey: Valkey) -> None:
    """Passwords are not in the argv of any process."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout

    assert not [user for user, password in valkey.passwords.items() if password in listed]


def test_without_password_nothing_is_answered(valkey: Valkey) -> None:
    """An unauthenticated client is refused."""
    with pytest.raises(redis.exceptions.AuthenticationError):
        redis.Redis(port=valkey.port, socket_timeout=5).ping()
