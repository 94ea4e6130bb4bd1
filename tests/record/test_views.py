"""The views: the most important first, nothing invented, nothing that runs."""

from __future__ import annotations

import base64
import html.parser
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from runbook_lib.record.folder import RecordFolder
from runbook_lib.record.record import Record
from runbook_lib.record.views import headline, junit, postmortem, report, summary, timeline
from runbook_lib.record.views.impact import impact
from runbook_lib.record.views.markdown import code, md

Incident = Callable[..., RecordFolder]
Start = Callable[..., RecordFolder]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 32).decode()
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg/onload=alert(3)>"


class Tags(html.parser.HTMLParser):
    """Collects every tag with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture
def record(incident: Incident) -> Record:
    picture = {"image/png": PNG, "text/plain": "p95 latency rose to 612 ms"}
    return Record.read(incident(pictures=(picture,)).seal("succeeded", "failing"))


@pytest.fixture
def hostile(start: Start) -> Record:
    """A record in which every text is markup that would like to run."""
    folder = start()
    write = folder.journal.append
    finding: dict[str, Any] = {"cause": "db.long_query", "severity": "critical", "title": HOSTILE, "role": "cause"}
    write("finding", {**finding, "threshold_source": HOSTILE, "observed": {"value": 1, "unit": ""}})
    write("gap", {"source": HOSTILE, "name": "x", "title": HOSTILE, "reason": HOSTILE, "kind": "x", "needed": True})
    write(
        "cell.output",
        {"type": "display_data", "data": {"image/svg+xml": f"<svg>{HOSTILE}</svg>", "text/plain": HOSTILE}},
    )
    write("cell.output", {"type": "display_data", "data": {"image/png": HOSTILE, "text/plain": HOSTILE}})
    write("cell.output", {"type": "display_data", "data": {"text/html": HOSTILE}})
    write("note", {"text": HOSTILE, "important": True, "posted": {"where": HOSTILE, "url": "javascript:alert(4)"}})
    write("note", {"what": "run", "links": {"dashboard": "javascript:alert(5)"}, "owner": HOSTILE})
    return Record.read(folder.seal("attention", "failing"))


def test_headline_says_what_why_and_next(record: Record) -> None:
    """The headline carries the symptom's number, the cause and the state after the change."""
    head = headline(record)
    assert (True, True, True) == (
        head.what.startswith("p95 latency is 612 ms, 3.1 times the objective of 200 ms. Since "),
        head.why.endswith("(db.lock_contention)."),
        head.after.startswith("Held: "),
    )


def test_one_text_for_all_views(record: Record) -> None:
    """Page and summary say the same next step."""
    step = headline(record).next_step
    assert (True, True) == (step in report(record), md(step) in summary(record))


def test_a_waiting_plan_is_the_next_step(start: Start, incident: Incident) -> None:
    """A plan nobody approved makes its approval the next step, with the exact command."""
    source = Record.read(incident().path)
    folder = start()
    folder.journal.append("plan", source.plans[0])
    folder.journal.append("verdict", {"verdict": "failing", "findings": list(source.findings)})
    found = Record.read(folder.path)
    assert f"runbook approve {folder.run_id} --plan {source.plans[0]['digest']}" in headline(found).next_step


def test_an_open_action_comes_first(incident: Incident, start: Start) -> None:
    """An action whose effect is unknown is the next step, before everything else."""
    source = Record.read(incident().path)
    folder = start()
    folder.journal.append("plan", source.plans[0])
    folder.journal.append("action.intent", {"plan": source.plans[0]["digest"], "key": "k"})
    assert "records reconcile" in headline(Record.read(folder.path)).next_step


def test_a_gap_is_never_healthy(start: Start) -> None:
    """With nothing but a gap the page says unknown, and no chip on it is green."""
    folder = start()
    gap = {"source": "prometheus", "name": "up", "title": "Up", "reason": "refused", "kind": "unreachable"}
    folder.journal.append("gap", {**gap, "needed": True})
    page = report(Record.read(folder.path))
    assert (True, None) == ("UNKNOWN" in page, re.search(r'class="chip[^"]* good"', page))


