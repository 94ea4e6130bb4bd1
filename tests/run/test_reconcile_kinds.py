"""Answers that were lost, of releases and of a session: the target is read, and nothing is sent again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runbook_lib import actions, catalog
from runbook_lib.actions.deploy import Deploy
from runbook_lib.actions.end_backend import EndBackend
from runbook_lib.actions.lock import file_lock
from runbook_lib.actions.migrate_down import MigrateDown
from runbook_lib.actions.protocol import Action, Context
from runbook_lib.actions.rollback import Rollback
from runbook_lib.clients._tape import LiveTape
from runbook_lib.errors import OutcomeUnknownError
from runbook_lib.lab.postgres import Postgres, binaries
from runbook_lib.lab.release import CHART, Helm
from runbook_lib.lab.service import migrations
from runbook_lib.model import Environment, GuardResult, OutcomeStatus, Plan, Window
from runbook_lib.record.folder import RecordFolder
from runbook_lib.record.record import Record
from runbook_lib.run.reconcile import _Reader, reconcile
from runbook_lib.run.systems import Systems
from tests.clients.conftest import Vendors, kubeconfig_of_cluster, postgres, vendors  # noqa: F401 - fixtures

CATALOG = """
[services.api]
description = "the API"
owner = "Platform"
[services.api.objectives.availability]
kind = "availability"
target = 0.999
[services.api.workload]
namespace = "production"
deployment = "api-deployment"
container = "api"
release = "api-release"
repository = "acme/api"
chart = "{chart}"
values = "{chart}/values-prod.yaml"
[services.api.workload.schema]
v3 = ["3"]
v4 = ["4"]
[environments.prod]
actions = ["deploy", "rollback", "end_backend", "migrate_down"]
approval = {{ default = "none" }}
known_by = {{ two = ["configuration"] }}
[environments.prod.kubernetes]
kubeconfig = "{kubeconfig}"
namespace = "production"
[environments.prod.postgres]
host = "127.0.0.1"
port = {port}
database = "app"
user = "rb_read"
password = "env:READ_PASSWORD"
act_user = "rb_act"
act_password = "env:ACT_PASSWORD"
migrate_user = "rb_migrate"
migrate_password = "env:MIGRATE_PASSWORD"
migrate_role = "app"
sslmode = "disable"
end_users = "app"
[environments.prod.migrations]
config = "{alembic}"
[environments.prod.backups]
folder = "backups"
binaries = "{binaries}"
[environments.prod.github]
url = "{vendors}/github"
repository = "acme/api"
token = "{token}"
[environments.prod.registry]
url = "{vendors}/registry"
repository = "acme/api"
"""


def lost(kind: type[Any], *, effect: bool) -> type[Any]:
    """A kind of action whose one request has no answer, after its effect or in its place; guards are not the point."""

    class Lost(kind):  # type: ignore[misc]
        def guards(self, plan: Plan, environment: Environment) -> Iterator[GuardResult]:
            return iter(())

        def send(self, plan: Plan) -> None:
            if effect:
                kind.send(self, plan)
            raise OutcomeUnknownError("the answer was lost")

    return Lost


@dataclass
class Scene:
    """A catalogue with a release and a database, and an archive.

    Args:
        folder: holds both.
        known: the catalogue.
        reader: its systems.
    """

    folder: Path
    known: catalog.Catalog
    reader: _Reader

    def send(self, action: Action, plan: Any) -> Record:
        """Apply a plan as a run of its own; its outcome is unknown."""
        assert isinstance(plan, Plan), plan
        archive = self.folder / "outputs"
        record = RecordFolder.create(archive, "first", genesis={"runbook": "test"})
        record.journal.append("plan", plan.to_json())
        context = Context(
            run_id=record.run_id,
            actor="ann",
            environment=self.known.environment("prod"),
            requested=True,
            ledger=archive / "ledger",
            journal=lambda kind, data: record.journal.append(kind, data, durable=True) and None,
            lock=lambda target: file_lock(archive / "ledger/locks", target),
        )
        granted = ""
        if plan.destructive:
            granted = str(actions.grant(plan, self.folder / "granted", approver="grace", known_by="configuration"))
        outcome = actions.apply(action, plan, context, granted)
        assert OutcomeStatus.UNKNOWN == outcome.status, outcome.reason
        return Record.read(record.seal("unknown", "unknown"))

    def closed(self, record: Record, wait: float = 0.0) -> OutcomeStatus:
        """What reconciling says."""
        done = reconcile(record, self.folder / "outputs", self.known, wait=wait)
        return done.outcomes[0].status


@pytest.fixture
def scene(
    kubeconfig_of_cluster: Path,  # noqa: F811 - fixtures
    postgres: Postgres,  # noqa: F811
    vendors: Vendors,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Scene]:
    """The lab's database and vendors, and an API server."""
    monkeypatch.setenv("READ_PASSWORD", postgres.passwords["rb_read"])
    monkeypatch.setenv("ACT_PASSWORD", postgres.passwords["rb_act"])
    monkeypatch.setenv("MIGRATE_PASSWORD", postgres.passwords["rb_migrate"])
    text = CATALOG.format(chart=CHART, kubeconfig=kubeconfig_of_cluster, port=postgres.port, vendors=vendors.url,
                          token=vendors.secret("github_token"), alembic=migrations.CONFIG,
                          binaries=binaries())  # fmt: skip
    yield from opened(tmp_path, text)


