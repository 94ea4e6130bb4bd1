"""What a cell puts out: bounded, redacted, journalled while it runs, and kept for the filled notebook."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runbook_lib.secrets import Redactor, StreamRedactor

#: Characters of text kept from the beginning and from the end of a cell's output.
HEAD_CHARACTERS, TAIL_CHARACTERS = 2**20, 2**18
#: Size of the pictures, tables and tracebacks kept of one cell, bytes of JSON.
DISPLAY_BYTES = 8 * 2**20
#: Separate outputs kept of one cell.
MOST_OUTPUTS = 500
# Text is written to the journal in groups: a kill loses at most this much of it.
GROUP_SECONDS = 0.2

Write = Callable[[Mapping[str, Any]], object]


@dataclass(slots=True)
class _Text:
    """One stretch of standard output or error: its beginning, its end, and a count and digest of all of it."""

    name: str
    redactor: StreamRedactor
    head: list[str] = field(default_factory=list)
    tail: deque[str] = field(default_factory=deque)
    tail_characters: int = 0
    characters: int = 0
    lines: int = 0
    left_out: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    # What is not yet in the journal.
    fresh: list[str] = field(default_factory=list)
    # A line that ended with a carriage return: it stays on the screen unless something overwrites it.
    pending: str = ""

    def count(self, text: str) -> None:
        self.characters += len(text)
        self.lines += text.count("\n")
        self.digest.update(text.encode("utf-8", "replace"))

    def keep_tail(self, text: str) -> None:
        self.tail.append(text)
        self.tail_characters += len(text)
        while self.tail_characters - len(self.tail[0]) >= TAIL_CHARACTERS:
            dropped = len(self.tail.popleft())
            self.tail_characters -= dropped
            self.left_out += dropped

    def omission(self) -> str:
        if not self.tail:
            return ""
        return (
            f"\n[... {self.left_out} characters left out; {self.name} was {self.characters} characters in "
            f"{self.lines} lines, sha256 {self.digest.hexdigest()} ...]\n"
        )

    def whole(self) -> str:
        # The first piece of the tail may be cut to keep the tail within its size.
        return "".join(self.head) + self.omission() + "".join(self.tail)[-TAIL_CHARACTERS:]


class CellOutputs:
    """Takes a cell's messages and gives its outputs as a notebook keeps them.

    Args:
        write: puts the data of one ``cell.output`` event into the journal.
        redactor: masks secrets.
    """

    def __init__(self, write: Write, redactor: Redactor) -> None:
        self._write, self._redactor = write, redactor
        self._outputs: list[dict[str, Any] | _Text] = []
        self._head_room, self._display_room = HEAD_CHARACTERS, DISPLAY_BYTES
        self._dropped = 0
        self._clear_next = False
        self._due = 0.0
        self.bytes = 0

    def message(self, kind: str, content: Mapping[str, Any], now: float) -> str:
        """Take one message of the output channel.

        Args:
            kind: its type; those that put nothing out are ignored.
            content: its content.
            now: monotonic time, seconds.

        Returns:
            The display id of an output that later messages may replace; empty when it has none.
        """
        if kind == "stream":
            self._text(str(content.get("name", "stdout")), str(content.get("text", "")), now)
        elif kind in {"display_data", "execute_result"}:
            return self._display(kind, content)
        elif kind == "error":
            self._error(content)
        elif kind == "clear_output":
            self._clear_next = bool(content.get("wait"))
            if not self._clear_next:
                self._clear()
        return ""

    def update(self, display_id: str, content: Mapping[str, Any]) -> None:
        """Replace what was put out under ``display_id``."""
        for output in self._outputs:
            if isinstance(output, dict) and output.get("display_id") == display_id:
                fresh = self._bundle(content)
                output.update(fresh)
                self._event({"type": "update_display_data", "display_id": display_id, **fresh})

    def flush(self, now: float, *, final: bool = False) -> None:
        """Put text into the journal whose time has come.

        Args:
            now: monotonic time, seconds.
            final: all of it, also an unfinished line.
        """
        if not final and now < self._due:
            return
        for output in self._outputs:
            if isinstance(output, _Text):
                if final:
                    self._finish(output)
                self._journal_text(output)
        if final:
            self._journal_omissions()

    def outputs(self) -> list[dict[str, Any]]:
        """The outputs in nbformat 4's shape."""
        kept = [_output(one) for one in self._outputs]
        if self._dropped:
            note = f"[{self._dropped} further outputs were left out]\n"
            kept.append({"output_type": "stream", "name": "stderr", "text": note})
        return [one for one in kept if one.get("text") != ""]

    def _text(self, name: str, text: str, now: float) -> None:
        self._begin()
        last = self._outputs[-1] if self._outputs else None
        if not isinstance(last, _Text) or last.name != name:
            if isinstance(last, _Text):
                # The other stream's unfinished line was written before this text.
                self._finish(last)
            if len(self._outputs) >= MOST_OUTPUTS:
                last = next((one for one in self._outputs if isinstance(one, _Text) and one.name == name), None)
            else:
                last = None
            if last is None:
                last = _Text(name, self._redactor.stream())
                self._outputs.append(last)
        if not last.fresh:
            self._due = now + GROUP_SECONDS
        self._take(last, last.redactor.feed(text))

    def _finish(self, output: _Text) -> None:
        self._take(output, output.redactor.flush())
        self._keep(output, output.pending.removesuffix("\r"))
        output.pending = ""

    def _take(self, output: _Text, text: str) -> None:
        if not text:
            return
        output.count(text)
        # A progress bar redraws its line thousands of times; only what stays on the screen counts as kept.
        text = output.pending + text
        output.pending = ""
        if text.endswith("\r"):
            lines, newline, last = text[:-1].rpartition("\n")
            text, output.pending = lines + newline, last.rpartition("\r")[2] + "\r"
        self._keep(output, overwritten(text))

    def _keep(self, output: _Text, text: str) -> None:
        room = self._head_room if not output.tail else 0
        first, rest = text[:room], text[room:]
        if first:
            self._head_room -= len(first)
            self.bytes += len(first)
            output.head.append(first)
            output.fresh.append(first)
        if rest:
            output.keep_tail(rest)

    def _journal_text(self, output: _Text) -> None:
        if output.fresh:
            text = "".join(output.fresh)
            output.fresh.clear()
            self._event({"type": "stream", "name": output.name, "text": text})

    def _journal_omissions(self) -> None:
        for output in self._outputs:
            if isinstance(output, _Text) and output.tail:
                facts = {"characters": output.characters, "lines": output.lines, "sha256": output.digest.hexdigest()}
                tail = "".join(output.tail)[-TAIL_CHARACTERS:]
                self._event({"type": "stream", "name": output.name, "text": output.omission() + tail, **facts})

    def _display(self, kind: str, content: Mapping[str, Any]) -> str:
        self._begin()
        self._before_other()
        bundle = self._bundle(content)
        display_id = str((content.get("transient") or {}).get("display_id") or "")
        output: dict[str, Any] = {"output_type": kind, **bundle}
        if kind == "execute_result":
            output["execution_count"] = content.get("execution_count")
        if display_id:
            output["display_id"] = display_id
        self._add(output)
        self._event({"type": kind, **bundle, **({"display_id": display_id} if display_id else {})})
        return display_id

    def _error(self, content: Mapping[str, Any]) -> None:
        self._begin()
        self._before_other()
        texts = [self._redactor.text(str(line))[:HEAD_CHARACTERS] for line in content.get("traceback", ())]
        error = {
            "ename": self._redactor.text(str(content.get("ename", ""))),
            "evalue": self._redactor.text(str(content.get("evalue", "")))[:HEAD_CHARACTERS],
            "traceback": texts[:200],
        }
        self._add({"output_type": "error", **error})
        self._event({"type": "error", **error})

    def _bundle(self, content: Mapping[str, Any]) -> dict[str, Any]:
        data = {mime: self._clean(mime, value) for mime, value in (content.get("data") or {}).items()}
        size = len(json.dumps(data))
        if size > self._display_room:
            digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
            data = {"text/plain": f"[output of {size} bytes left out, sha256 {digest}]"}
            size = len(data["text/plain"])
        self._display_room -= size
        self.bytes += size
        return {"data": data, "metadata": self._redactor.data(content.get("metadata") or {})}

    def _clean(self, mime: str, value: Any) -> Any:
        # Base64 of a picture holds no text, and a long one would be slow to look through.
        return value if mime == "image/png" else self._redactor.data(value)

    def _begin(self) -> None:
        if self._clear_next:
            self._clear_next = False
            self._clear()

    def _clear(self) -> None:
        # What was cleared stays in the journal: the notebook shows the last state, the record what happened.
        self._before_other()
        self._outputs.clear()

    def _before_other(self) -> None:
        for output in self._outputs:
            if isinstance(output, _Text):
                self._finish(output)
                self._journal_text(output)

    def _add(self, output: dict[str, Any]) -> None:
        if len(self._outputs) >= MOST_OUTPUTS and output["output_type"] != "error":
            self._dropped += 1
            return
        self._outputs.append(output)

    def _event(self, data: Mapping[str, Any]) -> None:
        if not self._dropped or data["type"] in {"error", "stream"}:
            self._write(data)


def overwritten(text: str) -> str:
    """``text`` as a terminal shows it: of a line with carriage returns only what followed the last one."""
    if "\r" not in text:
        return text
    lines = text.split("\n")
    last = len(lines) - 1
    shown = [
        line.removesuffix("\r").rpartition("\r")[2] if number < last else line.rpartition("\r")[2]
        for number, line in enumerate(lines)
    ]
    return "\n".join(shown)


def _output(one: dict[str, Any] | _Text) -> dict[str, Any]:
    if isinstance(one, _Text):
        return {"output_type": "stream", "name": one.name, "text": one.whole()}
    return {key: value for key, value in one.items() if key != "display_id"}
