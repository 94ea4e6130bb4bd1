"""Pages of many shapes become notebooks: nothing is lost, nothing is run, and edits by hand are kept."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks import fuzz
from runbook_lib import catalog
from runbook_lib.authoring import cells
from runbook_lib.authoring.draft import read
from runbook_lib.authoring.importing import Imported, import_page, runbook_name
from runbook_lib.authoring.lint import lint
from runbook_lib.errors import UsageError

PAGES = sorted((Path(__file__).parents[2] / "docs" / "examples" / "pages").glob("*.md"))
API = next(page for page in PAGES if page.stem == "api-service-runbook")


def write(done: Imported, path: Path) -> Path:
    """The notebook as a file."""
    path.write_text(cells.text(done.content), encoding="utf-8")
    return path


def source(content: dict[str, Any], name: str) -> str:
    """The text of a cell."""
    return "".join(next(cell for cell in content["cells"] if cell["id"] == name)["source"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_nothing_is_lost(page: Path) -> None:
    """Every statement of a page became something that is listed."""
    draft = read(page.read_text(encoding="utf-8"))
    assert () == draft.lost()
    assert draft.instructions


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_line_of_the_page_is_in_the_notebook(page: Path, tmp_path: Path) -> None:
    """The words of the page can be read in the notebook, so that nothing depends on having been understood."""
    done = import_page(page, runbook_name(page))
    shown = json.dumps(done.content, ensure_ascii=False)
    for line in page.read_text(encoding="utf-8").splitlines():
        for word in line.replace('"', " ").replace("\\", " ").split():
            if word.isalnum() and word not in {"title", "reviewed", "every", "quarter"}:
                assert word in shown, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_notebook_keeps_the_rules(page: Path, tmp_path: Path) -> None:
    """An imported notebook breaks no rule of lint, as it comes."""
    path = write(import_page(page, runbook_name(page)), tmp_path / f"{runbook_name(page)}.ipynb")
    assert [] == [str(problem) for problem in lint(path)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_changes_are_plans_only(page: Path) -> None:
    """Outside its one action cell a notebook applies nothing, and no change is made without being named."""
    content = import_page(page, "page").content
    for cell in content["cells"]:
        if cell["cell_type"] == "code" and cell["metadata"]["tags"] != ["action"]:
            assert ".apply(" not in "".join(cell["source"])
    actions = [cell for cell in content["cells"] if cell["metadata"].get("tags") == ["action"]]
    assert all("actions.choose(" in "".join(cell["source"]) and "change" in "".join(cell["source"]) for cell in actions)


def test_the_api_page() -> None:
    """The example page becomes exactly these steps, checks, plans, parameters and entries; one sentence is prose."""
    draft = read(API.read_text(encoding="utf-8"))
    became = Counter(one.became for one in draft.instructions)
    assert {"step": 7, "check": 11, "plan": 4, "parameter": 2, "catalogue": 16, "title": 1, "text": 1} == became
    assert ["scale", "deploy", "rollback", "notify"] == [step.name for step in draft.steps if step.plan]
    assert [127] == [one.line for one in draft.instructions if one.by_hand]
    assert ("int", 5) == draft.parameters["replicas"][:2]
    assert {
        "namespace": "production",
        "deployment": "api-deployment",
        "release": "api-release",
    }.items() <= draft.literals.items()
    assert 'analysis.expected("Smoke Test", run.service_probe.status(), version=image_tag)' in source(
        dict(import_page(API, "api").content), "verify"
    )


def test_is_about_the_place_of_its_catalogue() -> None:
    """An imported runbook names the service and the environment that it was imported for."""
    lines = source(dict(import_page(API, "api", place=("shop", "staging")).content), "parameters")
    assert ['service: str = "shop"', 'environment: str = "staging"'] == [
        line.partition("  #")[0] for line in lines.splitlines()[:2]
    ]


def test_the_api_page_reaches_a_verdict() -> None:
    """Its symptom, its database and its processors are judged, and its tools and access are checked."""
    content = dict(import_page(API, "api").content)
    for judged in ("objective_breached(latency", "analysis.database(activity", "analysis.saturated(cpu"):
        assert judged in source(content, "judgement")
    assert 'run.preflight("permissions", "tools")' == source(content, "permissions-and-tools-of-dependencies")


@pytest.mark.parametrize(
    "text",
    ["```bash\nimport os\n```", "```bash\nhelm rollback $class\n```", "```bash\nexport lambda=1\nfoo $run\n```"],
    ids=["command", "variable", "assigned"],
)
def test_words_of_python_are_no_names(text: str) -> None:
    """A command, a variable or a placeholder that is named like a word of Python gives a notebook that is Python."""
    assert fuzz.page(f"# Page\n\n## Fix\n\n{text}\n")


def test_facts_make_a_catalogue(tmp_path: Path) -> None:
    """What the example page says about its service is a catalogue that the library reads."""
    path = tmp_path / "runbook.toml"
    path.write_text(read(API.read_text(encoding="utf-8")).facts.toml("api"), encoding="utf-8")
    service = catalog.load(path).service("api")
    assert "Platform Engineering" == service.owner
    assert {
        "primary": "slack:#platform-oncall",
        "secondary": "pagerduty:platform-escalation@company.pagerduty.com",
    } == service.contacts
    assert {"kubectl": "1.28", "docker": "24", "helm": "3.12"} == service.tools
    assert (0.999, 0.2) == (service.objectives["availability"].target, service.objectives["latency"].threshold_seconds)
    assert ("slack:#api-alerts", "pagerduty:API Service") == service.alerts


def test_a_secret_in_a_page_is_redacted_and_told(tmp_path: Path) -> None:
    """A page with a password gives a notebook without it, and says which line to mend."""
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```bash\nexport DB_PASSWORD=hunter2secret\nkubectl get pods\n```\n", encoding="utf-8")
    done = import_page(page, "page")
    assert "hunter2secret" not in json.dumps(done.content)
    assert [4] == done.draft.secrets


def imported(tmp_path: Path, text: str, existing: Path | None = None) -> tuple[Path, Imported]:
    """Import a text."""
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    done = import_page(page, "page", existing)
    return write(done, tmp_path / "page.ipynb"), done


def change(path: Path, edit: Any) -> None:
    """Edit a notebook by hand."""
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")


BEFORE = "# Page\n\n## Diagnosis\n\n- Check the pods\n\n## Verification\n\n- Error rate is below 1%\n"
AFTER = BEFORE.replace("- Check the pods\n", "- Check the pods\n- Check the events\n")


def test_importing_twice_changes_nothing(tmp_path: Path) -> None:
    """A second import of the same page gives the same file."""
    path, _ = imported(tmp_path, BEFORE)
    first = path.read_text(encoding="utf-8")
    path, _ = imported(tmp_path, BEFORE, path)
    assert first == path.read_text(encoding="utf-8")


def test_the_page_moves_on(tmp_path: Path) -> None:
    """A cell that nobody edited follows the page."""
    path, _ = imported(tmp_path, BEFORE)
    path, _ = imported(tmp_path, AFTER, path)
    assert "run.kubernetes.events()" in path.read_text(encoding="utf-8")


def test_edits_by_hand_are_kept(tmp_path: Path) -> None:
    """An edited cell stays, its conflict is told; a cell of one's own stays in its place; a deleted one stays away."""
    path, _ = imported(tmp_path, BEFORE)
    own = {"cell_type": "markdown", "id": "my-own", "metadata": {}, "source": ["## Mine?\n"]}

    def edit(content: dict[str, Any]) -> None:
        names = [cell["id"] for cell in content["cells"]]
        content["cells"][names.index("steps-of-diagnosis")]["source"] = ["run.kubernetes.pods()"]
        content["cells"].insert(names.index("steps-of-diagnosis") + 1, own)
        content["cells"] = [cell for cell in content["cells"] if cell["id"] != "what-it-says"]

    change(path, edit)
    path, done = imported(tmp_path, AFTER, path)
    content = json.loads(path.read_text(encoding="utf-8"))
    names = [cell["id"] for cell in content["cells"]]
    assert "run.kubernetes.pods()" == source(content, "steps-of-diagnosis")
    assert names.index("steps-of-diagnosis") + 1 == names.index("my-own")
    assert "what-it-says" not in names
    merge = done.merge
    assert (["steps-of-diagnosis"], ["steps-of-diagnosis"], ["what-it-says"], ["my-own"]) == (
        merge.kept,
        merge.conflicts,
        merge.removed,
        merge.added,
    )


