"""What a run says of itself, on real kernels."""

from __future__ import annotations

import json
import re
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from runbook_lib.errors import CatalogError, NotebookError, ParameterError, UnknownNameError, UsageError
from runbook_lib.headless.execution import Limits
from runbook_lib.headless.runner import execute
from runbook_lib.record.status import Status

from .conftest import Runner, notebook, record_of, statuses


def outputs(record: Path, cell: str) -> list[dict[str, object]]:
    """The outputs of one cell in the record's notebook."""
    cells = json.loads((record / "notebook.ipynb").read_text())["cells"]
    return next(one["outputs"] for one in cells if one["id"] == cell)


def test_a_run_to_the_end_leaves_a_sealed_record(tmp_path: Path) -> None:
    """Every cell ran: status, exit code, journal and notebook agree, and files are for the owner only."""
    path = notebook(tmp_path / "tiny.ipynb", "print('hello', release)", "count + 1")
    seen: list[tuple[str, str]] = []
    result = execute(
        path,
        {"count": "5"},
        archive=str(tmp_path / "archive"),
        progress=lambda cell, status: seen.append((cell, status)),
    )
    assert (Status.SUCCEEDED, 0, "") == (result.status, result.exit_code, result.reason)
    record = record_of(tmp_path / "archive")
    assert record.sealed
    assert {"one": "ok", "two": "ok"} == statuses(record)
    assert {"release": "1.10", "count": 5} == record.run["parameters"]
    assert [{"name": "stdout", "output_type": "stream", "text": "hello 1.10\n"}] == outputs(result.record, "one")
    assert {"text/plain": "6"} == outputs(result.record, "two")[0]["data"]
    assert 0o700 == stat.S_IMODE(result.record.stat().st_mode)
    assert {0o600} == {stat.S_IMODE(one.stat().st_mode) for one in result.record.rglob("*") if one.is_file()}
    assert ("two", "running") in seen
    assert ("two", "ok") == seen[-1]


