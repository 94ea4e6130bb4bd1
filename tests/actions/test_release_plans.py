"""Plans to deploy and to roll back, made from given evidence: what they bind, what they warn of, what they refuse."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from runbook_lib.actions import deploy, rollback
from runbook_lib.actions.propose import bind
from runbook_lib.actions.schema import schema_fits
from runbook_lib.errors import ParameterError
from runbook_lib.model import Endpoint, Environment, Evidence, Gap, NoPlan, Plan, Service, Table
from runbook_lib.model.evidence import Data

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SCALED = {"object": "deployment/api", "field": ".spec.replicas", "manager": "kubectl (scale)", "live": 5, "wanted": 3}
IMAGE_HELD = {**SCALED, "field": '.spec.template.spec.containers[name="api"].image', "manager": "kubectl"}
WORKLOAD = {
    "namespace": "production", "release": "api-release", "container": "api", "repository": "acme/api",
    "schema": {"v1": ["1", "2"], "v2": ["2"]},
}  # fmt: skip

SERVICE = Service("api", "", "", {}, {}, {}, (), {}, (), {}, WORKLOAD)
PROD = Environment("prod", "", (), {}, {"postgres": Endpoint("postgres", {}, {})})


def evidence(name: str, data: Data) -> Evidence:
    """Evidence read at ``NOW``."""
    return Evidence("test", name, name, "", name, {}, None, NOW, data)


def silent(name: str) -> Gap:
    """A system that did not answer."""
    return Gap("test", name, name, "connection refused", "unreachable", True, NOW)


def at(newest: str, **more: Any) -> dict[str, Any]:
    """What golang-migrate says of its newest migration."""
    return {"tool": "golang-migrate", "newest": newest, "applied": [newest], **more}


@dataclass
class World:
    """A service whose answers a test gives."""

    revisions: list[tuple[int, str, float]] = field(default_factory=lambda: [(1, "superseded", 0), (2, "deployed", 0)])
    held: list[dict[str, Any]] = field(default_factory=list)
    migrations_: Any = field(default_factory=lambda: {"tools": [at("2")]})
    changed: int = 4
    broken: list[str] | None = field(default_factory=list)
    asked_ago: float = 900.0
    service: Service = SERVICE
    environment: Environment = PROD
    previews: list[dict[str, Any]] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    uid: str = "u-1"
    images: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> World:
        if name in {"helm", "kubernetes", "registry", "github", "postgres", "metrics"}:
            return self
        raise AttributeError(name)

    def history(self) -> Evidence:
        rows = tuple((n, status, NOW.timestamp() - age, "") for n, status, age in self.revisions)
        return evidence("history", Table(("revision", "status", "updated_at", "description"), rows))

    def deployment(self) -> Evidence:
        return evidence("deployment", {"images": {"api": "acme/api:v1"}, "metadata": {"uid": self.uid}})

    def tag(self, name: str) -> Evidence:
        return evidence("tag", {"tag": name, "found": True, "digest": "sha256:d", "sha": "c0ffee"})

    def migrations(self) -> Any:
        return evidence("migrations", self.migrations_) if self.migrations_ is not None else silent("migrations")

    def prepares(self) -> Any:
        if self.broken is None:
            return silent("prepares")
        seen = NOW.timestamp() - self.asked_ago
        rows: list[Any] = [("SELECT total", "broken", "42703", one, seen) for one in self.broken]
        rows.insert(0, ("SELECT total", "fits", "", "", None))
        return evidence("prepares", Table(("query", "status", "code", "problem", "first_seen"), tuple(rows)))

    def preview(self, values: Any = None, *, revision: int = 0) -> Evidence:
        self.previews.append(values or {})
        held = [one for one in self.held if not (one is SCALED and (values or {}).get("replicaCount") == 5)]
        tag = (values or {"image": {"tag": "v1"}})["image"]["tag"]
        document = {"manifest": f"sha256:{values}{revision}", "objects": 4, "changed": self.changed, "diff": "- a\n+ b",
                    "conflicts": held, "images": self.images or [f"acme/api:{tag}"],
                    "secrets": self.secrets}  # fmt: skip
        return evidence("preview", document)


def planned(plan: Plan | NoPlan) -> Plan:
    """The plan, which there must be."""
    assert isinstance(plan, Plan), plan
    return plan


def test_same_world_gives_the_same_digest() -> None:
    """A plan holds no clock: approved once, it is found again by the run that applies it."""
    assert planned(deploy(World(), image_tag="v2")).digest == planned(deploy(World(), image_tag="v2")).digest
    assert planned(deploy(World(), image_tag="v2")).digest != planned(deploy(World(), image_tag="v3")).digest


def test_plan_binds_commit_image_and_revision() -> None:
    """What was approved is this image of this commit on this revision, with its way back."""
    plan = planned(deploy(World(), image_tag="v2"))
    assert ("acme/api:v2", "sha256:d") == (plan.after["image"], plan.after["digest"])
    assert (2, "c0ffee", "u-1") == tuple(plan.preconditions[key] for key in ("revision", "commit", "uid"))
    assert "revision=2" in plan.way_back


def test_scaled_replicas_are_kept() -> None:
    """After an emergency scale the live count goes into the values, and the plan says so."""
    plan = planned(deploy(World(held=[SCALED]), image_tag="v2"))
    assert {"image": {"tag": "v2"}, "replicaCount": 5} == plan.after["values"]
    assert [] == plan.preconditions["conflicts"]
    assert "replicaCount 5 is kept" in plan.warnings[0]


def test_other_held_fields_need_a_decision() -> None:
    """A field that cannot be carried leaves no plan, until somebody asks to take it back."""
    world = World(held=[SCALED, IMAGE_HELD])
    refused = deploy(world, image_tag="v2")
    assert isinstance(refused, NoPlan)
    assert "held by kubectl" in refused.reason
    plan = planned(deploy(world, image_tag="v2", on_conflict="take_back"))
    assert 2 == len(plan.preconditions["conflicts"])
    assert "--force-conflicts" in plan.command


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"secrets": ["values.database.password"]}, "in the open in values.database.password", id="secret"),
        pytest.param({"images": ["acme/api:v1", "proxy:v2"]}, "renders acme/api:v1", id="tag-has-no-effect"),
        pytest.param({"images": ["proxy:1"]}, "renders no image of acme/api", id="another-image"),
        pytest.param({"held": [IMAGE_HELD]}, "held by kubectl", id="held"),
        pytest.param({"revisions": [(1, "pending-upgrade", 9)]}, "has died", id="pending"),
    ],
)
@pytest.mark.parametrize("on_conflict", ["keep", "take_back"])
def test_what_stands_against_a_release_blocks_it(change: dict[str, Any], reason: str, on_conflict: str) -> None:
    """What was asked for and cannot be planned fails the run; what others hold may be taken back on request."""
    found = deploy(World(**change), image_tag="v2", on_conflict=on_conflict)
    if "held" in change and on_conflict == "take_back":
        assert isinstance(found, Plan)
        return
    assert isinstance(found, NoPlan)
    assert (True, True) == (found.blocked, reason in found.reason)


def test_plan_names_the_image_that_the_chart_renders() -> None:
    """Values that name another registry deploy from there, and the plan says so."""
    plan = planned(deploy(World(images=["mirror.example/acme/api:v2", "proxy:1"]), image_tag="v2"))
    assert ("acme/api:v1", "mirror.example/acme/api:v2") == (plan.before["image"], plan.after["image"])


@pytest.mark.parametrize("tag", ["-x", "a b", "v1;id", "x" * 129, "--set=a"])
def test_what_is_no_tag_is_refused(tag: str) -> None:
    """A value that could become an option or a second word never gets into a plan."""
    with pytest.raises(ParameterError, match="no image tag"):
        deploy(World(), image_tag=tag)


@pytest.mark.parametrize(
    ("world", "tag"),
    [
        pytest.param(World(changed=0), "v1", id="deployed-already"),
        pytest.param(World(), "", id="no-tag"),
        pytest.param(World(revisions=[(1, "deployed", 0), (2, "pending-upgrade", 9)]), "v2", id="pending"),
    ],
)
def test_nothing_to_deploy_is_no_plan(world: World, tag: str) -> None:
    """Without a change, a tag or a release at rest there is nothing to approve."""
    assert isinstance(deploy(world, image_tag=tag), NoPlan)


def test_rollback_goes_to_the_last_good_one() -> None:
    """Never to the one before, which failed here; without any good one there is no plan."""
    world = World(revisions=[(1, "superseded", 0), (2, "failed", 0), (3, "deployed", 0)])
    plan = planned(rollback(world, good=[1, 3]))
    assert ("rollback", 1, True) == (plan.kind, plan.after["revision"], plan.after["recorded_good"])
    assert isinstance(rollback(world), NoPlan)
    assert isinstance(rollback(world, revision=9), NoPlan)
    named = planned(rollback(world, revision=2))
    assert "no record calls revision 2 good" in named.warnings


def test_emergency_is_not_lost_to_a_conflict() -> None:
    """What others hold is taken back by a rollback, and its plan names it."""
    plan = planned(rollback(World(held=[SCALED]), good=[1]))
    assert "--force-conflicts" in plan.command
    assert "5 now, 3 wanted" in plan.warnings[0]


@pytest.mark.parametrize(("age", "passes"), [(10, False), (299, False), (400, True)])
def test_stuck_release_is_unlocked_only_when_its_operation_has_died(age: float, passes: bool) -> None:
    """A pending revision leads to a plan of its own, which a young one refuses."""
    world = World(revisions=[(1, "superseded", 900), (2, "deployed", 800), (3, "pending-upgrade", age)])
    plan = planned(rollback(world, good=[2]))
    assert ("unlock_release", 2) == (plan.kind, plan.after["revision"])
    guards = bind(plan, world).guards(plan, world.environment)  # type: ignore[arg-type]
    assert passes is next(iter(guards)).passed


def test_plan_is_void_when_the_release_moves() -> None:
    """Observed again after another revision was made, the plan has another digest."""
    world = World()
    plan = planned(rollback(world, good=[1]))
    moved = replace(world, revisions=[*world.revisions, (3, "deployed", 0)])
    again = bind(plan, moved).observe(plan)  # type: ignore[arg-type]
    assert planned(again).digest != plan.digest


@pytest.mark.parametrize("make", [lambda world: deploy(world, image_tag="v2"), lambda world: rollback(world, good=[1])],
                         ids=["deploy", "rollback"])  # fmt: skip
def test_plan_is_void_on_another_cluster(make: Any) -> None:
    """The same release at the same revision in another cluster is another target: its deployment has another uid."""
    plan, elsewhere = planned(make(World())), World(uid="u-2")
    assert planned(bind(plan, elsewhere).observe(plan)).digest != plan.digest  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tools", "broken", "passes"),
    [
        pytest.param([at("1")], [], True, id="its-own"),
        pytest.param([at("2")], [], True, id="declared-to-expand"),
        pytest.param([at("2")], ["column total does not exist"], False, id="declared-and-does-not"),
        pytest.param([at("2")], None, False, id="statements-cannot-be-told"),
        pytest.param([at("4")], [], False, id="ahead"),
        pytest.param([at("2", dirty=True)], [], False, id="dirty"),
        pytest.param([at("2", tool="liquibase", locked=True)], [], False, id="locked"),
        pytest.param([at("2"), at("2")], [], False, id="two-tools"),
        pytest.param([], [], True, id="no-migrations"),
        pytest.param(None, [], False, id="cannot-be-told"),
    ],
)
def test_schema_guard(tools: Any, broken: list[str] | None, passes: bool) -> None:
    """Only a schema on which the older image is known to run passes, by declaration and by the server's parser."""
    world = World(migrations_=None if tools is None else {"tools": tools}, broken=broken)
    found = schema_fits(world, 1)  # type: ignore[arg-type]
    assert passes is found.passed, found.reason
    assert passes or "database_rollback" in found.reason


