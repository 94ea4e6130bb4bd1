"""``runbook run``: one headless run, from its parameters to its sealed record."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runbook_lib.cli.output import Json, emit, line
from runbook_lib.cli.terminal import Steps, progress, say

if TYPE_CHECKING:
    from runbook_lib.headless.session import RunResult

__all__ = ["app", "progress", "run", "summary"]

app = typer.Typer(rich_markup_mode=None)

MEANINGS = {
    0: "nothing needs a person",
    1: "failed",
    3: "needs a person: findings, or a plan that waits for approval",
    4: "an action was refused",
    5: "gaps leave the verdict unknown",
    6: "an action's outcome is unknown",
    7: "the record could not be written",
    124: "a deadline passed",
    130: "interrupted",
    138: "the kernel died",
    143: "terminated",
}


@app.command("run")
def run(
    name: Annotated[str, typer.Argument(help="A name from: runbook list; or the path of a notebook.")],
    parameter: Annotated[list[str] | None, typer.Option("-p", "--parameter", help="name=value, kept as typed.")] = None,
    file: Annotated[Path | None, typer.Option("-f", "--file", help="TOML, JSON or YAML file with parameters.")] = None,
    environment: Annotated[str, typer.Option("--environment", "-e", help="Where to run.")] = "",
    apply: Annotated[bool, typer.Option("--apply", help="Apply an approved plan; without it nothing changes.")] = False,
    approval: Annotated[str, typer.Option("--approval", help="File written by: runbook approve")] = "",
    resume: Annotated[str, typer.Option("--resume", help="Go on from this run; its changes are not sent again.")] = "",
    archive: Annotated[str, typer.Option("--out", help="Archive; default: outputs beside runbook.toml.")] = "",
    as_json: Json = False,
) -> None:
    """Run a runbook headlessly and archive the record. The exit code tells how it ended."""
    from runbook_lib.cli.where import archive_of, catalog_folder
    from runbook_lib.headless import notebooks
    from runbook_lib.headless.parameters import assignments, from_file
    from runbook_lib.headless.runner import execute

    steps = progress(as_json)
    result = execute(
        notebooks.find(name, catalog_folder()),
        {**(from_file(file) if file else {}), **assignments(parameter or [])},
        environment=environment,
        archive=archive,
        apply=apply,
        approval=approval,
        resume=archive_of(archive).find(resume) if resume else None,
        progress=steps,
        begun=steps.begun if isinstance(steps, Steps) else None,
    )
    if as_json:
        emit(result.to_json())
    else:
        summary(result)
    sys.exit(result.exit_code)


def summary(result: RunResult) -> None:
    """Print what a person must know, most important first."""
    told = result.to_json()
    held = told["verification"] is not None and told["verification"]["status"] == "held"
    fixed = ", then fixed: the objective holds again" if held else ""
    say(
        told["verdict"].upper(),
        told["verdict"],
        f"{fixed}  ({told['runbook']} of {told['service']} in {told['environment']})",
    )
    for finding in told["findings"]:
        say(f"  {finding['severity']:8}", finding["severity"], f" {finding['cause']}: {finding['title']}")
    for note in told["context"]:
        line(f"  note     {note['title']}")
    for gap in told["gaps"]:
        say("  no data ", "unknown", f" {gap['source']}.{gap['name']}: {gap['reason']}")
    for plan in told["plans"]:
        line(f"  plan     {plan['effect']}\n           {plan['command']}\n           way back: {plan['way_back']}")
    for outcome in told["outcomes"]:
        say(f"  {outcome['outcome']:8}", outcome["outcome"], f" {outcome['reason']}")
    if told["verification"]:
        line(f"  verified {told['verification']['status'].replace('_', ' ')}: {told['verification']['sentence']}")
    waiting = {plan["digest"] for plan in told["plans"]} - {outcome["plan"] for outcome in told["outcomes"]}
    for digest in sorted(waiting):
        line(f"  next     runbook approve {told['run_id']} --plan {digest}")
    line(f"record: {result.record}")
    line(f"exit {result.exit_code}: {MEANINGS.get(result.exit_code, '')}")
