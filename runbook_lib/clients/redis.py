"""Redis and Valkey: state between two readings, slow commands, and the time of a round trip as measured here."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from runbook_lib.clients._retry import Deadline, with_retries
from runbook_lib.clients._source import SourceClient
from runbook_lib.clients._tape import Answer, Question
from runbook_lib.errors import SourceAnswerError, SourceDeniedError, SourceTimeoutError, SourceUnreachableError
from runbook_lib.model import Evidence, Gap, Series, Table

_PING_PAUSE_SECONDS = 0.025
# What names one of many alike: digits, hexadecimal words such as digests and UUIDs, and long words.
_VARIABLE = re.compile(r"[0-9a-fA-F]{8,}|[0-9]+|[^:/._-]{25,}")
_RATES = {
    "evicted_per_second": "evicted_keys",
    "expired_per_second": "expired_keys",
    "rejected_connections_per_second": "rejected_connections",
    "commands_per_second": "total_commands_processed",
    "errors_per_second": "total_error_replies",
    "hits_per_second": "keyspace_hits",
    "misses_per_second": "keyspace_misses",
}


class RedisClient(SourceClient):
    """Named questions to Redis or Valkey. Settings of the endpoint: ``host``, ``port``, ``user``, ``password``,
    ``tls``. Nothing that changes data or shows secrets is ever sent."""

    source = "redis"

    def info(self, interval_seconds: float = 1.0) -> Evidence | Gap:
        """Document of the cache's state, with rates between two readings; see ``queries/redis.toml`` for its keys."""
        return self._ask("info", self._fetch_info, parameters={"interval_seconds": interval_seconds})

    def slowlog(self) -> Evidence | Gap:
        """Table ``id, at, seconds, command, key, arguments, client``, newest first; ``at`` in epoch seconds."""
        return self._ask("slowlog", self._fetch_slowlog)

    def latency_seconds(self, samples: int = 20) -> Evidence | Gap:
        """One series of round-trip times, seconds."""
        return self._ask("latency_seconds", self._fetch_latency, parameters={"samples": samples})

    def _fetch_info(self, question: Question) -> Answer:
        interval = float(question.parameters["interval_seconds"] or 0)
        with self._connection() as connection:
            before, started = _info(connection), time.monotonic()
            time.sleep(interval)
            after, elapsed = _info(connection), time.monotonic() - started
        if before.get("run_id") != after.get("run_id"):
            raise SourceAnswerError("the server was restarted between the two readings", source=self.source)
        return Answer(_state(before, after, elapsed))

    def _fetch_slowlog(self, question: Question) -> Answer:
        with self._connection() as connection:
            entries = connection.execute_command("SLOWLOG", "GET", 128)
        columns = ("id", "at", "seconds", "command", "key", "arguments", "client")
        return Answer(Table(columns, tuple(_slow_command(entry) for entry in entries)))

    def _fetch_latency(self, question: Question) -> Answer:
        points: list[tuple[float, float]] = []
        deadline = Deadline(self.total_seconds)
        with self._connection() as connection:
            for sample in range(int(question.parameters["samples"] or 1)):
                if sample and deadline.expired:
                    break  # a server this slow has been measured well enough
                if sample:
                    time.sleep(_PING_PAUSE_SECONDS)
                at, started = time.time(), time.perf_counter()
                connection.ping()
                points.append((at, time.perf_counter() - started))
        return Answer((Series.of(points),))

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Any]:
        """A connection of its own, without the library's own retries; every error that leaves it is a SourceError."""
        import redis

        try:
            connection = with_retries(self._open, Deadline(self.total_seconds))
            with contextlib.closing(connection):
                yield connection
        except redis.TimeoutError as error:
            raise SourceTimeoutError(f"no answer within {self.connect_seconds:g} s", source=self.source) from error
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
            raise SourceDeniedError(
                f"refuses {self._setting('user', 'default')}: {error}", source=self.source
            ) from error
        except (redis.ConnectionError, OSError) as error:
            raise SourceUnreachableError(f"the connection broke: {error}", source=self.source) from error
        except redis.RedisError as error:
            raise SourceAnswerError(f"answered: {error}", source=self.source) from error

    def _open(self) -> Any:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        endpoint = self._configured()
        password = self._secret("password")
        connection = redis.Redis(
            host=self._setting("host"),
            port=int(endpoint.settings.get("port", 6379)),
            username=self._setting("user") or None,
            password=password.reveal() if password else None,
            ssl=bool(endpoint.settings.get("tls", False)),
            socket_connect_timeout=self.connect_seconds,
            # A healthy server answers in well under a millisecond: one that needs seconds is the finding itself.
            socket_timeout=self.connect_seconds,
            retry=Retry(NoBackoff(), 0),
            single_connection_client=False,
            protocol=2,
            # Or it announces itself by CLIENT SETINFO, which a restricted user may not send.
            driver_info=None,
            decode_responses=True,
            encoding_errors="replace",
        )
        try:
            connection.ping()
        except redis.TimeoutError:
            connection.close()
            raise
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError, redis.ResponseError):
            connection.close()
            raise
        except redis.ConnectionError as error:
            connection.close()
            raise SourceUnreachableError(f"cannot be reached: {error}", source=self.source) from error
        return connection


