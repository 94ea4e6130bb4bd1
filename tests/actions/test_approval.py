"""Approvals: signed by a trusted person for this exact plan, here, now and once."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runbook_lib import actions
from runbook_lib.actions.protocol import Context
from runbook_lib.errors import RecordError, UsageError
from runbook_lib.model import OutcomeStatus
from runbook_lib.model.service import Freeze
from runbook_lib.model.times import parse_rfc3339, rfc3339, utc_now
from tests.actions.conftest import PLAN, PROD, Target

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
ADA, GRACE = "ada@example.com", "grace@example.com"


@dataclass
class Office:
    """People with keys, and the environment that trusts some of them."""

    folder: Path
    signers: Path

    def key(self, name: str, *, options: str = 'namespaces="runbook-approval"', trusted: bool = True) -> Path:
        """A new key of a person."""
        key = self.folder / f"{name}-{len(list(self.folder.iterdir()))}"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=20)
        if trusted:
            public = key.with_name(f"{key.name}.pub").read_text().split()
            with self.signers.open("a") as file:
                file.write(f"{name} {options} {public[0]} {public[1]}\n")
        return key

    def grant(self, name: str, key: Path) -> Path:
        """An approval that this key signs for this name."""
        return actions.grant(PLAN, self.folder / "granted", approver=name, known_by="", key=key)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """An office without anybody in it."""
    folder = tmp_path / "office"
    folder.mkdir()
    return Office(folder, folder / "allowed_signers")


@pytest.fixture
def signed(context: Context, office: Office) -> Callable[..., Context]:
    """The run in an environment that asks for signatures; keyword arguments replace parts of its policy."""

    def build(**policy: object) -> Context:
        environment = replace(PROD, known_by={}, signers=str(office.signers), **policy)  # type: ignore[arg-type]
        return replace(context, environment=environment)

    return build


def change(path: Path, **members: str) -> str:
    """The approval with other members."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))
    return str(path)


def test_a_signed_approval_is_applied(target: Target, office: Office, signed: Callable[..., Context]) -> None:
    """A trusted person's signature over exactly this plan lets it through, and the outcome names the person."""
    outcome = actions.apply(target, PLAN, signed(), str(office.grant(ADA, office.key(ADA))))
    assert (OutcomeStatus.APPLIED, 1) == (outcome.status, target.effects)
    assert f"by {ADA} (ssh-signature)" in outcome.guards[-1].reason


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("stranger", "is not signed by"),
        ("other-name", "is not signed by"),
        ("other-purpose", "is not signed by"),
        ("unsigned", "is not signed by"),
        ("longer", "is not signed by"),
        ("other-nonce", "is not signed by"),
        ("no-longer-trusted", "is not signed by"),
        ("by-configuration", "asks for ssh-signature"),
        ("by-github", "asks for ssh-signature"),
    ],
)
def test_what_is_not_the_persons_own_word_is_refused(
    target: Target, office: Office, signed: Callable[..., Context], case: str, reason: str
) -> None:
    """Whatever a trusted person did not sign, in this form and for this purpose, approves nothing."""
    options = 'namespaces="runbook-record"' if case == "other-purpose" else 'namespaces="runbook-approval"'
    if case == "no-longer-trusted":
        options = 'namespaces="runbook-approval",valid-before="20200101"'
    key = office.key(ADA, options=options)
    office.key(GRACE)
    path = office.grant(ADA, office.key("mallory", trusted=False) if case == "stranger" else key)
    later = rfc3339(utc_now() + timedelta(minutes=14))
    changes = {
        "other-name": {"approver": GRACE},
        "unsigned": {"signature": ""},
        "longer": {"granted_at": json.loads(path.read_text())["granted_at"], "expires_at": later},
        "other-nonce": {"nonce": "0" * 32},
        "by-configuration": {"known_by": "configuration"},
        "by-github": {"known_by": "github-environment"},
    }
    outcome = actions.apply(target, PLAN, signed(), change(path, **changes.get(case, {})))
    assert (OutcomeStatus.REFUSED, 0) == (outcome.status, target.effects)
    assert reason in outcome.reason


