"""Whether a server's clock agrees with ours: times from two clocks that differ cannot be put on one axis."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

#: A difference up to this is of no matter, seconds.
MAX_SKEW_SECONDS = 1.0


def skew_warning(date_header: str | None, sent_at: float, read_at: float) -> tuple[str, ...]:
    """What to say of a server whose clock differs from ours; nothing when it agrees or does not tell.

    The server wrote its time between our sending and our reading, cut to whole seconds: only a time outside of that
    differs for certain, however slow the answer was.

    Args:
        date_header: the answer's ``Date`` header.
        sent_at: our time when the question was sent, epoch seconds.
        read_at: our time when the answer arrived, epoch seconds.
    """
    try:
        moment = parsedate_to_datetime(date_header or "")
    except ValueError:
        return ()
    if moment.tzinfo is None:  # RFC 9110 has GMT only; "-0000" parses as naive
        moment = moment.replace(tzinfo=UTC)
    told = moment.timestamp()
    ahead, behind = told - read_at, sent_at - (told + 1)
    if max(ahead, behind) <= MAX_SKEW_SECONDS:
        return ()
    return (f"the server's clock is at least {max(ahead, behind):.0f} s {'ahead of' if ahead > 0 else 'behind'} ours",)
