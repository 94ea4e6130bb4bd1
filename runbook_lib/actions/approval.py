"""Approvals: who allowed which exact plan, until when, usable once."""

from __future__ import annotations

import getpass
import json
import os
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any

from runbook_lib.errors import GuardError, UsageError
from runbook_lib.model import Approval, Plan
from runbook_lib.model.times import parse_rfc3339, utc_now

#: How long an approval may be used, minutes (records-and-actions, section 7 step 5).
VALID_MINUTES = 15


def identity() -> tuple[str, str]:
    """The acting person and how they are known: ``RUNBOOK_ACTOR`` from configuration, else the system's user."""
    if actor := os.environ.get("RUNBOOK_ACTOR", ""):
        return actor, "configuration"
    return getpass.getuser(), "operating system user"


def grant(plan: Plan, folder: Path, *, approver: str = "", known_by: str = "", minutes: float = VALID_MINUTES) -> Path:
    """Write an approval of exactly this plan and return its path.

    Args:
        plan: the plan that the approver has read.
        folder: where approvals are kept; made when missing.
        approver: who approves; default: ``identity()``.
        known_by: how the approver is known.
        minutes: how long it may be used.

    Raises:
        UsageError: ``minutes`` is not above zero and at most ``VALID_MINUTES``.
    """
    if not 0 < minutes <= VALID_MINUTES:
        raise UsageError(f"an approval may last up to {VALID_MINUTES} minutes, not {minutes:g}")
    who, how = (approver, known_by) if approver else identity()
    now = utc_now()
    nonce = secrets.token_hex(16)
    approval = Approval(plan.digest, plan.environment, who, how, now, now + timedelta(minutes=minutes), nonce)
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
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        times = {key: parse_rfc3339(value[key]) for key in ("granted_at", "expires_at")}
        return Approval(**{**value, **times})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} holds no approval ({type(error).__name__}); make one with: runbook approve"
        ) from error


def use(approval: Approval, plan: Plan, *, requester: str, rule: str, ledger: Path) -> None:
    """Spend an approval on a plan; it cannot be spent twice.

    Args:
        approval: as read.
        plan: the plan about to be applied, as observed just now.
        requester: who asked for the action.
        rule: ``one`` (anyone may approve) or ``two`` (not the requester).
        ledger: folder that remembers spent approvals.

    Raises:
        GuardError: it is for another plan or environment, has expired, is self-made under ``two``, or was used.
    """
    if approval.plan != plan.digest:
        raise GuardError(
            f"the approval is for plan {approval.plan[:19]}, the plan is now {plan.digest[:19]}: read it again"
        )
    if approval.environment != plan.environment:
        raise GuardError(f"the approval is for {approval.environment}, not for {plan.environment}")
    now = utc_now()
    if not approval.granted_at <= now < approval.expires_at:
        raise GuardError(f"the approval expired at {approval.expires_at:%H:%M:%S} UTC")
    if approval.expires_at - approval.granted_at > timedelta(minutes=VALID_MINUTES):
        raise GuardError(f"the approval lasts longer than {VALID_MINUTES} minutes")
    if rule == "two" and approval.approver == requester:
        raise GuardError(f"{plan.kind} needs a second person; {requester} asked for it")
    ledger.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        os.close(os.open(ledger / f"{approval.nonce}.used", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError as error:
        raise GuardError("the approval was used before; each one is good for one action") from error
