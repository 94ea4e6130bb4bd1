"""What a cell puts out is kept in bounds, in order and without secrets, in the journal and in the notebook."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook_lib.charts.figure import MIME
from runbook_lib.headless import outputs as outputs_module
from runbook_lib.headless.outputs import (
    BESIDE_PICTURE_BYTES,
    DISPLAY_BYTES,
    HEAD_CHARACTERS,
    MOST_OUTPUTS,
    CellOutputs,
)
from runbook_lib.headless.stretch import TAIL_CHARACTERS, overwritten
from runbook_lib.model.canonical import canonical, digest
from runbook_lib.secrets import Redactor, Secret

CANARY = "correct-horse-battery"


class Cell:
    """Collects what a cell's outputs write into the journal."""

    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []
        self.outputs = CellOutputs(self.events.append, Redactor([Secret(CANARY)]))

    def stream(self, text: str, name: str = "stdout", now: float = 0) -> None:
        """A piece of text arrives."""
        self.outputs.message("stream", {"name": name, "text": text}, now)

    def show(self, data: Mapping[str, Any], kind: str = "display_data", **more: Any) -> None:
        """A display arrives."""
        self.outputs.message(kind, {"data": data, "metadata": {}, **more}, 0)

    def end(self) -> list[dict[str, Any]]:
        """The cell ended; its outputs."""
        self.outputs.flush(1e9, final=True)
        return self.outputs.outputs()

    def journalled(self) -> str:
        """All text in the journal."""
        return "".join(str(event.get("text", "")) for event in self.events)


def test_text_is_journalled_in_groups() -> None:
    """Many small pieces become one event each tenth of a second, and nothing waits longer."""
    cell = Cell()
    for i in range(100):
        now = i * 0.01
        cell.stream(f"{i}\n", now=now)
        cell.outputs.flush(now)
    assert 10 >= len(cell.events) >= 8
    assert "".join(f"{i}\n" for i in range(100)) == cell.end()[0]["text"]
    assert cell.journalled() == cell.end()[0]["text"]


def test_streams_and_displays_keep_their_order() -> None:
    """What came first stands first."""
    cell = Cell()
    cell.stream("a\n")
    cell.stream("b\n", name="stderr")
    cell.show({"text/plain": "c"})
    cell.stream("d\n")
    kinds = [(one["output_type"], one.get("name"), one.get("text")) for one in cell.end()]
    assert [
        ("stream", "stdout", "a\n"),
        ("stream", "stderr", "b\n"),
        ("display_data", None, None),
        ("stream", "stdout", "d\n"),
    ] == kinds
    assert ["stream", "stream", "display_data", "stream"] == [event["type"] for event in cell.events]


def test_a_flood_keeps_beginning_end_count_and_digest() -> None:
    """A million lines are bounded in memory and on disk, and what was left out is told."""
    cell = Cell()
    lines = [f"{i}\n" for i in range(10**6)]
    for start in range(0, 10**6, 1000):
        cell.stream("".join(lines[start : start + 1000]))
    whole = "".join(lines)
    text = cell.end()[0]["text"]
    assert text.startswith("0\n1\n")
    assert text.endswith("\n999998\n999999\n")
    assert len(text) < HEAD_CHARACTERS + TAIL_CHARACTERS + 10_000
    assert f"{len(whole)} characters in 1000000 lines" in text
    assert hashlib.sha256(whole.encode()).hexdigest() in text
    assert len(cell.journalled()) < HEAD_CHARACTERS + TAIL_CHARACTERS + 10_000


def test_one_enormous_message_is_bounded() -> None:
    """A single output of many megabytes without a newline keeps its beginning and end."""
    cell = Cell()
    cell.stream("a" + "x" * 20_000_000 + "z")
    text = cell.end()[0]["text"]
    assert len(text) < HEAD_CHARACTERS + TAIL_CHARACTERS + 10_000
    assert ("a", "z") == (text[0], text[-1])
    assert "characters left out" in text


def test_a_progress_bar_costs_one_line() -> None:
    """A hundred thousand redraws leave the last one, whichever side the carriage return stands on."""
    for shape in ("\r{}%", "{}%\r"):
        cell = Cell()
        for i in range(20_000):
            cell.stream(shape.format(i))
        cell.stream("\ndone\n")
        assert "19999%\ndone\n" == cell.end()[0]["text"]
        assert len(cell.journalled()) < 100


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\rb", "b"),
        ("a\r\nb", "a\nb"),
        ("a\rb\r\nc", "b\nc"),
        ("no return", "no return"),
        ("a\r\r\nb", "\nb"),
    ],
    ids=["overwritten", "windows line", "both", "none", "two returns"],
)
def test_overwritten_is_what_a_terminal_shows(text: str, expected: str) -> None:
    """Only what followed the last carriage return of a line stays."""
    assert expected == overwritten(text)


