"""What a sentence of a page asks for, and which read of the library answers it."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Pattern to the read that answers it, most specific first.
_QUESTIONS: tuple[tuple[str, str], ...] = (
    (r"connections?\b.*\bdatadog|datadog\b.*\bconnections?|\bdb connections?\b", "run.datadog.connections()"),
    (r"long[- ]running (?:quer|statement|transaction)|slow quer|active quer|running quer", "run.postgres.activity()"),
    (r"\block(?:s|ed|ing)?\b.*(?:database|postgres|quer|table)|blocking (?:quer|session)", "run.postgres.blocking()"),
    (r"(?:database|postgres\w*|pg|db)\b.*\bconnections?|max_connections", "run.postgres.saturation()"),
    (r"(?:database|postgres\w*)\b.*\b(?:online|reachable|up|running|available|healthy)", "run.postgres.permissions()"),
    (r"(?:redis|cache)\b.*\b(?:available|reachable|online|up|running|healthy|latency)", "run.redis.latency_seconds()"),
    (r"(?:redis|cache)\b.*\b(?:slow|slowlog)", "run.redis.slowlog()"),
    (r"(?:redis|cache)\b.*\b(?:memory|evict|full|hit)", "run.redis.info()"),
    (r"error[- ]rates?|5xx|error ratio|errors? per", "run.metrics.error_ratio()"),
    (r"\bp9\d\b|latenc|response times?|slow(?:er|ness)?\b", "run.metrics.latency_seconds()"),
    (r"traffic|request rate|requests per|throughput|\brps\b|\bqps\b", "run.metrics.requests_per_second()"),
    (r"throttl", "run.metrics.throttled_ratio()"),
    (r"\bcpu\b|processor", "run.metrics.cpu_of_limit()"),
    (r"\bmemory\b|\boom", "run.metrics.memory_of_limit()"),
    (r"restart(?:s|ed|ing)? (?:count|pods?)|crash|restarts\b", "run.metrics.restarts()"),
    (r"recent(?:ly)? (?:deploy|release|roll|chang)|last (?:deploy|release)|what changed", "run.kubernetes.rollouts()"),
    (r"\bevents?\b", "run.kubernetes.events()"),
    (r"\bpods?\b|\breplicas?\b", "run.kubernetes.pods()"),
    (r"\bci\b|pipeline|build (?:passed|green|status)", "run.github.runs()"),
    (r"health ?checks?|healthy\b", "run.service_probe.health()"),
    (r"grafana|dashboard", "run.grafana.dashboard()"),
    (r"\blogs?\b", "run.datadog.logs()"),
    (r"alerts?\b.*(?:fir|clear|resol|active)", "run.metrics.alerts()"),
)  # fmt: skip
_LOOKS = re.compile(
    r"^(?:(?:action|step)\s*\d+\s*[:.)-]\s*)?(?:please\s+|first,?\s+|then,?\s+|next,?\s+)*"
    r"(?:check|verify|look|confirm|ensure|inspect|see|open|review|examine|identify|find|is|are|does|do|has|have|did|"
    r"determine|monitor|watch|compare|validate|make sure|query|investigate|count|list|read)\b",
    re.IGNORECASE,
)
_ACTS = re.compile(
    r"\b(?:restart|delete|scale|roll ?back|revert|kill|terminate|drain|cordon|failover|fail over|increase|decrease|"
    r"raise|lower|deploy|apply|stop|start|disable|enable|remove|add|resize|page|notify|contact|escalate|tell|call)\b",
    re.IGNORECASE,
)
_LIMIT = re.compile(
    r"(?:below|under|less than|<=?|lower than|within)\s*(\d+(?:\.\d+)?)\s*(%|ms\b|s\b|seconds\b)",
    re.IGNORECASE,
)
_WORD = re.compile(r"\b(?:returns?|is|shows?|reports?|equals?|says?)\s+[`\"']([\w.-]{1,40})[`\"']", re.IGNORECASE)
_UNITS = {"%": 0.01, "ms": 0.001, "s": 1.0, "seconds": 1.0}


@dataclass(frozen=True, slots=True)
class Question:
    """What a sentence asks for.

    Args:
        call: expression that reads it.
        limit: the value that the sentence wants it to stay below, in the unit of the read; None when it names none.
    """

    call: str
    limit: float | None = None


def understand(text: str) -> Question | None:
    """The read that answers a sentence; None when it asks a person for something else."""
    states = re.search(r"\bmust\b|\bshould\b|\bis\b|\bare\b|\breturns?\b|\bdrops?\b", text, re.IGNORECASE)
    if not _LOOKS.match(text) and (not states or _ACTS.search(text)):
        return None
    for pattern, call in _QUESTIONS:
        if re.search(pattern, text, re.IGNORECASE):
            return Question(call, _limit(text, call))
    return None


def expected_word(text: str) -> str:
    """The word that a sentence wants to be answered, as in "returns `healthy`"; empty when it names none."""
    found = _WORD.search(text)
    return found[1] if found else ""


def _limit(text: str, call: str) -> float | None:
    found = _LIMIT.search(text)
    if not found:
        return None
    share = found[2] == "%"
    wanted = "ratio" in call or "of_limit" in call if share else "seconds" in call
    return round(float(found[1]) * _UNITS[found[2].lower()], 9) if wanted else None
