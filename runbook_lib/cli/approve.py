"""``runbook approve``: allow one exact plan of a run, once, for a short time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runbook_lib.cli.output import Json, emit, line
from runbook_lib.cli.records import Archive
from runbook_lib.cli.where import archive_of

if TYPE_CHECKING:
    from runbook_lib.model import Environment, Plan

app = typer.Typer(rich_markup_mode=None)

#: Kind of plan to the runbook that carries it out, where another one may offer it.
_OFFERED = {"rollback": "rollback", "unlock_release": "rollback"}


@app.command("approve")
def approve(
    run: Annotated[str, typer.Argument(help="Run id, its beginning, or: last")],
    plan: Annotated[str, typer.Option("--plan", help="Digest of the plan you have read.")],
    minutes: Annotated[float, typer.Option(help="How long the approval may be used.")] = 15,
    key: Annotated[
        Path | None, typer.Option("--key", help="SSH key to sign with; default: git config user.signingkey")
    ] = None,
    github: Annotated[
        bool, typer.Option("--github-environment", help="Take over who approved this job's protected environment.")
    ] = False,
    archive: Archive = "",
    as_json: Json = False,
) -> None:
    """Approve one exact plan of a run; prints the command that applies it."""
    from runbook_lib import actions
    from runbook_lib.errors import UnknownNameError
    from runbook_lib.model import Plan
    from runbook_lib.record.record import Record

    found = archive_of(archive)
    record = Record.read(found.find(run))
    known = {str(one["digest"]): one for one in record.plans}
    wanted = plan if plan.startswith("sha256:") else f"sha256:{plan}"
    # A short digest could mean another plan tomorrow: an approval names the whole of it.
    if wanted not in known:
        raise UnknownNameError("plan", plan, known, str(record.path))
    approved = Plan.from_json(known[wanted])
    who = _github(_environment(approved)) if github else _signer(_environment(approved), approved, key)
    path = actions.grant(approved, found.root / "ledger" / "granted", minutes=minutes, **who)
    values = {name: value for name, value in record.run.get("parameters", {}).items() if name != "approval"}
    runbook = str(record.run.get("runbook", ""))
    if approved.kind in _OFFERED and runbook != _OFFERED[approved.kind]:
        # A deployment offers its way back; the runbook that carries it out has other parameters.
        runbook = _OFFERED[approved.kind]
        values = {name: value for name, value in values.items() if name in {"service", "environment"}}
        values["revision"] = approved.after["revision"]
    words = " ".join(f"-p {name}={value}" for name, value in values.items())
    command = f"runbook run {runbook} {words} --apply --approval {path}"
    if as_json:
        emit({"approval": str(path), "plan": approved.digest, "command": command})
        return
    line(f"approved for {minutes:g} minutes: {approved.effect}")
    line(f"way back: {approved.way_back}")
    line(f"apply it with:\n  {command}")


def _environment(plan: Plan) -> Environment:
    from runbook_lib import catalog

    return catalog.load().environment(plan.environment)


def _signer(environment: Environment, plan: Plan, key: Path | None) -> dict[str, Any]:
    """Who approves and with which key; nobody in particular and without one where the environment allows that.

    Raises:
        UsageError: a signature is needed, and there is no key, or the environment does not trust it.
    """
    from runbook_lib import actions
    from runbook_lib.clients import ssh_keygen
    from runbook_lib.errors import UsageError

    ways = environment.accepts(environment.rule(plan.kind, destructive=plan.destructive))
    if key is None and actions.identity()[1] in ways:
        return {}
    key = key.expanduser() if key else ssh_keygen.configured_key()
    if key is None:
        raise UsageError(
            f"{plan.kind} in {environment.name} needs a signed approval: give --key, or set git config user.signingkey"
        )
    if not environment.signers:
        raise UsageError(f"{environment.name} trusts no keys: set environments.{environment.name}.signers")
    person = ssh_keygen.principal(key, Path(environment.signers))
    if not person:
        raise UsageError(f"{environment.signers} does not name {key}: ask for a line with your public key")
    return {"approver": person, "known_by": "ssh-signature", "key": key}


def _github(environment: Environment) -> dict[str, Any]:
    """Who let this job into its protected environment, by GitHub's own word.

    Raises:
        UsageError: this is no job of a GitHub workflow, or nobody approved it.
    """
    from runbook_lib.clients._tape import LiveTape
    from runbook_lib.clients.github import GitHubClient
    from runbook_lib.errors import UsageError
    from runbook_lib.model import Gap, Window

    job = os.environ.get("GITHUB_RUN_ID", "")
    if os.environ.get("GITHUB_ACTIONS") != "true" or not job.isdecimal():
        raise UsageError("--github-environment works in a job of a GitHub workflow only")
    client = GitHubClient(
        endpoint=environment.endpoints.get("github"),
        tape=LiveTape(),
        window=Window.last(1),
        workload={},
        environment=environment.name,
    )
    found = client.reviewers(int(job))
    if isinstance(found, Gap):
        raise UsageError(f"GitHub does not say who approved run {job}: {found.reason}")
    people = [
        str(row["user"])
        for row in found.table.records()
        if (row["environment"], row["state"]) == (environment.name, "approved")
    ]
    if not people:
        raise UsageError(f"nobody approved run {job} for the protected environment {environment.name}")
    return {"approver": people[-1], "known_by": "github-environment"}
