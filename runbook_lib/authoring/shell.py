"""Shell text read without a shell: commands, their words, what they expect, and what a shell would have to do."""

from __future__ import annotations

import keyword
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

_EXPECTED = re.compile(
    r"^#+\s*(?:expected(?:\s+(?:output|result|response|value))?|should\s+(?:print|return|show)|=>)\s*:?\s*",
    re.IGNORECASE,
)
# A "# " is always a remark, never the prompt of root: a sentence must not become a command.
_PROMPT = re.compile(r"^\s*(?:\$|>|[\w.-]+@[\w.-]+[:~\w/]*[$#])\s+")
_VARIABLE = re.compile(r"\$\{(?P<braced>[A-Za-z_]\w*)(?::-[^}]*)?\}|\$(?P<plain>[A-Za-z_]\w*)")
_PLACEHOLDER = re.compile(r"<(?P<name>[A-Za-z][\w -]{0,40})>|\{\{\s*(?P<braces>[A-Za-z][\w. -]{0,40})\s*\}\}")
_ASSIGNMENT = re.compile(r"^(?:export\s+)?(?P<name>[A-Za-z_]\w*)=(?P<value>.*)$", re.DOTALL)
_OPERATORS = frozenset({"|", "||", "&&", ";", "&", ">", ">>", "<", "<<", "<<<", "|&", "&>", ">&"})
#: Words with which a shell's own program begins; such a block is kept whole.
_PROGRAMS = frozenset({"for", "while", "until", "if", "case", "function", "select", "{", "(", "[[", "do", "done", "fi"})

#: Names that every notebook binds itself.
_TAKEN = frozenset({"run", "actions", "analysis"})


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a page.

    Args:
        text: as written, on one line.
        argv: its words, without a pipe behind it.
        filters: words of the commands that its output is piped into.
        needs: what only a shell could do with it; empty when none is needed.
        assigns: the variable that takes its output or value; empty when there is none.
        value: what is assigned literally.
        expected: the output that the page says it has; empty when it does not say.
        line: in the file, from 1.
    """

    text: str
    argv: tuple[str, ...]
    filters: tuple[tuple[str, ...], ...] = ()
    needs: str = ""
    assigns: str = ""
    value: str = ""
    expected: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Remark:
    """A comment between commands."""

    text: str
    line: int


def read(text: str, line: int = 1) -> tuple[Command | Remark, ...]:
    """The commands and remarks of a block, in order.

    Args:
        text: the block.
        line: its first line in the file, from 1.
    """
    found: list[Command | Remark] = []
    for number, statement in _statements(text, line):
        if not statement.startswith("#"):
            found += _commands(statement, number)
        elif (expected := _EXPECTED.match(statement)) and found and isinstance(last := found[-1], Command):
            told = statement[expected.end() :].strip()
            found[-1] = replace(last, expected=" ".join(filter(None, (last.expected, told))))
        elif statement.strip("# "):
            found.append(Remark(statement.lstrip("# "), number))
    return tuple(found)


def variables(text: str) -> tuple[str, ...]:
    """Names of ``$VARIABLES`` and ``<placeholders>``, in order, as Python identifiers."""
    named: list[str] = []
    for match in re.finditer(f"{_VARIABLE.pattern}|{_PLACEHOLDER.pattern}", text):
        named += [identifier(part) for part in match.groups() if part]
    return tuple(dict.fromkeys(named))


def template(words: Sequence[str]) -> str:
    """Words as one line in which each variable stands as ``{name}``; ``shlex.split`` gives the words back."""
    return " ".join(_quoted(_braces(word)) for word in words)


def identifier(name: str) -> str:
    """A parameter's name: ``IMAGE_TAG`` and ``image tag`` become ``image_tag``, ``class`` becomes ``class_value``."""
    found = re.sub(r"\W+", "_", name.strip().lower()).strip("_") or "value"
    return f"{found}_value" if keyword.iskeyword(found) or found in _TAKEN else found


def _braces(word: str) -> str:
    escaped = word.replace("{", "{{").replace("}", "}}")
    escaped = re.sub(r"\$\{\{([A-Za-z_]\w*)(?::-.*?)?\}\}", lambda m: "{" + identifier(m[1]) + "}", escaped)
    escaped = re.sub(r"\{\{\{\{\s*([A-Za-z][\w. -]*?)\s*\}\}\}\}", lambda m: "{" + identifier(m[1]) + "}", escaped)
    for pattern in (r"\$([A-Za-z_]\w*)", r"<([A-Za-z][\w -]{0,40})>"):
        escaped = re.sub(pattern, lambda m: "{" + identifier(m[1]) + "}", escaped)
    return escaped


def _quoted(word: str) -> str:
    return word if re.fullmatch(r"[\w@%+=:,./{}-]+", word) else shlex.quote(word)