def opened(folder: Path, text: str) -> Iterator[Scene]:
    """The scene of a catalogue's text, until its systems are let go."""
    (folder / "runbook.toml").write_text(text)
    known = catalog.load(folder / "runbook.toml")
    service, environment = known.service("api"), known.environment("prod")
    systems = Systems(service, environment, Window.last(10), LiveTape())
    yield Scene(folder, known, _Reader(service, environment, systems))
    systems.close()


@pytest.fixture
def ahead(scene: Scene, postgres: Postgres, kubeconfig_of_cluster: Path) -> Iterator[Scene]:  # noqa: F811 - fixtures
    """A database of its own at version 4, backed up, under a service that was stopped."""
    with postgres.connect("postgres", "postgres") as admin:
        admin.execute("DROP DATABASE IF EXISTS ahead WITH (FORCE)")
        admin.execute("CREATE DATABASE ahead OWNER app")
    with postgres.connect("app", "ahead") as connection:
        migrations.migrate(connection, postgres.url("app", "ahead"), 4)
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO rb_read")
    postgres.dump(scene.folder / "backups" / "app.dump")
    helm = Helm(kubeconfig_of_cluster)
    helm.uninstall()
    helm.install({"image": {"tag": "v4"}, "replicaCount": 0})
    text = (scene.folder / "runbook.toml").read_text().replace('database = "app"', 'database = "ahead"')
    yield from opened(scene.folder, text)
    helm.uninstall()


def version(postgres: Postgres) -> str:  # noqa: F811 - the fixture's value
    """The newest migration that the database ``ahead`` records."""
    with postgres.connect("app", "ahead") as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else ""


@pytest.fixture
def revisions(kubeconfig_of_cluster: Path) -> Iterator[Callable[[], int]]:  # noqa: F811 - the fixture
    """A release at revision 2; counts its revisions."""
    helm = Helm(kubeconfig_of_cluster)
    helm.uninstall()
    helm.install({"image": {"tag": "v1"}})
    helm.upgrade({"image": {"tag": "v2"}})
    yield lambda: len(helm.history())
    helm.uninstall()


EFFECTS = [(True, OutcomeStatus.APPLIED), (False, OutcomeStatus.REJECTED)]


@pytest.mark.parametrize(("effect", "status"), EFFECTS, ids=["had-its-effect", "never-arrived"])
def test_rollback_is_told_by_its_manifest(
    scene: Scene, revisions: Callable[[], int], effect: bool, status: OutcomeStatus
) -> None:
    """The newest revision holds what the named one was: applied; it is as before: rejected, and only in time."""
    plan = actions.rollback(scene.reader, revision=1)  # type: ignore[arg-type]
    record = scene.send(lost(Rollback, effect=effect)(scene.reader), plan)
    before = revisions()
    if not effect:
        assert OutcomeStatus.UNKNOWN == scene.closed(record, wait=600.0)
    assert (status, before) == (scene.closed(record), revisions())
    assert (3 if effect else 2) == before


@pytest.mark.parametrize(("effect", "status"), EFFECTS, ids=["had-its-effect", "never-arrived"])
def test_deployment_is_told_by_its_image(
    scene: Scene, revisions: Callable[[], int], effect: bool, status: OutcomeStatus
) -> None:
    """A newer revision with the image asked for is the one that was sent."""
    plan = actions.deploy(scene.reader, image_tag="v1")  # type: ignore[arg-type]
    record = scene.send(lost(Deploy, effect=effect)(scene.reader), plan)
    before = revisions()
    assert (status, before) == (scene.closed(record), revisions())
    assert (3 if effect else 2) == before


@pytest.mark.parametrize(("effect", "status"), EFFECTS, ids=["had-its-effect", "never-arrived"])
def test_session_is_told_by_its_start(
    scene: Scene,
    postgres: Postgres,  # noqa: F811 - the fixture
    effect: bool,
    status: OutcomeStatus,
) -> None:
    """A session that is gone was ended; one that is still the same was not."""
    with psycopg.connect(postgres.url("app"), autocommit=True) as session:
        plan = actions.end_backend(
            scene.reader.postgres, pid=session.info.backend_pid, service="api", environment="prod"
        )
        record = scene.send(lost(EndBackend, effect=effect)(scene.reader.postgres), plan)
        assert status == scene.closed(record)
        if effect:
            with pytest.raises(psycopg.OperationalError):
                session.execute("SELECT 1")
        else:
            session.execute("SELECT 1")


@pytest.mark.parametrize(("effect", "status"), EFFECTS, ids=["had-its-effect", "never-arrived"])
def test_undone_migration_is_told_by_its_version(
    ahead: Scene,
    postgres: Postgres,  # noqa: F811 - the fixture
    effect: bool,
    status: OutcomeStatus,
) -> None:
    """The record of a run whose COMMIT had no answer is closed by the version that the tool's table names."""
    plan = actions.migrate_down(ahead.reader, release="v3", because="v5 is a day away")  # type: ignore[arg-type]
    record = ahead.send(lost(MigrateDown, effect=effect)(ahead.reader), plan)
    left = version(postgres)
    assert ("3" if effect else "4") == left
    if not effect:
        assert OutcomeStatus.UNKNOWN == ahead.closed(record, wait=600.0)
    assert (status, left) == (ahead.closed(record), version(postgres))
