"""The Redis client against a real Valkey with a restricted user."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from runbook_lib.clients._tape import ReplayTape
from runbook_lib.clients.redis import RedisClient
from runbook_lib.model import Evidence, Gap


@pytest.fixture
def client(make, valkey, monkeypatch) -> Callable[..., RedisClient]:
    """Builds a client of the server as its restricted user; keyword arguments replace settings."""
    monkeypatch.setenv("REDIS_PASSWORD", valkey.passwords["rb_read"])

    def build(**more: Any) -> RedisClient:
        options = {name: more.pop(name) for name in ("total_seconds", "connect_seconds") if name in more}
        settings = {"host": "127.0.0.1", "port": valkey.port, "user": "rb_read", **more}
        made = make(RedisClient, settings, secrets={"password": "env:REDIS_PASSWORD"}, **options)
        assert isinstance(made, RedisClient)
        return made

    return build


@pytest.fixture
def app(valkey) -> Iterator[Any]:
    """The application's connection."""
    connection = redis.Redis.from_url(valkey.url())
    yield connection
    connection.flushall()
    connection.execute_command("SLOWLOG RESET")
    connection.close()


def test_state_between_two_readings(client, app):
    """Hits and misses of the interval are rates and a ratio."""
    app.set("known", "1")
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            app.get("known")
            app.get("known")
            app.get("known")
            app.get("missing")
            time.sleep(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    result = client().info(interval_seconds=0.5)
    stop.set()
    thread.join()
    assert isinstance(result, Evidence)
    found = result.document
    assert pytest.approx(0.75, abs=0.05) == found["hit_ratio"]
    assert pytest.approx(3, rel=0.2) == found["hits_per_second"] / found["misses_per_second"]
    assert (0, 0) == (found["evicted_per_second"], found["rejected_connections_per_second"])
    assert 0 < found["clients_ratio"] < 0.01
    assert 0 < found["memory_ratio"] < 1
    assert "allkeys-lru" == found["maxmemory_policy"]
    assert 0.5 <= found["interval_seconds"] < 1
    assert 0 <= found["cpu_ratio"] < 1.2


def test_evictions_are_a_rate(client, app):
    """A cache that is filled beyond its memory throws entries out, and that is seen."""
    stop = threading.Event()

    def fill() -> None:
        number = 0
        while not stop.is_set():
            with app.pipeline(transaction=False) as pipe:
                for _ in range(50):
                    number += 1
                    pipe.set(f"k{number}", b"x" * 50_000)
                pipe.execute()

    thread = threading.Thread(target=fill)
    thread.start()
    time.sleep(1.5)
    found = client().info(interval_seconds=0.5).document
    stop.set()
    thread.join()
    assert found["evicted_per_second"] > 100
    assert found["memory_ratio"] > 0.9


def test_slow_commands_without_their_data(client, app):
    """A slow command is seen with its time and the shape of its key; customers' data is not."""
    app.execute_command("SLOWLOG RESET")
    app.eval("local n = 0 for i = 1, 3000000 do n = n + i end return n", 1, "canary-in-eval")
    app.execute_command("DEBUG", "SLEEP", "0.03")
    app.rpush("user:4711:orders:jane-canary@example.com-0123456789abcdef", *range(100_000))
    app.sort("user:4711:orders:jane-canary@example.com-0123456789abcdef")
    result = client().slowlog()
    assert isinstance(result, Evidence)
    rows = result.table.records()
    assert {"SORT", "DEBUG"} <= {row["command"] for row in rows}
    assert "canary-in" not in str(rows)
    sort = next(row for row in rows if row["command"] == "SORT")
    assert sort["key"].startswith("user:*:orders:")
    assert "4711" not in sort["key"]
    assert all(row["seconds"] >= 0.01 and abs(row["at"] - time.time()) < 60 for row in rows)


def test_empty_slow_log_is_an_answer(client, app):
    """No slow command is evidence with no row."""
    app.execute_command("SLOWLOG RESET")
    result = client().slowlog()
    assert isinstance(result, Evidence)
    assert 0 == len(result.table)


def test_latency_is_measured(client, app):
    """Every ping is a sample, and a command that blocks the server is seen in one."""
    blocker = threading.Thread(target=lambda: app.execute_command("DEBUG", "SLEEP", "0.2"))
    timer = threading.Timer(0.1, blocker.start)
    timer.start()
    result = client().latency_seconds(samples=12)
    timer.join()
    blocker.join()
    assert isinstance(result, Evidence)
    series = result.series[0]
    assert 12 == len(series)
    assert series.maximum > 0.1
    assert sorted(series.values)[2] < 0.05


@pytest.mark.parametrize("ask", ["info", "slowlog", "latency_seconds"])
def test_wrong_password_is_denied_without_showing_it(client, monkeypatch, ask):
    """A refused login is a gap of kind denied, without the password."""
    monkeypatch.setenv("REDIS_PASSWORD", "wrong-canary-password")
    result = getattr(client(), ask)()
    assert isinstance(result, Gap)
    assert ("denied", False) == (result.kind, "canary" in str(result.to_json()))


def test_user_without_the_right_is_denied(client, app, monkeypatch):
    """A command that the user may not send is a gap that names it."""
    app.execute_command("ACL", "SETUSER", "narrow", "on", ">narrow-password", "-@all", "+ping", "resetkeys")
    monkeypatch.setenv("REDIS_PASSWORD", "narrow-password")
    result = client(user="narrow").info()
    assert isinstance(result, Gap)
    assert ("denied", True) == (result.kind, "info" in result.reason)


def test_dead_server_is_unreachable(client, dead_port):
    """A refused connection is unreachable."""
    result = client(port=dead_port).info()
    assert isinstance(result, Gap)
    assert ("unreachable", True) == (result.kind, "refused" in result.reason)


def test_server_that_does_not_speak_redis_is_a_gap(client, answerer):
    """Something else behind the port is a gap, not a crash."""
    answerer.fail("garbage")
    result = client(port=answerer.port, connect_seconds=0.5, total_seconds=1).info()
    assert isinstance(result, Gap)


def test_stopped_server_times_out(client, valkey):
    """A server that hangs ends at the deadline."""
    os.kill(valkey.process.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        result = client(connect_seconds=0.5, total_seconds=1).latency_seconds()
        elapsed = time.monotonic() - started
    finally:
        os.kill(valkey.process.pid, signal.SIGCONT)
    assert isinstance(result, Gap)
    assert "timeout" == result.kind
    assert elapsed < 2


def test_only_harmless_commands_are_sent(client, app):
    """Nothing but PING, INFO, SLOWLOG GET and the login arrives at the server, by its own count."""
    app.config_resetstat()
    reader = client()
    reader.info(interval_seconds=0.2)
    reader.slowlog()
    reader.latency_seconds(samples=2)
    counted = {name.removeprefix("cmdstat_") for name in app.info("commandstats")}
    assert {"config|resetstat", "auth", "ping", "info", "slowlog|get"} == counted


def test_replay_needs_no_server(client, make, kept, app):
    """What was kept answers again without an endpoint."""
    first = client().info(interval_seconds=0.2)
    replayed = make(RedisClient, None, tape=ReplayTape(kept.results)).info(interval_seconds=0.2)
    assert first.digest == replayed.digest