def _info(connection: Any) -> dict[str, Any]:
    found = connection.info("everything")
    if not isinstance(found, dict) or "run_id" not in found:
        raise SourceAnswerError("INFO has no run_id", source=RedisClient.source)
    return found


def _state(before: Mapping[str, Any], after: Mapping[str, Any], elapsed_seconds: float) -> dict[str, Any]:
    """The document of ``info``: limits as ratios, counters as rates between the two readings."""
    rates = {name: _rate(before, after, (key,), elapsed_seconds) for name, key in _RATES.items()}
    hits, misses = rates["hits_per_second"], rates["misses_per_second"]
    lookups = None if hits is None or misses is None else hits + misses
    maxmemory, maxclients = _number(after, "maxmemory"), _number(after, "maxclients")
    used, clients = _number(after, "used_memory"), _number(after, "connected_clients")
    return {
        "version": str(after.get("valkey_version") or after.get("redis_version", "")),
        "server": str(after.get("server_name", "redis")),
        "uptime_seconds": _number(after, "uptime_in_seconds"),
        "role": str(after.get("role", "")),
        "loading": bool(after.get("loading", 0)),
        "master_link_status": str(after.get("master_link_status", "")),
        "connected_clients": clients,
        "blocked_clients": _number(after, "blocked_clients"),
        "maxclients": maxclients,
        "clients_ratio": clients / maxclients if clients is not None and maxclients else None,
        "used_memory_bytes": used,
        "maxmemory_bytes": maxmemory,
        "memory_ratio": used / maxmemory if used is not None and maxmemory else None,
        "maxmemory_policy": str(after.get("maxmemory_policy", "")),
        **rates,
        "hit_ratio": hits / lookups if hits is not None and lookups else None,
        # The main thread runs the commands; where the server does not tell its time apart, that of all threads.
        "cpu_ratio": _rate(before, after, ("used_cpu_sys_main_thread", "used_cpu_user_main_thread"), elapsed_seconds),
        "latest_fork_seconds": (_number(after, "latest_fork_usec") or 0) / 1e6,
        "aof_delayed_fsync": _number(after, "aof_delayed_fsync"),
        "rdb_last_bgsave_status": str(after.get("rdb_last_bgsave_status", "")),
        "clock_offset_seconds": _clock_offset(after),
        "interval_seconds": elapsed_seconds,
    }


def _number(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    return value if isinstance(value, int | float) else None


def _rate(before: Mapping[str, Any], after: Mapping[str, Any], names: tuple[str, ...], seconds: float) -> float | None:
    """Change of the sum of counters per second; None when one is missing or fell."""
    pairs = [(_number(before, name), _number(after, name)) for name in names]
    changes = [new - old for old, new in pairs if old is not None and new is not None]
    if len(changes) < len(names) or min(changes) < 0:
        return None
    return sum(changes) / seconds


def _cpu(before: Mapping[str, Any], after: Mapping[str, Any], seconds: float) -> float | None:
    """Processor time of the main thread, which runs the commands; of all threads where it is not told apart."""
    main = _rate(before, after, ("used_cpu_sys_main_thread", "used_cpu_user_main_thread"), seconds)
    return _rate(before, after, ("used_cpu_sys", "used_cpu_user"), seconds) if main is None else main


def _clock_offset(fields: Mapping[str, Any]) -> float | None:
    """How far the server's clock is ahead of ours, seconds: its slow log is told in its own time."""
    told = _number(fields, "server_time_usec")
    return None if told is None else told / 1e6 - time.time()


def _slow_command(entry: Any) -> tuple[Any, ...]:
    """One entry of the slow log without the data in it: the command, the shape of its key, and how many arguments."""
    words = [_word(one) for one in entry[3]]
    command = words[0].upper() if words else ""
    # Of a command whose arguments are no keys only the first word is safe to show.
    keyless = command in {"AUTH", "HELLO", "CONFIG", "ACL", "MIGRATE", "EVAL", "EVALSHA", "SCRIPT", "DEBUG", "FUNCTION"}
    key = "" if keyless or len(words) < 2 else _VARIABLE.sub("*", words[1])[:60]
    client = _word(entry[5]) if len(entry) > 5 else ""
    name = client or (_word(entry[4]) if len(entry) > 4 else "")
    return (int(entry[0]), float(entry[1]), int(entry[2]) / 1e6, command, key, max(0, len(words) - 1), name)


def _word(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