def test_edited_parameters_get_the_new_ones(tmp_path: Path) -> None:
    """A parameters cell with another default keeps it and still gets the parameter that the page needs by now."""
    path, _ = imported(tmp_path, BEFORE)
    change(path, lambda content: content["cells"][1].update(source=['service: str = "mine"  # my service']))
    text = BEFORE.replace("- Check the pods\n", "- Check: `kubectl delete pod <pod>`\n")
    path, done = imported(tmp_path, text, path)
    parameters = source(json.loads(path.read_text(encoding="utf-8")), "parameters")
    assert 'service: str = "mine"' in parameters
    assert {"pod", "change", "approval"} <= set(done.merge.parameters)
    assert 1 == parameters.count("service:")


def test_a_notebook_of_another_kind_is_not_overwritten(tmp_path: Path) -> None:
    """A notebook that no import made is refused, not merged into."""
    path = tmp_path / "mine.ipynb"
    path.write_text(json.dumps({"cells": [], "metadata": {"runbook": {}}}), encoding="utf-8")
    with pytest.raises(UsageError, match="not made by an import"):
        import_page(API, "mine", path)


def test_any_text_becomes_a_notebook() -> None:
    """Whatever a page holds: nothing is lost, its code is Python, no call is made but the library's, nothing starts.

    `python -m benchmarks.fuzz` imports fifty thousand pages.
    """
    with fuzz.nothing_starts() as started:
        assert 250 < fuzz.pages(300)
    assert [] == started
