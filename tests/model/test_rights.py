"""The table of rights: what it says of an action, and the roles that are made from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from runbook_lib.cli.roles import app
from runbook_lib.errors import UnknownNameError
from runbook_lib.model import rights

SHIPPED = Path(__file__).parents[2] / "docs" / "examples" / "cluster" / "roles.yaml"


def test_a_right_reads_as_rbac_writes_it() -> None:
    """A verb on a subresource is named as in a role."""
    assert "patch deployments/scale" == str(rights.Right("apps", "deployments", "scale", "patch"))


def test_an_action_needs_what_its_way_back_needs() -> None:
    """Each right of an action names the kinds of action that need it; reading names none."""
    found = {str(right): kinds for right, kinds in rights.needed(["scale", "deploy"]).items()}
    assert (("scale",), ("deploy",), ()) == (
        found["patch deployments/scale"], found["delete secrets"], found["get deployments"]
    )  # fmt: skip


@pytest.mark.parametrize("role", rights.ROLES)
def test_no_role_reaches_beyond_its_namespace(role: str) -> None:
    """Every object has the namespace, no rule has a wildcard, and no verb stands twice."""
    account, made, binding = rights.manifests(role, "shop")
    assert ["shop"] * 3 == [one["metadata"]["namespace"] for one in (account, made, binding)]
    words = [word for rule in made["rules"] for words in rule.values() for word in words]
    assert [] == [word for word in words if "*" in word]
    assert all(len(rule["verbs"]) == len(set(rule["verbs"])) for rule in made["rules"])


def test_reader_changes_nothing_and_sees_no_secret() -> None:
    """Whoever only investigates may get and list, and Secrets are not among it."""
    found = rights.granted("reader")
    assert {"get", "list"} == {right.verb for right in found}
    assert "secrets" not in {right.resource for right in found}


def test_kinds_of_another_chart_are_added_by_name() -> None:
    """A kind of another API group is given as kubectl writes it."""
    found = {(right.group, str(right)) for right in rights.granted("deployer", ["ingresses.networking.k8s.io"])}
    assert ("networking.k8s.io", "patch ingresses") in found
    assert ("", "patch configmaps") not in found


def test_unknown_role_is_told_the_nearest() -> None:
    """A role that nobody knows is refused."""
    with pytest.raises(UnknownNameError, match="reader"):
        rights.granted("raeder")


def test_shipped_file_is_what_the_command_prints() -> None:
    """The file that documentation points to and the command's output are the same objects."""
    done = CliRunner().invoke(app, ["--namespace", "production"])
    assert 0 == done.exit_code, done.output
    assert list(yaml.safe_load_all(done.output)) == list(yaml.safe_load_all(SHIPPED.read_text(encoding="utf-8")))


def test_what_own_runbooks_list_is_added_by_name() -> None:
    """A kind that no shipped runbook reads is granted to list, and nothing else."""
    found = {(right.group, str(right)) for right in rights.granted("reader", lists=["pods.metrics.k8s.io", "events"])}
    plain = {(right.group, str(right)) for right in rights.granted("reader")}
    assert {("", "list events"), ("metrics.k8s.io", "list pods")} == found - plain
