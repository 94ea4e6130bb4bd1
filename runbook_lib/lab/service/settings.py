"""Configuration of one ``api`` container: environment variables on top of what its release does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runbook_lib.errors import UsageError
from runbook_lib.lab.service.releases import RELEASES, Release


@dataclass(frozen=True)
class Settings:
    """What one process of the service needs to know.

    Args:
        release: behaviour chosen by APP_VERSION, the image tag.
        database_url: DATABASE_URL.
        cache_url: REDIS_URL.
        dependency_url: DEPENDENCY_URL, base URL of the payments service.
        port: PORT, TCP port on 127.0.0.1.
        work_ms: WORK_MS plus the release's own, CPU time of one API request in milliseconds.
        error_ratio: ERROR_RATE or the release's, share of API requests that fail with 500.
        exit_after_seconds: EXIT_AFTER_START or the release's; None never.
        leak_kib: LEAK_KIB or the release's, memory kept by each API request.
        pool_min: DB_POOL_MIN, connections that are always open.
        pool_max: DB_POOL_MAX, most connections of this process.
        pool_timeout_seconds: DB_POOL_TIMEOUT, longest wait for a connection.
        connection_lifetime_seconds: DB_POOL_MAX_LIFETIME, after which a connection is replaced.
        statement_timeout_seconds: DB_STATEMENT_TIMEOUT, ends a statement on the server.
        cache_timeout_seconds: REDIS_TIMEOUT, for connecting and for each answer.
        dependency_timeout_seconds: DEPENDENCY_TIMEOUT, for connecting and for each read.
        request_timeout_seconds: REQUEST_TIMEOUT; a request that waited longer is not begun.
        drain_seconds: DRAIN_SECONDS, how long SIGTERM is answered by "not ready" before connections are refused.
        threads: THREADS, requests that are worked on at once.
    """

    release: Release
    database_url: str
    cache_url: str
    dependency_url: str
    port: int
    work_ms: float = 4.0
    error_ratio: float = 0.0
    exit_after_seconds: float | None = None
    leak_kib: int = 0
    pool_min: int = 2
    pool_max: int = 5
    pool_timeout_seconds: float = 2.0
    connection_lifetime_seconds: float = 30.0
    statement_timeout_seconds: float = 3.0
    cache_timeout_seconds: float = 0.5
    dependency_timeout_seconds: float = 2.0
    request_timeout_seconds: float = 5.0
    drain_seconds: float = 1.0
    threads: int = 16

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Settings:
        """Read the settings.

        Raises:
            UsageError: a variable is missing or is not a number, or the version is unknown.
        """
        tag = _text(env, "APP_VERSION")
        if tag not in RELEASES:
            raise UsageError(f"APP_VERSION={tag!r} is no release. Known: {', '.join(RELEASES)}")
        release = RELEASES[tag]
        return cls(
            release=release,
            database_url=_text(env, "DATABASE_URL"),
            cache_url=_text(env, "REDIS_URL"),
            dependency_url=_text(env, "DEPENDENCY_URL"),
            port=int(_number(env, "PORT", None)),
            work_ms=_number(env, "WORK_MS", cls.work_ms) + release.extra_work_ms,
            error_ratio=max(_number(env, "ERROR_RATE", 0.0), release.error_ratio),
            exit_after_seconds=_number(env, "EXIT_AFTER_START", release.exit_after_seconds or 0.0) or None,
            leak_kib=int(_number(env, "LEAK_KIB", release.leak_kib)),
            pool_min=int(_number(env, "DB_POOL_MIN", cls.pool_min)),
            pool_max=int(_number(env, "DB_POOL_MAX", cls.pool_max)),
            pool_timeout_seconds=_number(env, "DB_POOL_TIMEOUT", cls.pool_timeout_seconds),
            connection_lifetime_seconds=_number(env, "DB_POOL_MAX_LIFETIME", cls.connection_lifetime_seconds),
            statement_timeout_seconds=_number(env, "DB_STATEMENT_TIMEOUT", cls.statement_timeout_seconds),
            cache_timeout_seconds=_number(env, "REDIS_TIMEOUT", cls.cache_timeout_seconds),
            dependency_timeout_seconds=_number(env, "DEPENDENCY_TIMEOUT", cls.dependency_timeout_seconds),
            request_timeout_seconds=_number(env, "REQUEST_TIMEOUT", cls.request_timeout_seconds),
            drain_seconds=_number(env, "DRAIN_SECONDS", cls.drain_seconds),
            threads=int(_number(env, "THREADS", cls.threads)),
        )


def _text(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "").strip()
    if not value:
        raise UsageError(f"{name} is not set")
    return value


def _number(env: Mapping[str, str], name: str, default: float | None) -> float:
    text = env.get(name, "").strip()
    if not text and default is not None:
        return default
    try:
        value = float(text)
    except ValueError:
        raise UsageError(f"{name}={text!r} is not a number") from None
    if not 0 <= value < float("inf"):
        raise UsageError(f"{name}={text!r} must not be negative or infinite")
    return value
