"""A credential that stands in the environment reaches no file of a record, whatever a cell does with it."""

from __future__ import annotations

from pathlib import Path

from runbook_lib.headless.runner import execute
from runbook_lib.record.record import Record
from tests.conftest import CANARY, leaks

from .conftest import notebook


def test_the_environment_shown_whole_is_masked(tmp_path: Path, canary: str) -> None:
    """Shown, printed, shown as a page and raised with all local variables, the credential is in no file."""
    path = notebook(
        tmp_path / "tiny.ipynb",
        "import os\ndict(os.environ)",
        "print(os.environ)\nvalue = os.environ['RUNBOOK_CANARY_TOKEN']\n"
        "print(value[:9], end='', flush=True)\nprint(value[9:])",
        "from IPython.display import HTML\nHTML(f'<a href=\"https://x:{value}@example.com\">{value}</a>')",
        "get_ipython().run_line_magic('xmode', 'Verbose')\nraise ValueError(value)",
    )
    assert CANARY == canary
    result = execute(path, archive=str(tmp_path / "archive"))
    assert ["ok", "ok", "ok", "error"] == [cell.status for cell in Record.read(result.record).cells][-4:]
    assert [] == leaks(tmp_path)


def test_no_command_line_shows_a_secret(tmp_path: Path, canary: str) -> None:
    """While a cell runs, no process of the machine has the secret among its arguments, which everybody may read."""
    look = (
        "import os\nfrom pathlib import Path\nvalue = os.environ['RUNBOOK_CANARY_TOKEN'].encode()\n"
        "def shown(path):\n    try:\n        return value in path.read_bytes()\n"
        "    except OSError:\n        return False\n"
        "lines = list(Path('/proc').glob('[0-9]*/cmdline'))\n"
        "print(len(lines) > 1, [str(path) for path in lines if shown(path)])"
    )
    result = execute(notebook(tmp_path / "tiny.ipynb", look), archive=str(tmp_path / "archive"))
    text = "".join(event.data.get("text", "") for event in Record.read(result.record).all("cell.output"))
    assert "True []\n" == text


def test_the_search_itself_finds_a_leak(tmp_path: Path) -> None:
    """The search that runs after all tests is not blind, also for an encoded form."""
    record = tmp_path / "record"
    record.mkdir()
    (record / "events.jsonl").write_text("")
    for name, content in (("plain", CANARY), ("hex", CANARY.encode().hex())):
        (record / name).write_text(content)
    assert sorted(leaks(tmp_path)) == [str(record / "hex"), str(record / "plain")]
    for name in ("plain", "hex"):
        (record / name).unlink()


def test_a_catalogues_secret_is_searched_for(tmp_path: Path) -> None:
    """What a catalogue names as a secret is looked for in the records beside it."""
    (tmp_path / "token").write_text("only-this-test-knows-it")
    (tmp_path / "runbook.toml").write_text('token = "file:token"')
    (tmp_path / "events.jsonl").write_text("only-this-test-knows-it")
    assert [str(tmp_path / "events.jsonl"), str(tmp_path / "token")] == sorted(leaks(tmp_path))
    (tmp_path / "events.jsonl").unlink()
