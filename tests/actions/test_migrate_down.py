"""The way back to an older schema: stopped first, forward offered first, a backup that was restored, two people."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from runbook_lib.actions import migrate_down, scale
from runbook_lib.actions.propose import bind
from runbook_lib.errors import ActionRejectedError, UnknownNameError
from runbook_lib.model import Endpoint, Environment, Evidence, Gap, NoPlan, Plan, Service, Table
from runbook_lib.model.evidence import Data

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SCHEMA = {"v1": ["1", "2", "3"], "v2": ["2", "3"], "v3": ["3"], "v4": ["4"]}
SERVICE = Service("api", "", "", {}, {}, {}, (), {}, (), {}, {"container": "api", "schema": SCHEMA})
PROD = Environment("prod", "", (), {}, {"postgres": Endpoint("postgres", {}, {})})
IMAGES = {"api": "acme/api:v4"}
SQL = "ALTER TABLE orders DROP COLUMN note;\nUPDATE alembic_version SET version_num='3';"


def evidence(name: str, data: Data) -> Evidence:
    """Evidence read at ``NOW``."""
    return Evidence("test", name, name, "", name, {}, None, NOW, data)


def silent(name: str) -> Gap:
    """A system that did not answer."""
    return Gap("test", name, name, "connection refused", "unreachable", True, NOW)


@dataclass
class World:
    """A service at schema 4 whose answers a test gives."""

    pods: int = 0
    wanted: int = 0
    newest_: str | None = "4"
    dirty: bool = False
    sql: str | None = SQL
    one_row: bool = True
    sessions: int = 0
    refusal: str = ""
    age_hours: float = 1.0
    restored: bool = True
    found: bool = True
    service: Service = SERVICE
    environment: Environment = PROD
    changes: list[tuple[str, str, bool]] = field(default_factory=list)
    end_users: tuple[str, ...] = ("app",)

    def __getattr__(self, name: str) -> World:
        if name in {"kubernetes", "postgres", "backups"}:
            return self
        raise AttributeError(name)

    @property
    def migrations(self) -> Any:
        return _Migrations(self)

    def deployment(self) -> Evidence:
        meta = {"uid": "u-1", "name": "api", "namespace": "production"}
        return evidence("deployment", {"metadata": meta, "spec": {"replicas": self.wanted},
                                       "status": {"replicas": self.pods}, "images": IMAGES})  # fmt: skip

    def horizontal_autoscaler(self) -> Gap:
        return replace(silent("autoscaler"), kind="empty")

    def can(self, verb: str, **what: str) -> Evidence:
        return evidence("can", {"allowed": True})

    def scale(self, **values: Any) -> None:
        """A dry run that the server would accept."""

    def prepares(self) -> Evidence:
        return evidence("prepares", Table(("query", "status", "problem", "first_seen"), ()))

    @property
    def workload(self) -> Any:
        return self.service.workload

    def activity(self) -> Evidence:
        rows = tuple((n, "app") for n in range(self.sessions))
        return evidence("activity", Table(("pid", "user"), (*rows, (99, "rb_read"))))

    def newest(self) -> Evidence:
        if not self.found:
            return evidence("newest", {"found": False})
        taken = NOW.timestamp() - 3600 * self.age_hours
        return evidence("newest", {"found": True, "name": "a.dump", "taken_at": taken, "size_bytes": 9,
                                   "previous_size_bytes": 9, "tables": 3})  # fmt: skip

    def trial(self, newest: Evidence) -> Evidence:
        return evidence("trial", {"name": "a.dump", "restored": self.restored, "tables": 3, "rows": 9, "reason": ""})

    def change_schema(self, script: str, *, before: str, after: str, dry_run: bool = False) -> None:
        if self.refusal:
            raise ActionRejectedError(self.refusal)
        self.changes.append((before, after, dry_run))


@dataclass
class _Migrations:
    """Both what the database says is applied, and what the tool would run."""

    world: World

    def __call__(self) -> Any:
        world = self.world
        tool = {"tool": "alembic", "table": "public.alembic_version", "newest": world.newest_,
                "applied": [world.newest_], "dirty": world.dirty, "locked": False}  # fmt: skip
        return silent("migrations") if world.newest_ is None else evidence("migrations", {"tools": [tool]})

    def script(self, *, before: str, after: str, back: bool = False) -> Any:
        assert back
        sql = self.world.sql
        told = {"tool": "alembic" if self.world.one_row else "flyway", "command": "undo", "one_row": self.world.one_row}
        return (
            silent("script") if sql is None else evidence("script", {**told, "sql": f"-- {before} to {after}\n{sql}"})
        )


def down(world: World, release: str = "v3", because: str = "v5 is a day away") -> Plan | NoPlan:
    """The next step back to a release."""
    return migrate_down(world, release=release, because=because)  # type: ignore[arg-type]


def refused(plan: Plan | NoPlan, world: World) -> list[str]:
    """Names of the guards that refuse a plan."""
    assert isinstance(plan, Plan), plan
    guards = bind(plan, world).guards(plan, world.environment)  # type: ignore[arg-type]
    return [guard.name for guard in guards if not guard.passed]


@pytest.mark.parametrize(("release", "because"), [("", "x"), ("v3", ""), ("v3", " ")], ids=["none", "why", "blank"])
def test_going_forward_is_offered_first(release: str, because: str) -> None:
    """Without a release and a reason nothing is undone, and the first advice loses nothing."""
    told = down(World(), release, because)
    assert isinstance(told, NoPlan)
    assert told.advice[0].startswith("Forward")


def test_service_is_stopped_before() -> None:
    """While pods run the plan is to stop them: one that restarts would migrate forward again."""
    plan = down(World(pods=3, wanted=3))
    assert isinstance(plan, Plan)
    assert ("stop_service", {"replicas": 0}, True) == (plan.kind, plan.after, plan.destructive)
    assert isinstance(down(World(pods=2, wanted=0)), NoPlan)


@pytest.mark.parametrize(("release", "target"), [("v3", "3"), ("v1", "3"), ("v2", "3")])
def test_no_more_is_undone_than_needed(release: str, target: str) -> None:
    """The schema returns to the newest version on which the release runs; the plan binds the tool's own SQL."""
    plan = down(World(), release)
    assert isinstance(plan, Plan)
    assert ({"newest": "4"}, {"newest": target}, True) == (plan.before, plan.after, plan.destructive)
    assert f"-- 4 to {target}\n{SQL}" == plan.preconditions["sql"] == plan.diff
    assert "lost for good: ALTER TABLE orders DROP COLUMN note" in plan.warnings