def test_a_cell_that_raises_ends_the_run(tmp_path: Path) -> None:
    """The error is told, and no cell behind it counts as run."""
    path = notebook(tmp_path / "tiny.ipynb", "1 / 0", "print('never')")
    result = execute(path, archive=str(tmp_path / "archive"))
    assert (Status.FAILED, 1, "ZeroDivisionError: division by zero") == (
        result.status,
        result.exit_code,
        result.reason,
    )
    assert {"one": "error", "two": "not_run"} == statuses(record_of(tmp_path / "archive"))
    cells = json.loads((result.record / "notebook.ipynb").read_text())["cells"]
    marks = {one["id"]: one["metadata"]["papermill"]["status"] for one in cells}
    assert {"parameters": "completed", "one": "failed", "two": "not_run"} == marks


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        pytest.param("import sys; sys.exit(0)", "SystemExit", id="sys.exit(0)"),
        pytest.param("exit()", "exit()", id="exit()"),
        pytest.param("quit()", "exit()", id="quit()"),
    ],
)
def test_a_cell_that_exits_is_no_success(tmp_path: Path, source: str, reason: str) -> None:
    """Leaving a cell early fails the run and runs no further cell."""
    path = notebook(tmp_path / "tiny.ipynb", source, "print('never')")
    result = execute(path, archive=str(tmp_path / "archive"))
    assert (Status.FAILED, 1) == (result.status, result.exit_code)
    assert reason in result.reason
    assert "not_run" == statuses(record_of(tmp_path / "archive"))["two"]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        pytest.param("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL", id="killed"),
        pytest.param("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "SIGTERM", id="terminated"),
        pytest.param("import ctypes; ctypes.string_at(0)", "SIGSEGV", id="segmentation fault"),
        pytest.param("import os; os._exit(0)", "exit code 0", id="clean exit of the process"),
    ],
)
def test_a_dead_kernel_is_said_to_be_dead(tmp_path: Path, source: str, told: str) -> None:
    """However the kernel's process ends, the run is no success, and what was printed before is kept."""
    path = notebook(
        tmp_path / "tiny.ipynb", f"print('before', flush=True); import time; time.sleep(0.2); {source}", "2"
    )
    result = execute(path, archive=str(tmp_path / "archive"))
    assert (Status.KERNEL_DIED, 138) == (result.status, result.exit_code)
    assert told in result.reason
    assert {"one": "died", "two": "not_run"} == statuses(record_of(tmp_path / "archive"))
    assert "before\n" in [one.get("text") for one in outputs(result.record, "one")]


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("import time; time.sleep(60)", id="sleeps"),
        pytest.param(
            "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except KeyboardInterrupt:\n        pass",
            id="ignores the interrupt",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_cell_has_a_deadline(tmp_path: Path, source: str) -> None:
    """A cell beyond its deadline is ended, at last by force, and is not called anything else."""
    path = notebook(tmp_path / "tiny.ipynb", source, "print('never')")
    result = execute(path, archive=str(tmp_path / "archive"), limits=Limits(cell_seconds=1))
    assert (Status.TIMED_OUT, 124) == (result.status, result.exit_code)
    assert "the cell took longer than 1 s" == result.reason
    assert {"one": "timed_out", "two": "not_run"} == statuses(record_of(tmp_path / "archive"))


def test_the_run_has_a_deadline(tmp_path: Path) -> None:
    """Cells that each keep their deadline cannot together exceed the run's."""
    path = notebook(tmp_path / "tiny.ipynb", *["import time; time.sleep(0.8)"] * 6)
    result = execute(path, archive=str(tmp_path / "archive"), limits=Limits(run_seconds=5))
    assert (Status.TIMED_OUT, 124) == (result.status, result.exit_code)
    assert "the run took longer than 5 s" == result.reason


def test_an_error_of_the_library_owns_the_exit_code(tmp_path: Path) -> None:
    """A wrong name that only a cell finds out is still wrong use."""
    source = "from runbook_lib.errors import UnknownNameError\nraise UnknownNameError('service', 'apo', ['api'])"
    result = execute(notebook(tmp_path / "tiny.ipynb", source), archive=str(tmp_path / "archive"))
    assert (Status.FAILED, 2) == (result.status, result.exit_code)


def test_output_from_a_thread_of_an_earlier_cell_is_kept_there(tmp_path: Path) -> None:
    """Late output is shown at the cell that it belongs to."""
    source = (
        "import threading, time\n"
        "t = threading.Thread(target=lambda: (time.sleep(0.5), print('late', flush=True)))\nt.start()"
    )
    path = notebook(tmp_path / "tiny.ipynb", source, "t.join(); import time; time.sleep(0.3)")
    result = execute(path, archive=str(tmp_path / "archive"))
    late = [one.get("text") for cell in ("one", "two") for one in outputs(result.record, cell)]
    assert ["late\n"] == late


def test_displays_are_updated_in_place(tmp_path: Path) -> None:
    """An updated display shows its last state once."""
    source = "from IPython.display import display\nh = display('first', display_id=True)\nh.update('second')"
    result = execute(notebook(tmp_path / "tiny.ipynb", source, "h.update('third')"), archive=str(tmp_path / "archive"))
    assert [{"text/plain": "'third'"}] == [one["data"] for one in outputs(result.record, "one")]


def test_a_copy_of_the_notebook_is_put_out_once(tmp_path: Path) -> None:
    """The copy is the record's notebook, and an existing file is never replaced."""
    path = notebook(tmp_path / "tiny.ipynb", "print(1)")
    out = tmp_path / "out.ipynb"
    result = execute(path, archive=str(tmp_path / "archive"), out=out)
    assert json.loads(out.read_text())["cells"] == json.loads((result.record / "notebook.ipynb").read_text())["cells"]
    with pytest.raises(UsageError, match="exists already"):
        execute(path, archive=str(tmp_path / "archive"), out=out)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        pytest.param({"parameters": {"reelase": "x"}}, UnknownNameError, id="unknown parameter"),
        pytest.param({"parameters": {"count": "three"}}, ParameterError, id="wrong type"),
        pytest.param({"kernel_name": "julia"}, UnknownNameError, id="kernel not installed"),
        pytest.param({"environment": "lab"}, ParameterError, id="no environment parameter"),
        pytest.param({"out": Path("/nowhere/out.ipynb")}, UsageError, id="no folder for the copy"),
    ],
)
def test_wrong_use_starts_nothing(tmp_path: Path, arguments: dict[str, object], error: type) -> None:
    """Wrong use is refused before a kernel or a record exists."""
    path = notebook(tmp_path / "tiny.ipynb", "1")
    with pytest.raises(error):
        execute(path, archive=str(tmp_path / "archive"), **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "archive").exists()


