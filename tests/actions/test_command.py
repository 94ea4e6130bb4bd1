"""A command as a guarded action: words without a shell, missing values and secrets refused, started once."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runbook_lib.actions.choose import choose
from runbook_lib.actions.command import Command, command
from runbook_lib.clients._tape import LiveTape
from runbook_lib.clients.tools import ToolsClient
from runbook_lib.errors import ActionRejectedError, OutcomeUnknownError, UnknownNameError
from runbook_lib.model import Environment, NoPlan, Plan, Window


@pytest.fixture
def run() -> Any:
    """What a command needs of a run."""
    tools = ToolsClient(endpoint=None, tape=LiveTape(), window=Window.last(1), workload={})
    environment = Environment("lab", "", ("command",), {}, {})
    return SimpleNamespace(service=SimpleNamespace(name="api"), environment=environment, tools=tools)


def planned(run: Any, line: str, **values: Any) -> Plan:
    """The plan of a line that has one."""
    plan = command(run, line, **values)
    assert isinstance(plan, Plan), plan
    return plan


def test_a_value_stays_in_one_word(run: Any) -> None:
    """A value with spaces and operators of a shell is one word, or a part of one."""
    plan = planned(run, "echo tag={tag}", tag="v1; rm -rf / && echo $(id)")
    assert ["echo", "tag=v1; rm -rf / && echo $(id)"] == plan.after["argv"]


@pytest.mark.parametrize(
    ("line", "values", "word"),
    [
        ("helm upgrade api --set image.tag={tag}", {"tag": ""}, "tag is not given"),
        ("kubectl delete pod {pod}", {"pod": "--all"}, "begins with a dash"),
        ("sh -c {line}", {"line": "id"}, "as commands"),
        ("echo {text}", {"text": "a\nb"}, "line break"),
        ("curl -H {header}", {"header": "Authorization: Bearer abcdefghijklmnop"}, "secret"),
    ],
    ids=["missing", "option", "shell", "line-break", "secret"],
)
def test_is_not_planned(run: Any, line: str, values: dict[str, str], word: str) -> None:
    """What cannot be started safely has no plan, and the reason says why without repeating a secret."""
    found = command(run, line, **values)
    assert isinstance(found, NoPlan)
    assert word in found.reason
    assert "abcdefghijklmnop" not in found.reason


def test_a_change_needs_a_second_person(run: Any) -> None:
    """A command that is not known to read only is destructive; one that reads is not."""
    assert planned(run, "helm rollback api 3").destructive
    assert not planned(run, "kubectl get pods", reads=True).destructive


def test_starts_once_without_a_shell(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words arrive as they are, exactly once, and our environment does not."""
    monkeypatch.setenv("API_TOKEN", "do-not-pass-this-on")
    script, log = tmp_path / "note", tmp_path / "log"
    script.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        f"open({str(log)!r}, 'a').write(repr(sys.argv[1:]) + str('API_TOKEN' in os.environ))\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    action, plan = Command(run.tools, run), planned(run, "note {what}", what="$HOME; ls")
    assert [] == [guard for guard in action.guards(plan, run.environment) if not guard.passed]
    action.send(plan)
    assert "['$HOME; ls']False" == log.read_text()
    assert 0 == action.read_back(plan)["exit_code"]


def test_an_error_leaves_the_outcome_unknown(run: Any) -> None:
    """A command that fails may have changed something: only one that reads is simply rejected."""
    with pytest.raises(OutcomeUnknownError, match="exit code"):
        Command(run.tools, run).send(planned(run, "false"))
    with pytest.raises(ActionRejectedError, match="only reads"):
        Command(run.tools, run).send(planned(run, "false", reads=True))


def test_a_missing_program_is_refused_by_a_guard(run: Any) -> None:
    """What is not installed is refused before an intent is written."""
    plan = planned(run, "no-such-program-here now")
    refused = [guard.name for guard in Command(run.tools, run).guards(plan, run.environment) if not guard.passed]
    assert ["the program is installed"] == refused


def test_choose_takes_at_most_one(run: Any) -> None:
    """Without a name nothing is chosen; an unknown name names the nearest."""
    plans = {"upgrade": planned(run, "helm upgrade api ./api"), "scale": NoPlan("already so")}
    assert isinstance(choose("", **plans), NoPlan)
    assert plans["upgrade"] is choose("upgrade", **plans)
    with pytest.raises(UnknownNameError, match="Did you mean 'upgrade'"):
        choose("upgrad", **plans)