@given(st.lists(st.integers(0, len(CANARY)), max_size=5), st.text("ab \n", max_size=20), st.text("ab \n", max_size=20))
@settings(max_examples=300)
def test_a_secret_in_pieces_never_gets_through(cuts: list[int], before: str, after: str) -> None:
    """A known secret is masked however the stream is cut."""
    text = before + CANARY + after
    places = sorted({0, len(text), *(len(before) + cut for cut in cuts)})
    cell = Cell()
    for i, (start, end) in enumerate(pairwise(places)):
        cell.stream(text[start:end], now=i)
        cell.outputs.flush(i)
    assert CANARY not in str(cell.end())
    assert CANARY not in str(cell.events)


@pytest.mark.parametrize("offset", [-len(CANARY), -10, -1, 0, 5])
def test_a_secret_at_the_cut_never_gets_through(offset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither half of a secret stands where the kept beginning ends or where the kept end begins."""
    monkeypatch.setattr(outputs_module, "HEAD_CHARACTERS", 20_000)
    filler = 20_000 + offset
    cell = Cell()
    cell.stream("x" * filler + CANARY + "y" * TAIL_CHARACTERS * 2 + CANARY + "z" * (TAIL_CHARACTERS + offset))
    text = str(cell.end())
    assert CANARY not in text
    assert CANARY[:10] not in text
    assert CANARY[-10:] not in text


def test_secrets_in_displays_and_errors_are_masked() -> None:
    """Tables, metadata, tracebacks and messages are written without the secret."""
    cell = Cell()
    cell.show({"text/html": f"<b>{CANARY}</b>", "application/json": {"a": [CANARY]}})
    cell.outputs.message("error", {"ename": "E", "evalue": CANARY, "traceback": [f"  x = {CANARY}"]}, 0)
    assert CANARY not in str(cell.end())
    assert CANARY not in str(cell.events)


def test_displays_have_a_budget() -> None:
    """A picture beyond the cell's budget is replaced by its size and digest."""
    cell = Cell()
    cell.show({"image/png": "A" * (DISPLAY_BYTES + 1)})
    (only,) = cell.end()
    assert only["data"]["text/plain"].startswith("[output of 8")
    assert "sha256" in only["data"]["text/plain"]


def test_a_large_figure_beside_its_picture_stands_in_the_notebook_only() -> None:
    """The journal has picture, words and the digest of the figure, whose points it does not repeat."""
    figure = {"data": [{"y": [i / 7 for i in range(BESIDE_PICTURE_BYTES // 8)]}]}
    bundle = {MIME: figure, "image/png": "A" * (2 * BESIDE_PICTURE_BYTES), "text/plain": "p95 rose"}
    cell = Cell()
    cell.show(bundle, transient={"display_id": "a"})
    cell.outputs.update("a", {"data": bundle, "metadata": {}})
    omitted = {"omitted_bytes": len(canonical(figure)), "omitted_digest": digest(figure)}
    assert [{**bundle, MIME: omitted}] * 2 == [event["data"] for event in cell.events]
    assert bundle == cell.end()[0]["data"]


def test_a_figure_without_picture_is_journalled_whole() -> None:
    """What nothing else shows is kept in both."""
    figure = {"data": [{"y": list(range(BESIDE_PICTURE_BYTES))}]}
    cell = Cell()
    cell.show({MIME: figure})
    assert [{MIME: figure}] == [event["data"] for event in cell.events]


def test_outputs_have_a_number() -> None:
    """Thousands of small displays are counted, not kept; an error is always kept."""
    cell = Cell()
    for i in range(MOST_OUTPUTS + 50):
        cell.show({"text/plain": str(i)})
    cell.outputs.message("error", {"ename": "E", "evalue": "", "traceback": []}, 0)
    found = cell.end()
    assert MOST_OUTPUTS + 2 == len(found)
    assert "error" == found[-2]["output_type"]
    assert "[50 further outputs were left out]\n" == found[-1]["text"]


@pytest.mark.parametrize("wait", [True, False])
def test_cleared_output_stays_in_the_journal(wait: bool) -> None:
    """The notebook shows the last state; the record keeps what was shown."""
    cell = Cell()
    cell.stream("first\n")
    cell.outputs.message("clear_output", {"wait": wait}, 0)
    cell.stream("second\n")
    assert ["second\n"] == [one["text"] for one in cell.end()]
    assert "first\nsecond\n" == cell.journalled()


def test_an_update_changes_the_display_and_is_journalled() -> None:
    """A display with an id shows its last content."""
    cell = Cell()
    cell.show({"text/plain": "1"}, transient={"display_id": "a"})
    cell.outputs.update("a", {"data": {"text/plain": "2"}, "metadata": {}})
    (only,) = cell.end()
    assert {"text/plain": "2"} == only["data"]
    assert "display_id" not in only
    assert ["display_data", "update_display_data"] == [event["type"] for event in cell.events]