@pytest.mark.parametrize("kind", ["scale", "deploy"])
@pytest.mark.parametrize("approver", [ADA, GRACE, "root@example.com"])
@pytest.mark.parametrize("rule", ["one", "two"])
@pytest.mark.parametrize("destructive", [False, True], ids=["mild", "destructive"])
def test_nobody_approves_their_own_action_where_two_are_needed(
    target: Target,
    office: Office,
    signed: Callable[..., Context],
    kind: str,
    approver: str,
    rule: str,
    destructive: bool,
) -> None:
    """Role by action by rule: only people named for the kind approve, and the requester never where two are needed."""
    plan = replace(PLAN, kind=kind, destructive=destructive)
    run = signed(
        actions=("scale", "deploy"),
        approval={"default": rule},
        approvers={"default": (ADA, GRACE), "deploy": (GRACE,)},
    )
    run = replace(run, actor="grace")
    path = actions.grant(plan, office.folder / "granted", approver=approver, known_by="", key=office.key(approver))
    two = destructive or rule == "two"
    allowed = approver in run.environment.may_approve(kind) and not (two and approver == GRACE)
    outcome = actions.apply(target, plan, run, str(path))
    assert (OutcomeStatus.APPLIED if allowed else OutcomeStatus.REFUSED) == outcome.status
    assert int(allowed) == target.effects


@pytest.mark.parametrize("rewritten", [False, True], ids=["granted-there", "rewritten"])
def test_approval_for_another_environment_is_refused(
    target: Target, office: Office, signed: Callable[..., Context], rewritten: bool
) -> None:
    """What a trusted person approved for staging opens nothing in production, also when the file is rewritten."""
    there = replace(PLAN, environment="staging")
    path = actions.grant(there, office.folder / "granted", approver=ADA, known_by="", key=office.key(ADA))
    given = change(path, environment=PLAN.environment, plan=PLAN.digest) if rewritten else str(path)
    outcome = actions.apply(target, PLAN, signed(), given)
    assert (OutcomeStatus.REFUSED, 0) == (outcome.status, target.effects)
    assert ("is not signed by" if rewritten else "is for plan") in outcome.reason


@pytest.mark.parametrize("nonce", ["../../../../tmp/x", "", "short", "0" * 31 + "/"])
def test_a_nonce_is_no_path(target: Target, context: Context, approval: str, nonce: str) -> None:
    """A nonce that would be a path is no approval, and no file is made."""
    with pytest.raises(UsageError, match="holds no approval"):
        actions.apply(target, PLAN, context, change(Path(approval), nonce=nonce))
    assert not (context.ledger / "approvals").exists()


def test_a_key_that_cannot_sign_leaves_no_approval(office: Office) -> None:
    """Without a usable key there is an error and no file."""
    with pytest.raises(RecordError, match="cannot sign"):
        actions.grant(PLAN, office.folder / "granted", approver=ADA, key=office.folder / "missing")
    assert not (office.folder / "granted").exists()


@pytest.mark.parametrize(
    ("at", "kind", "frozen"),
    [
        ("2026-12-19T23:59:59Z", "scale", False),
        ("2026-12-20T00:00:00Z", "scale", True),
        ("2026-12-31T12:00:00Z", "rollback", False),
        ("2027-01-04T00:00:00Z", "scale", False),
    ],
    ids=["before", "first-moment", "allowed-kind", "over"],
)
def test_a_freeze_has_its_time(at: str, kind: str, frozen: bool) -> None:
    """A change freeze holds from its first moment until its end, except for the kinds that go on."""
    freeze = Freeze(datetime(2026, 12, 20, tzinfo=UTC), datetime(2027, 1, 4, tzinfo=UTC), "end of year", ("rollback",))
    reason = replace(PROD, freezes=(freeze,)).frozen(kind, parse_rfc3339(at))
    assert ("end of year until 2027-01-04 00:00 UTC" if frozen else "") == reason


def test_in_a_workflow_the_requester_is_who_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a GitHub workflow the acting person is the one that it runs for, and not the runner's user."""
    monkeypatch.delenv("RUNBOOK_ACTOR", raising=False)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_ACTOR", "ada")
    assert ("ada", "github-actions") == actions.identity()