def test_a_tool_with_a_history_undoes_it_itself() -> None:
    """The statements are shown with the tool's own command and with what they lose, and nothing can be approved."""
    told = down(World(one_row=False))
    assert isinstance(told, NoPlan)
    assert ("Run: undo", "Lost for good: ALTER TABLE orders DROP COLUMN note") == told.advice[:2]
    assert f"-- 4 to 3\n{SQL}" == told.diff == told.to_json()["diff"]
    assert "DROP COLUMN note" in told._repr_html_()


@pytest.mark.parametrize(
    ("world", "release"),
    [
        pytest.param(World(newest_="3"), "v2", id="fits-already"),
        pytest.param(World(newest_="2"), "v3", id="behind"),
        pytest.param(World(newest_="9"), "v3", id="nobody-declared-it"),
        pytest.param(World(dirty=True), "v3", id="dirty"),
        pytest.param(World(newest_=None), "v3", id="silent"),
        pytest.param(World(sql=None), "v3", id="no-script"),
    ],
)
def test_what_cannot_be_told_is_not_undone(world: World, release: str) -> None:
    """Nothing is planned on a schema that is not known, and nothing that is not needed."""
    assert isinstance(down(world, release), NoPlan)


def test_unknown_release_is_named() -> None:
    """A release that the catalogue does not declare is told with the nearest one."""
    with pytest.raises(UnknownNameError):
        down(World(), "v33")


@pytest.mark.parametrize(
    ("change", "names"),
    [
        pytest.param({}, [], id="all-is-well"),
        pytest.param({"sessions": 1}, ["no session of the service is left"], id="session"),
        pytest.param({"age_hours": 30.0}, ["backup: young enough"], id="old-backup"),
        pytest.param({"restored": False}, ["backup: restored on trial"], id="not-restored"),
        pytest.param({"found": False}, ["backup: a backup exists"], id="no-backup"),
        pytest.param({"refusal": "column is used by a view"}, ["dry run"], id="dry-run"),
        pytest.param({"pods": 1}, ["the service is stopped", "dry run"], id="runs"),
    ],
)
def test_guards(change: dict[str, Any], names: list[str]) -> None:
    """Each thing that must hold refuses alone; while the service runs not even the dry run is made."""
    world = replace(World(), **change)
    assert names == refused(down(World()), world)
    assert all(dry_run for _, _, dry_run in world.changes)


def test_one_transaction_that_names_the_version() -> None:
    """What is sent is the plan's SQL between the plan's versions."""
    world, plan = World(), down(World())
    assert isinstance(plan, Plan)
    bind(plan, world).send(plan)  # type: ignore[arg-type]
    assert [("4", "3", False)] == world.changes


@pytest.mark.parametrize("change", [{"newest_": "3"}, {"sql": "DROP TABLE orders;"}, {"found": False}, {"pods": 1}])
def test_plan_is_void_when_the_world_moves(change: dict[str, Any]) -> None:
    """Another version, other SQL, another restore point or a pod make another plan, or none."""
    plan, moved = down(World()), replace(World(), **change)
    assert isinstance(plan, Plan)
    again = bind(plan, moved).observe(plan)  # type: ignore[arg-type]
    assert not isinstance(again, Plan) or again.digest != plan.digest


@pytest.mark.parametrize(("newest", "passes"), [("4", True), ("3", False)], ids=["fits", "does-not"])
def test_starting_again_needs_a_schema_that_fits(newest: str, passes: bool) -> None:
    """From no pods nobody scales up until the release of the deployment's image runs on the schema."""
    world = World(newest_=newest)
    plan = scale(world, replicas=3, usual=3, service="api", environment="prod")  # type: ignore[arg-type]
    assert isinstance(plan, Plan)
    (found,) = [one for one in bind(plan, world).guards(plan, PROD) if "schema" in one.name]  # type: ignore[arg-type]
    assert passes is found.passed, found.reason
