"""A record read back: everything the views show, derived from the journal and the evidence files."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from runbook_lib.errors import RecordError
from runbook_lib.model import Evidence
from runbook_lib.model.times import parse_rfc3339
from runbook_lib.record import evidence_file
from runbook_lib.record.event import Event, chain_members, parse
from runbook_lib.record.folder import JOURNAL, PARTIAL
from runbook_lib.record.status import EXIT_CODES, Status

_ROLES = ("cause", "symptom", "context", "ruled_out")
_SEVERITIES = ("critical", "warning", "unknown", "note")
#: The ``what`` of the note with which a runbook ends itself early.
STOP = "stop"
_PICTURES = ("image/svg+xml", "image/png")


@dataclass(frozen=True, slots=True)
class Cell:
    """What became of one cell.

    Args:
        name: its id.
        status: ``ok``, ``error``, ``interrupted``, ``timed_out``, ``died``, ``not_run``, or ``running`` when its end
            was never written.
        duration_seconds: how long it took; None when it did not end.
        error: name and text of what it raised; empty when it raised nothing.
    """

    name: str
    status: str
    duration_seconds: float | None
    error: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart that a cell showed.

    Args:
        cell: id of the cell.
        mime: ``image/png`` or ``image/svg+xml``.
        content: the picture; base64 for a PNG, text for an SVG.
        sentence: the same in words.
        file: its name in a sealed record; empty for an SVG, which only the page shows.
    """

    cell: str
    mime: str
    content: str
    sentence: str
    file: str

    @property
    def png(self) -> bytes:
        """The picture's bytes; empty when it is no PNG, whatever it says."""
        if self.mime != "image/png":
            return b""
        try:
            content = base64.b64decode("".join(self.content.split()), validate=True)
        except ValueError:
            return b""
        return content if content.startswith(b"\x89PNG") else b""


