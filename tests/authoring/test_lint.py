"""Each rule of ``runbook lint`` finds the one thing that it is about."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.authoring.lint import RULES, lint
from runbook_lib.errors import NotebookError

GOOD = json.loads((Path(__file__).parents[2] / "notebooks" / "high_latency.ipynb").read_text(encoding="utf-8"))
Notebook = dict[str, Any]
Change = Callable[[Notebook], object]


def cell(content: Notebook, name: str) -> Notebook:
    """The cell of that id."""
    found: Notebook = next(one for one in content["cells"] if one["id"] == name)
    return found


def code(name: str, source: str) -> Change:
    """Puts a line in front of a cell's code."""
    return lambda content: cell(content, name)["source"].insert(0, f"{source}\n")


def set_source(name: str, source: str) -> Change:
    """Gives a cell another text."""
    return lambda content: cell(content, name).update(source=[source])


BROKEN: list[tuple[str, str, Change]] = [
    ("outputs", "latency", lambda content: cell(content, "latency").update(execution_count=3)),
    ("ids", "Cell 9", lambda content: cell(content, "pods").update(id="Cell 9")),
    ("ids", "database", lambda content: cell(content, "pods").update(id="database")),
    ("size", "", lambda content: content["cells"].__delitem__(slice(3, 13))),
    ("size", "plan", lambda content: cell(content, "plan")["source"].extend(["\n", *["plan\n"] * 10])),
    ("order", "", lambda content: content["cells"].append(content["cells"].pop(2))),
    ("order", "plan", lambda content: cell(content, "plan")["metadata"].update(tags=["plans"])),
    ("parameters", "parameters", code("parameters", "limit: int = 2 + 2")),
    ("plain", "latency", code("latency", "for one in (1, 2): one")),
    ("plain", "latency", code("latency", "print(1)")),
    ("syntax", "latency", code("latency", "!kubectl get pods")),
    ("syntax", "latency", code("latency", "%%bash")),
    ("syntax", "latency", code("latency", "if")),
    ("shows", "findings", set_source("findings", "found = run.findings")),
    ("shows", "findings", set_source("findings", "run.findings, run")),
    ("action-alone", "apply", set_source("apply", "latency = run.apply(plan, approval=approval)\nlatency")),
    ("title", "title", set_source("title", "# High latency\n\n**Meaning.** It is slow.")),
    ("questions", "what-changed", set_source("what-changed", "## What changed\n")),
    ("proven", "", lambda content: content["metadata"]["runbook"].update(scenarios=[])),
    ("scenario", "", lambda content: content["metadata"]["runbook"].update(scenarios=["no_such_fault"])),
    ("secrets", "what-changed", set_source("what-changed", "## Why?\n\nexport DB_PASSWORD=hunter2secret")),
    ("naive-time", "latency", code("latency", "since = datetime.now()")),
    ("naive-time", "latency", code("latency", "since = datetime.datetime.utcnow()")),
    ("naive-time", "latency", code("latency", "since = datetime(2026, 1, 1)")),
    ("unknown-query", "latency", code("latency", "run.metrics.latency_second()")),
    ("unknown-query", "latency", code("latency", 'run.metrics.query("latency_secnds")')),
    ("unknown-query", "database", code("database", "sql.activty()")),
    ("unknown-query", "pods", code("pods", "cluster.pod()")),
    ("unknown-query", "findings", code("findings", "analysis.databse(1)")),
    ("timeout", "latency", code("latency", 'answer = httpx.get("http://127.0.0.1/")')),
    ("imports", "setup", code("setup", "import subprocess")),
    ("write", "plan", code("plan", "run.apply(plan)")),
    ("write", "latency", code("latency", "run.kubernetes.scale(replicas=0, uid='', current=1)")),
    ("write", "database", code("database", "sql.terminate")),
]


@pytest.mark.parametrize(("rule", "name", "change"), BROKEN, ids=[f"{rule}-{i}" for i, (rule, *_) in enumerate(BROKEN)])
def test_finds(rule: str, name: str, change: Change, tmp_path: Path) -> None:
    """A notebook with one mistake breaks the rule that is about it, in the cell that it is in."""
    content = deepcopy(GOOD)
    change(content)
    path = tmp_path / "broken.ipynb"
    path.write_text(json.dumps(content), encoding="utf-8")
    found = lint(path, scenarios=frozenset(GOOD["metadata"]["runbook"]["scenarios"]))
    assert (rule, name) in {(problem.rule, problem.cell) for problem in found}, [str(one) for one in found]


def test_the_unchanged_notebook_is_clean(tmp_path: Path) -> None:
    """What the mistakes are made in breaks no rule: each of them is found because of the mistake."""
    path = tmp_path / "good.ipynb"
    path.write_text(json.dumps(GOOD), encoding="utf-8")
    assert () == lint(path)


def test_every_rule_has_a_mistake() -> None:
    """No rule goes untested."""
    assert set() == set(RULES) - {rule for rule, *_ in BROKEN}


def test_zoned_times_and_timeouts_are_fine(tmp_path: Path) -> None:
    """A time with a zone and a call with a timeout are no problem."""
    content = deepcopy(GOOD)
    code("latency", "since = datetime.now(UTC)")(content)
    code("latency", 'answer = httpx.get("http://127.0.0.1/", timeout=5)')(content)
    path = tmp_path / "fine.ipynb"
    path.write_text(json.dumps(content), encoding="utf-8")
    assert set() == {problem.rule for problem in lint(path)} & {"naive-time", "timeout"}


@pytest.mark.parametrize("text", ["", "[]", '{"cells": 3}', "\x00"], ids=["empty", "list", "number", "binary"])
def test_no_notebook(text: str, tmp_path: Path) -> None:
    """A file that is no notebook is wrong use, never a crash."""
    path = tmp_path / "no.ipynb"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(NotebookError):
        lint(path)
