"""Releases of the ``api`` image: what each tag does, as a real release would by its code.

The tag chooses the behaviour; the environment of the container adds to it (see ``settings.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

REPOSITORY = "acme/api"


@dataclass(frozen=True)
class Release:
    """One image tag.

    Args:
        tag: the image tag and the version that ``/api/v1/status`` reports.
        summary: what is special about it, one line.
        schema_version: the newest migration that the image carries and runs on start.
        extra_work_ms: CPU time per API request on top of the configured work, in milliseconds.
        error_ratio: share of API requests that fail with 500, from 0 to 1.
        exit_after_seconds: the process ends with code 1 that long after its start; None never.
        leak_kib: memory that each API request keeps for ever, in KiB.
        leaked_connection_ratio: share of order writes that never return their database connection.
        failing_migration: whether its newest migration fails half-way and leaves what it did until then.
    """

    tag: str
    summary: str
    schema_version: int = 1
    extra_work_ms: float = 0.0
    error_ratio: float = 0.0
    exit_after_seconds: float | None = None
    leak_kib: int = 0
    leaked_connection_ratio: float = 0.0
    failing_migration: bool = False


RELEASES: dict[str, Release] = {
    release.tag: release
    for release in (
        Release("v1", "first release"),
        Release("v2", "adds orders.note; v1 still runs on its schema", schema_version=2),
        Release("v3", "adds orders.currency; v1 and v2 still run on its schema", schema_version=3),
        Release("v4", "renames orders.total_cents; no earlier release runs on its schema", schema_version=4),
        Release("v2-slow", "v2 that burns CPU on every request", schema_version=2, extra_work_ms=34.0),
        Release("v2-errors", "v2 that fails one request in four", schema_version=2, error_ratio=0.25),
        Release("v2-crash", "v2 that ends shortly after its start", schema_version=2, exit_after_seconds=0.2),
        Release("v2-leak", "v2 that keeps memory on every request", schema_version=2, leak_kib=512),
        Release("v2-pool", "v2 that loses database connections", schema_version=2, leaked_connection_ratio=0.2),
        Release("v3-dirty", "v3 whose migration fails half-way", schema_version=3, failing_migration=True),
    )
}
