"""Approvals: who allowed which exact plan, until when, usable once."""

from __future__ import annotations

import getpass
import json
import os
import re
import secrets
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from runbook_lib.errors import GuardError, RecordError, UsageError
from runbook_lib.model import Approval, Environment, Plan
from runbook_lib.model.canonical import canonical
from runbook_lib.model.times import parse_rfc3339, utc_now

#: How long an approval may be used, minutes (records-and-actions, section 7 step 5).
VALID_MINUTES = 15
SIGNED = "ssh-signature"
GITHUB = "github-environment"
_NONCE = re.compile(r"[0-9a-f]{32}")
_WIDEST_BYTES = 64 * 1024


def identity() -> tuple[str, str]:
    """The acting person and how they are known.

    ``RUNBOOK_ACTOR`` from configuration, else whom a GitHub workflow runs for, else the system's user.
    """
    if actor := os.environ.get("RUNBOOK_ACTOR", ""):
        return actor, "configuration"
    if os.environ.get("GITHUB_ACTIONS") == "true" and (actor := os.environ.get("GITHUB_ACTOR", "")):
        return actor, "github-actions"
    return getpass.getuser(), "operating system user"


def grant(
    plan: Plan,
    folder: Path,
    *,
    approver: str = "",
    known_by: str = "",
    minutes: float = VALID_MINUTES,
    key: Path | None = None,
) -> Path:
    """Write an approval of exactly this plan and return its path.

    Args:
        plan: the plan that the approver has read.
        folder: where approvals are kept; made when missing.
        approver: who approves; default: ``identity()``.
        known_by: how the approver is known.
        minutes: how long it may be used.
        key: signs the approval; a private key, or the public key of one that an agent holds.

    Raises:
        UsageError: ``minutes`` is not above zero and at most ``VALID_MINUTES``.
        RecordError: the key cannot be used.
    """
    if not 0 < minutes <= VALID_MINUTES:
        raise UsageError(f"an approval may last up to {VALID_MINUTES} minutes, not {minutes:g}")
    who, how = (approver, known_by) if approver else identity()
    now = utc_now()
    nonce = secrets.token_hex(16)
    approval = Approval(plan.digest, plan.environment, who, how, now, now + timedelta(minutes=minutes), nonce)
    if key is not None:
        from runbook_lib.clients import ssh_keygen

        approval = replace(approval, known_by=SIGNED)
        made = ssh_keygen.sign(_signed_bytes(approval), key=key, namespace=ssh_keygen.APPROVAL_NAMESPACE)
        approval = replace(approval, signature=made.decode("ascii"))
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{plan.digest[7:19]}-{nonce[:8]}.json"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(approval.to_json(), file, indent=1)
    return path


def read(path: Path) -> Approval:
    """The approval in a file.

    Raises:
        UsageError: the file is missing or holds no approval.
    """
    try:
        with path.open("rb") as file:
            value: dict[str, Any] = json.loads(file.read(_WIDEST_BYTES))
        times: dict[str, Any] = {key: parse_rfc3339(value.pop(key)) for key in ("granted_at", "expires_at")}
        approval = Approval(**value, **times)
        # The nonce becomes the name of a file.
        good = all(isinstance(one, str) for one in value.values()) and bool(_NONCE.fullmatch(approval.nonce))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} holds no approval ({type(error).__name__}); make one with: runbook approve"
        ) from error
    if not good:
        raise UsageError(f"{path} holds no approval (a member of another type); make one with: runbook approve")
    return approval


def use(approval: Approval, plan: Plan, *, requester: str, environment: Environment, ledger: Path) -> None:
    """Spend an approval on a plan; it cannot be spent twice.

    Args:
        approval: as read.
        plan: the plan about to be applied, as observed just now.
        requester: who asked for the action.
        environment: says who may approve what, and how they must be known.
        ledger: folder that remembers spent approvals.

    Raises:
        GuardError: it is for another plan or environment, has expired, is by somebody who may not, is self-made where
            a second person is needed, is not signed by whom it names, or was used.
    """
    if approval.plan != plan.digest:
        raise GuardError(
            f"the approval is for plan {approval.plan[:19]}, the plan is now {plan.digest[:19]}: read it again"
        )
    if approval.environment != environment.name:
        raise GuardError(f"the approval is for {approval.environment}, not for {environment.name}")
    now = utc_now()
    if not approval.granted_at <= now < approval.expires_at:
        raise GuardError(f"the approval expired at {approval.expires_at:%H:%M:%S} UTC")
    if approval.expires_at - approval.granted_at > timedelta(minutes=VALID_MINUTES):
        raise GuardError(f"the approval lasts longer than {VALID_MINUTES} minutes")
    _may_approve(approval, plan, requester, environment)
    ledger.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        os.close(os.open(ledger / f"{approval.nonce}.used", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError as error:
        raise GuardError("the approval was used before; each one is good for one action") from error


def _may_approve(approval: Approval, plan: Plan, requester: str, environment: Environment) -> None:
    rule = environment.rule(plan.kind, destructive=plan.destructive)
    ways = environment.accepts(rule)
    if approval.known_by not in ways:
        raise GuardError(
            f"{approval.approver} is known by {approval.known_by}; {environment.name} asks for {' or '.join(ways)} "
            f"(environments.{environment.name}.known_by.{rule} in the catalogue)"
        )
    if approval.known_by == SIGNED:
        _check_signature(approval, environment)
    people = environment.may_approve(plan.kind)
    if people and approval.approver not in people:
        raise GuardError(f"{approval.approver} may not approve {plan.kind}; {', '.join(people)} may")
    if rule == "two" and _same_person(approval.approver, requester):
        raise GuardError(f"{plan.kind} needs a second person; {requester} asked for it")


def _same_person(one: str, other: str) -> bool:
    # ada@example.com, who signed, may be ada, who is logged in: better a refusal too many than one person as two.
    names = {name.casefold().strip() for name in (one, other)}
    return len(names) == 1 or len({name.partition("@")[0] for name in names}) == 1


def _signed_bytes(approval: Approval) -> bytes:
    """What a signature is over: everything but the signature."""
    return canonical({key: value for key, value in approval.to_json().items() if key != "signature"})


def _check_signature(approval: Approval, environment: Environment) -> None:
    from runbook_lib.clients import ssh_keygen

    if not environment.signers:
        raise GuardError(f"{environment.name} trusts no keys: set environments.{environment.name}.signers")
    try:
        with tempfile.TemporaryDirectory() as folder:
            ssh_keygen.check(
                _signed_bytes(approval),
                approval.signature.encode(),
                allowed_signers=Path(environment.signers),
                folder=Path(folder),
                namespace=ssh_keygen.APPROVAL_NAMESPACE,
                signer=approval.approver,
            )
    except RecordError as error:
        raise GuardError(f"the approval is not signed by {approval.approver}: {error}") from error