def test_a_gap_that_was_read_later_is_closed(start: Start, incident: Incident) -> None:
    """A question that failed once and was answered later is no gap of the run."""
    folder = start()
    gap = {"source": "a", "name": "b", "title": "B", "reason": "refused", "kind": "unreachable", "needed": True}
    folder.journal.append("gap", gap)
    folder.journal.append("evidence", {"source": "a", "name": "b", "file": "evidence/x", "sha256": ""})
    assert () == Record.read(folder.path).gaps


def test_the_page_loads_nothing_and_runs_nothing(record: Record, hostile: Record) -> None:
    """No script, no handler, no address but data and links; the policy forbids the rest."""
    for one in (record, hostile):
        tags = Tags(report(one)).found
        attributes = {name for _, given in tags for name in given}
        sources = [given["src"] or "" for _, given in tags if "src" in given]
        links = [given["href"] or "" for tag, given in tags if tag == "a"]
        policies = [given["content"] or "" for _, given in tags if given.get("http-equiv") == "Content-Security-Policy"]
        assert {"script", "iframe", "object", "link", "svg", "form"}.isdisjoint({tag for tag, _ in tags})
        assert [name for name in attributes if name.startswith("on") or name in {"style", "srcset"}] == []
        assert [source for source in sources if not source.startswith("data:image/")] == []
        assert [link for link in links if not link.startswith(("https://", "http://", "#"))] == []
        assert [True] == ["default-src 'none'" in policy and "unsafe" not in policy for policy in policies]


def test_hostile_text_is_shown_as_text(hostile: Record) -> None:
    """Markup in titles, reasons and sentences appears escaped, and a picture that is none is left out."""
    page = report(hostile)
    assert (True, False, 1) == ("&lt;script&gt;alert(1)" in page, "<script" in page, page.count("<img"))


def test_hostile_text_in_markdown(hostile: Record) -> None:
    """No HTML tag and no link from the data survives in the Markdown views."""
    for text in (summary(hostile), postmortem(hostile)):
        assert re.search(r"(?<!\\)<(?:script|img|svg)", text) is None


@pytest.mark.parametrize("text", ["```\nrm -rf /\n```", "a ```` b", "`x`", "plain"])
def test_code_cannot_leave_its_block(text: str) -> None:
    """A block of code is closed by its own fence only."""
    fence, *body, last = code(text).split("\n")
    assert (fence, True) == (last, fence not in body)


def test_the_picture_is_inline_with_its_sentence(record: Record) -> None:
    """A chart is in the page as a data address whose alternative text is its sentence."""
    images = [given for tag, given in Tags(report(record)).found if tag == "img"]
    assert [(f"data:image/png;base64,{PNG}", "p95 latency rose to 612 ms")] == [
        (one["src"], one["alt"]) for one in images
    ]


def test_the_page_stays_small(record: Record) -> None:
    """Without pictures the page of an incident is below 100 KB."""
    assert len(report(record).encode()) < 100_000


def test_every_digest_of_the_evidence_is_on_the_page(record: Record) -> None:
    """The page names the SHA-256 of each evidence file."""
    page = report(record)
    assert [] == [one["file"] for one in record.evidence if one["sha256"].removeprefix("sha256:") not in page]


def test_what_was_ruled_out_has_its_number(record: Record) -> None:
    """A cause that was ruled out stands on page and summary with the number that rules it out."""
    assert (True, True) == ("traffic is as before: 41/s against 40/s" in report(record), "41/s" in summary(record))


def test_the_timeline_is_in_order_and_starts_before_the_run(record: Record) -> None:
    """The timeline rises in time and begins with the rollout that the evidence shows."""
    moments = timeline(record)
    assert (sorted(one.at for one in moments), True) == ([one.at for one in moments], "Rollout" in moments[0].what)


def test_the_postmortem_asks_only_what_a_person_must_write(record: Record) -> None:
    """The draft holds the facts and marks the rest TODO."""
    text = postmortem(record)
    assert (True, True, True) == ("612 ms" in text, "**TODO**" in text, "| UTC | from start of the symptom |" in text)


def test_junit_counts(record: Record) -> None:
    """JUnit has a failure for each finding and the verdict, a pass for each cause ruled out, a skip for the gap."""
    suite = ET.fromstring(junit(record))
    assert ("7", "3", "0", "1") == tuple(suite.get(name) for name in ("tests", "failures", "errors", "skipped"))


