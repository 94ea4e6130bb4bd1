"""``runbook demo``: the main job on the embedded lab, from a healthy service to a verified fix and its record."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runbook_lib.cli.output import line
from runbook_lib.cli.terminal import Steps, progress, waiting

if TYPE_CHECKING:
    from runbook_lib.headless.session import RunResult
    from runbook_lib.model import Quantity

app = typer.Typer(rich_markup_mode=None)

WINDOW_MINUTES = 15
#: How long to wait until users feel the fault, seconds.
BREACH_SECONDS = 90.0


@app.command("demo")
def demo(
    fault: Annotated[str, typer.Option(help="What to break; see: runbook lab faults")] = "idle_in_transaction",
    keep: Annotated[bool, typer.Option("--keep", help="Leave the lab running.")] = False,
) -> None:
    """Start the lab, break it, find the cause, approve one plan, apply and verify it, archive the record."""
    from runbook_lib.cli.lab import directory
    from runbook_lib.lab import supervisor
    from runbook_lib.lab.faults import registry

    place = directory()
    started = time.monotonic()
    try:
        line("1. starting the lab: PostgreSQL, Valkey, an API service, its cluster and its metrics")
        status = supervisor.up(place, progress=progress(quiet=False))
        line(f"   up after {time.monotonic() - started:.0f} s: {status['service_url']}")
        line(f"2. breaking it: {fault}")
        registry.apply(place, fault, {})
        felt = latency_reaches(BREACH_SECONDS)
        line(f"   p95 latency is {felt or f'not above its objective after {BREACH_SECONDS:g} s'}")
        line("3. paged: runbook run high_latency")
        found = _run()
        result = _apply(found)
    finally:
        if not keep:
            supervisor.down(place)
    told = result.to_json()
    top = told["findings"][0] if told["findings"] else {"cause": "none", "title": "nothing was found"}
    line()
    line(f"verdict   {result.verdict}: {top['cause']}, {top['title']}")
    if told["verification"]:
        line(f"verified  {told['verification']['status'].replace('_', ' ')}: {told['verification']['sentence']}")
    line(f"record    {result.record}")
    line(f"page      {result.record / 'report.html'}")
    line(f"all of it took {time.monotonic() - started:.0f} s" + ("; the lab still runs" if keep else ""))
    sys.exit(0 if result.exit_code in {0, 3} else result.exit_code)


def latency_reaches(seconds: float, *, above: bool = True) -> Quantity | None:
    """Wait until p95 of the lab's service is above its objective, as an alert would, or below it.

    Args:
        seconds: how long at most.
        above: which side of the objective.

    Returns:
        The first p95 on that side; None when there was none in time.
    """
    from runbook_lib import catalog
    from runbook_lib.charts.sparkline import sparkline
    from runbook_lib.clients._tape import LiveTape
    from runbook_lib.clients.prometheus import PrometheusClient
    from runbook_lib.model import Evidence, Window

    known = catalog.load()
    service, environment = known.service("api"), known.environment("lab")
    limit = service.objectives["latency"].threshold_seconds or 0
    metrics = PrometheusClient(
        endpoint=environment.endpoints["prometheus"], tape=LiveTape(), window=Window.last(1), workload=service.workload
    )
    answer, deadline = metrics.latency_seconds(), time.monotonic() + seconds
    with waiting("p95 latency", lambda: sparkline(answer, 30)):
        while time.monotonic() < deadline:
            now = answer.latest if isinstance(answer, Evidence) else None
            if now is not None and now.value is not None and (now.value > limit) is above:
                return now
            time.sleep(2)
            answer = answer.again()
    return None


def _run(approval: Path | None = None) -> RunResult:
    from runbook_lib.cli.run import summary
    from runbook_lib.cli.where import catalog_folder
    from runbook_lib.headless import notebooks
    from runbook_lib.headless.runner import execute

    steps = Steps()
    result = execute(
        notebooks.find("high_latency", catalog_folder()),
        {"service": "api", "window_minutes": str(WINDOW_MINUTES)},
        environment="lab",
        apply=approval is not None,
        approval=str(approval or ""),
        progress=steps,
        begun=steps.begun,
    )
    summary(result)
    return result


def _apply(found: RunResult) -> RunResult:
    """Approve the plan of a run and run again with it; the run itself when there is no plan."""
    from runbook_lib import actions
    from runbook_lib.model import Plan

    told = found.to_json()
    if not told["plans"]:
        line("4. there is no plan to approve")
        return found
    plan = Plan.from_json(told["plans"][-1])
    ledger = found.record.parents[3] / "ledger" / "granted"
    line(f"4. approving exactly this plan: {plan.command}")
    approval = actions.grant(plan, ledger)
    line("5. once more, with the approval: runbook run high_latency --apply --approval ...")
    return _run(approval)
