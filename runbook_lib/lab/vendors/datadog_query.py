"""Datadog's metric query language, the part ``aggregator:metric{scope} by {tags}.rollup(method, seconds)``.

Anything else is refused, never guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from runbook_lib.lab.vendors.datadog_metrics import METRICS, Metric

_QUERY = re.compile(
    r"""(?P<aggregator>avg|sum|min|max):(?P<metric>[A-Za-z][\w.]*)
        \{(?P<scope>[^{}]*)\}
        (?:\s*by\s*\{(?P<by>[^{}]*)\})?
        (?:\.rollup\((?P<method>avg|sum|min|max)\s*(?:,\s*(?P<seconds>\d+))?\))?$""",
    re.VERBOSE,
)
_TAG = re.compile(r"(!?)([\w./-]+):([\w./-]+)$")
_LONGEST_RANGE = ((3600, 20), (4 * 3600, 60), (24 * 3600, 300), (2 * 86400, 600))  # Datadog's roll-up table
_COARSEST_SECONDS = 3600


class QueryError(ValueError):
    """The query is outside the language that is answered here."""


@dataclass(frozen=True)
class Query:
    """One parsed metric query; ``scope`` and ``by`` hold Datadog tag names."""

    text: str
    aggregator: str
    metric: str
    scope: tuple[tuple[bool, str, str], ...]
    by: tuple[str, ...]
    interval_seconds: int


def parse(text: str, range_seconds: float) -> Query:
    """Parse one query.

    Args:
        text: the query.
        range_seconds: length of the asked time range; it chooses the interval when the query does not.

    Raises:
        QueryError: the query cannot be parsed.
    """
    match = _QUERY.match(text.strip())
    if match is None:
        raise QueryError(f"Error parsing query: unable to parse {text.strip()}: Rule 'scope_expr' didn't match")
    if match["method"] not in (None, "avg"):
        raise QueryError(
            f"Error parsing query: only .rollup(avg, seconds) is answered by the lab, not {match['method']}"
        )
    seconds = int(match["seconds"]) if match["seconds"] else _interval_seconds(range_seconds)
    if seconds <= 0:
        raise QueryError("Error parsing query: the roll-up interval must be positive")
    by = tuple(tag.strip() for tag in (match["by"] or "").split(",") if tag.strip())
    return Query(text.strip(), match["aggregator"], match["metric"], _scope(match["scope"]), by, seconds)


def to_promql(query: Query) -> str | None:
    """The expression that answers the query; None when no point can match its scope."""
    metric = METRICS.get(query.metric)
    if metric is None:
        return None
    matchers = []
    for negated, tag, value in query.scope:
        if tag in metric.labels:
            matchers.append(f'{metric.labels[tag]}{"!=" if negated else "="}"{value}"')
        elif (metric.tags.get(tag) == value) == negated:
            return None
    range_text = f"{max(query.interval_seconds, 10)}s"
    inner = metric.promql.replace("$labels", ",".join(matchers)).replace("$range", range_text)
    labels = [label for tag, label in _dynamic_by(query, metric)]
    grouping = f" by ({', '.join(labels)})" if labels else ""
    return f"{query.aggregator}{grouping} ({inner})"


def tag_set(query: Query, labels: dict[str, str]) -> list[str]:
    """The ``tag:value`` list of one answered series."""
    metric = METRICS[query.metric]
    names = {tag: labels.get(label, "") for tag, label in _dynamic_by(query, metric)}
    names |= {tag: metric.tags[tag] for tag in query.by if tag in metric.tags}
    return sorted(f"{tag}:{value}" for tag, value in names.items() if value)


def _dynamic_by(query: Query, metric: Metric) -> list[tuple[str, str]]:
    return [(tag, metric.labels[tag]) for tag in query.by if tag in metric.labels]


def _scope(text: str) -> tuple[tuple[bool, str, str], ...]:
    tags = []
    for part in (part.strip() for part in text.split(",")):
        if part in ("", "*"):
            continue
        match = _TAG.match(part)
        if match is None:
            raise QueryError(f"Error parsing query: {part!r} is not a tag:value filter")
        tags.append((bool(match[1]), match[2], match[3]))
    return tuple(tags)


def _interval_seconds(range_seconds: float) -> int:
    for longest, interval in _LONGEST_RANGE:
        if range_seconds <= longest:
            return interval
    return _COARSEST_SECONDS