@pytest.mark.parametrize(("asked_ago", "passes"), [(100.0, True), (600.0, False)], ids=["later", "its-own"])
def test_statements_of_a_later_release_need_not_fit(asked_ago: float, passes: bool) -> None:
    """What was first asked after the next revision came says nothing about the release before it."""
    revisions = [(1, "superseded", 900.0), (2, "deployed", 500.0)]
    world = World(revisions=revisions, migrations_={"tools": [at("2")]}, broken=["gone"], asked_ago=asked_ago)
    assert passes is schema_fits(world, 1).passed  # type: ignore[arg-type]


def test_release_that_nobody_declared_is_not_rolled_back_to() -> None:
    """An image tag without a line in the catalogue cannot be told, and so is refused."""
    world = World(service=replace(SERVICE, workload={**WORKLOAD, "schema": {}}))
    assert not schema_fits(world, 1).passed  # type: ignore[arg-type]


def test_pending_since_is_bound() -> None:
    """The digest binds since when the operation is pending: another one is another plan."""
    worlds = [World(revisions=[(1, "superseded", 0), (2, "pending-upgrade", age)]) for age in (400, 500)]
    first, second = (planned(rollback(world, revision=1)) for world in worlds)
    assert 100 == pytest.approx(first.preconditions["pending_since"] - second.preconditions["pending_since"])
    assert first.digest != second.digest