@pytest.mark.parametrize("minutes", ["-5", "0", "999999999"], ids=["negative", "nothing", "centuries"])
def test_a_window_that_cannot_be_read_starts_nothing(tmp_path: Path, minutes: str) -> None:
    """A window of no length, or of centuries, is refused before a kernel or a record exists."""
    path = notebook(tmp_path / "tiny.ipynb", "1", parameters="window_minutes: int = 60")
    with pytest.raises(ParameterError, match="parameter 'window_minutes': minutes must be above 0"):
        execute(path, archive=str(tmp_path / "archive"), parameters={"window_minutes": minutes})
    assert not (tmp_path / "archive").exists()


def test_a_service_needs_a_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runbook with a service parameter is refused where no catalogue is."""
    monkeypatch.chdir(tmp_path)
    path = notebook(tmp_path / "tiny.ipynb", "1", parameters='service: str = "api"')
    with pytest.raises(CatalogError):
        execute(path, archive=str(tmp_path / "archive"))


def test_what_is_no_notebook_is_refused(tmp_path: Path) -> None:
    """A file that is no notebook is wrong use."""
    (tmp_path / "x.ipynb").write_text("{}")
    with pytest.raises(NotebookError):
        execute(tmp_path / "x.ipynb", archive=str(tmp_path / "archive"))


def test_a_parameters_value_arrives_exactly(tmp_path: Path) -> None:
    """What reads like code or like a number arrives as the text that it is."""
    nasty = "1.10'\"\\\n{x}$(id)\u2028é"
    path = notebook(tmp_path / "tiny.ipynb", "print(repr(release))")
    result = execute(path, {"release": nasty}, archive=str(tmp_path / "archive"))
    assert repr(nasty) + "\n" == outputs(result.record, "one")[0]["text"]


def test_a_path_with_braces_is_only_a_path(tmp_path: Path) -> None:
    """A folder's name is never filled in with parameters."""
    folder = tmp_path / "{release}"
    folder.mkdir()
    result = execute(notebook(folder / "tiny.ipynb", "1"), archive=str(tmp_path / "archive"))
    assert 0 == result.exit_code


@pytest.mark.parametrize(
    ("source", "told"),
    [
        pytest.param(
            "import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()", "thread", id="thread"
        ),
        pytest.param(
            "import asyncio, gc\nasync def fail():\n    1 / 0\nt = asyncio.ensure_future(fail())\n"
            "await asyncio.sleep(0.1)\ndel t\ngc.collect()\nNone",
            "task",
            id="task",
        ),
    ],
)
def test_an_error_that_no_cell_saw_fails_the_run(tmp_path: Path, source: str, told: str) -> None:
    """An error that ends a thread or a task unseen is no success."""
    path = notebook(tmp_path / "tiny.ipynb", source, "2")
    result = execute(path, archive=str(tmp_path / "archive"))
    assert (Status.FAILED, 1) == (result.status, result.exit_code)
    assert f"ZeroDivisionError in a {told}: division by zero" in result.reason
    assert {"one": "ok", "two": "ok"} == statuses(record_of(tmp_path / "archive"))


