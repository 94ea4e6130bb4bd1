"""What a cell puts out: bounded, redacted, journalled while it runs, and kept for the filled notebook."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from runbook_lib.headless.stretch import Stretch
from runbook_lib.model.canonical import canonical, digest_bytes
from runbook_lib.record.journal import plain
from runbook_lib.secrets import Redactor

#: Characters of text kept from the beginning of a cell's output.
HEAD_CHARACTERS = 2**20
#: Size of the pictures, tables and tracebacks kept of one cell, bytes of JSON.
DISPLAY_BYTES = 8 * 2**20
#: Separate outputs kept of one cell.
MOST_OUTPUTS = 500
# Text is written to the journal in groups. A kill may lose the last quarter of a second of it: this much waits here,
# the rest is for its way from the kernel.
GROUP_SECONDS = 0.1

#: Beside a picture, members of a display with more bytes of JSON stand in the notebook only; the journal has a digest.
BESIDE_PICTURE_BYTES = 16 * 2**10

Write = Callable[[Mapping[str, Any]], object]


class CellOutputs:
    """Takes a cell's messages and gives its outputs as a notebook keeps them.

    Args:
        write: puts the data of one ``cell.output`` event into the journal.
        redactor: masks secrets.
    """

    def __init__(self, write: Write, redactor: Redactor) -> None:
        self._write, self._redactor = write, redactor
        self._outputs: list[dict[str, Any] | Stretch] = []
        self._head_room, self._display_room = HEAD_CHARACTERS, DISPLAY_BYTES
        self._dropped = 0
        self._clear_next = False
        self._due = 0.0
        self._ended: list[Stretch] = []
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
                self._event({"type": "update_display_data", "display_id": display_id, **_journalled(fresh)})

    def flush(self, now: float, *, final: bool = False) -> None:
        """Put text into the journal whose time has come.

        Args:
            now: monotonic time, seconds.
            final: all of it, also an unfinished line.
        """
        if not final and now < self._due:
            return
        for output in self._outputs:
            if isinstance(output, Stretch):
                if final:
                    self._kept(output.finish())
                self._journal_text(output)
        if final:
            self._journal_endings()

    def waits_seconds(self, now: float) -> float:
        """How long the text that waits for the journal may still wait, seconds; infinite when none waits."""
        waiting = any(isinstance(output, Stretch) and output.waiting for output in self._outputs)
        return max(self._due - now, 0) if waiting else float("inf")

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
        if not isinstance(last, Stretch) or last.name != name:
            if isinstance(last, Stretch):
                # The other stream's unfinished line was written before this text.
                self._kept(last.finish())
            if len(self._outputs) >= MOST_OUTPUTS:
                last = next((one for one in self._outputs if isinstance(one, Stretch) and one.name == name), None)
            else:
                last = None
            if last is None:
                last = Stretch(name, self._redactor)
                self._outputs.append(last)
        if not last.waiting:
            self._due = now + GROUP_SECONDS
        self._kept(last.feed(text, self._head_room))

    def _kept(self, characters: int) -> None:
        self._head_room = max(self._head_room - characters, 0)
        self.bytes += characters

    def _journal_text(self, output: Stretch) -> None:
        text = output.fresh()
        if text:
            self._event({"type": "stream", "name": output.name, "text": text})

    def _journal_endings(self) -> None:
        for output in self._outputs:
            if isinstance(output, Stretch) and output.cut and output not in self._ended:
                self._ended.append(output)
                self._event({"type": "stream", "name": output.name, "text": output.ending(), **output.facts()})

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
        self._event({"type": kind, **_journalled(bundle), **({"display_id": display_id} if display_id else {})})
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
            if isinstance(output, Stretch):
                self._kept(output.finish())
                self._journal_text(output)

    def _add(self, output: dict[str, Any]) -> None:
        if len(self._outputs) >= MOST_OUTPUTS and output["output_type"] != "error":
            self._dropped += 1
            return
        self._outputs.append(output)

    def _event(self, data: Mapping[str, Any]) -> None:
        if not self._dropped or data["type"] in {"error", "stream"}:
            self._write(data)


def _journalled(bundle: Mapping[str, Any]) -> dict[str, Any]:
    """A display as the journal keeps it: what a page shows, the picture and the words, and not the same once more."""
    data = bundle["data"]
    if "image/png" not in data:
        return dict(bundle)
    return {**bundle, "data": {mime: value if mime == "image/png" else _once(value) for mime, value in data.items()}}


def _once(value: Any) -> Any:
    try:
        content = canonical(value)
    except ValueError:
        content = canonical(plain(value))
    if len(content) <= BESIDE_PICTURE_BYTES:
        return value
    return {"omitted_bytes": len(content), "omitted_digest": digest_bytes(content)}


def _output(one: dict[str, Any] | Stretch) -> dict[str, Any]:
    if isinstance(one, Stretch):
        return {"output_type": "stream", "name": one.name, "text": str(one)}
    return {key: value for key, value in one.items() if key != "display_id"}