def _statements(text: str, line: int) -> Iterator[tuple[int, str]]:
    """Logical lines: continuations and open quotations joined, prompts removed, a shell's program kept whole."""
    held, start = "", line
    for number, raw in enumerate(text.splitlines(), start=line):
        part = raw if held else _PROMPT.sub("", raw)
        if not held:
            start = number
            if not part.strip():
                continue
        held += part
        if not part.lstrip().startswith("#") and (_open(held) or held.endswith("\\")):
            held = held[:-1].rstrip() + " " if held.endswith("\\") else held + "\n"
            continue
        yield start, held.strip()
        held = ""
    if held.strip():
        yield start, held.strip()


def _open(text: str) -> bool:
    """Whether a quotation, a substitution or a shell's program is still open."""
    first = text.split(None, 1)[0] if text.split() else ""
    if first in _PROGRAMS:
        ending = {"for": "done", "while": "done", "until": "done", "select": "done", "if": "fi", "case": "esac"}
        wanted = ending.get(first)
        return wanted is not None and not re.search(rf"(?:^|[\s;]){wanted}\s*$", text)
    here = re.search(r"<<-?\s*['\"]?(\w+)", text)
    if here and "<<<" not in text:
        return not re.search(rf"\n\s*{re.escape(here[1])}\s*$", text)
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return not text.endswith("\\")
    return False


def _commands(statement: str, line: int) -> Iterator[Command]:
    words = _words(statement)
    if words is None or words[0] in _PROGRAMS or "\n" in statement:
        yield Command(statement, tuple(words or statement.split()), needs="a shell's own program", line=line)
        return
    assigned = _ASSIGNMENT.match(statement)
    if assigned and (statement.startswith("export ") or _takes_all(assigned["value"].strip())):
        yield from _assignment(statement, assigned, line)
        return
    for part in _split(words, ("&&", ";")):
        yield _pipeline(part, line)


def _takes_all(value: str) -> bool:
    """Whether a value is the rest of the statement, and no command stands behind it."""
    return not re.search(r"\s", value) or value.startswith(("$(", "`", '"', "'"))


def _assignment(statement: str, assigned: re.Match[str], line: int) -> Iterator[Command]:
    name, value = assigned["name"], assigned["value"].strip()
    inner = re.fullmatch(r"\"?(?:\$\((?P<call>.*)\)|`(?P<ticks>.*)`)\"?", value, re.DOTALL)
    if inner is None:
        yield Command(statement, (), assigns=name, value=value.strip("'\""), line=line)
        return
    for one in _commands(inner["call"] or inner["ticks"] or "true", line):
        yield replace(one, text=statement, assigns=name)


def _pipeline(words: Sequence[str], line: int) -> Command:
    first, *rest = list(_split(words, ("|",))) or [[]]
    text = _text(words)
    filters = tuple(tuple(part) for part in rest)
    operators = [word for part in (first, *rest) for word in part if set(word) <= set(";|&<>()")]
    shell = f"the shell's {operators[0]}" if operators else ""
    if not shell and _ASSIGNMENT.match(first[0] if first else ""):
        shell = "a variable for one command"
    if not shell and re.search(r"\$\(|`", text):
        shell = "the output of another command"
    if (
        not shell
        and any(re.search(r"[*?]", word) and not word.startswith(("-", "{", ".")) for word in first[1:])
        and (first[0] in {"rm", "ls", "cat", "cp", "mv"})
    ):
        shell = "names filled in by the shell"
    return Command(text, tuple(first), filters, needs=shell, line=line)


def _words(statement: str) -> list[str] | None:
    # Operators are words of their own, quotation marks are taken away; a quoted operator is marked to stay a word.
    try:
        lexer = shlex.shlex(statement, posix=True, punctuation_chars=";|&<>")
        lexer.whitespace_split = True
        lexer.commenters = ""
        words = list(lexer)
    except ValueError:
        return None
    return _placeholders(words) or None


def _placeholders(words: Sequence[str]) -> list[str]:
    """Put ``<pod name>`` together again, which a shell would take for two redirections."""
    found: list[str] = []
    index = 0
    while index < len(words):
        if words[index] == "<" and ">" in words[index : index + 6]:
            end = words.index(">", index)
            found.append("<" + " ".join(words[index + 1 : end]) + ">")
            index = end + 1
        else:
            found.append(words[index])
            index += 1
    return found


def _split(words: Sequence[str], at: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for word in words:
        if word in at:
            if part:
                yield part
            part = []
        else:
            part.append(word)
    if part:
        yield part


def _text(words: Sequence[str]) -> str:
    return " ".join(word if word in _OPERATORS or word.startswith("<") else _shown(word) for word in words)


def _shown(word: str) -> str:
    return word if re.fullmatch(r"[\w@%+=:,./{}$~*?!-]+", word) else shlex.quote(word)
