"""Aware UTC times: one way to read, write and speak of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def utc_now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def from_epoch(seconds: float) -> datetime:
    """The aware UTC time ``seconds`` after 1970-01-01T00:00:00Z."""
    return datetime.fromtimestamp(seconds, UTC)


def rfc3339(moment: datetime) -> str:
    """``moment`` as RFC 3339 text in UTC with milliseconds and ``Z``.

    Raises:
        ValueError: ``moment`` has no time zone; a naive time is never guessed.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_rfc3339(text: str) -> datetime:
    """Read RFC 3339 text as an aware UTC time.

    Raises:
        ValueError: the text is no time, or names no zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone; write it with Z or an offset")
    return moment.astimezone(UTC)


def clock(moment: datetime) -> str:
    """``HH:MM:SS`` in UTC, for text whose header carries the date."""
    return moment.astimezone(UTC).strftime("%H:%M:%S")


def duration(seconds: float) -> str:
    """A length of time as a person on call reads it: ``840 ms``, ``12 s``, ``5m12s``, ``3h05m``, ``2d04h``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def relative(moment: datetime, to: datetime) -> str:
    """``moment`` as seen from ``to``: ``+7m00s`` after it, ``-12 s`` before it."""
    seconds = (moment - to) / timedelta(seconds=1)
    return f"{'-' if seconds < 0 else '+'}{duration(abs(seconds))}"


def seen_from(moment: datetime, to: datetime, name: str = "") -> str:
    """``moment`` in UTC and as seen from ``to``: ``20:28:01 UTC, 3m04s before the alert``; another day has its date.

    Args:
        moment: what is told.
        to: what it is seen from.
        name: of ``to``, such as ``the alert``; empty where the context says it.
    """
    moment, to = moment.astimezone(UTC), to.astimezone(UTC)
    day = "" if moment.date() == to.date() else f"{moment:%Y-%m-%d} "
    side = "before" if moment < to else "after"
    return f"{day}{clock(moment)} UTC, {relative(moment, to)[1:]} {side} {name}".rstrip()
