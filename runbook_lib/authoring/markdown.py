"""A markdown runbook as sections of blocks: list items, commands, paragraphs, each with its line. Nothing is run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runbook_lib.errors import UsageError

if TYPE_CHECKING:
    from markdown_it.token import Token

#: A runbook is a page for people; what is larger is something else.
MAX_CHARACTERS = 200_000
_SHELLS = frozenset({"", "bash", "sh", "shell", "console", "shell-session", "zsh", "terminal", "sql", "promql"})
_CHECKBOX = re.compile(r"\[[ xX]\]\s+")
_NUMBERED = re.compile(r"^\d+(?:\.\d+)*[.):]?\s+")


@dataclass(frozen=True, slots=True)
class Block:
    """One thing that the page says.

    Args:
        kind: ``item`` (of a list), ``text`` (a paragraph, a quotation, a table's row) or ``code`` (a fenced block).
        text: as written, without the mark of the list.
        line: its first line in the file, from 1.
        lead: the list item or paragraph that introduces it; empty when there is none.
        language: of a fenced block.
        checkbox: whether it is a box to tick.
        label: whether it only introduces what follows it.
    """

    kind: str
    text: str
    line: int
    lead: str = ""
    language: str = ""
    checkbox: bool = False
    label: bool = False


@dataclass(slots=True)
class Section:
    """A heading and what stands below it, up to the next heading.

    Args:
        title: the heading without its number.
        level: 1 to 6; 0 for what stands before the first heading.
        line: of the heading, from 1.
        above: headings of the sections around it, outermost first.
        blocks: in order.
        source: the lines below the heading as written.
    """

    title: str
    level: int
    line: int
    above: tuple[str, ...] = ()
    blocks: list[Block] = field(default_factory=list)
    source: str = ""


def parse(text: str, *, where: str = "") -> tuple[Section, ...]:
    """The sections of a page, in order.

    Args:
        text: CommonMark with tables.
        where: the file, for messages.

    Raises:
        UsageError: the text is too long, or nested too deep to be a page for people.
    """
    from markdown_it import MarkdownIt

    if len(text) > MAX_CHARACTERS:
        raise UsageError(f"{where}: {len(text)} characters are no runbook; at most {MAX_CHARACTERS}")
    tokens = MarkdownIt("commonmark", {"maxNesting": 60}).enable("table").parse(text)
    lines = text.splitlines()
    sections = _sections(tokens)
    starts = [section.line for section in sections[1:]] + [len(lines) + 1]
    for section, end in zip(sections, starts, strict=True):
        first = section.line + (0 if not section.level else _heading_lines(lines, section.line))
        section.source = "\n".join(lines[max(first - 1, 0) : end - 1]).strip("\n")
    return tuple(section for section in sections if section.level or section.blocks)


def is_shell(block: Block) -> bool:
    """Whether a fenced block holds commands."""
    return block.kind == "code" and block.language.lower() in _SHELLS


def plain(text: str) -> str:
    """One line without emphasis marks and links; code keeps its backticks."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    for index in range(0, len(parts), 2):
        linked = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", parts[index])
        parts[index] = re.sub(r"(\*\*|__|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w))", "", linked)
    return "".join(parts).strip()


def _heading_lines(lines: Sequence[str], line: int) -> int:
    """How many lines a heading takes: two when it is underlined."""
    underlined = line < len(lines) and re.fullmatch(r"\s{0,3}(=+|-+)\s*", lines[line])
    return 2 if underlined and not lines[line - 1].lstrip().startswith("#") else 1


def _sections(tokens: Sequence[Token]) -> list[Section]:
    sections = [Section("", 0, 1)]
    for index, token in enumerate(tokens):
        if token.type == "heading_open" and token.level == 0:
            level = int(token.tag[1])
            above = _above(sections, level)
            title = _NUMBERED.sub("", plain(tokens[index + 1].content))
            sections.append(Section(title, level, _line(token), above))
        else:
            sections[-1].blocks += _blocks(tokens, index)
    return sections


def _above(sections: Sequence[Section], level: int) -> tuple[str, ...]:
    found: list[str] = []
    for section in reversed(sections):
        if 0 < section.level < level:
            found.append(section.title)
            level = section.level
    return tuple(reversed(found))


def _blocks(tokens: Sequence[Token], index: int) -> Iterator[Block]:
    token = tokens[index]
    if token.type in {"fence", "code_block"}:
        language = token.info.strip().partition(" ")[0].strip("{}.")
        yield Block("code", token.content, _line(token), _lead(tokens, index), language)
    elif token.type == "html_block":
        yield Block("text", token.content.strip(), _line(token))
    elif token.type == "inline" and not tokens[index - 1].type.startswith("heading"):
        yield from _written(tokens, index)


def _written(tokens: Sequence[Token], index: int) -> Iterator[Block]:
    token = tokens[index]
    if tokens[index - 1].type in {"td_open", "th_open"}:
        # A row is one statement; its first cell brings the others with it.
        if tokens[index - 2].type == "tr_open":
            yield Block("text", " | ".join(_row(tokens, index)), _line(token))
        return
    boxed = _CHECKBOX.match(token.content)
    text = token.content[boxed.end() :] if boxed else token.content
    listed = index > 1 and tokens[index - 2].type == "list_item_open"
    follows = tokens[index + 2].type if index + 2 < len(tokens) else ""
    opens = follows in {"fence", "code_block", "bullet_list_open", "ordered_list_open"}
    label = opens and (listed or text.rstrip(" *_").endswith(":"))
    yield Block(
        "item" if listed else "text", text, _line(token), _lead(tokens, index), checkbox=bool(boxed), label=label
    )


def _row(tokens: Sequence[Token], index: int) -> Iterator[str]:
    while index < len(tokens) and tokens[index].type != "tr_close":
        if tokens[index].type == "inline":
            yield tokens[index].content
        index += 1


def _lead(tokens: Sequence[Token], index: int) -> str:
    """The text of the nearest list item around a token, or of the paragraph with a colon just before it."""
    depth = tokens[index].level
    top = depth <= (1 if tokens[index].type == "inline" else 0)
    # What stands in no list is introduced by the paragraph before it, if at all.
    for back in range(index - 1, max(index - 4, 0) if top else 0, -1):
        token = tokens[back]
        if token.type == "heading_open":
            return ""
        if token.type == "list_item_open" and token.level < depth and tokens[back + 1].type == "paragraph_open":
            if back + 2 != index:
                return _CHECKBOX.sub("", tokens[back + 2].content)
            depth = token.level
        elif token.type == "inline" and back >= index - 3 and token.content.rstrip(" *_").endswith(":"):
            return token.content
    return ""


def _line(token: Token) -> int:
    return (token.map[0] if token.map else 0) + 1