def high_water_kib(pid: int) -> int:
    """Most memory that a running process has had, KiB; 0 when it has just ended."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        return int(found.group(1)) if found else 0
    return 0


def test_a_flood_changes_nothing_but_its_own_length(start: Callable[..., Runner]) -> None:
    """Output far beyond the bounds neither fails the run nor fills the record or the runner's memory."""
    flood = "import sys\nfor i in range(20_000):\n    sys.stdout.write(f'\\r{i}')\n    sys.stdout.flush()\n"
    runner = start(f"{flood}print()", "for i in range(400_000): print(i)", "print('after')")
    # The process's own mark: what the system says of an ended one begins with what its parent took.
    most_kib = 0
    while runner.process.poll() is None:
        most_kib = max(most_kib, high_water_kib(runner.process.pid))
        time.sleep(0.05)
    record = record_of(runner.archive)
    assert (0, Status.SUCCEEDED) == (runner.process.returncode, record.status)
    assert "19999\n" == outputs(record.path, "one")[0]["text"]
    assert str(outputs(record.path, "two")[0]["text"]).endswith("\n399999\n")
    assert "after\n" == outputs(record.path, "three")[0]["text"]
    assert sum(one.stat().st_size for one in record.path.rglob("*")) < 6_000_000
    assert 20 < most_kib / 1024 < 250


def test_a_runner_that_fails_itself_says_so(tmp_path: Path) -> None:
    """When the runner breaks, the kernel is ended and the record sealed as unknown."""

    def broken(_cell: str, status: str) -> None:
        if status == "ok":
            raise ValueError("the terminal is gone")

    with pytest.raises(ValueError, match="the terminal is gone"):
        execute(notebook(tmp_path / "tiny.ipynb", "1"), archive=str(tmp_path / "archive"), progress=broken)
    record = record_of(tmp_path / "archive")
    assert (True, Status.UNKNOWN) == (record.sealed, record.status)
    assert "ValueError: the terminal is gone" in record.reason


def test_a_kernel_loads_what_the_environment_needs_before_the_first_cell(tmp_path: Path) -> None:
    """Slow imports pass while the runner is still loading, and only those that the environment has a use for."""
    (tmp_path / "runbook.toml").write_text(
        '[services.api]\ndescription = "x"\nowner = "x"\nobjectives = {}\nworkload = {}\n'
        '[environments.lab]\n[environments.lab.redis]\nhost = "127.0.0.1"\n'
    )
    source = "import sys\n[name for name in ('redis', 'psycopg', 'runbook_lib.run') if name in sys.modules]"
    path = notebook(tmp_path / "tiny.ipynb", source, parameters='environment: str = "lab"')
    result = execute(path, catalog=tmp_path / "runbook.toml", archive=str(tmp_path / "archive"))
    assert {"text/plain": "['redis', 'runbook_lib.run']"} == outputs(result.record, "one")[0]["data"]


def test_secrets_of_the_environment_are_masked_in_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that the catalogue names is found wherever a cell prints it."""
    monkeypatch.setenv("CANARY", "correct-horse-battery")
    (tmp_path / "runbook.toml").write_text(
        '[services.api]\ndescription = "x"\nowner = "x"\nobjectives = {}\nworkload = {}\n'
        '[environments.lab]\n[environments.lab.grafana]\nurl = "http://127.0.0.1:1"\ntoken = "env:CANARY"\n'
    )
    source = "import os, base64\nprint(os.environ['CANARY'])\nbase64.b64encode(os.environ['CANARY'].encode()).decode()"
    path = notebook(
        tmp_path / "tiny.ipynb", source, "raise ValueError(os.environ['CANARY'])", parameters='environment: str = "lab"'
    )
    result = execute(path, catalog=tmp_path / "runbook.toml", archive=str(tmp_path / "archive"))
    assert Status.FAILED is result.status
    for one in result.record.rglob("*"):
        if one.is_file():
            assert b"correct-horse-battery" not in one.read_bytes(), one
            assert b"Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5" not in one.read_bytes(), one
