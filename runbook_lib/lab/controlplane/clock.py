"""Times as the API writes them: UTC, RFC 3339."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)


def text(moment: datetime) -> str:
    """Whole seconds, as in ``creationTimestamp``."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_text(moment: datetime) -> str:
    """Microseconds, as in ``renewTime``."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def now_text(offset_seconds: float = 0) -> str:
    """The present moment, or one some seconds away, in whole seconds."""
    return text(now() + timedelta(seconds=offset_seconds))


def parse(value: str) -> datetime:
    """The moment that a time of the API means."""
    return datetime.fromisoformat(value.replace("Z", "+00:00")).astimezone(UTC)


def age(value: str | None) -> str:
    """Age as ``kubectl get`` prints it: ``12s``, ``5m30s``, ``3h``, ``2d``."""
    if not value:
        return "<unknown>"
    return duration((now() - parse(value)).total_seconds())


def duration(seconds: float) -> str:
    """A length of time in the two-unit form of ``kubectl get``."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    whole = max(whole, 0)
    if whole < 120:
        return f"{whole}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    return f"{days // 365}y{days % 365}d" if days < 2920 and days % 365 else f"{days // 365}y"
