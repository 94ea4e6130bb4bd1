"""The command starts fast because it imports only what a verb uses, and its errors help."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: What typer brings: by itself, and from 0.29 on pydantic to read the words of any command.
TYPER = {"typer", "click", "shellingham", "annotated_doc"}
VALUES = {"annotated_types", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection"}
#: Put into every process by packages of the test environment.
ENVIRONMENT = {"_distutils_hack", "_hypothesis_ftz_detector"}


def runbook(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the command as a person does."""
    code = "import sys; from runbook_lib.cli import main; sys.argv = ['runbook', *sys.argv[1:]]; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        (["--help"], set()),
        (["list"], VALUES),
        (["show", "high_latency"], VALUES),
        (["records", "list", "--archive", "/nowhere"], VALUES),
        (["records", "verify", "--archive", "/nowhere"], VALUES),
        (["lab", "faults"], VALUES),
    ],
    ids=["help", "list", "show", "records", "verify", "faults"],
)
def test_imports_only_what_it_uses(words: list[str], allowed: set[str]) -> None:
    """Of all that is installed, a verb that reads files imports what the command is made of, and nothing else."""
    code = (
        "import sys, sysconfig, atexit; from runbook_lib.cli import main\n"
        "def told():\n"
        "    files = {name: getattr(module, '__file__', None) or '' for name, module in list(sys.modules.items())}\n"
        "    place = sysconfig.get_path('purelib')\n"
        "    names = {name.split('.')[0] for name, file in files.items() if file.startswith(place)}\n"
        "    sys.stderr.write('FOREIGN ' + ' '.join(sorted(names)))\n"
        "atexit.register(told); sys.argv = ['runbook', *sys.argv[1:]]; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    loaded = set(done.stderr.rpartition("FOREIGN ")[2].split())
    assert "typer" in loaded, done.stderr
    assert set() == loaded - TYPER - ENVIRONMENT - allowed


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["rnu", "high_latency"], "Did you mean 'run'?"),
        (["run", "hihg_latency"], "Did you mean 'high_latency'?"),
        (["show", "pre-fligth"], "Did you mean 'preflight'?"),
        (["run", "high_latency", "-p", "servce=api"], "Did you mean 'service'?"),
        (["run", "high_latency", "-p", "service=apii", "-p", "environment=lab"], "Did you mean 'api'?"),
        (["run", "high_latency", "-p", "window_minutes=ten"], "window_minutes"),
        (["run", "high_latency", "-p", "window_minutes"], "name=value"),
        (["run", "high_latency", "-p", "replicas=5", "-p", "replicas=6"], "given twice"),
        (["run", "high_latency", "-f", "/nowhere.toml"], "/nowhere.toml"),
        (["lab", "fault", "cpu_bond"], "Did you mean 'cpu_bound'?"),
    ],
    ids=["verb", "runbook", "show", "parameter", "service", "type", "form", "twice", "file", "fault"],
)
def test_wrong_use_is_refused_with_a_hint(words: list[str], hint: str) -> None:
    """Wrong use exits 2 with one line that names the mistake and the nearest right word, never a traceback."""
    done = runbook(*words)
    assert 2 == done.returncode, done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


def test_list_tells_what_may_change() -> None:
    """The list names every runbook with the kinds of action that it may plan."""
    found = {one["name"]: one["actions"] for one in json.loads(runbook("list", "--json").stdout)["runbooks"]}
    assert ["scale", "end_backend"] == found["high_latency"]
    assert [] == found["preflight"]


def test_show_has_typed_parameters() -> None:
    """The parameters of a runbook are shown with type, default and meaning."""
    shown = json.loads(runbook("show", "high_latency", "--json").stdout)
    by_name = {one["name"]: one for one in shown["parameters"]}
    assert {"name": "replicas", "type": "int", "default": 5} == {
        key: by_name["replicas"][key] for key in ("name", "type", "default")
    }


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    """A second init in the same folder is refused and leaves the catalogue as it is."""
    assert 0 == runbook("init", str(tmp_path)).returncode
    (tmp_path / "runbook.toml").write_text("mine", encoding="utf-8")
    assert 2 == runbook("init", str(tmp_path)).returncode
    assert "mine" == (tmp_path / "runbook.toml").read_text(encoding="utf-8")


def test_init_makes_a_catalogue_that_is_right(tmp_path: Path) -> None:
    """The catalogue that init writes is read without an error."""
    from runbook_lib import catalog

    runbook("init", str(tmp_path))
    made = catalog.load(tmp_path / "runbook.toml")
    assert () == made.environment("production").actions


def test_lab_that_is_down_says_how_to_start_it(tmp_path: Path) -> None:
    """An environment whose lab is down is a configuration error that names the command."""
    (tmp_path / "runbook.toml").write_text((ROOT / "runbook.toml").read_text(encoding="utf-8"), encoding="utf-8")
    done = runbook("run", "high_latency", cwd=tmp_path)
    assert 2 == done.returncode
    assert "runbook lab up" in done.stderr
