"""What a run does around a change of a release: probe, watch, conclude, and remember which revision was good."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib import actions
from runbook_lib.analysis.downtime import compared, lost_requests
from runbook_lib.analysis.release_gate import errors_low
from runbook_lib.analysis.release_history import newest
from runbook_lib.analysis.rollout import ANSWERS_PER_POD, rolled_out, settled
from runbook_lib.errors import ActionError, RecordError
from runbook_lib.model import Check, Checks, CheckStatus, Evidence, Findings, Gap, NoPlan, Plan, Verdict, Verification
from runbook_lib.model.rights import REVISIONS
from runbook_lib.record.archive import Archive
from runbook_lib.record.record import Record
from runbook_lib.record.status import Status
from runbook_lib.run.opening import replayed_outcome
from runbook_lib.run.verify import POLL_SECONDS

if TYPE_CHECKING:
    from runbook_lib.run import Run
    from runbook_lib.run.attach import Surroundings

#: ``what`` of the note that calls a revision good.
GOOD = "good_revision"
#: ``what`` of the note that says which revisions earlier records called good.
KNOWN_GOOD = "known_good_revisions"
#: How many records are searched for good revisions, newest first.
_SEARCHED = 200
_MOST_ANSWERS = 100
#: Seconds over which a rate is taken where the environment says nothing, and what scraping adds.
_RANGE_SECONDS, _SLACK_SECONDS = 60.0, 20.0


@dataclass(frozen=True, slots=True)
class Probing:
    """An open-loop probe that runs until it is stopped.

    Args:
        per_second: requests per second; 0 when nothing is going to be changed and so nothing is asked.
        end: ends the probe and gives what it saw.
    """

    per_second: float
    end: Callable[[], Evidence | Gap] | None

    def stop(self, after_seconds: float = 0.0) -> Evidence | Gap | None:
        """End the probe.

        Args:
            after_seconds: how long it still asks before, seconds: what follows a rollout belongs to it.

        Returns:
            A row for each request; None when nothing was asked.
        """
        if self.end is None:
            return None
        time.sleep(after_seconds)
        return self.end()

    def __str__(self) -> str:
        if self.end is None:
            return "no probe: nothing is going to be changed"
        return f"probing the service {self.per_second:g} times a second, from before the change until after it"

    __repr__ = __str__


class Releases:
    """The steps around a change of the run's release.

    Args:
        run: the run.
        around: what the run was told.
        archive: folder of the archive that the run's record goes to.
        journal: writes one event.
    """

    def __init__(
        self, run: Run, around: Surroundings, archive: Path, journal: Callable[[str, Mapping[str, Any]], None]
    ) -> None:
        self._run, self._around, self._archive, self._journal = run, around, archive, journal
        self._out_since: float | None = None

    def probe(
        self, plan: Plan | NoPlan, *, approval: str = "", per_second: float = 50.0, before_seconds: float = 10.0
    ) -> Probing:
        """Ask the service at a fixed rate from before a change on; see ``clients.open_loop``.

        Args:
            plan: what is going to be applied; without a plan that may be applied nothing is asked.
            approval: path of its approval.
            per_second: requests per second; an outage shorter than one over it cannot be seen.
            before_seconds: how long it asks before this returns, seconds.
        """
        free = self._run.environment.approval.get(getattr(plan, "kind", ""), "") == "none"
        acts = self._around.apply and isinstance(plan, Plan) and bool(approval or self._around.approval or free)
        if self._around.replay and isinstance(plan, Plan):
            # A replay probes nothing: it asks for what the record's probe saw, where there was one.
            acts = replayed_outcome(self._around.replay, plan).sent_at is not None
        probing = Probing(per_second, self._run.service_probe.open_loop(per_second) if acts else None)
        if acts:
            time.sleep(0.0 if self._around.replay else before_seconds)
        return probing

    def watch(self, plan: Plan | NoPlan, *, within_seconds: float = 300) -> Evidence | Gap:
        """Watch the rollout that a plan began until it is complete or beyond hope; read it once without a change.

        Args:
            plan: what was applied.
            within_seconds: how long to watch, seconds.
        """
        image = self._image(plan)
        seconds = within_seconds if self._run.changed_at else 0.0
        return self._run.kubernetes.rollout(lambda reading: settled(reading, image), within_seconds=seconds)

    def check(self, plan: Plan | NoPlan, rollout: Evidence | Gap) -> Checks:
        """Hold the rollout of a plan against the complete rule, with answers of the service, and write it down.

        Args:
            plan: what was applied.
            rollout: what ``watch`` gave.

        Returns:
            A check for each clause; none when this run changed nothing.
        """
        if self._run.changed_at is None or not isinstance(plan, Plan):
            return Checks(())
        self._out_since = time.monotonic()
        image = self._image(plan)
        checks = rolled_out(
            rollout,
            self.answers(rollout),
            image=image,
            digest=str(plan.after.get("digest", "")),
            version=image.rpartition(":")[2],
        )
        return self._run.check(checks)

    def answers(self, rollout: Evidence | Gap) -> Evidence | Gap:
        """Ask the service's status page three times for each pod, ten times at least."""
        replicas = rollout.document["deployment"]["replicas"] if isinstance(rollout, Evidence) else 1
        return self._run.service_probe.status(attempts=min(_MOST_ANSWERS, max(10, ANSWERS_PER_POD * replicas)))

    def lost(self, probe: Evidence | Gap | None, rollout: Evidence | Gap) -> Findings:
        """Note what an open-loop probe saw: requests lost, and the latency after the change against that before.

        Args:
            probe: what ``Probing.stop`` gave.
            rollout: what ``watch`` gave.
        """
        changed, complete = self._run.changed_at, rollout.read_at
        if probe is None or changed is None:
            return self._run.note()
        return self._run.note(
            lost_requests(probe, changed_at=changed), compared(probe, changed_at=changed, complete_at=complete)
        )

    def conclude(self, checks: Checks, latency: Verification) -> Verification:
        """One verification of a release from checks and the objective; remembers its revision when all is well.

        Args:
            checks: what was checked; they must have been written down.
            latency: what ``Run.verify`` gave.
        """
        if self._run.changed_at is not None:
            errors = errors_low(self._errors_now())
            self._run.check(errors)
            checks = Checks((*checks, *errors))
        result = self._run.conclude(verdict_of(checks, latency))
        if result.status == "held":
            self._remember()
        return result

    def _errors_now(self) -> Evidence | Gap:
        """The share of failed requests, once the seconds over which it is taken lie after the change, or it is low."""
        endpoint = self._run.environment.endpoints.get("prometheus")
        over_seconds = float(endpoint.settings.get("range_seconds", _RANGE_SECONDS)) if endpoint else 0.0
        # The rollout was over when it was checked; what followed it lies in the rate by now.
        deadline = (self._out_since or time.monotonic()) + over_seconds + _SLACK_SECONDS
        # The run's window ended before the change: asked again, the question is about the present.
        found = self._run.metrics.error_ratio().again()
        while not errors_low(found).passed and time.monotonic() < deadline:
            time.sleep(0.0 if self._around.replay else POLL_SECONDS)
            later = found.again()
            if self._around.replay and isinstance(later, Gap):
                break  # the record holds no more readings
            found = later
        return found

    def remember(self, findings: Findings) -> str:
        """Call the live revision good, for a rollback to return to, when nothing was found against it.

        Args:
            findings: everything that the run knows.

        Returns:
            What was remembered, or why not.
        """
        if findings.verdict is not Verdict.HEALTHY:
            return f"not remembered as good: the verdict is {findings.verdict}"
        # Whoever may not read revisions may still judge the service: that is no gap in what was judged.
        may = self._run.kubernetes.may(REVISIONS)
        if isinstance(may, Evidence) and not may.document["allowed"]:
            return f"not remembered as good: {REVISIONS} is not allowed, and Helm keeps its revisions there"
        return self._remember()

    def _remember(self) -> str:
        history = self._run.helm.history()
        if isinstance(history, Gap):
            return f"not remembered as good: {history.reason}"
        last = newest(history)
        if last["status"] != "deployed":
            return f"not remembered as good: revision {last['revision']} is {last['status']}"
        self._journal("note", {**self._name, "what": GOOD, "revision": last["revision"]})
        return f"revision {last['revision']} is remembered as good"

    def validate(self, version: str = "") -> Checks:
        """Hold what is live against the complete rule, and write it down; changes nothing.

        Args:
            version: the version that must be served; empty for the tag that the deployment asks for.
        """
        rollout = self._run.kubernetes.rollout()
        image = ""
        if isinstance(rollout, Evidence):
            images = rollout.document["deployment"]["images"]
            image = str(images.get(self._run.service.workload.get("container", ""), next(iter(images.values()), "")))
        if version:
            image = f"{image.rpartition(':')[0]}:{version}"
        checks = rolled_out(rollout, self.answers(rollout), image=image, version=image.rpartition(":")[2])
        return self._run.check(checks)

    def tell(self, verification: Verification) -> str:
        """Tell the team in Slack, once, what this run changed and how it stands; a failure is written down.

        Args:
            verification: what ``conclude`` gave.

        Returns:
            What was told, or why nothing was.
        """
        run = self._run
        if run.changed_at is None:
            return "nobody was told: nothing was changed"
        state = verification.status.replace("_", " ")
        text = f"{run.runbook} of {run.service.name} in {run.environment.name}: {state}; {verification.sentence}"
        text = f"{text} (record {run.id})"
        try:
            run.slack.post(text, key=f"{run.id}-{run.runbook}")
            told = f"told the team: {text}"
        except ActionError as error:
            told = f"the team could not be told: {error}"
        self._journal("note", {"what": "notification", "text": told})
        return told

    def good(self) -> tuple[int, ...]:
        """Revisions of the release that sealed records of this archive call good, newest record first.

        What was read is written down: a replay of the record finds what its run found.
        """
        kept = replayed_good(self._around.replay) if self._around.replay else None
        known = good_revisions(self._archive, self._name) if kept is None else kept
        self._journal("note", {**self._name, "what": KNOWN_GOOD, "revisions": list(known)})
        return known

    def script(self, image_tag: str, migrations: Evidence | Gap) -> Evidence | Gap | None:
        """What the migration tool would run when a release starts on the schema as it is; nothing is run.

        Args:
            image_tag: the release, as ``workload.schema`` declares it.
            migrations: what is applied.

        Returns:
            The statements; None when the release runs on the schema as it is.
        """
        if isinstance(migrations, Gap):
            return migrations
        accepts = [str(one) for one in self._run.service.workload.get("schema", {}).get(image_tag, ())]
        newest = next((str(tool["newest"]) for tool in migrations.document["tools"]), "")
        if not accepts:
            reason = f"workload.schema declares no migration of {image_tag or 'the release'}"
            return Gap("migrations", "script", "SQL of a migration", reason, "empty", False, migrations.read_at)
        return None if newest in accepts else self._run.migrations.script(before=newest, after=accepts[0])

    def undone(self, plan: Plan | NoPlan, *, within_seconds: float = 90) -> Verification:
        """Whether a step on the way back to an older schema took effect: no pod is left, or the version is as planned.

        Args:
            plan: what was applied.
            within_seconds: how long pods may take to end, seconds.
        """
        run = self._run
        if run.changed_at is None or not isinstance(plan, Plan):
            return run.conclude(Verification("not_needed", "nothing was changed, so there is nothing to verify"))
        if plan.kind == actions.STOP:
            return run.conclude(self._stopped(within_seconds))
        found = run.postgres.migrations()
        if isinstance(found, Gap):
            return run.conclude(Verification("unknown", f"could not be read again: {found.reason}"))
        newest = next((str(tool["newest"]) for tool in found.document["tools"]), "nothing")
        status = "held" if newest == plan.after["newest"] else "not_held"
        return run.conclude(Verification(status, f"the schema is at {newest}; {plan.after['newest']} was planned"))

    def _stopped(self, within_seconds: float) -> Verification:
        deadline, found = time.monotonic() + within_seconds, self._run.kubernetes.deployment()
        while isinstance(found, Evidence) and found.document.get("status", {}).get("replicas", 0):
            if time.monotonic() > deadline:
                return Verification("not_held", "pods of the service are still there")
            time.sleep(0.0 if self._around.replay else POLL_SECONDS)
            found = found.again()
        if isinstance(found, Gap):
            return Verification("unknown", f"could not be read again: {found.reason}")
        return Verification("held", "no pod of the service is left")

    def offer(self, plan: Plan | NoPlan) -> Plan | NoPlan:
        """Write a plan down that a person may approve and another run carries out, such as the way back."""
        if isinstance(plan, Plan):
            self._journal("plan", plan.to_json())
            self._journal("approval.asked", {"plan": plan.digest, "reason": "offered; this run does not apply it"})
        return plan

    def way_back(self, verification: Verification) -> Plan | NoPlan:
        """The plan to return to the last good revision when a release is not as it should be, offered for approval.

        Args:
            verification: what ``conclude`` gave.
        """
        if self._run.changed_at is None:
            return NoPlan("nothing was changed")
        if verification.status == "held":
            return NoPlan("the release is as it should be")
        return self.offer(actions.rollback(self._run, good=self.good()))

    def _image(self, plan: Plan | NoPlan) -> str:
        return str(plan.after.get("image", "")) if isinstance(plan, Plan) else ""

    @property
    def _name(self) -> dict[str, str]:
        run = self._run
        name = str(run.service.workload.get("release", ""))
        return {"service": run.service.name, "environment": run.environment.name, "release": name}


