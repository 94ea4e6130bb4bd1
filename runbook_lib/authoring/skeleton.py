"""The beginning of a runbook: every cell that one has, with questions where the author's words belong."""

from __future__ import annotations

from typing import Any

from runbook_lib.authoring.cells import Cell, notebook
from runbook_lib.authoring.writing import literal

#: What a new runbook may plan: kind of action to the expression of its plan; empty for none.
PLANS = {
    "": "",
    "propose": "actions.propose(run, replicas=replicas)",
    "scale": "actions.scale(run.kubernetes, replicas=replicas, service=service, environment=environment)",
}
_KINDS = {"": [], "propose": ["scale", "end_backend"], "scale": ["scale"]}


def skeleton(name: str, plan: str = "", *, place: tuple[str, str] = ("api", "lab")) -> dict[str, Any]:
    """A notebook that keeps every rule and runs as it is.

    Args:
        name: of the runbook, such as ``queue_backlog``.
        plan: key of ``PLANS``.
        place: service and environment that a run is about when nothing else is said.
    """
    title = name.replace("_", " ").capitalize()
    return notebook(_cells(name, title, PLANS[plan], place), {"actions": _KINDS[plan], "scenarios": ["none"]})


def _cells(name: str, title: str, plan: str, place: tuple[str, str]) -> list[Cell]:
    changes = "Nothing by itself. It proposes one plan and applies it only with an approval of exactly that plan."
    told = "\n\n".join(
        (
            f"# {title}",
            "**Meaning.** What is happening, in one sentence.",
            "**Impact.** What users notice, and what it costs while it lasts.",
            "**When.** The alert that leads here, and what else does.",
            f"**Changes.** {changes if plan else 'Nothing.'}",
            "**Owner.** The team, and where to reach it.",
        )
    )
    imports = "Run, actions, analysis, charts" if plan else "Run, analysis, charts"
    start = f'run = Run.start("{name}", service=service, environment=environment, minutes=window_minutes)'
    parameters = [
        f"service: str = {literal(place[0])}  # service under investigation",
        f"environment: str = {literal(place[1])}  # where it runs",
        "window_minutes: int = 60  # minutes of history to read",
    ]
    if plan:
        parameters.append("replicas: int = 5  # pods to run when more pods are the remedy")
        parameters.append('approval: str = ""  # file of an approval of exactly one plan; empty plans only')
    cells = [
        Cell("title", told),
        Cell("parameters", "\n".join(parameters), "parameters"),
        Cell("setup", f"from runbook_lib import {imports}\n\n{start}\nrun", "setup"),
        Cell("is-it-real", "## Is it real, since when, and how bad?"),
        Cell("latency", _LATENCY, "evidence"),
        Cell("is-it-the-database", "## Is the database the cause?"),
        Cell("database", _DATABASE, "evidence"),
        Cell("is-it-the-service", "## Is it the service itself?"),
        Cell("service", _SERVICE, "evidence"),
        Cell("what-it-says", "## What does the evidence say?\n\nWhat could not be read comes first."),
        Cell("findings", "run.findings", "findings"),
    ]
    if plan:
        cells += [
            Cell("what-helps", "## What would help, and how is it undone?"),
            Cell("plan", f"plan = {plan}\nawait run.ask(plan, approval=approval, watch=latency)", "plan"),
            Cell("apply", "run.apply(plan, approval=approval)", "action"),
            Cell("did-it-help", "## Did it help?\n\nThe same evidence, read again."),
            Cell("verify", "run.verify(latency.again, against=latency)", "verify"),
        ]
    return [*cells, Cell("record", "run.close()", "record")]


_LATENCY = """latency, traffic = run.gather(run.metrics.latency_seconds, run.metrics.requests_per_second)
run.note(analysis.objective_breached(latency, run.objective, traffic=traffic))
charts.timeline(latency, objective=run.objective, title="p95 latency")"""
_DATABASE = """activity, blocking = run.gather(run.postgres.activity, run.postgres.blocking)
run.note(analysis.database(activity, blocking))"""
_SERVICE = """cluster, probe = run.kubernetes, run.service_probe
deployment, pods, health = run.gather(cluster.deployment, cluster.pods, probe.health)
run.note(analysis.replicas(deployment, pods), analysis.health(health))"""
