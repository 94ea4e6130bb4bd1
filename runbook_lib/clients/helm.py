"""Helm: the revisions of a release, and the two ways to make a new one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runbook_lib.clients import _helm as back
from runbook_lib.clients._applied import preview
from runbook_lib.clients._kubeconfig import refuse_program
from runbook_lib.clients._kubernetes import ApiServer
from runbook_lib.clients._open_secrets import open_secrets
from runbook_lib.clients._process import Finished
from runbook_lib.clients._source import SourceClient
from runbook_lib.clients._tape import Answer, Question
from runbook_lib.errors import (
    ActionError,
    ActionRejectedError,
    OutcomeUnknownError,
    SourceAnswerError,
    SourceDeniedError,
    SourceEmptyError,
    SourceError,
)
from runbook_lib.model import Evidence, Gap, Table
from runbook_lib.model.canonical import canonical
from runbook_lib.model.evidence import Scalar
from runbook_lib.model.rights import REVISIONS
from runbook_lib.model.times import parse_rfc3339

HISTORY_COLUMNS = ("revision", "updated_at", "status", "chart", "app_version", "description")
#: Helm's own rule for the name of a release (pkg/chart/common/util, 53 characters).
_RELEASE = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d{1,6})?\d* ?(Z|[+-]\d\d:?\d\d)")


class HelmClient(SourceClient):
    """One release. Takes the endpoint of Kubernetes (``kubeconfig``, ``context``, ``namespace``, ``allow_exec``; and
    ``chart`` and ``values``, a file, where the environment has its own) and from the workload ``release``, ``chart``,
    ``values``.

    Args:
        backend: which Helm; default: the command where there is one, else the SDK. Everything else as in the base.
    """

    source = "helm"

    def __init__(self, *, backend: back.Backend | None = None, **shared: Any) -> None:
        super().__init__(**shared)
        self._backend = backend

    def history(self) -> Evidence | Gap:
        """Table ``revision, updated_at, status, chart, app_version, description``, oldest first."""
        return self._ask("history", self._fetch_history)

    def release(self) -> Evidence | Gap:
        """Document of the newest revision with the values that were given to it, without secrets."""
        return self._ask("release", self._fetch_release)

    def server(self) -> Evidence | Gap:
        """Document ``{backend, version}``."""
        return self._ask("server", self._fetch_server)

    def preview(self, values: Mapping[str, Any] | None = None, *, revision: int = 0) -> Evidence | Gap:
        """What an upgrade with ``values``, or a rollback to ``revision``, would change in the cluster; changes nothing.

        Args:
            values: on top of the values file; not for a rollback.
            revision: the revision to return to; 0 for an upgrade.

        Returns:
            Document ``{manifest, objects, images, changed, diff, conflicts, secrets}``; see ``_applied.preview``.
        """
        asked: dict[str, Scalar] = {"values": canonical(dict(values or {})).decode(), "revision": revision}
        return self._ask("preview", self._fetch_preview, parameters=asked)

    def render(self, values: Mapping[str, Any]) -> str:
        """The manifest that an upgrade would apply, as YAML; changes nothing, and may hold secrets.

        Raises:
            ActionRejectedError: the chart does not render, or the cluster does not answer.
        """
        with self._writing():
            chart, given = self._chart(), self._values(values)
            done = self._helm.render(self._target(), chart, given)
            if done.timed_out or done.code != 0:
                raise ActionRejectedError(f"the chart cannot be rendered: {back.words(done)}")
            return str(_parsed(done).get("manifest", ""))

    def upgrade(
        self,
        values: Mapping[str, Any],
        *,
        from_revision: int,
        force_conflicts: bool = False,
        deadline_seconds: float = 300.0,
    ) -> dict[str, Any]:
        """Make a new revision from the catalogue's chart and values file; does not wait for pods.

        Helm has no compare-and-set: that ``from_revision`` is still the newest is read just before.

        Args:
            values: on top of the values file, such as ``{"image": {"tag": "v2"}}``.
            from_revision: the revision that the plan was made against.
            force_conflicts: take back fields that another manager owns (Helm 4).
            deadline_seconds: how long it may take with its hooks, seconds.

        Returns:
            ``{revision, status, description}``.

        Raises:
            ActionRejectedError: nothing was changed.
            ActionError: a revision was made and has failed.
            OutcomeUnknownError: it cannot be told what was done.
        """
        with self._writing():
            chart, given, target = self._chart(), self._values(values), self._target()
            self._still(from_revision)
            done = self._helm.upgrade(
                target, chart, given, force_conflicts=force_conflicts, deadline_seconds=deadline_seconds
            )
            return self._outcome(done, "upgrade", from_revision)

    def rollback(
        self,
        revision: int,
        *,
        from_revision: int,
        force_conflicts: bool = False,
        pending: bool = False,
        deadline_seconds: float = 300.0,
    ) -> dict[str, Any]:
        """Make a new revision from an old one that is named; does not wait for pods.

        Args:
            revision: the revision to return to; there is no default, for the one before may be the failed one.
            from_revision: the revision that the plan was made against.
            force_conflicts: take back fields that another manager owns (Helm 4).
            pending: the newest revision must be one whose operation died, and is left behind.
            deadline_seconds: how long it may take with its hooks, seconds.

        Returns:
            ``{revision, status, description}``.

        Raises:
            ActionRejectedError: nothing was changed.
            ActionError: a revision was made and has failed.
            OutcomeUnknownError: it cannot be told what was done.
        """
        if revision < 1:
            raise ActionRejectedError(f"a revision is 1 or more, not {revision}; nothing was sent")
        with self._writing():
            target = self._target()
            # helm rollback does not look for a running operation, unlike helm upgrade.
            self._still(from_revision, pending=pending)
            done = self._helm.rollback(
                target, revision, force_conflicts=force_conflicts, deadline_seconds=deadline_seconds
            )
            return self._outcome(done, "rollback", from_revision)

    @property
    def _helm(self) -> back.Backend:
        if self._backend is None:
            self._backend = back.backend()
        return self._backend

    def _target(self) -> back.Target:
        release = str(self.workload.get("release", ""))
        if len(release) > 53 or not _RELEASE.fullmatch(release):
            raise SourceAnswerError(f"workload.release {release!r} is no name of a release", source=self.source)
        kubeconfig, context = self._setting("kubeconfig"), self._setting("context")
        if self._setting("allow_exec") != "True":
            refuse_program(kubeconfig, context)
        return back.Target(
            release=release,
            namespace=self._setting("namespace") or str(self.workload.get("namespace", "default")),
            kubeconfig=kubeconfig,
            context=context,
        )

    def _chart(self) -> str:
        chart = Path(self._setting("chart") or str(self.workload.get("chart", ""))).resolve()
        if not (chart / "Chart.yaml").is_file():
            raise ActionRejectedError(f"workload.chart {chart} is no folder of a chart; nothing was sent")
        return str(chart)

    def _values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        file = self._setting("values") or self.workload.get("values")
        return back.merged(back.read_values(Path(str(file))) if file else {}, values)

    def _rows(self) -> list[dict[str, Any]]:
        rows = [_revision(one) for one in self._helm.history(self._target())]
        if not rows:
            raise SourceEmptyError("the release has no revision", source=self.source)
        return sorted(rows, key=lambda row: int(row["revision"]))

    def _still(self, from_revision: int, *, pending: bool = False) -> None:
        """Refuse when the release is not as the plan saw it: another revision, or an operation that runs or died."""
        newest = self._rows()[-1]
        if newest["revision"] != from_revision:
            raise ActionRejectedError(
                f"the release is at revision {newest['revision']}, not {from_revision} any more; nothing was sent"
            )
        if str(newest["status"]).startswith("pending") is not pending:
            raise ActionRejectedError(f"revision {from_revision} is {newest['status']}; nothing was sent")

    def _outcome(self, done: Finished, verb: str, from_revision: int) -> dict[str, Any]:
        """What became of an operation, judged by the release itself and not by the exit code alone."""
        said = "it took too long and was told to end" if done.timed_out else back.words(done)
        try:
            newest: Mapping[str, Any] = self._rows()[-1]
        except SourceError as error:
            raise OutcomeUnknownError(f"after helm {verb} the release cannot be read: {error.reason}") from error
        found = {key: newest[key] for key in ("revision", "status", "description")}
        if (
            done.code == 0
            and not done.timed_out
            and newest["status"] == "deployed"
            and newest["revision"] > from_revision
        ):
            return found
        if done.timed_out or done.code < 0 or str(newest["status"]).startswith("pending"):
            raise OutcomeUnknownError(f"helm {verb} left revision {newest['revision']} {newest['status']}: {said}")
        if newest["revision"] == from_revision:
            raise ActionRejectedError(f"helm {verb} was refused: {said}")
        raise ActionError(f"helm {verb} made revision {newest['revision']}, which is {newest['status']}: {said}")

    @property
    def _server(self) -> ApiServer:
        return self._shared(self._open)

    def _open(self) -> ApiServer:
        target = self._target()
        return ApiServer(
            target.kubeconfig,
            target.context,
            connect_seconds=self.connect_seconds,
            total_seconds=self.total_seconds,
            allow_exec=True,  # asked for when the target was named
        )

    def _readable(self) -> None:
        """Ask before Helm does: a denied list of Secrets stands in the cluster's audit log as an attempt on them."""
        namespace = self._target().namespace
        asked = {"namespace": namespace, "verb": REVISIONS.verb, "resource": REVISIONS.resource}
        if not self._server.access(asked)["allowed"]:
            told = f"{REVISIONS} in {namespace} is not allowed, and Helm keeps its revisions there"
            raise SourceDeniedError(f"{told}; runbook roles deployer has it", source=self.source)

    def _fetch_history(self, question: Question) -> Answer:
        self._readable()
        return Answer(Table.of(self._rows(), HISTORY_COLUMNS))

    def _fetch_release(self, question: Question) -> Answer:
        self._readable()
        newest = self._rows()[-1]
        values = self._redactor.data(self._helm.values(self._target()))
        return Answer({"release": self._target().release, **newest, "values": values})

    def _fetch_preview(self, question: Question) -> Answer:
        self._readable()
        target, revision = self._target(), int(question.parameters["revision"] or 0)
        given: dict[str, Any] = {}
        if revision:
            manifest = self._helm.manifest(target, revision)
        else:
            over = json.loads(str(question.parameters["values"]))
            try:
                given = self._values(over)
                manifest = self.render(over)
            except ActionError as error:
                open_secrets(given, (), self._redactor)  # Helm's words may repeat one
                raise SourceAnswerError(str(error), source=self.source) from error
        return Answer(preview(self._server, manifest, target.release, target.namespace, self._redactor, given))

    def _fetch_server(self, question: Question) -> Answer:
        self._configured()
        return Answer({"backend": self._helm.name, "version": self._helm.version()})


def _parsed(done: Finished) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(done.output)
    except ValueError as error:
        raise ActionRejectedError("helm wrote something that is not JSON") from error
    return found


def _revision(one: Mapping[str, Any]) -> dict[str, Any]:
    """A revision as both back ends and both versions of Helm write it."""
    # The command writes chart as one word; the SDK in two, and without a description.
    chart = one.get("chart") or f"{one['chart_name']}-{one['chart_version']}"
    return {
        "revision": int(one["revision"]),
        "updated_at": _epoch(str(one.get("updated") or one.get("deployed_at") or "")),
        "status": str(one["status"]),
        "chart": str(chart),
        "app_version": str(one.get("app_version", "")),
        "description": str(one.get("description", "")),
    }


def _epoch(text: str) -> float | None:
    """Epoch seconds of a time as Go prints it; None when it is none."""
    match = _TIME.match(text)
    return parse_rfc3339("{}T{}{}{}".format(*(part or "" for part in match.groups()))).timestamp() if match else None
