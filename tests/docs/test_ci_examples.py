"""The CI examples: their shape, their safety, and that every command in them exists."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from runbook_lib.cli import VERBS

CI = Path(__file__).parents[2] / "docs" / "examples" / "ci"
FILES = sorted(CI.iterdir())


def load(name: str) -> Any:
    """A file; ``on`` stays text, though YAML 1.1 takes it for true."""
    return yaml.load((CI / name).read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # a loader of texts only


def scripts(value: Any) -> Iterator[str]:
    """Every text in which the command is called."""
    if isinstance(value, str):
        if re.search(r"^\s*(?:\S+=\$\()?runbook \w", value, re.MULTILINE):
            yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from scripts(one)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_command_exists(path: Path) -> None:
    """Each verb that an example calls is one of ours, and its script is one that a shell reads."""
    called = [verb for script in scripts(load(path.name)) for verb in re.findall(r"\brunbook ([a-z]+)", script)]
    assert called
    assert set() == set(called) - set(VERBS)
    for script in scripts(load(path.name)):
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, timeout=10, check=False)
        assert 0 == done.returncode, done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_is_applied_without_an_approval(path: Path) -> None:
    """Wherever an example applies, it hands over an approval of the plan."""
    for script in scripts(load(path.name)):
        if "--apply" in script:
            assert '--approval "$approval"' in script
    text = path.read_text(encoding="utf-8")
    assert text.count("--apply") == text.count("--approval")


def test_github_workflow_is_careful() -> None:
    """It reads without an environment and acts behind one; inputs never become text of a script; records are kept."""
    flow = load("github-workflow.yml")
    assert {"contents": "read"} == flow["permissions"]
    assert "environment" not in flow["jobs"]["diagnose"]
    assert ("production", "diagnose") == (flow["jobs"]["act"]["environment"], flow["jobs"]["act"]["needs"])
    assert "false" == flow["concurrency"]["cancel-in-progress"]
    for job in flow["jobs"].values():
        assert 0 < int(job["timeout-minutes"]) <= 60
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")
        kept = [step for step in job["steps"] if "upload-artifact" in step.get("uses", "")]
        assert ["always()"] == [step["if"] for step in kept]


def test_argo_workflow_waits_for_a_person() -> None:
    """Between diagnosis and action stands a suspended step, and the two have different accounts."""
    templates = {one["name"]: one for one in load("argo-workflow.yaml")["spec"]["templates"]}
    order = [step["template"] for group in templates["respond"]["steps"] for step in group]
    assert ["diagnose", "approval", "act"] == order
    assert "suspend" in templates["approval"]
    assert templates["diagnose"]["serviceAccountName"] != templates["act"]["serviceAccountName"]
    for name in ("diagnose", "act"):
        assert "{{" not in "".join(templates[name]["container"]["args"])


@pytest.mark.skipif(find_spec("check_jsonschema") is None, reason="needs check-jsonschema, which holds the schemas")
@pytest.mark.parametrize(
    ("name", "schema"), [("github-workflow.yml", "github-workflows"), ("gitlab-ci.yml", "gitlab-ci")]
)
def test_published_schema(name: str, schema: str) -> None:
    """The example fits the schema that its vendor's users share."""
    import jsonschema

    # Found without importing it: the schemas need none of its own dependencies.
    (place,) = find_spec("check_jsonschema").submodule_search_locations
    held = Path(place) / "builtin_schemas" / "vendor" / f"{schema}.json"
    content = yaml.load((CI / name).read_text(encoding="utf-8"), Loader=Typed)
    found = list(jsonschema.Draft7Validator(json.loads(held.read_text(encoding="utf-8"))).iter_errors(content))
    assert [] == [error.message for error in found]


class Typed(yaml.SafeLoader):
    """Numbers and booleans as YAML 1.2 has them: ``on`` is a text."""


Typed.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:bool" or first in "tTfF"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
