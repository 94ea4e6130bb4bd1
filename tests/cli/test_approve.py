"""``runbook approve``: signs with the person's own key where the environment asks for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.actions import approval
from runbook_lib.catalog import load
from runbook_lib.errors import GuardError
from runbook_lib.model import Plan
from runbook_lib.record.folder import RecordFolder

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
CATALOG = """
[services]
[environments.prod]
actions = ["scale"]
signers = "allowed_signers"
[environments.practice]
actions = ["scale"]
known_by = { one = ["configuration"] }
"""


def plan_of(environment: str, *, destructive: bool = False) -> Plan:
    """A plan in an environment."""
    return Plan("scale", "api", environment, "production/deployment/api", {"replicas": 3}, {"replicas": 5},
                {"uid": "u"}, "5 pods", "back to 3", "kubectl scale", destructive=destructive)  # fmt: skip


def approve(folder: Path, plan: Plan, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person does, on a record that holds this plan."""
    record = RecordFolder.create(folder / "outputs", f"run-{len(words)}{plan.environment}{plan.destructive}",
                                 genesis={"runbook": "high_latency"})  # fmt: skip
    record.journal.append("plan", plan.to_json())
    record.release()
    code = "import sys; from runbook_lib.cli import main; sys.argv = ['runbook', *sys.argv[1:]]; main()"
    where = {"HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", "RUNBOOK_ACTOR": "ada"}
    return subprocess.run(
        [sys.executable, "-c", code, "approve", record.run_id, "--plan", plan.digest, "--json", *words],
        cwd=folder, env={**os.environ, **where, **variables}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A catalogue with a key that it trusts."""
    (tmp_path / "runbook.toml").write_text(CATALOG)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True, timeout=20)
    public = (tmp_path / "key.pub").read_text()
    (tmp_path / "allowed_signers").write_text(f'ada@example.com namespaces="runbook-approval" {public}')
    return tmp_path


def granted(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The approval that the command wrote."""
    assert 0 == done.returncode, done.stderr
    value: dict[str, Any] = json.loads(Path(json.loads(done.stdout)["approval"]).read_text())
    return value


@pytest.mark.parametrize("source", ["option", "git"])
def test_signs_with_the_persons_key(folder: Path, source: str) -> None:
    """The key of the option, or else the one of git's configuration, signs as the person that the file names."""
    words = ["--key", str(folder / "key")] if source == "option" else []
    if source == "git":
        (folder / ".gitconfig").write_text(f"[user]\n\tsigningkey = {folder / 'key.pub'}\n")
        (folder / "key.pub").unlink()
        (folder / ".gitconfig").write_text(f"[user]\n\tsigningkey = {folder / 'key'}\n")
    plan = plan_of("prod")
    found = granted(approve(folder, plan, *words))
    assert ("ada@example.com", "ssh-signature") == (found["approver"], found["known_by"])
    place = next((folder / "outputs/ledger/granted").iterdir())
    environment = load(folder / "runbook.toml").environment("prod")
    approval.use(approval.read(place), plan, requester="bob", environment=environment, ledger=folder / "used")


def test_practice_needs_no_key(folder: Path) -> None:
    """Where the environment says so, the configured identity approves, and the approval says how it is known."""
    found = granted(approve(folder, plan_of("practice")))
    assert ("ada", "configuration", "") == (found["approver"], found["known_by"], found["signature"])


@pytest.mark.parametrize(
    ("environment", "destructive", "words", "told"),
    [
        ("prod", False, [], "give --key, or set git config user.signingkey"),
        ("prod", False, ["--key", "stranger"], "ask for a line with your public key"),
        ("practice", True, [], "give --key"),
        ("practice", True, ["--key", "key"], "trusts no keys"),
        ("prod", False, ["--github-environment"], "in a job of a GitHub workflow only"),
    ],
    ids=["no-key", "stranger", "destructive", "no-signers", "no-workflow"],
)
def test_says_what_is_missing(folder: Path, environment: str, destructive: bool, words: list[str], told: str) -> None:
    """Without what the environment asks for no approval is written, and the error says how to get it."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "stranger")], check=True)
    done = approve(folder, plan_of(environment, destructive=destructive), *words, GITHUB_ACTIONS="")
    assert 2 == done.returncode
    assert told in done.stderr
    assert not (folder / "outputs/ledger").exists()


def test_a_protected_environment_is_trusted_only_by_policy(folder: Path) -> None:
    """An approval that a workflow's protected environment gave is refused unless the environment takes such ones."""
    plan, policy = plan_of("prod"), folder / "runbook.toml"
    path = approval.grant(plan, folder / "granted", approver="grace", known_by="github-environment")
    use = {"requester": "ada", "ledger": folder / "used"}
    with pytest.raises(GuardError, match="asks for ssh-signature"):
        approval.use(approval.read(path), plan, environment=load(policy).environment("prod"), **use)  # type: ignore[arg-type]
    policy.write_text(CATALOG.replace("signers =", 'known_by = { one = ["github-environment"] }\nsigners ='))
    approval.use(approval.read(path), plan, environment=load(policy).environment("prod"), **use)  # type: ignore[arg-type]