def test_the_object_of_the_run(record: Record) -> None:
    """The JSON object has the documented keys, the strongest finding first."""
    found = record.to_json()
    wanted = {"run_id", "runbook", "service", "environment", "status", "verdict", "exit_code", "record", "findings"}
    wanted |= {"gaps", "plans", "outcomes", "verification", "started", "ended"}
    assert (set(), "db.lock_contention", 0) == (wanted - set(found), found["findings"][0]["cause"], found["exit_code"])


def test_a_foreign_line_is_left_out_and_named(record: Record) -> None:
    """A journal with a line that is no event is read without it, and the problem is named."""
    journal = record.path / "events.jsonl"
    journal.write_bytes(b"nonsense\n" + journal.read_bytes())
    again = Record.read(record.path)
    assert (len(record.events), 1) == (len(again.events), len(again.problems))


def test_links_carry_the_window(start: Start) -> None:
    """A link template is filled with the window of the run in epoch milliseconds."""
    folder = start()
    facts = {"what": "run", "window": {"start": "2026-11-24T00:00:00Z", "end": "2026-11-24T01:00:00Z"}}
    folder.journal.append("note", facts)
    record = Record.read(folder.path)
    assert record.links["dashboard"].startswith("https://grafana.example.com/")


def test_rendering_twice_gives_the_same(record: Record) -> None:
    """The page is a function of the record alone."""
    assert report(Record.read(record.path)) == (Path(record.path) / "report.html").read_text()


def test_the_postmortem_shows_the_charts_by_file(record: Record) -> None:
    """A chart is a file of the record, and the postmortem links it with its sentence."""
    assert base64.b64decode(PNG) == (record.path / "chart-1.png").read_bytes()
    assert "![p95 latency rose to 612 ms](chart-1.png)" in postmortem(record)


def test_impact_counts_from_the_start_of_the_symptom(record: Record) -> None:
    """The page says how long after the symptom's start the action was sent and the objective held again."""
    assert ["This run", "Action", "Objective held again"] == [name for name, _ in impact(record)]
    assert {"12m00s after it began"} == {fact.partition(", ")[2] for _, fact in impact(record)}


def test_no_symptom_has_no_impact(start: Start) -> None:
    """A run without a symptom claims no impact."""
    assert () == impact(Record.read(start().seal("succeeded", "healthy")))


def test_checks_are_on_every_view(start: Start) -> None:
    """A failed check stands on page, summary and JUnit with its fix."""
    folder = start()
    good = {"group": "tools", "name": "kubectl", "status": "passed", "observed": "1.32", "required": "1.28"}
    bad = {"group": "tools", "name": "helm", "status": "failed", "observed": "not found", "required": "3.12"}
    checks = [{**good, "fix": "", "needed": True}, {**bad, "fix": "install helm 3.12", "needed": True}]
    folder.journal.append("note", {"what": "checks", "items": checks})
    record = Record.read(folder.path)
    assert [True, True, True] == ["install helm 3.12" in view(record) for view in (report, summary, junit)]


def test_a_failed_cell_is_the_next_step(start: Start) -> None:
    """A run that failed in a cell says which one, what it raised, and which cells never ran."""
    folder = start()
    write = folder.journal.append
    write("cell.ended", {"status": "error", "error": {"name": "KeyError", "value": "x"}}, cell="latency")
    write("cell.ended", {"status": "not_run"}, cell="record")
    record = Record.read(folder.seal("failed", "unknown", reason="KeyError: x"))
    head = headline(record)
    assert ("KeyError: x. Cells that never ran: record.", True) == (head.ending, "cell latency" in head.next_step)


@pytest.mark.parametrize("status", ["interrupted", "timed_out", "kernel_died", "stopped_early"])
def test_a_broken_end_is_said_first(start: Start, status: str) -> None:
    """A run that did not reach its end says so on page and summary, and never with a green sign for the run."""
    record = Record.read(start().seal(status, "unknown", reason="the kernel was killed (signal 9)"))
    assert ([True, True], None) == (
        ["signal 9" in view(record) for view in (report, summary)],
        re.search(r'class="chip[^"]* good"', report(record)),
    )