def verdict_of(checks: Checks, latency: Verification) -> Verification:
    """One verification from the checks after a change and from the objective, read again.

    It holds only when both do; an objective that cannot be told leaves it unknown.
    """
    failed, unknown = checks.having(CheckStatus.FAILED), checks.having(CheckStatus.UNKNOWN)
    if failed:
        return Verification("not_held", "; ".join(_told(check) for check in failed), latency.before, latency.after)
    if not len(checks) and latency.status == "not_needed":
        return latency
    if unknown or not len(checks):
        told = "; ".join(_told(check) for check in unknown) or "nothing was checked"
        return Verification("unknown", told, latency.before, latency.after)
    passed = f"{len(checks)} checks passed; {latency.sentence}"
    return Verification(latency.status, passed, latency.before, latency.after, latency.evidence)


def _told(check: Check) -> str:
    return f"{check.name}: {check.observed}"


def replayed_good(record: Path) -> tuple[int, ...] | None:
    """The good revisions that a record's run knew of; None when it did not write them down."""
    for event in Record.read(record).all("note"):
        if event.data.get("what") == KNOWN_GOOD:
            return tuple(int(one) for one in event.data["revisions"])
    return None


def good_revisions(archive: Path, release: Mapping[str, str]) -> tuple[int, ...]:
    """Revisions of a release that sealed records of an archive call good, newest record first.

    Args:
        archive: folder of the archive.
        release: ``service``, ``environment`` and ``release``.
    """
    wanted = {**release, "what": GOOD}
    named = {key: release[key] for key in ("service", "environment")}
    found: dict[int, None] = {}
    for entry in Archive(archive).entries(limit=_SEARCHED, **named):
        if entry.status not in {Status.SUCCEEDED, Status.ATTENTION}:
            continue
        try:
            events = Record.read(entry.path).events
        except RecordError:
            continue  # a record that cannot be read calls nothing good
        for event in events:
            if event.kind == "note" and wanted.items() <= event.data.items():
                found[int(event.data["revision"])] = None
    return tuple(found)
