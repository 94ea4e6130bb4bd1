"""Code and markdown of a notebook as text: calls within the width of a page, literals, lines of another page."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence

#: Line length of the notebooks, and lines of a code cell at most (tests/notebooks).
WIDTH = 120
MOST_LINES = 10


def call(function: str, arguments: Sequence[str], width: int = WIDTH) -> list[str]:
    """A call as lines: on one where it fits, else one argument a line.

    Args:
        function: its name.
        arguments: each one line, or lines that may not be joined.
        width: of the page, characters.
    """
    line = f"{function}({', '.join(arguments)})"
    if len(line) <= width and "\n" not in line:
        return [line]
    lines = [part for argument in arguments for part in f"{argument},".split("\n")]
    return [f"{function}(", *(f"    {part}" for part in lines), ")"]


def assigned(name: str, expression: str) -> list[str]:
    """An assignment as lines: on one where it fits, else one argument a line."""
    whole = f"{name} = {expression}"
    if len(whole) <= WIDTH:
        return [whole]
    function, _, inside = expression.removesuffix(")").partition("(")
    arguments = []
    for argument in _arguments(inside):
        parts = _pieces(argument, WIDTH - 6)
        arguments.append("\n".join(parts))
    return call(f"{name} = {function}", arguments, width=0)


def _arguments(inside: str) -> list[str]:
    """The arguments of a call, split at its own commas."""
    parsed = ast.parse(f"f({inside})", mode="eval").body
    assert isinstance(parsed, ast.Call)
    source = f"f({inside})"
    nodes: list[ast.AST] = [*parsed.args, *parsed.keywords]
    return [ast.get_source_segment(source, node) or "" for node in nodes]


def _pieces(argument: str, width: int) -> list[str]:
    """A long text as several that Python joins, cut between words."""
    if len(argument) <= width or not argument.startswith('"'):
        return [argument]
    value, parts = json.loads(argument), [""]
    for word in re.findall(r"\S+\s*", value):
        if parts[-1] and len(literal(parts[-1] + word)) > width:
            parts.append("")
        parts[-1] += word
    return [literal(part) for part in parts]


def filled(words: Sequence[str]) -> list[str]:
    """Words with commas, as many on a line as fit."""
    lines = ["   "]
    for word in words:
        if len(lines[-1]) + len(word) + 2 > WIDTH:
            lines.append("   ")
        lines[-1] += f" {word},"
    return lines


def literal(value: object) -> str:
    """A value as Python writes it, a text in double quotes."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def sentence(text: str) -> str:
    """One line that ends as a sentence does."""
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?", "`", ")")) else f"{text}."


def markdown(text: str) -> str:
    """One line of a page: its angle brackets are text, never a tag; code is left as it is."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)


def markdown_block(text: str) -> str:
    """Lines of a page; those of a fenced block stay as they are."""
    lines, fence = [], ""
    for line in text.splitlines():
        mark = re.match(r"\s*(?:[-*+]\s+|\d+[.)]\s+)*(`{3,}|~{3,})", line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence):
            fence = ""
        lines.append(line if fence or mark else markdown(line))
    if fence:
        lines.append(fence)
    return "\n".join(lines).rstrip()
