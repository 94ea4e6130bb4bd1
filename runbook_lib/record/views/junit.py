"""JUnit XML: one test case for each check, for CI systems that show nothing else."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

from runbook_lib.record.record import Record
from runbook_lib.record.views.headline import headline, quantity

#: Status of a check to the tag that JUnit has for it; none for a pass.
_CHECKS = {"passed": "", "failed": "failure", "skipped": "skipped", "unknown": "error"}


def junit(record: Record) -> str:
    """The checks of a record as JUnit XML.

    A finding that needs a person is a failure, a gap an error where the verdict needs it and skipped where it does
    not, a cause that was ruled out a pass. A cell that raised or never ran is an error.
    """
    suite = ET.Element("testsuite", {"name": f"{record.run.get('runbook', 'run')} {record.run_id}"})
    if record.started:
        suite.set("timestamp", record.started.strftime("%Y-%m-%dT%H:%M:%S"))
    if record.duration_seconds is not None:
        suite.set("time", f"{record.duration_seconds:.3f}")
    _verdict(suite, record)
    _findings(suite, record)
    _checks(suite, record)
    _cells(suite, record)
    for tag, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(name, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("tests", str(len(suite.findall("testcase"))))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(suite, encoding="unicode")}\n'


def _verdict(suite: ET.Element, record: Record) -> None:
    head, case = headline(record), _case(suite, "verdict", "run")
    if head.verdict == "unknown":
        _result(case, "error", head.what, head.next_step)
    elif head.verdict != "healthy":
        _result(case, "failure", head.what, f"{head.why}\n{head.next_step}")


def _findings(suite: ET.Element, record: Record) -> None:
    for finding in record.findings:
        case = _case(suite, f"{finding['role']} {finding['cause']}", "findings")
        if finding["severity"] in {"critical", "warning", "unknown"}:
            _result(case, "failure", str(finding["title"]), _numbers(finding))
    for finding in record.ruled_out:
        _case(suite, f"ruled out {finding['cause']}", "findings")


def _checks(suite: ET.Element, record: Record) -> None:
    for check in record.checks:
        case = _case(suite, f"{check['group']}: {check['name']}", "checks")
        tag = _CHECKS.get(str(check["status"]), "error") if check["needed"] else "skipped"
        if tag and check["status"] != "passed":
            _result(case, tag, str(check["observed"]), str(check.get("fix", "")))
    for gap in record.gaps:
        case = _case(suite, f"{gap['source']}.{gap['name']}", "sources")
        _result(case, "error" if gap["needed"] else "skipped", str(gap["reason"]), str(gap["title"]))


def _cells(suite: ET.Element, record: Record) -> None:
    for cell in record.cells:
        case = _case(suite, cell.name or "cell", "cells")
        if cell.duration_seconds is not None:
            case.set("time", f"{cell.duration_seconds:.3f}")
        if cell.status != "ok":
            _result(case, "error", cell.status, cell.error)


def _case(suite: ET.Element, name: str, group: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", {"name": clean(name), "classname": f"runbook.{group}"})


def _result(case: ET.Element, tag: str, message: str, text: str) -> None:
    ET.SubElement(case, tag, {"message": clean(message)}).text = clean(text)


def _numbers(finding: Any) -> str:
    observed, threshold = finding.get("observed"), finding.get("threshold")
    parts = [f"observed {quantity(observed)}"] if observed else []
    parts += [f"threshold {quantity(threshold)} {finding.get('threshold_source', '')}".strip()] if threshold else []
    return ", ".join(parts)


def clean(text: str) -> str:
    """``text`` without the control characters that XML cannot hold."""
    return "".join(c for c in text if c in "\t\n\r" or (c >= " " and not "\ufffe" <= c <= "\uffff"))
