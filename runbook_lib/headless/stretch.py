"""One stretch of a cell's standard output or error: its beginning, its end, and a count and digest of all of it."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Any

from runbook_lib.secrets import Redactor

#: Characters kept from the end of a stretch whose beginning filled the cell's room.
TAIL_CHARACTERS = 2**18
# A secret that is cut in two is no longer found. Beginning and end are therefore cut between lines, and where a
# line is longer than this, what could be half a secret is dropped.
_LONG_LINE = 8192
_HASHED_AT_ONCE = 2**20


class Stretch:
    """Takes text piece by piece.

    Args:
        name: ``stdout`` or ``stderr``.
        redactor: masks secrets.
    """

    def __init__(self, name: str, redactor: Redactor) -> None:
        self.name = name
        self._redactor, self._stream = redactor, redactor.stream()
        self._head: list[str] = []
        # What is not yet in the journal.
        self._fresh: list[str] = []
        # A line that ended with a carriage return: it stays on the screen unless something overwrites it.
        self._pending = ""
        self._tail: deque[str] = deque()
        self._tail_characters = 0
        self._left_out = 0
        self._characters, self._lines, self._digest = 0, 0, hashlib.sha256()

    @property
    def cut(self) -> bool:
        """Whether something may be left out between beginning and end."""
        return bool(self._tail)

    @property
    def waiting(self) -> bool:
        """Whether text waits for the journal."""
        return bool(self._fresh)

    def feed(self, text: str, room: int) -> int:
        """Take a piece; gives the number of characters that joined the beginning.

        Args:
            text: as the kernel sent it.
            room: characters that the beginning may still grow by.
        """
        self._count(text)
        if self._tail:
            self._keep_tail(text)
            return 0
        if room <= 0:
            kept = self.finish(whole_line=False)
            self._keep_tail(text)
            return kept
        if len(text) <= room:
            return self._take(self._stream.feed(text))
        line_end = text.find("\n", room, room + _LONG_LINE)
        first = text[: line_end + 1] if line_end >= 0 else text[:room]
        kept = self._take(self._stream.feed(first)) + self.finish(whole_line=line_end >= 0)
        self._keep_tail(text[len(first) :])
        return kept

    def finish(self, *, whole_line: bool = True) -> int:
        """Take the unfinished last line, too; gives the number of characters that joined the beginning."""
        rest = self._stream.flush()
        if not whole_line:
            kept_of_line = max(len(rest) - max(self._redactor.longest, 256), 0)
            self._left_out += len(rest) - kept_of_line
            rest = rest[:kept_of_line]
        kept = self._take(rest)
        last, self._pending = self._pending.removesuffix("\r"), ""
        return kept + self._keep(last)

    def fresh(self) -> str:
        """The text that has come since the last call, without the end of a stretch that was cut."""
        text = "".join(self._fresh)
        self._fresh.clear()
        return text

    def ending(self) -> str:
        """What is left out, and the end; empty for a stretch that is kept whole."""
        if not self._tail:
            return ""
        tail = "".join(self._tail)
        if len(tail) > TAIL_CHARACTERS or self._left_out:
            tail = tail[-TAIL_CHARACTERS:]
            line_end = tail.find("\n", 0, _LONG_LINE)
            tail = tail[line_end + 1 if line_end >= 0 else max(self._redactor.longest, 256) :]
        left_out = self._left_out + self._tail_characters - len(tail)
        if not left_out:
            return self._redactor.text(overwritten(tail))
        facts = f"{self._characters} characters in {self._lines} lines, sha256 {self._digest.hexdigest()}"
        note = f"\n[... {left_out} characters left out; {self.name} was {facts} ...]\n"
        return note + self._redactor.text(overwritten(tail))

    def facts(self) -> dict[str, Any]:
        """Count and digest of everything that was put out."""
        return {"characters": self._characters, "lines": self._lines, "sha256": self._digest.hexdigest()}

    def __str__(self) -> str:
        return "".join(self._head) + self.ending()

    def _count(self, text: str) -> None:
        self._characters += len(text)
        self._lines += text.count("\n")
        for start in range(0, len(text), _HASHED_AT_ONCE):
            self._digest.update(text[start : start + _HASHED_AT_ONCE].encode("utf-8", "replace"))

    def _take(self, text: str) -> int:
        if not text:
            return 0
        # A progress bar redraws its line thousands of times; only what stays on the screen counts as kept.
        text = self._pending + text
        self._pending = ""
        if text.endswith("\r"):
            lines, newline, last = text[:-1].rpartition("\n")
            text, self._pending = lines + newline, last.rpartition("\r")[2] + "\r"
        return self._keep(overwritten(text))

    def _keep(self, text: str) -> int:
        if text:
            self._head.append(text)
            self._fresh.append(text)
        return len(text)

    def _keep_tail(self, text: str) -> None:
        self._tail.append(text[-2 * TAIL_CHARACTERS :])
        self._left_out += len(text) - len(self._tail[-1])
        self._tail_characters += len(self._tail[-1])
        while self._tail_characters - len(self._tail[0]) >= TAIL_CHARACTERS:
            dropped = len(self._tail.popleft())
            self._tail_characters -= dropped
            self._left_out += dropped


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