@dataclass(frozen=True)
class Record:
    """The account of one run.

    Args:
        path: its folder.
        events: the journal, in order.
        problems: what could not be read; empty for a good journal.
    """

    path: Path
    events: tuple[Event, ...]
    problems: tuple[str, ...] = field(default=())

    @classmethod
    def read(cls, path: str | Path) -> Record:
        """Read a record, sealed or not; a torn or foreign line is left out and named in ``problems``.

        Raises:
            RecordError: there is no journal.
        """
        folder = Path(path)
        try:
            lines = (folder / JOURNAL).read_bytes().split(b"\n")
        except OSError as error:
            raise RecordError(f"{folder}: no record: {error.strerror}") from error
        events, problems = [], []
        if lines[-1]:
            problems.append(f"{JOURNAL}:{len(lines)}: the last line is torn")
        for number, line in enumerate(lines[:-1], start=1):
            try:
                chain_members(line)
                events.append(parse(line))
            except RecordError as error:
                problems.append(f"{JOURNAL}:{number}: {error}")
        return cls(folder, tuple(events), tuple(problems))

    def all(self, kind: str) -> tuple[Event, ...]:
        """The events of one kind, in order."""
        return tuple(event for event in self.events if event.kind == kind)

    def last(self, kind: str) -> Mapping[str, Any]:
        """Data of the last event of a kind; empty when there is none."""
        return next((event.data for event in reversed(self.events) if event.kind == kind), {})

    @cached_property
    def run(self) -> Mapping[str, Any]:
        """What the run was started from: the genesis, and what the kernel added when it joined."""
        facts: dict[str, Any] = {}
        for event in self.events:
            if event.kind == "run.started" or (event.kind == "note" and event.data.get("what") == "run"):
                facts |= {name: value for name, value in event.data.items() if not facts.get(name)}
        return facts

    @property
    def run_id(self) -> str:
        """Name of the run."""
        return self.events[0].run_id if self.events else self.path.name.removesuffix(PARTIAL)

    @property
    def sealed(self) -> bool:
        """Whether the folder has its final name; ``records verify`` tells whether the seal is good."""
        return not self.path.name.endswith(PARTIAL)

    @property
    def status(self) -> Status:
        """How the run stands; ``running`` until its end was written down."""
        text = self.last("run.ended").get("status", "running")
        return Status(text) if text in set(Status) else Status.UNKNOWN

    @property
    def verdict(self) -> str:
        """The run's conclusion; ``unknown`` while it has none."""
        return str(self.last("run.ended").get("verdict") or self.last("verdict").get("verdict") or "unknown")

    @property
    def reason(self) -> str:
        """Why the run ended as it did; empty when there is nothing to say."""
        return str(self.last("run.ended").get("reason", ""))

    @property
    def stopped(self) -> str | None:
        """Why the runbook ended itself before its last cell; None when it did not."""
        told = (event.data for event in self.all("note") if event.data.get("what") == STOP)
        return next((str(data.get("text", "")) for data in told), None)

    @property
    def exit_code(self) -> int:
        """The exit code of the run."""
        return int(self.last("run.ended").get("exit_code", EXIT_CODES[self.status]))

    @property
    def started(self) -> datetime | None:
        """When the run began."""
        return self.events[0].moment if self.events else None

    @property
    def ended(self) -> datetime | None:
        """When the run ended; None while it has not."""
        return next((event.moment for event in reversed(self.events) if event.kind == "run.ended"), None)

    @property
    def duration_seconds(self) -> float | None:
        """How long the run took, seconds."""
        if self.started is None or self.ended is None:
            return None
        return (self.ended - self.started) / timedelta(seconds=1)

    @cached_property
    def _all_findings(self) -> tuple[Mapping[str, Any], ...]:
        weighed = self.last("verdict").get("findings")
        if weighed is not None:
            return tuple(weighed)
        return tuple(sorted((event.data for event in self.all("finding")), key=_strength))

    @property
    def findings(self) -> tuple[Mapping[str, Any], ...]:
        """The findings, strongest first, without causes that were ruled out."""
        return tuple(one for one in self._all_findings if one.get("role") != "ruled_out")

    @property
    def ruled_out(self) -> tuple[Mapping[str, Any], ...]:
        """Causes that the numbers rule out."""
        return tuple(one for one in self._all_findings if one.get("role") == "ruled_out")

    @property
    def symptom(self) -> Mapping[str, Any] | None:
        """The finding that says what users feel; None when there is none."""
        return next((one for one in self.findings if one.get("role") == "symptom"), None)

    @property
    def cause(self) -> Mapping[str, Any] | None:
        """The strongest cause; None when the evidence names none."""
        named = (one for one in self.findings if one.get("role") == "cause")
        return next((one for one in named if one.get("cause") not in {"none", "unknown"}), None)

    @cached_property
    def gaps(self) -> tuple[Mapping[str, Any], ...]:
        """What could not be read and was not read later, those that the verdict needs first."""
        open_gaps: dict[str, Mapping[str, Any]] = {}
        for event in self.events:
            if event.data.get("watched"):
                continue
            if event.kind == "gap":
                open_gaps[f"{event.data['source']}.{event.data['name']}"] = event.data
            elif event.kind == "evidence":
                open_gaps.pop(event.data.get("key") or f"{event.data['source']}.{event.data['name']}", None)
        return tuple(sorted(open_gaps.values(), key=lambda gap: not gap["needed"]))

    @cached_property
    def evidence(self) -> tuple[Mapping[str, Any], ...]:
        """Every answer's description, in order: ``source``, ``name``, ``summary``, ``file``, ``sha256`` ..."""
        return tuple(event.data for event in self.all("evidence"))

    def answer(self, entry: Mapping[str, Any]) -> Evidence:
        """The evidence that an entry of ``evidence`` describes.

        Raises:
            RecordError: its file is gone or cannot be read.
        """
        target = self.path / str(entry["file"])
        try:
            return Evidence.from_json(json.loads(evidence_file.read(target)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{target}: no evidence: {error}") from error

    @cached_property
    def plans(self) -> tuple[Mapping[str, Any], ...]:
        """The plans, each once."""
        return tuple({event.data["digest"]: event.data for event in self.all("plan")}.values())

    @cached_property
    def checks(self) -> tuple[Mapping[str, Any], ...]:
        """The checks that the run wrote down, in order."""
        noted = (event.data for event in self.all("note") if event.data.get("what") == "checks")
        return tuple(check for note in noted for check in note["items"])

    @property
    def outcomes(self) -> tuple[Mapping[str, Any], ...]:
        """What became of the plans that were asked for, in order."""
        return tuple(event.data for event in self.all("action.outcome"))

    def outcome_of(self, digest: str) -> Mapping[str, Any] | None:
        """The last outcome of a plan; one with an intent and no outcome is ``unknown``; None when never asked for."""
        if digest not in self.open_intents:
            return next((one for one in reversed(self.outcomes) if one.get("plan") == digest), None)
        return {
            "plan": digest,
            "outcome": "unknown",
            "reason": "the run ended between the request and its answer",
            "read_back": {},
            "guards": [],
            "sent_at": None,
        }

    @cached_property
    def open_intents(self) -> tuple[str, ...]:
        """Digests of plans whose request may have been sent and whose outcome was never written."""
        found: dict[str, None] = {}
        for event in self.events:
            if event.kind == "action.intent":
                found[event.data["plan"]] = None
            elif event.kind == "action.outcome":
                found.pop(event.data.get("plan", ""), None)
        return tuple(found)

    @property
    def verification(self) -> Mapping[str, Any] | None:
        """The last verification; None when there was none."""
        return self.last("verification") or None

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """What became of each cell, in the order they began."""
        found: dict[str, Cell] = {}
        for event in self.events:
            if event.kind == "cell.started":
                found[event.cell] = Cell(event.cell, "running", None, "")
            elif event.kind == "cell.ended":
                error = event.data.get("error") or {}
                text = ": ".join(str(error[key]) for key in ("name", "value") if error.get(key))
                found[event.cell] = Cell(event.cell, event.data["status"], event.data.get("duration_seconds"), text)
        return tuple(found.values())

    @cached_property
    def pictures(self) -> tuple[Picture, ...]:
        """The charts that cells showed, in order; of one that was updated in place, the last state."""
        found: dict[str, Picture] = {}
        for event in self.all("cell.output"):
            bundle = event.data.get("data") or {}
            mime = next((one for one in _PICTURES if isinstance(bundle.get(one), str)), None)
            if mime is not None:
                place = str(event.data.get("display_id") or event.seq)
                number = list(found).index(place) + 1 if place in found else len(found) + 1
                file = f"chart-{number}.png" if mime == "image/png" else ""
                found[place] = Picture(event.cell, mime, bundle[mime], str(bundle.get("text/plain", "")), file)
        return tuple(found.values())

    @property
    def links(self) -> dict[str, str]:
        """Name to address of dashboards and logs, with the run's window in it."""
        window = self.run.get("window")
        found = {}
        for name, link in (self.run.get("links") or {}).items():
            text = str(link)
            for bound, mark in (("start", "{from}"), ("end", "{to}")):
                if window:
                    text = text.replace(mark, str(round(parse_rfc3339(window[bound]).timestamp() * 1000)))
            found[name] = text
        return found

    def to_json(self) -> dict[str, Any]:
        """The object that ``runbook run --json`` and ``runbook records show --json`` print."""
        outcomes = [one for one in (self.outcome_of(plan["digest"]) for plan in self.plans) if one is not None]
        return {
            "run_id": self.run_id,
            "runbook": self.run.get("runbook", ""),
            "service": self.run.get("service", ""),
            "environment": self.run.get("environment", ""),
            "status": str(self.status),
            "verdict": self.verdict,
            "reason": self.reason,
            "exit_code": self.exit_code,
            "record": str(self.path),
            "findings": [dict(one) for one in self.findings if one.get("severity") != "note"],
            "context": [dict(one) for one in self.findings if one.get("severity") == "note"],
            "ruled_out": [dict(one) for one in self.ruled_out],
            "gaps": [dict(gap) for gap in self.gaps],
            "checks": [dict(check) for check in self.checks],
            "plans": [dict(plan) for plan in self.plans],
            "outcomes": [dict(one) for one in outcomes],
            "verification": dict(self.verification) if self.verification else None,
            "started": self.events[0].ts if self.events else None,
            "ended": next((event.ts for event in reversed(self.events) if event.kind == "run.ended"), None),
        }


def _strength(finding: Mapping[str, Any]) -> tuple[int, int, float]:
    role, severity = finding.get("role", "cause"), finding.get("severity", "note")
    return (
        _ROLES.index(role) if role in _ROLES else len(_ROLES),
        _SEVERITIES.index(severity) if severity in _SEVERITIES else len(_SEVERITIES),
        -float(finding.get("confidence", 0)),
    )
