"""What the library finds in the things that a page asks for, so that an imported runbook reaches a verdict."""

from __future__ import annotations

import re

from runbook_lib.authoring.draft import Draft

_DATABASE = "run.gather(run.postgres.activity, run.postgres.blocking, run.postgres.saturation)"
_LATENCY = (
    "latency, traffic = run.gather(run.metrics.latency_seconds, run.metrics.requests_per_second)",
    "analysis.objective_breached(latency, run.objective, traffic=traffic)",
)
#: What the steps of a page ask for, to the line that reads more of it and the expression that judges that.
_JUDGED: tuple[tuple[str, tuple[str, str]], ...] = (
    (
        r"run\.postgres\.(?!permissions)|run\.datadog\.connections",
        (
            f"activity, blocking, saturation = {_DATABASE}",
            "analysis.database(activity, blocking, saturation=saturation)",
        ),
    ),
    (
        r"run\.redis\.(?:info|slowlog)",
        (
            "info, slowlog, ping = run.gather(run.redis.info, run.redis.slowlog, run.redis.latency_seconds)",
            "analysis.cache(info, slowlog, ping)",
        ),
    ),
    (
        r"(?i)\bcpu\b",
        (
            "cpu, throttled = run.gather(run.metrics.cpu_of_limit, run.metrics.throttled_ratio)",
            "analysis.saturated(cpu, throttled)",
        ),
    ),
    (
        r"run\.kubernetes\.pods",
        (
            "workload, pods = run.gather(run.kubernetes.deployment, run.kubernetes.pods)",
            "analysis.replicas(workload, pods)",
        ),
    ),
)


def judgement(draft: Draft) -> tuple[tuple[str, str], ...]:
    """What judges the things that a page asks for: a line that reads, and an expression that judges what it read.

    Args:
        draft: the page, understood.
    """
    asked = "\n".join(" ".join((step.label, *step.arguments)) for step in draft.steps)
    paged = f"{draft.told.get('when', '')}\n{asked}"
    # Without an objective of the page's own, the service may have none to be held to.
    latency = "latency" in draft.facts.objectives and re.search(r"(?i)latenc|\bp9\d\b|response time|slow", paged)
    return (*((_LATENCY,) if latency else ()), *(lines for pattern, lines in _JUDGED if re.search(pattern, asked)))
